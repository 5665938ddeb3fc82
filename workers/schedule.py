"""Which entry is delivered next: one at a time in a lane, the lanes in turn. Pure; imports no asyncio and no client.

Rules guarded:
- A lane has at most one call in flight, and a retry waits in its lane while the other lanes go on.
- Hubs take turns, and so do the lanes of a hub: neither a long lane nor a hub with many lanes starves another.
- A class of calls that is held back holds back no other class, and an endpoint no other endpoint.
- No lane and no flow fills the worker's memory. All together stay within the room at every moment, beside one entry for
  each flow. Three quarters are shared: each flow has an equal part, and takes no more than is free. The rest is kept
  for flows that hold next to nothing. So a flow is read in portions when all that is shared is taken by what cannot go,
  and entry by entry where even the rest is taken.
- Past `depth` entries, and when its head has to be retried while memory is short, the rest of a lane is left in the
  stream, remembered by id, and fetched when the flow has room. Where heads alone are too many, they are left there too
  until their time has come. What a flow may hold shrinks when others need theirs; what waits for its time in it then
  goes back to the stream.
- A flow that has to wait for room is woken by what leaves it: it holds something that moves, or it may read.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from fanout.signalr.message import Message, RouteClass, class_of
from workers.delay_queue import LOOKS, DelayQueue
from workers.lane import HeldUntil, Lane, ReadyLanes, never_held, weight_of
from workers.partition import AROUND, BufferedEntry, OwnedFlow, OwnedPartition, Room

_CLASSES = tuple(RouteClass)
_FETCH = 32  # entries that are fetched for one lane at a time
_PER_LANE = 1024  # bytes of the room for which one lane is remembered
_FEWEST_LANES = 10_000
_MOST_LEFT = 1_000_000  # ids that are remembered, of 16 bytes each


class Schedule:
    """All lanes of one worker, with `room` for so many bytes in them together. Times are of the monotonic clock."""

    def __init__(self, *, depth: int = 64, room: int = 32 << 20, held_until: HeldUntil = never_held) -> None:
        self._depth = depth
        self._room = Room(room)
        self._most_lanes = max(_FEWEST_LANES, room // _PER_LANE)
        self._held_until = held_until
        self._lanes: dict[tuple[OwnedFlow, str], Lane] = {}
        self._ready: dict[str, ReadyLanes] = defaultdict(ReadyLanes)  # by endpoint
        self._delayed = DelayQueue(held_until)
        self._waiting = 0
        self._left = 0

    def __repr__(self) -> str:
        return f"<Schedule {len(self)} lanes, {self._waiting} entries, {len(self._delayed)} delayed>"

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def waiting(self) -> int:
        """How many entries are in the lanes, heads in flight included."""
        return self._waiting

    @property
    def size(self) -> int:
        """How many bytes they take in memory."""
        return self._room.size

    @property
    def left(self) -> int:
        """How many entries were read, left in the stream and are remembered by id."""
        return self._left

    @property
    def ready(self) -> int:
        """How many lanes may go as far as the schedule is concerned."""
        return sum(map(len, self._ready.values()))

    def ready_in(self, route_class: RouteClass, endpoint: str = "") -> int:
        """Return how many ready lanes of an endpoint have a head of this class."""
        ready = self._ready[endpoint]
        return len(ready.queues[route_class]) + len(ready.retries[route_class])

    def room_of(self, flow: OwnedFlow) -> int:
        """Return how many bytes more a flow may hold; not more than 0 means that it is not to be read."""
        # One that holds nothing may always read an entry. Past the most lanes or ids that are remembered, only those.
        if flow.waiting and (len(self._lanes) >= self._most_lanes or self._left >= _MOST_LEFT):
            return 0
        return self._room.free_for(flow)

    def make_room(self, flow: OwnedFlow) -> bool:
        """Leave what is postponed in the stream where it takes more than half of the limit; False if it does not.

        It was put there while the limit was higher. A quarter is kept, so that this is rare while limits go on falling.
        """
        room = self._room
        if flow.resting <= room.limit(flow) // 2:
            room.wait_for(flow)
            return False
        lanes = [lane for lane in self._lanes.values() if lane.flow is flow and lane.delayed]
        for keep in (1, 0):
            for lane in lanes:
                if flow.resting <= room.limit(flow) // 4:
                    return True
                flow.resting -= weight_of(lane.waiting[keep:])
                self._leave(lane, keep)
        return True

    def add(self, key: str, buffered: BufferedEntry) -> bool:
        """Put an entry at the end of its lane; return False when it is left in the stream for later."""
        flow = buffered.flow
        place = (flow, key)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(key, flow)
            self._append(lane, buffered)
            item = buffered.entry.item
            route_class = flow.route_class if type(item) is Message else class_of(item)
            self._ready[flow.endpoint].queues[route_class].append(lane)
            return True
        if not lane.has_left and len(lane.waiting) < self._depth:
            failing = lane.postponed or lane.attempts > 1
            if not (failing and self._is_crowded(flow)):
                self._append(lane, buffered)
                return True
        lane.leave(buffered.id)
        self._left += 1
        flow.left += 1
        return False

    def block(self, flow: OwnedFlow, key: str) -> None:
        """Leave what comes for a lane in the stream until `unblock`: a former owner has a call of it in flight."""
        lane = self._lanes[flow, key] = Lane(key, flow)
        lane.block()

    def unblock(self, flow: OwnedFlow, key: str) -> None:
        """Have a lane that was blocked go on with what was left in the stream for it."""
        if (lane := self._lanes.get((flow, key))) is not None:  # else all of the partition was dropped
            lane.unblock()
            (self._ask if lane.index else self._end)(lane)

    def has_retries(self, endpoint: str = "") -> bool:
        """Return whether ready lanes of an endpoint have a head that failed before."""
        return any(queue.count for queue in self._ready[endpoint].retries)

    def take(
        self, now: float, classes: Sequence[RouteClass] = _CLASSES, endpoint: str = "", *, retries: bool = True
    ) -> Lane | None:
        """Remove and return the next lane of an endpoint whose head may go; None when there is none.

        It belongs to the caller until `advance`, `release` or `postpone`. Only heads of `classes` are considered, and
        without `retries` only those that did not fail. The classes take turns; see `FairQueue` for what does in each.
        """
        if not self._delayed.idle:
            self.wake_due(now, 1)
        ready = self._ready[endpoint]
        while (lane := ready.take(classes, retries=retries)) is not None:
            if not lane.dropped:
                return lane
        return None

    def wake_due(self, now: float, most: int = LOOKS) -> int:
        """Make lanes ready that are due at `now`, of `most` that are looked at; return how many. See `next_due`."""
        count = 0
        for lane in () if self._delayed.idle else self._delayed.due(now, most):
            if lane.waiting:
                lane.flow.resting -= weight_of(lane.waiting)
                self._ready[lane.flow.endpoint].put(lane)
                count += 1
            else:
                self._ask(lane)
        return count

    def hurry(self, route_class: RouteClass, hub: str) -> None:
        """Have `wake_due` make lanes of a hub ready that back off, in parts: calls of this class succeed again."""
        self._delayed.hurry(route_class, hub)

    def advance(self, lane: Lane, count: int = 1) -> None:
        """Remove `count` entries from the front, which are done with. The lane queues up again behind the others."""
        if lane.dropped:
            return
        gone = lane.waiting[:count]
        del lane.waiting[:count]
        self._forget(lane, gone)
        if lane.waiting or lane.index is not None or lane.fetching is not None:
            lane.begin_next()
            self.release(lane)
        else:  # nearly always
            self._end(lane)

    def remove(self, lane: Lane, entries: Iterable[BufferedEntry]) -> None:
        """Remove entries from a lane that was taken, wherever they are in it."""
        if lane.dropped:
            return
        ids = {buffered.id for buffered in entries}
        gone = [buffered for buffered in lane.waiting if buffered.id in ids]
        if lane.head.id in ids:
            lane.begin_next()
        lane.waiting = [buffered for buffered in lane.waiting if buffered.id not in ids]
        self._forget(lane, gone)

    def release(self, lane: Lane) -> None:
        """Give back a lane that was taken: it queues up, asks for what it left in the stream, or is over."""
        if lane.dropped:
            return
        if lane.waiting:
            self._ready[lane.flow.endpoint].put(lane)
        if lane.index is not None and len(lane.waiting) <= self._depth // 4:
            self._ask(lane)
        elif not lane.waiting and lane.fetching is None:
            self._end(lane)

    def step_aside(self, lane: Lane, key: str) -> None:
        """Move the head of a lane that was taken to the lane `key` of the same flow, and give the lane back."""
        if lane.dropped:
            return
        head = lane.head
        self.remove(lane, (head,))
        if not self.add(key, head):
            lane.flow.known.discard(head.id)
        self._lanes[lane.flow, key].home = lane.home
        self.release(lane)

    def has_lane(self, flow: OwnedFlow, key: str) -> bool:
        """Return whether something waits or is in flight in a lane."""
        return (flow, key) in self._lanes

    def postpone(self, lane: Lane, until: float, *, backs_off: bool = False) -> None:
        """Make a lane that was taken ready again at `until`. When memory is short, its entries stay in the stream.

        `backs_off` says that nobody asked for this wait: it ends when calls like this one succeed again.
        """
        if lane.dropped:
            return
        lane.postponed = True
        lane.backs_off = backs_off
        flow = lane.flow
        if self._is_crowded(flow):
            self._leave(lane, 1)
        if flow.size > self._room.limit(flow) // 2:
            self._leave(lane, 0)
        flow.resting += weight_of(lane.waiting)
        self._delayed.put(lane, until)
        if flow.size == flow.resting and (flow.behind or flow.hungry):
            flow.partition.wake()  # nothing moves in it that would do this later

    def hurry_refused(self, route_class: RouteClass, endpoint: str = "") -> None:
        """Have `wake_due` make lanes of an endpoint ready that were refused for speed: the pause was lifted."""
        self._delayed.hurry_refused(route_class, endpoint)

    def next_due(self) -> float | None:
        """Return when `wake_due` may have something to do; None when no lane is postponed."""
        return None if self._delayed.idle else self._delayed.next_at()

    def to_fetch(self, owned: OwnedPartition, now: float, most: int) -> list[tuple[Lane, Sequence[bytes]]]:
        """Return lanes of a partition with ids that have room, about `most`; `fetched` has to follow for each."""
        chosen: list[tuple[Lane, Sequence[bytes]]] = []
        count, free, turns = 0, self._room.free, deque(owned.hungry)
        rooms: dict[OwnedFlow, int] = {}
        while turns and count < most:
            flow = turns.popleft()
            room = self._room_to_fetch(flow) if flow not in rooms else min(rooms[flow], free)
            lane = self._next_hungry(flow, now) if room > 0 else None
            if lane is None:
                continue
            weight = int(flow.average) + AROUND
            wanted = 1 if lane.postponed else max(1, min(_FETCH, self._depth - len(lane.waiting), room // weight))
            ids = lane.ids_to_fetch(wanted)
            self._left -= len(ids)
            flow.left -= len(ids)
            chosen.append((lane, ids))
            count += len(ids)
            rooms[flow] = room - len(ids) * weight
            free -= len(ids) * weight
            turns.append(flow)
        return chosen

    def fetched(self, lane: Lane, ids: Sequence[bytes], found: Sequence[BufferedEntry]) -> None:
        """Add what was fetched for a lane; entries that are gone are left out of `found`.

        Nothing is added when the lane left more in the stream since then: that comes first. What has no room goes back.
        """
        if lane.dropped or lane.fetching is not ids:
            return
        lane.fetching = None
        was_idle = not lane.waiting
        for place, buffered in enumerate(found):
            if self._room.free_for(lane.flow) <= 0:
                self._put_back(lane, [each.id for each in found[place:]])
                break
            self._append(lane, buffered)
        if lane.waiting and lane.left not in {None, lane.head.id}:
            lane.begin_next()  # its head was removed from the stream meanwhile
        if was_idle and not lane.delayed:
            self.release(lane)

    def knows(self, flow: OwnedFlow, stream_id: bytes) -> bool:
        """Return whether an entry that was read is in memory, in flight, remembered by its id, or left alone."""
        if stream_id in flow.known or stream_id == flow.first_held:
            return True
        lanes = [lane for lane in self._lanes.values() if lane.flow is flow and lane.has_left]
        return any(stream_id in (lane.index or ()) or stream_id in (lane.fetching or ()) for lane in lanes)

    def drop(self, owned: OwnedPartition) -> None:
        """Forget everything of a partition that is not owned any longer."""
        for place, lane in [(place, lane) for place, lane in self._lanes.items() if lane.flow.partition is owned]:
            del self._lanes[place]
            self._forget(lane, lane.waiting)
            self._left -= len(lane.index or ())
            lane.dropped = True
            if lane.delayed:  # what is in flight ends by itself; this would stay for as long as the lane had to wait
                self._delayed.drop(lane)
        for flow in owned.flows.values():
            flow.left = 0
            flow.hungry.clear()
        owned.hungry.clear()
        self._room.forget(owned)

    def _ask(self, lane: Lane) -> None:
        if not lane.asked and lane.fetching is None:
            lane.asked = True
            lane.flow.hungry.append(lane)
            lane.partition.hungry[lane.flow] = None
            lane.partition.wake()

    def _end(self, lane: Lane) -> None:
        del self._lanes[lane.flow, lane.key]

    def _room_to_fetch(self, flow: OwnedFlow) -> int:
        room = self._room.free_for(flow)
        return self._room.free_for(flow) if room <= 0 and self.make_room(flow) else room

    def _next_hungry(self, flow: OwnedFlow, now: float) -> Lane | None:
        """Remove and return the next lane of a flow that is to be fetched for; the flow goes behind the others."""
        all_hungry = flow.partition.hungry
        while flow.hungry:
            lane: Lane = flow.hungry.popleft()
            lane.asked = False
            if lane.dropped or lane.index is None or lane.fetching is not None or self._is_held_back(lane, now):
                continue
            all_hungry[flow] = all_hungry.pop(flow)
            return lane
        del all_hungry[flow]
        return None

    def _is_held_back(self, lane: Lane, now: float) -> bool:
        # To fetch a head that may not go would be for nothing.
        if lane.waiting or lane.left is None:
            return False
        until = self._held_until(lane, now)
        if until is None:
            return False
        if not lane.delayed:  # a lane that is in the queue twice would be ready twice
            self._delayed.put(lane, until)
        return True

    def _append(self, lane: Lane, buffered: BufferedEntry) -> None:
        item, flow = buffered.entry.item, lane.flow
        if not isinstance(item, Message) or item.collapse or item.ttl is not None:
            lane.plain = False
        weight = buffered.size + AROUND
        lane.waiting.append(buffered)
        flow.known.add(buffered.id)
        room = self._room
        if not flow.waiting:
            room.busy += 1
        flow.waiting += 1
        flow.size += weight
        room.size += weight
        if lane.delayed:
            flow.resting += weight
        self._waiting += 1

    def _forget(self, lane: Lane, gone: Sequence[BufferedEntry]) -> None:
        if not gone:
            return
        flow, size, room = lane.flow, weight_of(gone), self._room
        flow.waiting -= len(gone)
        flow.size -= size
        room.size -= size
        self._waiting -= len(gone)
        if not flow.waiting:
            room.busy -= 1
        if flow.behind or flow.hungry or room.starved:
            room.wake(flow)

    def _is_crowded(self, flow: OwnedFlow) -> bool:
        return self._room.is_half_full or flow.size > self._room.limit(flow) // 2

    def _leave(self, lane: Lane, keep: int) -> None:
        gone = lane.waiting[keep:]
        if not gone:
            return
        for buffered in gone:
            lane.flow.known.discard(buffered.id)
        del lane.waiting[keep:]
        self._forget(lane, gone)
        lane.note_left(gone[0], is_head=not keep)
        self._put_back(lane, [buffered.id for buffered in gone])

    def _put_back(self, lane: Lane, ids: Sequence[bytes]) -> None:
        count = len(ids) + len(lane.fetching or ())
        lane.put_back(ids)
        self._left += count
        lane.flow.left += count
