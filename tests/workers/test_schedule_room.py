"""The bound in bytes of what a worker holds, at every moment, whatever the flows do."""

from collections import deque
from collections.abc import Sequence
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import a_message, an_entry
from tests.examples import examples
from tests.workers.helpers import a_partition
from workers.lane import Lane
from workers.partition import BufferedEntry, OwnedFlow
from workers.schedule import Schedule

AROUND = 600
AT_ONCE = 40  # entries in one read of these tests
ENTRY = an_entry(a_message("alice"))


class World:
    """Flows with endless backlogs, each in a partition of its own, read and fetched for as a reader does."""

    def __init__(self, room: int, sizes: Sequence[int], lanes: int) -> None:
        self.room = room
        self.schedule = Schedule(room=room, depth=8)
        self.sizes = sizes
        self.lanes = lanes
        self.all_owned = [a_partition(number) for number in range(len(sizes))]
        self.flows = [OwnedFlow(owned, "uchat") for owned in self.all_owned]
        self.taken: deque[Lane] = deque()
        self.read = [0] * len(sizes)
        self.delivered = [0] * len(sizes)
        for owned, flow in zip(self.all_owned, self.flows, strict=True):
            owned.flows[flow.name] = flow

    def grow(self, place: int) -> None:
        """Read a flow as far as there is room for it, and fetch for its lanes."""
        flow, owned = self.flows[place], self.all_owned[place]
        chosen = self.schedule.to_fetch(owned, 0.0, AT_ONCE)
        if self.schedule.room_of(flow) > 0 or (self.schedule.make_room(flow) and self.schedule.room_of(flow) > 0):
            room = self.schedule.room_of(flow)
            for _ in range(AT_ONCE):
                self.read[place] += 1
                buffered = self.entry(place, self.read[place])
                flow.average += (buffered.size - flow.average) * 0.05
                if self.schedule.add(f"chat\nu{self.read[place] % self.lanes}", buffered):
                    room -= buffered.weight
                if room <= 0:
                    break
        for lane, ids in chosen:
            self.schedule.fetched(lane, ids, [self.entry(place, int(id_.partition(b"-")[0])) for id_ in ids])
        self.check()

    def entry(self, place: int, number: int) -> BufferedEntry:
        return BufferedEntry(self.flows[place], b"%d-0" % number, ENTRY, 1000.0, self.sizes[place])

    def check(self) -> None:
        """Check the bound; this is called after each step."""
        assert self.schedule.size <= self.room + sum(size + AROUND for size in self.sizes)

    def take(self) -> None:
        lane = self.schedule.take(0.0)
        if lane is not None:
            self.taken.append(lane)

    def end(self, *, postpones: bool) -> None:
        if not self.taken:
            return
        lane = self.taken.popleft()
        if postpones:
            lane.attempts += 1
            self.schedule.postpone(lane, 1e9)
        else:
            self.delivered[lane.partition.number] += 1
            self.schedule.advance(lane)
        self.check()


ACTION = st.one_of(
    st.tuples(st.just("grow"), st.integers(0, 11)),
    st.tuples(st.sampled_from(["take", "deliver", "postpone"]), st.integers(1, 30)),
)


@given(
    room=st.sampled_from([0, 20_000, 131_072, 1_000_000]),
    sizes=st.lists(st.sampled_from([40, 300, 4_000, 60_000]), min_size=1, max_size=12),
    lanes=st.sampled_from([1, 10, 10_000]),
    actions=st.lists(ACTION, max_size=60),
)
def test_what_is_held_stays_within_the_room_and_an_entry_for_each_flow(
    room: int, sizes: list[int], lanes: int, actions: list[tuple[str, int]]
) -> None:
    world = World(room, sizes, lanes)
    for action, number in actions:
        for _ in range(1 if action == "grow" else number):
            match action:
                case "grow":
                    world.grow(number % len(sizes))
                case "take":
                    world.take()
                case _:
                    world.end(postpones=action == "postpone")


