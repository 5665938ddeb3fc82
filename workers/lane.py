"""A lane, and the queues in which lanes wait that are ready. Pure. See `delay_queue` for those that are not.

A lane is the entries that wait for one destination, and how far the delivery of the first has come. Rules guarded:

- What belongs to the head (attempts, a renewed token, going alone) is forgotten as soon as the head is done with, so
  that no entry pays for its predecessor.
- What a lane cannot hold is left in the stream and remembered by id, in order, so that it is fetched once and nobody
  searches for it.
- Lanes that are ready take turns: a hub with thousands of lanes, or a list of thousands of targets, makes another wait
  for one of its lanes and not for all. Each step costs the same, however many lanes there are.
"""

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from fanout.queue.keys import hub_of
from fanout.signalr.message import Message, Priority, RouteClass, class_of, operation_of
from workers.partition import AROUND, BufferedEntry, OwnedFlow

_LEVEL = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_OTHERS_TURN = 8  # every so many turns begin with the least urgent, so that nothing waits without end
_NEXT_HURRY = 1.0  # seconds from the first time a backoff of the head was cut short to the second; it doubles
_MOST_DOUBLINGS = 30

_Place = tuple[str, bool]  # a hub, and whether what waits is of a long list


class StreamIds:
    """Ids of entries that were left in the stream, oldest first; 16 bytes for each."""

    __slots__ = ("_numbers", "_start")

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._start = 0  # what stands before it was taken

    def __repr__(self) -> str:
        return f"<StreamIds {len(self)}>"

    def __len__(self) -> int:
        return (len(self._numbers) - self._start) // 2

    def __contains__(self, stream_id: bytes) -> bool:
        milliseconds, sequence = _numbers_of(stream_id)
        pairs = range(self._start, len(self._numbers), 2)
        return any(self._numbers[k] == milliseconds and self._numbers[k + 1] == sequence for k in pairs)

    def append(self, stream_id: bytes) -> None:
        """Add the id of a newer entry."""
        self._numbers.extend(_numbers_of(stream_id))

    def prepend(self, stream_ids: Sequence[bytes]) -> None:
        """Add ids of older entries, oldest first."""
        numbers = array("Q")
        for stream_id in stream_ids:
            numbers.extend(_numbers_of(stream_id))
        numbers.extend(self._numbers[self._start :])
        self._numbers, self._start = numbers, 0

    def take(self, most: int) -> list[bytes]:
        """Remove and return at most `most` ids, oldest first."""
        end = min(len(self._numbers), self._start + 2 * most)
        taken = [b"%d-%d" % (self._numbers[k], self._numbers[k + 1]) for k in range(self._start, end, 2)]
        self._start = end
        if self._start * 2 > len(self._numbers):  # half of it is gone: what is left moves to the front
            self._numbers, self._start = self._numbers[self._start :], 0
        return taken


