"""The queues of lanes: those that are ready, served in turns, and those whose time has not come. Pure.

Rules guarded: a hub with thousands of lanes, or a list of thousands of targets, makes another wait for one of its lanes
and not for all. Each step costs the same, however many lanes there are.
"""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from fanout.signalr.message import Message, Priority
from fanout.signalr.routes import RouteClass
from workers.lane import Lane
from workers.partition import BufferedEntry, OwnedFlow

_LEVEL = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_LEVELS = (0, 1, 2)
_LEVELS_REVERSED = (2, 1, 0)
_OTHERS_TURN = 8  # every so many turns begin with the least urgent, so that nothing waits without end

# Returns until when the head of a lane is held back, None when it may go.
HeldUntil = Callable[[Lane, float], float | None]


def never_held(_lane: Lane, _now: float) -> float | None:
    """Hold back nothing."""
    return None


class FairQueue:
    """Lanes of one class that are ready. The urgent go first, but not always; within a priority there are turns.

    Turns are taken by the hubs, and of each hub by its single messages and its long lists, and in each of these by the
    lanes. So a hub with thousands of lanes, or a list of thousands of targets, makes another wait for one of them and
    not for all. Each step costs the same, however many lanes there are.
    """

    __slots__ = ("_count", "_levels", "_turn")

    def __init__(self) -> None:
        self._levels: tuple[dict[tuple[str, bool], deque[Lane]], ...] = ({}, {}, {})  # in the order of their turns
        self._count = 0
        self._turn = 0

    def __repr__(self) -> str:
        return f"<FairQueue {self._count} lanes>"

    def __len__(self) -> int:
        return self._count

    def append(self, lane: Lane) -> None:
        """Put a lane behind the others of its hub."""
        head = lane.waiting[0]
        queues = self._levels[_LEVEL[_priority_of(lane.flow, head)]]
        place = (lane.hub, bool(head.entry.body_ref))
        queue = queues.get(place)
        if queue is None:
            queue = queues[place] = deque()
        queue.append(lane)
        self._count += 1

    def popleft(self) -> Lane:
        """Remove and return the next lane; IndexError when there is none."""
        if not self._count:
            raise IndexError("no lane is ready")
        self._turn += 1
        order = _LEVELS if self._turn % _OTHERS_TURN else _LEVELS_REVERSED
        for level in order:
            queues = self._levels[level]
            if queues:
                break
        place = next(iter(queues))
        queue = queues[place]
        lane = queue.popleft()
        self._count -= 1
        if not queue or len(queues) > 1:
            del queues[place]
        if queue:
            queues[place] = queue
        return lane


class DelayQueue:
    """Lanes whose time has not come: postponed, or their hub is held back.

    A lane whose time comes while its hub is held back is put back after one look, so that thousands of dead
    destinations cost next to nothing.
    """

    __slots__ = ("_count", "_heap", "_held_until")

    def __init__(self, held_until: HeldUntil = never_held) -> None:
        self._held_until = held_until
        self._heap: list[tuple[float, int, Lane]] = []
        self._count = 0

    def __repr__(self) -> str:
        return f"<DelayQueue of {len(self._heap)} lanes>"

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, lane: Lane, until: float) -> None:
        """Keep a lane until that time of the monotonic clock."""
        lane.delayed = True
        self._count += 1
        heappush(self._heap, (until, self._count, lane))

    def due(self, now: float) -> Iterator[Lane]:
        """Remove and yield the lanes whose time has come, in the order of their times."""
        while self._heap and self._heap[0][0] <= now:
            lane = heappop(self._heap)[2]
            if lane.dropped:
                continue
            until = self._held_until(lane, now)
            if until is not None and until > now:
                self.put(lane, until)
                continue
            lane.delayed = False
            yield lane

    def hurry(self, now: float, route_class: RouteClass, hub: str) -> None:
        """Make those due at `now` that back off from calls of this class to this hub."""
        for place, (until, number, lane) in enumerate(self._heap):
            if until > now and lane.backs_off and lane.hub == hub and lane.route_class is route_class:
                self._heap[place] = (now, number, lane)
        heapify(self._heap)

    def hurry_refused(self, now: float, route_class: RouteClass) -> None:
        """Make those due at `now` whose last call of this class was refused for its speed."""
        for place, (until, number, lane) in enumerate(self._heap):
            if until > now and lane.uncounted and lane.route_class is route_class:
                self._heap[place] = (now, number, lane)
        heapify(self._heap)

    def next_at(self) -> float | None:
        """Return when the next lane is due; None when none waits."""
        while self._heap and self._heap[0][2].dropped:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None


def _priority_of(flow: OwnedFlow, head: BufferedEntry) -> Priority:
    # Messages to a group share its lane whatever their priority, so that none overtakes a group action.
    item = head.entry.item
    return item.priority if isinstance(item, Message) else flow.priority