def test_flows_that_begin_while_each_is_alone_stay_within_the_room_together() -> None:
    world = World(131_072, [400] * 6, 10_000)
    for place in range(6):
        for _ in range(20):
            world.grow(place)
    assert all(flow.waiting for flow in world.flows)


def test_a_flow_goes_on_beside_others_that_hold_all_and_do_not_move() -> None:
    world = World(20_000, [1000] * 8, 10_000)
    for place in range(7):
        for _ in range(20):
            world.grow(place)
    while (lane := world.schedule.take(0.0)) is not None:  # they are in flight for ever
        del lane
    for _ in range(50):
        world.grow(7)
        world.take()
        world.end(postpones=False)
    assert world.delivered[7] >= 50


def test_failing_lanes_in_a_flow_make_way_for_its_others_where_nothing_is_free() -> None:
    world = World(20_000, [1000, 1000], 4)
    for _ in range(20):
        world.grow(1)
    while (lane := world.schedule.take(0.0)) is not None:  # they are in flight for ever
        del lane
    for _ in range(200):
        world.grow(0)
        world.take()
        world.end(postpones=bool(world.taken) and world.taken[0].key.endswith("u1"))
    assert world.delivered[0] >= 100


class Woken(World):
    """The same with backlogs of some entries, each of which is read only while its partition was woken."""

    def __init__(self, room: int, sizes: Sequence[int], lanes: int, backlog: int) -> None:
        super().__init__(room, sizes, lanes)
        self.backlog = backlog
        self.now = 0.0
        self.woken = set(range(len(sizes)))
        for place, owned in enumerate(self.all_owned):
            owned.on_wake = partial(self.woken.add, place)

    def run_readers(self) -> None:
        while self.woken:
            place = self.woken.pop()
            while self.fetch(place) or self.read_on(place):
                self.check()

    def fetch(self, place: int) -> bool:
        chosen = self.schedule.to_fetch(self.all_owned[place], self.now, AT_ONCE)
        for lane, ids in chosen:
            self.schedule.fetched(lane, ids, [self.entry(place, int(id_.partition(b"-")[0])) for id_ in ids])
        return bool(chosen)

    def read_on(self, place: int) -> bool:
        flow, schedule = self.flows[place], self.schedule
        if not flow.behind or not (schedule.room_of(flow) > 0 or (schedule.make_room(flow) and schedule.room_of(flow))):
            return False
        room = schedule.room_of(flow)
        while flow.behind and room > 0:
            self.read[place] += 1
            buffered = self.entry(place, self.read[place])
            if schedule.add(f"chat\nu{self.read[place] % self.lanes}", buffered):
                room -= buffered.weight
            flow.behind = self.read[place] < self.backlog
        return True

    def turn(self, failing: int) -> bool:
        """Wake what is due, read, and make one call; every so many fail and wait for a second."""
        self.schedule.wake_due(self.now)
        self.run_readers()
        lane = self.schedule.take(self.now)
        if lane is None:
            due = self.schedule.next_due()
            self.now = max(self.now, due or 0.0)
            return due is not None
        if failing and lane.attempts < 2 and int(lane.head.id.partition(b"-")[0]) % failing == 0:
            lane.attempts += 1
            self.schedule.postpone(lane, self.now + 1.0)
        else:
            self.delivered[lane.partition.number] += 1
            self.schedule.advance(lane)
        return True


@settings(max_examples=examples(60), deadline=None)
@given(
    room=st.sampled_from([0, 5_000, 20_000, 131_072]),
    sizes=st.lists(st.sampled_from([40, 300, 4_000]), min_size=1, max_size=5),
    lanes=st.sampled_from([1, 7, 10_000]),
    failing=st.sampled_from([0, 1, 2, 5]),
)
def test_every_backlog_is_read_to_its_end_by_readers_that_wait_until_they_are_woken(
    room: int, sizes: list[int], lanes: int, failing: int
) -> None:
    world = Woken(room, sizes, lanes, backlog=20)
    for _ in range(10_000):
        if not world.turn(failing):
            break
    assert world.delivered == [20] * len(sizes)
    assert (world.schedule.size, world.schedule.left) == (0, 0)