class Lane:
    """One destination. `waiting` are its entries in order; the first is the head, the one that is delivered next.

    Of the head:
    `attempts` counts its calls; `uncounted` means that one of them was not counted (it was refused for speed, or made
    together with others); `renewed` that its token was renewed; `alone` that it shares no call; `postponed` that a call
    failed or its hub is held back; `backs_off` that nobody asked for this wait; `hurries` counts how often such a wait
    was cut short, and `next_hurry` says from when on it may be again; `left` is its id while it waits in the stream.

    Of the lane:
    `home` is the key of the lane that its entries belong to for everybody else: its own, unless they went aside.
    `index` are the ids of what was read for it and left in the stream behind `waiting`, None when there is none;
    `fetching` the ids that are being fetched, None when none are. While it has either, nothing that is read later may
    be added before. `asked`: it waits for a fetch. `delayed`: its time has not come yet; `due` is then its place in the
    queue of these, `group` the lanes that back off together, and `refused` those that were refused for speed. `plain`:
    nothing that could be superseded or expire was ever in it, so that no plan is needed.
    """

    __slots__ = (
        "alone", "asked", "attempts", "backs_off", "delayed", "dropped", "due", "fetching", "flow", "group",
        "home", "hub", "hurries", "index", "key", "left", "left_class", "left_kind", "next_hurry", "partition", "plain",
        "postponed", "refused", "renewed", "uncounted", "waiting",
    )  # fmt: skip

    def __init__(self, key: str, flow: OwnedFlow) -> None:
        self.key = self.home = key
        self.hub = hub_of(key)
        self.flow = flow
        self.partition = flow.partition
        self.waiting: list[BufferedEntry] = []
        self.attempts = 0
        self.uncounted = False
        self.renewed = False
        self.alone = False
        self.postponed = False
        self.backs_off = False
        self.hurries = 0
        self.next_hurry = -inf
        self.delayed = False
        self.due: tuple[float, int, Lane] | None = None
        self.group: Any = None
        self.refused: Any = None
        self.left: bytes | None = None
        self.left_class = RouteClass.SEND
        self.left_kind = ""
        self.plain = True
        self.dropped = False
        self.asked = False
        self.index: StreamIds | None = None
        self.fetching: Sequence[bytes] | None = None

    def __repr__(self) -> str:
        left = f", {len(self.index)} in the stream" if self.index is not None else ""
        return f"<Lane {self.key!r} {len(self.waiting)} waiting{left}, attempt {self.attempts}>"

    @property
    def head(self) -> BufferedEntry:
        return self.waiting[0]

    @property
    def has_left(self) -> bool:
        """Whether entries of it are in the stream and not in memory."""
        return self.index is not None or self.fetching is not None

    @property
    def route_class(self) -> RouteClass:
        """The class of the head's call, in memory or left in the stream."""
        return class_of(self.waiting[0].entry.item) if self.waiting else self.left_class

    @property
    def kind(self) -> str:
        """The operation of the head's call, in memory or left in the stream."""
        return operation_of(self.waiting[0].entry.item) if self.waiting else self.left_kind

    @property
    def is_urgent(self) -> bool:
        """Whether the head has the highest priority."""
        item = self.waiting[0].entry.item if self.waiting else None
        return (item.priority if isinstance(item, Message) else self.flow.priority) is Priority.HIGH

    def note_left(self, first: BufferedEntry, *, is_head: bool) -> None:
        """Remember what the first entry is like that is left in the stream."""
        self.left = first.id if is_head else None
        self.left_class, self.left_kind = class_of(first.entry.item), operation_of(first.entry.item)

    def block(self) -> None:
        """Take nothing in and ask for nothing until `unblock`: what comes is left in the stream."""
        self.index, self.asked = StreamIds(), True
        self.flow.blocked += 1

    def unblock(self) -> None:
        """Let the lane ask for what was left in the stream for it, if anything was."""
        self.asked = False
        self.flow.blocked -= 1

    def leave(self, stream_id: bytes) -> None:
        """Leave an entry that was read in the stream, behind all others."""
        if self.index is None:
            self.index = StreamIds()
        self.index.append(stream_id)

    def put_back(self, stream_ids: Sequence[bytes]) -> None:
        """Leave entries in the stream that come before those in `index`; what is being fetched comes between."""
        if self.index is None:
            self.index = StreamIds()
        self.index.prepend([*stream_ids, *(self.fetching or ())])
        self.fetching = None  # what a fetch in progress brings is ignored

    def ids_to_fetch(self, most: int) -> Sequence[bytes]:
        """Take at most `most` ids out of the index, to be fetched."""
        if self.index is None:
            return ()
        self.fetching = self.index.take(most)
        if not len(self.index):
            self.index = None
        return self.fetching

    def count_attempt(self) -> None:
        """Count a call of the head."""
        self.attempts += 1

    def uncount_attempt(self) -> None:
        """Take back the count of the last call: it says nothing about the head."""
        self.attempts -= 1
        self.uncounted = True

    def go_alone(self) -> None:
        """Have the head share no call from now on: the last one, which it shared, was refused."""
        self.alone = True
        self.uncount_attempt()

    def note_renewal(self) -> None:
        """Remember that the head's token was renewed."""
        self.renewed = True

    def hurry(self, now: float, until: float) -> float:
        """Return when to try the head that backs off until then: sooner, and each time less soon than the time before.

        A destination that fails by itself fails again, however often others of its hub are served meanwhile.
        """
        sooner = max(now, self.next_hurry)
        if sooner >= until:
            return until
        self.next_hurry = sooner + _NEXT_HURRY * float(2 ** min(self.hurries, _MOST_DOUBLINGS))
        self.hurries += 1
        return sooner

    def begin_next(self) -> None:
        """Forget what belonged to the head that is done with."""
        self.attempts = 0
        self.postponed = False
        self.left = None
        self.renewed = False
        self.alone = False
        self.uncounted = False
        self.hurries = 0
        self.next_hurry = -inf


def weight_of(entries: Sequence[BufferedEntry]) -> int:
    """Return how many bytes entries take in memory."""
    if len(entries) == 1:  # nearly always
        return entries[0].size + AROUND
    return sum(buffered.weight for buffered in entries)


def _numbers_of(stream_id: bytes) -> tuple[int, int]:
    milliseconds, _dash, sequence = stream_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)


