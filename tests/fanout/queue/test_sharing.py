"""Who should own what, between workers that read different formats."""

from hypothesis import given
from hypothesis import strategies as st

from fanout.queue.sharing import LiveWorkers, live_workers_of, need_member, portions_of, worker_member

P = 16


def shares(live_workers: LiveWorkers) -> dict[str, int]:
    return {
        worker: sum(portion.share for portion in portions_of(worker, live_workers, P))
        for worker in live_workers.workers
    }


def test_the_members_of_the_set_come_back_as_they_were() -> None:
    members = [worker_member("host-1-ab", 2), "old", need_member(3, 2), need_member(3, 3), need_member(15, 2)]
    live_workers = live_workers_of([b"1500", *(member.encode() for member in members)])
    assert live_workers == LiveWorkers(("host-1-ab", "old"), 1.5, {"host-1-ab": 2, "old": 1}, {3: 3, 15: 2})


def test_workers_that_read_the_same_share_all_alike() -> None:
    live_workers = LiveWorkers(("a", "b", "c"), 0.0, {}, {3: 2})
    assert shares(live_workers) == {"a": 6, "b": 5, "c": 5}
    assert [portion.partitions for portion in portions_of("a", live_workers, P)] == [list(range(P))]


def test_what_only_newer_workers_read_is_shared_between_them() -> None:
    live_workers = LiveWorkers(("a", "b", "c"), 0.0, {"b": 2, "c": 3}, {1: 2, 2: 2, 3: 2, 4: 3})
    portions = {worker: portions_of(worker, live_workers, P) for worker in "abc"}
    assert [(len(each.partitions), each.share) for each in portions["a"]] == [(12, 4), (3, 0), (1, 0)]
    assert [(len(each.partitions), each.share) for each in portions["b"]] == [(12, 4), (3, 2), (1, 0)]
    assert [(len(each.partitions), each.share) for each in portions["c"]] == [(12, 4), (3, 1), (1, 1)]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 3), min_size=1),
    st.dictionaries(st.integers(0, P - 1), st.integers(1, 4)),
)
def test_every_partition_belongs_to_one_share(formats: dict[str, int], needs: dict[int, int]) -> None:
    live_workers = LiveWorkers(tuple(formats), 0.0, formats, needs)
    assert sum(shares(live_workers).values()) == P
    for worker in formats:
        found = sorted(number for portion in portions_of(worker, live_workers, P) for number in portion.partitions)
        assert found == list(range(P))
