"""One call, step by step: what follows from its outcome, and when its place is free. test_dispatch.py has the rest."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import pytest

from fanout.clock import SystemClock
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.queue.entry import Entry
from fanout.queue.presence import Presence
from fanout.queue.stream import Stream
from fanout.signalr.client import Client, OnOutcome, Sender
from fanout.signalr.outcome import TAKEN, Answered, MaybeSent, NotSent, Outcome
from tests.fakes import FakeClock
from tests.workers.helpers import Lines, a_partition, buffered_in
from workers.bodies import Bodies
from workers.endpoint import Endpoint
from workers.flight import Flight, Flights
from workers.gate import Gate, Window
from workers.partition import BufferedEntry, StoreClock
from workers.schedule import Schedule
from workers.settler import OnSettled, Settler
from workers.sweeps import Sweeps
from workers.telemetry import Telemetry
from workers.verdicts import RetryPolicy

POLICY = RetryPolicy(base=1.0, cap=30.0, max_age=3600.0, max_attempts=100, retry_unknown=True)


class Held:
    """A sender, settler and reader that keep what they are asked for."""

    bounds = None

    def __init__(self) -> None:
        self.on_outcome: OnOutcome | None = None
        self.on_settled: list[OnSettled] = []
        self.parked: list[DeathCause] = []
        self.woken = 0

    def start(self, _entry: Entry, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        before_write()
        self.on_outcome = on_outcome
        return True

    def renew_token(self, _entries: Sequence[Entry]) -> None:
        """Renew nothing."""

    def refused_joining(self, _outcome: Outcome) -> bool:
        return False

    def settle(self, _entries: Sequence[BufferedEntry], on_settled: OnSettled) -> None:
        self.on_settled.append(on_settled)

    async def park(self, _buffered: BufferedEntry, cause: DeathCause) -> bool:
        self.parked.append(cause)
        return True

    def wake(self) -> None:
        self.woken += 1


class Rig:
    """A lane of two entries, and a flight that carries the first and has left."""

    def __init__(self, group: asyncio.TaskGroup, *, count: int = 1, policy: RetryPolicy = POLICY) -> None:
        self.clock, self.schedule, self.held = FakeClock(), Schedule(), Held()
        self.calls: list[str] = []
        self.errors: list[BaseException] = []
        gate, telemetry = Gate(Window(8), {}, lambda: 0.5), Telemetry(Metrics(), Lines().log, self.clock, StoreClock())
        endpoint = Endpoint(cast("Client", None), cast("Sender", self.held), gate)
        stream, settler = cast("Stream", None), cast("Settler", self.held)
        bodies = Bodies(stream, self.clock, room=0)
        sweeps = Sweeps(cast("Presence", None), self.schedule, settler, self.clock, Metrics(), bound=1.0)
        self.flights = Flights(
            self.schedule, {"": endpoint}, settler, bodies, sweeps, telemetry, policy,
            self.clock, lambda: 0.5, lambda *_slowdown: self.calls.append("tell"),
        )  # fmt: skip
        self.flights.fill = lambda: self.calls.append("fill")
        self.flights.wake = lambda: self.calls.append("wake")
        self.flights.fail = self.errors.append
        self.flights.put_off = lambda _endpoint, _judge: False
        self.flights.group = group
        self.partition = a_partition()
        for number in (1, 2):
            self.schedule.add("a", buffered_in(self.partition, number))
        lane = self.schedule.take(self.clock.monotonic())
        assert lane is not None
        self.lane = lane
        self.flight = Flight(self.flights, lane, tuple(lane.waiting)[:count], self.clock.monotonic())
        self.flight.begin()

    @property
    def places(self) -> tuple[int, int]:
        """Places taken, of the worker and of the partition."""
        return self.flights.count, self.partition.in_flight

    def answer(self, outcome: Outcome) -> None:
        assert self.held.on_outcome is not None
        self.held.on_outcome(outcome)
        assert self.errors == []


async def test_a_call_takes_its_place_before_it_leaves() -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)
        assert (rig.places, rig.lane.attempts) == ((1, 1), 1)
        assert repr(rig.flights) == "<Flights 1 in flight>"
        assert repr(rig.flight).startswith("<Flight of 1 for <Lane 'a'")


@pytest.mark.parametrize("certain", [True, False])
async def test_a_delivered_head_makes_way_at_once_and_its_place_is_free_when_the_store_has_answered(
    certain: bool,
) -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)
        rig.answer(TAKEN)
        assert (len(rig.lane.waiting), rig.lane.attempts, rig.schedule.ready) == (1, 0, 1)
        assert (rig.places, rig.calls) == ((1, 1), ["fill"])
        [on_settled] = rig.held.on_settled
        on_settled(certain)
        assert (rig.places, rig.calls) == ((0, 0), ["fill", "wake"])


async def test_a_head_that_has_to_be_repeated_stays_and_its_place_is_free() -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)
        rig.answer(NotSent("no route"))
        assert (len(rig.lane.waiting), rig.schedule.ready, rig.held.on_settled) == (2, 0, [])
        assert rig.schedule.next_due() == rig.clock.monotonic() + 0.5
        assert rig.places == (0, 0)
        assert rig.calls[-1] == "fill"
        assert "wake" in rig.calls  # its time has to be watched


async def test_a_call_refused_for_speed_is_no_attempt() -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)
        rig.answer(Answered(429, retry_after=3.0))
        assert (rig.lane.attempts, rig.lane.uncounted, rig.places) == (0, True, (0, 0))
        assert rig.schedule.next_due() == rig.clock.monotonic() + 3.0
        assert "tell" in rig.calls


@pytest.mark.parametrize(
    ("outcome", "policy", "reason"),
    [
        (Answered(413), POLICY, "tooLarge"),
        (Answered(503), replace(POLICY, max_attempts=1), "tooManyAttempts"),
        (Answered(500), replace(POLICY, retry_unknown=False), "outcomeUnknown"),
    ],
)
async def test_what_stands_behind_a_dead_head_waits_until_that_is_in_the_dead_letters(
    outcome: Outcome, policy: RetryPolicy, reason: str
) -> None:
    """The lease may be lost before that, and then the next owner sends it first."""
    async with asyncio.TaskGroup() as group:
        rig = Rig(group, policy=policy)
        rig.answer(outcome)
        assert (len(rig.lane.waiting), rig.schedule.ready, rig.places) == (2, 0, (1, 1))
    assert (len(rig.lane.waiting), rig.schedule.ready, rig.places) == (1, 1, (0, 0))
    assert [(cause.reason, cause.attempts) for cause in rig.held.parked] == [(reason, 1)]


async def test_a_joined_call_that_is_refused_is_split_and_its_place_is_free() -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)
        joined = Flight(rig.flights, rig.lane, tuple(rig.lane.waiting), rig.clock.monotonic())
        rig.flights.endpoints[""].in_flight += 1
        rig.partition.began_call(rig.lane.key)
        joined.leaving()
        joined.answered(Answered(413))
        assert (rig.lane.alone, rig.lane.attempts, rig.lane.uncounted) == (True, 1, True)
        assert (len(rig.lane.waiting), rig.places, rig.held.parked) == (2, (1, 1), [])


@pytest.mark.parametrize("outcome", [TAKEN, Answered(413), Answered(503), MaybeSent("hung up")])
async def test_after_the_worker_has_stopped_an_outcome_frees_the_place_and_changes_nothing(outcome: Outcome) -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)
        rig.flights.group = None
        rig.answer(outcome)
    assert rig.places == (0, 0)
    assert (len(rig.lane.waiting), rig.held.on_settled, rig.held.parked, rig.calls) == (2, [], [], [])


async def test_an_error_in_what_follows_ends_the_worker_and_not_the_transport() -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)

        def fail(*_arguments: object) -> None:
            raise RuntimeError("a mistake")

        rig.schedule.advance = fail  # type: ignore[assignment, method-assign] # a mistake in the program
        assert rig.held.on_outcome is not None
        rig.held.on_outcome(TAKEN)
    assert [str(error) for error in rig.errors] == ["a mistake"]


async def test_no_call_begins_a_task_after_the_worker_has_stopped() -> None:
    async with asyncio.TaskGroup() as group:
        rig = Rig(group)
        rig.flights.group = None
        rig.held.start = lambda *_arguments: False  # type: ignore[method-assign] # no connection is free
        with pytest.raises(RuntimeError):
            Flight(rig.flights, rig.lane, (rig.lane.head,), SystemClock().monotonic()).begin()