# Returns until when the head of a lane is held back, None when it may go.
HeldUntil = Callable[[Lane, float], float | None]


def never_held(_lane: Lane, _now: float) -> float | None:
    """Hold back nothing."""
    return None


class _Level:
    """The lanes of one priority. A hub that comes has the next turn, and from then on one behind each of the others.

    A hub stays where it is in the turns when it has no lane any more, until its turn comes. So it is not taken for one
    that comes as often as it has a lane again, and nobody waits for more than a turn of each other hub. Source: the new
    and old flows of RFC 8290, section 4.2.
    """

    __slots__ = ("come", "count", "turns")

    def __init__(self) -> None:
        self.come: dict[_Place, deque[Lane]] = {}
        self.turns: dict[_Place, deque[Lane]] = {}
        self.count = 0

    def __repr__(self) -> str:
        return f"<_Level {self.count} lanes, {len(self.come)} and {len(self.turns)} hubs>"

    def append(self, place: _Place, lane: Lane) -> None:
        """Put a lane behind the others of its place."""
        queue = self.turns.get(place)
        if queue is None and (queue := self.come.get(place)) is None:
            queue = self.come[place] = deque()
        queue.append(lane)
        self.count += 1

    def popleft(self) -> Lane:
        """Remove and return the next lane; there has to be one."""
        turns = self.turns
        while turns and not turns[place := next(iter(turns))]:
            del turns[place]
        places = self.come or turns
        place, queue = next(iter(places.items()))
        del places[place]
        turns[place] = queue  # behind the others
        self.count -= 1
        return queue.popleft()


class FairQueue:
    """Lanes of one class that are ready. The urgent go first, but not always; within a priority there are turns.

    Turns are taken by the hubs, and of each hub by its single messages and its long lists, and in each of these by the
    lanes. So a hub with thousands of lanes, or a list of thousands of targets, makes another wait for one of them and
    not for all. Each step costs the same, however many lanes there are.
    """

    __slots__ = ("_levels", "_reversed", "_turn", "count")

    def __init__(self) -> None:
        self._levels = (_Level(), _Level(), _Level())  # in the order of their turns
        self._reversed = self._levels[::-1]
        self.count = 0  # read by every call: `len` would cost a call of its own
        self._turn = 0

    def __repr__(self) -> str:
        return f"<FairQueue {self.count} lanes>"

    def __len__(self) -> int:
        return self.count

    def append(self, lane: Lane) -> None:
        """Put a lane behind the others of its hub."""
        head = lane.waiting[0]
        self._levels[_LEVEL[_priority_of(lane.flow, head)]].append((lane.hub, bool(head.entry.body_ref)), lane)
        self.count += 1

    def popleft(self) -> Lane:
        """Remove and return the next lane; IndexError when there is none."""
        self._turn += 1
        for level in self._levels if self._turn % _OTHERS_TURN else self._reversed:
            if level.count:
                self.count -= 1
                return level.popleft()
        raise IndexError("no lane is ready")


class ReadyLanes:
    """The lanes of one endpoint that are ready, by class; `retries` are those whose head has failed before.

    They go after the others, but not always: what fails by itself, and takes its time, keeps nobody waiting.
    """

    __slots__ = ("queues", "retries", "turn")

    def __init__(self) -> None:
        self.queues = tuple(FairQueue() for _ in RouteClass)
        self.retries = tuple(FairQueue() for _ in RouteClass)
        self.turn = 0

    def __repr__(self) -> str:
        return f"<ReadyLanes {len(self)}>"

    def __len__(self) -> int:
        return sum(map(len, (*self.queues, *self.retries)))

    def put(self, lane: Lane) -> None:
        """Put a lane behind the others like it."""
        (self.retries if lane.attempts else self.queues)[class_of(lane.waiting[0].entry.item)].append(lane)

    def take(self, classes: Sequence[RouteClass], *, retries: bool = True) -> Lane | None:
        """Remove and return the next lane whose head is of one of these classes, which take turns."""
        self.turn += 1
        first = self.turn % (len(classes) or 1)
        in_turn = (*classes[first:], *classes[:first])
        is_theirs = self.turn % _OTHERS_TURN == 0
        both = (self.retries, self.queues) if is_theirs else (self.queues, self.retries)
        for queues in both if retries else (self.queues,):
            for route_class in in_turn:
                if queues[route_class].count:
                    return queues[route_class].popleft()
        return None


def _priority_of(flow: OwnedFlow, head: BufferedEntry) -> Priority:
    # Messages to a group share its lane whatever their priority, so that none overtakes a group action.
    item = head.entry.item
    return item.priority if isinstance(item, Message) else flow.priority
