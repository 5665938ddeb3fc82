"""The room of bodies: shared ones are kept once, and each call counts for what it writes."""

from typing import cast

from fanout.queue.entry import apart
from fanout.queue.stream import Stream
from tests.builders import a_message, an_entry
from tests.fakes import FakeClock
from tests.workers.helpers import a_partition, buffered_in
from workers.bodies import Bodies
from workers.partition import BufferedEntry

SIZE = len(a_message("u0", text="x" * 1000).body)


def targets(count: int, ref: str) -> list[BufferedEntry]:
    """Return entries of one list, whose body stands beside the stream."""
    owned = a_partition()
    entries = [apart(an_entry(a_message(f"u{n}", text="x" * 1000)), ref) for n in range(count)]
    return [buffered_in(owned, number + 1, entry=entry) for number, entry in enumerate(entries)]


def some_bodies(calls: int) -> Bodies:
    """Return the bodies of a worker with room for so many calls."""
    return Bodies(cast("Stream", None), FakeClock(), room=calls * SIZE)


def test_each_call_of_a_shared_body_takes_room_for_what_it_writes() -> None:
    bodies = some_bodies(3)
    listed = targets(4, "a")
    assert [bodies.reserve([each]) for each in listed] == [True, True, True, False]
    assert bodies.size == 3 * SIZE
    bodies.release([listed[0]])
    assert bodies.reserve([listed[3]])


def test_nothing_is_held_when_every_call_is_over() -> None:
    bodies = some_bodies(5)
    listed = targets(2, "a") + targets(2, "b")
    assert all(bodies.reserve([each]) for each in listed)
    assert bodies.size == 4 * SIZE
    for each in listed:
        bodies.release([each])
    assert bodies.size == 0


def test_a_call_that_finds_no_room_for_all_its_bodies_holds_none() -> None:
    bodies = some_bodies(2)
    assert not bodies.reserve(targets(3, "a"))
    assert bodies.size == 0


def test_a_body_larger_than_the_room_goes_alone() -> None:
    bodies = Bodies(cast("Stream", None), FakeClock(), room=10)
    listed = targets(2, "a")
    assert [bodies.reserve([each]) for each in listed] == [True, False]
    bodies.release([listed[0]])
    assert bodies.reserve([listed[1]])
