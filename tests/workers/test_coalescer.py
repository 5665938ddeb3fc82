"""Which of a lane's entries go into the next call, and which need not be sent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.queue.entry import Entry
from fanout.signalr.client import Bounds
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from tests.builders import a_join, a_message, an_entry
from tests.examples import examples
from tests.workers.helpers import a_flow
from workers.coalescer import Plan, may_be_expired, plan
from workers.partition import BufferedEntry

FLOW = a_flow()
WIDE = Bounds()


def buffered(sequence: int, item: Item, *, stored_at: float = 1000.0) -> BufferedEntry:
    return BufferedEntry(FLOW, f"{sequence}-0".encode(), an_entry(item, message_id=f"m{sequence}"), stored_at, 100)


def waiting(*items: Item) -> list[BufferedEntry]:
    return [buffered(number, item) for number, item in enumerate(items, start=1)]


def fresh(_held: BufferedEntry) -> float:
    return 0.0


def text(number: int, *, to: str = "alice", scope: Scope = Scope.USER, **fields: object) -> Message:
    message = a_message(to, scope=scope, text=str(number))
    return Message(**{name: getattr(message, name) for name in ("scope", "to", "body")} | fields)


def change(verb: Verb, member: str, group: str, *, scope: Scope = Scope.USER) -> GroupAction:
    return GroupAction(verb=verb, member_scope=scope, member=member, group=group)


def numbers(entries: Sequence[BufferedEntry]) -> list[int]:
    return [int(entry.id.partition(b"-")[0]) for entry in entries]


def sequence_of(
    entries: list[BufferedEntry], bounds: Bounds | None = None
) -> tuple[list[Plan], list[BufferedEntry], list[BufferedEntry]]:
    """Plan call after call until the lane is empty; return the plans, what was sent and what was not."""
    left, plans = list(entries), []
    while left:
        plans.append(plan(left, fresh, bounds))
        done = {entry.id for entry in (*plans[-1].call, *plans[-1].superseded)}
        left = [entry for entry in left if entry.id not in done]
    went = [entry for made in plans for entry in made.call]
    return plans, went, [entry for made in plans for entry in made.superseded]


# Single cases


def test_one_that_waits_alone_goes_as_it_is() -> None:
    entries = waiting(text(1, collapse="k", ttl=0.0))
    assert plan(entries, fresh, WIDE) == Plan((entries[0],))


def test_the_newest_of_a_key_goes_in_its_own_place() -> None:
    entries = waiting(text(1, collapse="k"), text(2), text(3, collapse="k"), text(4))
    made = plan(entries, fresh, None)
    assert numbers(made.superseded) == [1]
    assert numbers(made.call) == [2]


def test_a_message_without_a_key_is_never_superseded() -> None:
    assert plan(waiting(text(1), text(1), text(1)), fresh, None).superseded == ()


def test_of_the_changes_to_one_membership_only_the_last_goes() -> None:
    entries = waiting(change(Verb.ADD, "alice", "g"), change(Verb.REMOVE, "alice", "g"), change(Verb.ADD, "alice", "g"))
    made = plan(entries, fresh, WIDE)
    assert numbers(made.superseded) == [1, 2]
    assert numbers(made.call) == [3]


def test_changes_of_other_members_stand_in_nobodys_way() -> None:
    entries = waiting(change(Verb.ADD, "alice", "g"), change(Verb.ADD, "bob", "g"), change(Verb.REMOVE, "alice", "g"))
    assert numbers(plan(entries, fresh, None).superseded) == [1]


@pytest.mark.parametrize(
    "other",
    [
        change(Verb.REMOVE, "alice", "other group"),
        change(Verb.REMOVE, "bob", "g"),
        change(Verb.REMOVE, "alice", "g", scope=Scope.CONNECTION),
    ],
)
def test_changes_to_another_membership_supersede_nothing(other: GroupAction) -> None:
    assert plan(waiting(change(Verb.ADD, "alice", "g"), other), fresh, None).superseded == ()


@pytest.mark.parametrize("between", [text(2, to="g", scope=Scope.GROUP), CloseConnections(Scope.GROUP, "g")])
def test_a_change_on_the_other_side_of_a_message_or_a_close_is_kept(between: Item) -> None:
    entries = waiting(change(Verb.ADD, "alice", "g"), between, change(Verb.REMOVE, "alice", "g"))
    assert plan(entries, fresh, None).superseded == ()


def test_consecutive_messages_share_a_call_where_the_service_runs_execute() -> None:
    entries = waiting(text(1), text(2), text(3))
    assert numbers(plan(entries, fresh, WIDE).call) == [1, 2, 3]
    assert numbers(plan(entries, fresh, None).call) == [1]


@pytest.mark.parametrize(
    "stranger",
    [
        a_join(),
        CloseConnections(Scope.USER, "alice"),
        text(2, excluded=("c1",)),
        text(2, at_most_once=True),
        text(2, scope=Scope.GROUP),
    ],
)
def test_a_call_ends_before_what_cannot_share_it(stranger: Item) -> None:
    assert numbers(plan(waiting(text(1), stranger, text(3)), fresh, WIDE).call) == [1]


@pytest.mark.parametrize("scope", [Scope.GROUP, Scope.CONNECTION])
def test_only_messages_to_a_user_or_to_everybody_share_a_call(scope: Scope) -> None:
    assert len(plan(waiting(*(text(n, scope=scope) for n in range(3))), fresh, WIDE).call) == 1


def test_a_call_holds_no_more_messages_than_its_bounds_say() -> None:
    assert len(plan(waiting(*map(text, range(10))), fresh, Bounds(count=4)).call) == 4


def test_a_call_holds_no_more_bytes_than_its_bounds_say_but_always_its_head() -> None:
    big = replace_body(text(1), 500)
    assert len(plan(waiting(big, big, big), fresh, Bounds(size=1200)).call) == 2
    assert len(plan(waiting(big, big, big), fresh, Bounds(size=10)).call) == 1


def replace_body(message: Message, size: int) -> Message:
    return Message(scope=message.scope, to=message.to, body=b"x" * size)


def test_what_looks_expired_shares_no_call_neither_as_head_nor_behind_it() -> None:
    old, young = text(1, ttl=5.0), text(2, ttl=60.0)

    def age(_held: BufferedEntry) -> float:
        return 10.0

    assert numbers(plan(waiting(old, young), age, WIDE).call) == [1]
    assert numbers(plan(waiting(young, old, young), age, WIDE).call) == [1]
    assert numbers(plan(waiting(young, young), age, WIDE).call) == [1, 2]


def test_a_message_may_be_expired_only_past_its_own_ttl() -> None:
    assert not may_be_expired(buffered(1, text(1)), lambda _held: 1e9)
    assert not may_be_expired(buffered(1, text(1, ttl=5.0)), lambda _held: 5.0)
    assert may_be_expired(buffered(1, text(1, ttl=5.0)), lambda _held: 5.01)
    assert not may_be_expired(buffered(1, a_join()), lambda _held: 1e9)


# Any sequence

BODIES = st.integers(0, 9).map(lambda number: b"%d" % number * (number * 20 + 1))
MESSAGES = st.builds(
    Message,
    scope=st.sampled_from([Scope.USER, Scope.BROADCAST, Scope.GROUP]),
    to=st.just("to"),
    body=BODIES,
    excluded=st.sampled_from([(), (), ("c1",)]),
    ttl=st.sampled_from([None, None, 1.0, 100.0]),
    collapse=st.sampled_from(["", "", "k1", "k2"]),
    at_most_once=st.sampled_from([None, None, True, False]),
)
ACTIONS = st.one_of(
    st.builds(
        GroupAction,
        verb=st.sampled_from([Verb.ADD, Verb.REMOVE]),
        member_scope=st.sampled_from([Scope.USER, Scope.CONNECTION]),
        member=st.sampled_from(["a", "b"]),
        group=st.sampled_from(["g", "h"]),
        ttl=st.sampled_from([None, 60]),
    ),
    st.builds(
        GroupAction,
        verb=st.just(Verb.REMOVE_ALL),
        member_scope=st.just(Scope.USER),
        member=st.sampled_from(["a", "b"]),
        group=st.just(""),
    ),
)
CLOSES = st.builds(CloseConnections, scope=st.just(Scope.USER), to=st.sampled_from(["a", "b"]))
LANES = st.lists(st.one_of(MESSAGES, ACTIONS, CLOSES), min_size=1, max_size=14).map(lambda items: waiting(*items))
ANY_BOUNDS = st.one_of(st.none(), st.builds(Bounds, count=st.integers(1, 5), size=st.integers(50, 600)))
AGES: st.SearchStrategy[Callable[[BufferedEntry], float]] = st.sampled_from([0.0, 50.0, 500.0]).map(
    lambda seconds: lambda _held: seconds
)


@given(LANES, ANY_BOUNDS, AGES)
def test_what_is_left_keeps_its_order_and_the_head_of_it_goes(
    entries: list[BufferedEntry], bounds: Bounds | None, age: Callable[[BufferedEntry], float]
) -> None:
    made = plan(entries, age, bounds)
    gone = {entry.id for entry in made.superseded}
    left = [entry for entry in entries if entry.id not in gone]
    assert made.call
    assert list(made.call) == left[: len(made.call)]
    assert list(made.superseded) == [entry for entry in entries if entry.id in gone]


@given(LANES)
def test_a_message_is_superseded_only_by_a_newer_one_of_its_key(entries: list[BufferedEntry]) -> None:
    gone = {entry.id for entry in plan(entries, fresh, None).superseded}
    for place, entry in enumerate(entries):
        item = entry.entry.item
        if not isinstance(item, Message):
            continue
        newer = [e.entry.item for e in entries[place + 1 :]]
        same = [other for other in newer if isinstance(other, Message) and other.collapse == item.collapse]
        assert (entry.id in gone) == bool(item.collapse and same)


@given(LANES)
def test_an_action_is_superseded_only_by_a_later_one_of_the_same_member_with_no_message_or_close_between(
    entries: list[BufferedEntry],
) -> None:
    gone = {entry.id for entry in plan(entries, fresh, None).superseded}
    for place, entry in enumerate(entries):
        item = entry.entry.item
        assert not (isinstance(item, CloseConnections) and entry.id in gone)
        if not isinstance(item, GroupAction) or entry.id not in gone:
            continue
        for later in entries[place + 1 :]:
            other = later.entry.item
            assert isinstance(other, GroupAction), "something that depends on the membership stands between"
            if (other.member_scope, other.member, other.group) == (item.member_scope, item.member, item.group):
                break
        else:
            pytest.fail("nothing superseded it")


@given(LANES, ANY_BOUNDS, AGES)
def test_a_shared_call_holds_like_messages_within_bounds(
    entries: list[BufferedEntry], bounds: Bounds | None, age: Callable[[BufferedEntry], float]
) -> None:
    call = plan(entries, age, bounds).call
    if len(call) == 1:
        return
    assert bounds is not None
    items = [entry.entry.item for entry in call]
    messages = [item for item in items if isinstance(item, Message)]
    assert len(messages) == len(items) <= bounds.count
    assert len({message.at_most_once for message in messages}) == 1
    assert all(message.scope in {Scope.USER, Scope.BROADCAST} for message in messages)
    assert not any(message.excluded for message in messages)
    assert not any(may_be_expired(entry, age) for entry in call)
    assert sum(len(message.body) for message in messages) <= bounds.size


# The model: a service that keeps who is in which group, for all lanes that a group's members and messages can share.


@dataclass
class Service:
    """Members by group and scope, and the members each message found."""

    members: frozenset[tuple[Scope, str, str]] = frozenset()

    def take(self, item: GroupAction) -> None:
        """Change the membership as the service does."""
        who = (item.member_scope, item.member)
        if item.verb is Verb.ADD:
            self.members |= {(*who, item.group)}
        elif item.verb is Verb.REMOVE:
            self.members -= {(*who, item.group)}
        else:
            self.members = frozenset(member for member in self.members if member[:2] != who)


def played(entries: Sequence[BufferedEntry]) -> tuple[dict[bytes, frozenset[tuple[Scope, str, str]]], Service]:
    """Apply all entries in order; return the members that each message and close found, and the service at the end."""
    service, met = Service(), {}
    for entry in entries:
        if isinstance(entry.entry.item, GroupAction):
            service.take(entry.entry.item)
        else:
            met[entry.id] = service.members
    return met, service


ONE_GROUP = st.lists(
    st.one_of(
        MESSAGES,
        st.builds(
            GroupAction,
            verb=st.sampled_from([Verb.ADD, Verb.REMOVE]),
            member_scope=st.sampled_from([Scope.USER, Scope.CONNECTION]),
            member=st.sampled_from(["a", "b", "c"]),
            group=st.sampled_from(["g", "h"]),
        ),
        CLOSES,
    ),
    min_size=1,
    max_size=20,
).map(lambda items: waiting(*items))


@given(ONE_GROUP, ANY_BOUNDS)
@settings(max_examples=examples(300))
def test_every_message_meets_the_members_it_would_have_met_and_the_same_are_left(
    entries: list[BufferedEntry], bounds: Bounds | None
) -> None:
    met, service = played(entries)
    _plans, went, superseded = sequence_of(entries, bounds)
    met_after, service_after = played(went)
    assert service_after.members == service.members
    assert met_after == {entry.id: met[entry.id] for entry in went if entry.id in met}
    assert sorted(numbers(went) + numbers(superseded)) == numbers(entries)
    assert numbers(went) == sorted(numbers(went))


@given(LANES, ANY_BOUNDS)
@settings(max_examples=examples(300))
def test_the_same_holds_where_members_leave_all_groups(entries: list[BufferedEntry], bounds: Bounds | None) -> None:
    met, service = played(entries)
    _plans, went, _gone = sequence_of(entries, bounds)
    met_after, service_after = played(went)
    assert service_after.members == service.members
    assert met_after == {entry.id: met[entry.id] for entry in went if entry.id in met}


@given(LANES, ANY_BOUNDS)
def test_of_each_key_the_newest_is_sent(entries: list[BufferedEntry], bounds: Bounds | None) -> None:
    _plans, went, _gone = sequence_of(entries, bounds)
    for key in ("k1", "k2"):
        of_key = [e.id for e in entries if isinstance(e.entry.item, Message) and e.entry.item.collapse == key]
        sent = [e.id for e in went if isinstance(e.entry.item, Message) and e.entry.item.collapse == key]
        assert sent == of_key[-1:]


def test_a_body_that_is_no_json_shares_no_call() -> None:
    framed = Message(Scope.USER, "alice", b"\x80", binary=True)
    assert len(plan(waiting(framed, text(1)), fresh, WIDE).call) == 1
    assert len(plan(waiting(text(1), framed), fresh, WIDE).call) == 1


def test_a_hub_with_an_application_of_its_own_shares_no_call() -> None:
    held = [
        BufferedEntry(FLOW, f"{number}-0".encode(), Entry("app/chat", f"m{number}", text(number)), 1000.0, 100)
        for number in (1, 2)
    ]
    assert len(plan(held, fresh, WIDE).call) == 1
