"""The key of a lane: made, taken apart and given a partition by one module."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.queue.changes import group_flow, sweep_flow
from fanout.queue.keys import (
    Destination,
    destination_of,
    flow_of,
    hub_and_endpoint,
    hub_at,
    hub_of,
    hub_of_flow,
    is_known_flow,
    lane_in_flow,
    lane_of,
    partition_of,
    place_of,
    priority_of_flow,
    scope_of_flow,
)
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Priority, Scope, Verb
from tests.builders import a_message


@pytest.mark.parametrize(
    ("item", "lane"),
    [
        (a_message("", scope=Scope.BROADCAST), "chat\nb"),
        (a_message("x", scope=Scope.USER), "chat\nux"),
        (a_message("x", scope=Scope.GROUP), "chat\ngx"),
        (a_message("x", scope=Scope.CONNECTION), "chat\ncx"),
        (GroupAction(Verb.ADD, Scope.USER, "alice", "x"), "chat\ngx"),
        (GroupAction(Verb.REMOVE, Scope.CONNECTION, "c1", "x"), "chat\ngx"),
        (GroupAction(Verb.REMOVE_ALL, Scope.USER, "x"), "chat\nux"),
        (GroupAction(Verb.REMOVE_ALL, Scope.CONNECTION, "x"), "chat\ncx"),
        (CloseConnections(Scope.CONNECTION, "x"), "chat\ncx"),
        (CloseConnections(Scope.USER, "x"), "chat\nux"),
        (CloseConnections(Scope.GROUP, "x"), "chat\ngx"),
    ],
)
def test_an_item_belongs_to_the_lane_of_whom_it_concerns(item: Item, lane: str) -> None:
    assert lane_of("chat", item) == lane


def test_hubs_and_kinds_of_destination_have_lanes_of_their_own() -> None:
    items = [a_message("x", scope=scope) for scope in (Scope.USER, Scope.GROUP, Scope.CONNECTION)]
    assert len({lane_of(hub, item) for hub in ("chat", "news") for item in items}) == 6


PLACES = st.tuples(
    st.from_regex(r"[a-z][a-z0-9_`,.\[\]]{0,9}", fullmatch=True),
    st.sampled_from([Scope.USER, Scope.GROUP, Scope.CONNECTION]),
    st.text("ab\nugc", min_size=1, max_size=4),
)


@given(PLACES, PLACES)
def test_two_places_never_share_a_lane(one: tuple[str, Scope, str], two: tuple[str, Scope, str]) -> None:
    """A hub name holds no line feed, so the first one ends it, whatever stands in the other name."""
    lanes = [lane_of(hub, a_message(name, scope=scope)) for hub, scope, name in (one, two)]
    assert (lanes[0] == lanes[1]) == (one == two)


@given(PLACES)
def test_a_key_is_taken_apart_into_what_it_was_made_of(place: tuple[str, Scope, str]) -> None:
    hub, scope, name = place
    key = lane_of(hub, a_message(name, scope=scope))
    assert destination_of(key) == Destination(hub, scope, name)
    assert hub_of(key) == hub


def test_the_key_of_a_broadcast_has_no_name() -> None:
    assert destination_of(lane_of("chat", a_message("", scope=Scope.BROADCAST))) == ("chat", Scope.BROADCAST, "")


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("priority", Priority)
def test_a_place_is_lane_partition_and_flow_in_one_step(scope: Scope, priority: Priority) -> None:
    items: list[Item] = [Message(scope, "x", b"{}", priority=priority), CloseConnections(scope, "x")]
    if scope is not Scope.BROADCAST:
        items.append(GroupAction(Verb.ADD, scope, "m", "x"))
    for item in items:
        lane = lane_of("chat", item)
        assert place_of("chat", item, 16) == (lane, partition_of(lane, 16), flow_of(lane))


def test_no_other_module_takes_a_key_apart() -> None:
    """A line feed ends the hub; whoever else looks for one in a key knows what only keys.py may know."""
    root = Path(__file__).parents[3]
    splitting = re.compile(r"""(\.r?partition|\.r?split|\.r?find|\.r?index)\(["']\\n["']""")
    files = [path for floor in ("fanout/queue", "workers", "service/ingress") for path in (root / floor).rglob("*.py")]
    assert {path.name for path in files if splitting.search(path.read_text())} == set()
    assert {path.name for path in files if "_END_OF_HUB" in path.read_text()} == {"keys.py"}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 1024))
def test_a_partition_is_one_of_those_there_are(lane: str, partitions: int) -> None:
    assert 0 <= partition_of(lane, partitions) < partitions


@pytest.mark.parametrize(
    ("lane", "of_16", "of_1024"), [("chat\nb", 15, 207), ("chat\nualice", 10, 954), ("chat\ngroom é", 12, 812)]
)
def test_lanes_stay_where_they_are(lane: str, of_16: int, of_1024: int) -> None:
    """A change that moves lanes between streams breaks the order of what waits."""
    assert (partition_of(lane, 16), partition_of(lane, 1024)) == (of_16, of_1024)


def test_lanes_spread_over_all_partitions() -> None:
    counts = Counter(partition_of(f"chat\nuuser{number}", 16) for number in range(16_000))
    assert len(counts) == 16
    assert max(counts.values()) < 2 * min(counts.values())


# Endpoints ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("scope", Scope)
def test_the_legs_of_an_item_live_in_one_partition_and_in_flows_of_their_own(scope: Scope, priority: Priority) -> None:
    item = Message(scope, "alice", b"{}", priority=priority)
    lane, partition, flow = place_of("app/chat", item, 16)
    east = hub_at("app/chat", "east")
    other_lane, other_partition, other_flow = place_of(east, item, 16)
    assert (other_partition, partition_of(other_lane, 16)) == (partition, partition)
    assert len({lane, other_lane}) == len({flow, other_flow}) == 2
    assert (flow_of(other_lane), hub_of(other_lane), hub_of_flow(other_flow)) == (other_flow, east, east)
    assert hub_and_endpoint(east) == ("app/chat", "east")
    assert (scope_of_flow(other_flow), priority_of_flow(other_flow)) == (scope_of_flow(flow), priority_of_flow(flow))
    assert is_known_flow(other_flow)
    assert lane_in_flow(other_flow, other_lane.partition("\n")[2]) == other_lane
    assert other_lane == lane_of(east, item)


def test_without_a_name_of_an_endpoint_every_key_is_as_it_was() -> None:
    assert hub_at("chat", "") == "chat"
    assert hub_and_endpoint("chat") == ("chat", "")
    assert place_of("chat", a_message("alice"), 16) == ("chat\nualice", 10, "uchat")


def test_a_process_that_knows_no_endpoints_does_not_know_their_flows() -> None:
    flows = [flow_of(lane_of("chat@east", a_message("a"))), group_flow("chat@east"), sweep_flow("ualice", "chat@east")]
    assert flows == ["@uchat@east", "@gchat@east", "@uchat@east"]
    assert (group_flow("chat"), sweep_flow("ualice", "chat")) == ("gchat", "uchat")
