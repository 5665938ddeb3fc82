"""What keeps changes of one member in order across lanes: stages of a batch, and markers in the streams. Pure.

A change that concerns a member everywhere (`removeAll`, and `closeConnection` of a user or a connection, called a sweep
here) stands in the lane of the member. Joining and leaving one group, and messages to groups, stand in the lanes of the
groups, in any partition. No server sees both, so a sweep is stored in three stages, each when the one before is stored:

1. What comes before it, and in each partition a marker "before" behind all that waits in the hub's flow of groups.
2. The sweep. It names the markers of stage 1.
3. In each partition a marker "behind" that names the sweep, and what comes after it.

Everything waits for the absence of something that was stored earlier, and nothing for a sign that has to be written:

- A marker "before" is taken out once what stood before it in its flow is out: the joins and leaves of its members
  without limit, messages to groups up to a bound.
- A sweep goes when the markers it names are out.
- A marker "behind" is taken out when the sweeps it names are out: delivered, dead, purged, or lost by Redis. Until then
  joins and leaves of its members that stand behind it wait, and messages to groups up to a bound.

Whatever is lost is absent, so nothing waits for it. All waits point to what was stored earlier, so there is no circle.
A request that breaks off leaves a prefix of these stages, and no stage waits for a later one. A repeat of it stores
further markers, which harm nothing. A batch without a sweep is stored as it always was.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Literal

import msgspec

from fanout.queue.entry import VERSION, Submission
from fanout.queue.keys import flow_named, lane_of
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb

_MOST = 500  # sweeps of one stage, so that no marker grows large
_MARKER = 1  # the bit in an entry's flags
_LETTER = {Scope.USER: "u", Scope.CONNECTION: "c"}
_JOINING = "g"


class Sweep(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A sweep that is stored: its member, and the place of its entry."""

    member: str
    partition: int
    id: bytes


class Marker(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A marker in a hub's flow of groups. `members` are those of the sweeps; "behind" has the sweeps themselves."""

    version: int
    flags: int
    kind: Literal["before", "behind"]
    members: tuple[str, ...] = ()
    sweeps: tuple[Sweep, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Marker)


def marker_before(members: Collection[str]) -> bytes:
    """Return the bytes of a marker that sweeps of these members wait for."""
    return _encoder.encode(Marker(VERSION, _MARKER, "before", tuple(members)))


def marker_behind(sweeps: Sequence[Sweep]) -> bytes:
    """Return the bytes of a marker behind which the members of these sweeps wait."""
    return _encoder.encode(Marker(VERSION, _MARKER, "behind", (), tuple(sweeps)))


def read_marker(data: bytes) -> Marker | None:
    """Read stored bytes; None when they are no marker."""
    try:
        marker = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return marker if (marker.version, marker.flags) == (VERSION, _MARKER) else None


def swept_by(item: Item) -> str | None:
    """Return the member whom an item concerns everywhere: the letter of its kind, then its name. None for no sweep."""
    if isinstance(item, GroupAction):
        return _LETTER[item.member_scope] + item.member if item.verb is Verb.REMOVE_ALL else None
    if isinstance(item, CloseConnections) and item.scope in _LETTER:
        return _LETTER[item.scope] + item.to
    return None


def joining(item: Item) -> str | None:
    """Return the member who joins or leaves one group with an item; None for any other."""
    if isinstance(item, GroupAction) and item.verb is not Verb.REMOVE_ALL:
        return _LETTER[item.member_scope] + item.member
    return None


def group_flow(hub: str) -> str:
    """Return the flow in which what concerns groups of a hub stands."""
    return flow_named(_JOINING, hub)


def sweep_flow(member: str, hub: str) -> str:
    """Return the flow in which a sweep of a member stands."""
    return flow_named(member[0], hub)


def stages_of(submissions: Sequence[Submission]) -> list[list[int]]:
    """Return the positions of submissions by stage: the stages with an odd number hold sweeps and nothing else.

    Each is in the earliest stage that its order allows. Messages of one list stay together, because they share a body.
    """
    planner = _Planner()
    stages: list[list[int]] = []
    position = 0
    for _, run in groupby(submissions, key=lambda one: one.list_id if type(one.entry.item) is Message else None):
        members = list(run)
        joint = [members] if members[0].list_id and type(members[0].entry.item) is Message else [[m] for m in members]
        for together in joint:
            stage = planner.place(together)
            while len(stages) <= stage:
                stages.append([])
            stages[stage] += range(position, position + len(together))
            position += len(together)
    return stages


class _Planner:
    """Finds the stage of each submission, in their order."""

    def __init__(self) -> None:
        self._lanes: dict[str, int] = {}
        self._swept: dict[str, int] = {}  # by member
        self._joined: dict[str, int] = {}
        self._message = 0  # the latest stage with something for a whole group
        self._sweep = -1
        self._sizes: Counter[int] = Counter()

    def place(self, together: Sequence[Submission]) -> int:
        """Return the stage of submissions that stay together."""
        stage = max(self._earliest(one.entry.place, one.entry.item) for one in together)
        for one in together:
            self._note(one.entry.place, one.entry.item, stage)
        return stage

    def _earliest(self, hub: str, item: Item) -> int:
        stage = self._lanes.get(lane_of(hub, item), 0)
        if (member := swept_by(item)) is not None:
            stage = max(stage, self._joined.get(member, 0), self._message) | 1
            while self._sizes[stage] >= _MOST:
                stage += 2
            return stage
        if (member := joining(item)) is not None:
            stage = max(stage, self._swept.get(member, -1) + 1)
        elif getattr(item, "scope", None) is Scope.GROUP:
            stage = max(stage, self._sweep + 1)
        return stage + stage % 2

    def _note(self, hub: str, item: Item, stage: int) -> None:
        self._lanes[lane_of(hub, item)] = stage
        if (member := swept_by(item)) is not None:
            self._swept[member] = stage
            self._sweep = max(self._sweep, stage)
            self._sizes[stage] += 1
        elif (member := joining(item)) is not None:
            self._joined[member] = max(stage, self._joined.get(member, 0))
        elif getattr(item, "scope", None) is Scope.GROUP:
            self._message = max(self._message, stage)
