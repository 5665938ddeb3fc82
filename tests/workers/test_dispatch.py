"""Dispatcher and flights with a scripted sender and a fake clock, on the real schedule, settler and store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import cast

import msgspec
import pytest

from fanout.clock import SystemClock
from fanout.errors import WithheldError
from fanout.http1.pool import MayWrite
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import Entry, encode
from fanout.queue.keys import KEYS
from fanout.queue.presence import Presence
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.client import Bounds, Client, OnOutcome, Sender
from fanout.signalr.message import GroupAction, Message, RouteClass, Scope, Verb
from fanout.signalr.outcome import Answered, MaybeSent, NotSent, Outcome
from tests.builders import a_join, a_message, an_entry
from tests.fakes import FakeClock
from tests.queue_layout import USERS, put
from tests.workers.helpers import Lines, a_flow, a_settler, a_stream, taken, text_of, until
from workers.bodies import Bodies
from workers.dispatch import Dispatcher
from workers.endpoint import Endpoint
from workers.flight import Flights
from workers.gate import Gate, Window
from workers.lane import Lane
from workers.partition import BufferedEntry, OwnedPartition, StoreClock
from workers.schedule import Schedule
from workers.slowdown import Slowdown
from workers.sweeps import Sweeps
from workers.telemetry import Telemetry
from workers.verdicts import RetryPolicy

POLICY = RetryPolicy(base=1.0, cap=30.0, max_age=3600.0, max_attempts=100, retry_unknown=True)
OK = Answered(202)
NOBODY = Answered(404, "Warning.User.NotExisted")


@pytest.fixture(autouse=True, params=[True, False], ids=["at once", "as soon as there is a connection"])
def connected(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin calls in both ways: at once, and after waiting for a connection."""
    monkeypatch.setattr(Script, "connected", request.param)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[RedisClient]:
    """One server is enough here: what differs between servers is tested with the settler."""
    redis_client = open_redis(redis_url, SystemClock())
    yield redis_client
    await redis_client.aclose()


class Script:
    """A sender with outcomes by text, in order; 202 when there is none. `gates` hold calls back."""

    connected = True  # a connection is free for each call

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.renewed: list[str] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.connecting: asyncio.Event | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.bounds: Bounds | None = None
        self.answering: set[asyncio.Task[None]] = set()

    def start(self, entry: Entry, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        if self.connected:
            before_write()
            task = asyncio.ensure_future(self._answer(self.send([entry]), on_outcome))
            self.answering.add(task)
            task.add_done_callback(self.answering.discard)
        return self.connected

    async def _answer(self, sending: Awaitable[Outcome], on_outcome: OnOutcome) -> None:
        on_outcome(await sending)

    async def send(self, entries: Sequence[Entry], may_write: MayWrite | None = None) -> Outcome:
        if self.connecting is not None:
            await self.connecting.wait()
        if may_write is not None and not may_write():
            raise WithheldError("not any more")
        texts = [text_of(entry) if isinstance(entry.item, Message) else "action" for entry in entries]
        text = "+".join(texts)
        self.sent.append(text)
        gate = self.gates.get(text)
        if gate is not None:
            await gate.wait()
        self.meanwhile()
        outcomes = self.outcomes.get(text)
        return outcomes.pop(0) if outcomes else OK

    def renew_token(self, entries: Sequence[Entry]) -> None:
        self.renewed.append("+".join(text_of(entry) for entry in entries))

    def refused_joining(self, outcome: Outcome) -> bool:
        return isinstance(outcome, Answered) and outcome.status == 400


class Rig:
    """A dispatcher and what it works with, on one store."""

    def __init__(
        self, redis_client: RedisClient, policy: RetryPolicy = POLICY, *, places: int = 100, first: int | None = None
    ) -> None:
        self.redis_client = redis_client
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.log = Lines()
        self.script = Script()
        self.settler = a_settler(redis_client, self.clock, self.metrics)
        self.gate = Gate(Window(places, first=first or places), {}, lambda: 0.5)
        self.schedule = Schedule(held_until=self.gate.held_until)
        self.told: list[tuple[RouteClass, Slowdown, str]] = []
        self.store_clock = StoreClock()
        self.store_clock.observe(2000.0, self.clock.monotonic(), self.clock.monotonic())
        log, metrics = self.log.log, self.metrics
        endpoint = self.endpoint = Endpoint(cast("Client", None), cast("Sender", self.script), self.gate)
        telemetry = Telemetry(metrics, log, self.clock, self.store_clock)
        stream = a_stream(redis_client, self.clock)
        self.bodies = Bodies(stream, self.clock, room=1_000_000)
        self.dispatcher = Dispatcher(
            Flights(
                self.schedule,
                {"": endpoint},
                self.settler,
                self.bodies,
                Sweeps(cast("Presence", None), self.schedule, self.settler, self.clock, metrics, bound=1.0),
                telemetry,
                policy,
                self.clock,
                lambda: 0.5,
                self.tell,
            )
        )

    def tell(self, _endpoint: str, route_class: RouteClass, slowdown: Slowdown, cause: str) -> None:
        self.told.append((route_class, slowdown, cause))

    async def put(
        self, owned: OwnedPartition, *texts: str, to: str = "alice", ttl: float | None = None, age: float = 0.0
    ) -> list[BufferedEntry]:
        """Store messages of this age and put them into their lane, as a reader would."""
        entries = [an_entry(a_message(to, text=text, ttl=ttl), message_id=f"id of {text}") for text in texts]
        return [await self.put_entry(owned, entry, lane=to, age=age) for entry in entries]

    async def put_entry(
        self, owned: OwnedPartition, entry: Entry, *, lane: str = "alice", age: float = 0.0, seems: float | None = None
    ) -> BufferedEntry:
        """Store an entry that is `age` seconds old by the store's clock, and `seems` so old by ours."""
        [seconds, micros] = await self.redis_client.ask("TIME")
        entry_id = f"{int(seconds) * 1000 + int(micros) // 1000 - int(age * 1000)}-*" if age else "*"
        entry_id = await put(self.redis_client, owned.number, "e", encode(entry), stream_id=entry_id)
        stored_at = self.store_clock.now(self.clock.monotonic()) - (age if seems is None else seems)
        buffered = BufferedEntry(a_flow(owned), entry_id, entry, stored_at, 100)
        self.schedule.add(lane, buffered)
        self.dispatcher.wake()
        return buffered

    async def put_unanswered(self, owned: OwnedPartition, count: int) -> asyncio.Event:
        """Have one message wait in each of `count` lanes; their calls are answered when the event is set."""
        answer = asyncio.Event()
        for number in range(count):
            self.script.gates[str(number)] = answer
            await self.put(owned, str(number), to=f"user{number}")
        return answer

    async def put_failing(self, owned: OwnedPartition, count: int, outcome: Outcome) -> asyncio.Event:
        """Have one message wait in each of `count` lanes; all calls end in `outcome` when the event is set."""
        [first] = await self.put(owned, "0", to="u0")
        for number in range(1, count):
            self.schedule.add(f"u{number}", first)
        self.script.outcomes["0"] = [outcome] * count
        answer = self.script.gates["0"] = asyncio.Event()
        return answer

    def ready_by_turn(self) -> list[int]:
        """Note in each turn of the loop how many lanes are ready, until none is."""
        return self.by_turn(lambda: self.schedule.ready)

    def by_turn(self, count: Callable[[], int]) -> list[int]:
        """Note what `count` returns in each turn of the loop, until that is 0."""
        found: list[int] = []

        def turn() -> None:
            found.append(count())
            if found[-1]:
                asyncio.get_running_loop().call_soon(turn)

        asyncio.get_running_loop().call_soon(turn)
        return found

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            stations = (self.dispatcher.run(), self.settler.run())
            tasks = [group.create_task(station) for station in stations]
            yield
            for task in tasks:
                task.cancel()

    async def idle(self) -> None:
        """Wait until every call has ended and is settled."""
        await until(lambda: not self.dispatcher.in_flight and not self.schedule.ready)

    async def settled(self, count: int) -> list[dict[str, object]]:
        """Wait until `count` entries are done with, and return their log lines."""
        await until(lambda: len(self.log.of("delivery.settled")) == count)
        return self.log.of("delivery.settled")

    def count(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(name, labels)
        assert value is not None
        return value

    async def left(self, partition: int = 0) -> int:
        return int(await self.redis_client.ask("XLEN", KEYS.stream(partition, USERS)))


async def test_a_delivered_entry_is_settled_counted_and_told(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    [buffered] = await rig.put(owned, "hi", age=1.5)
    rig.script.meanwhile = lambda: rig.clock.jump(0.25)
    async with rig.working():
        [line] = await rig.settled(1)
    assert await rig.left() == 0
    assert (rig.schedule.waiting, owned.known, owned.in_flight) == (0, 0, 0)
    assert rig.count("fanout_delivered_total", operation="sendToUser") == 1
    assert rig.count("fanout_queue_wait_seconds_sum") == pytest.approx(1.5)
    assert line == {
        "end": "delivered",
        "id": "id of hi",
        "hub": "chat",
        "endpoint": "default",
        "operation": "sendToUser",
        "partition": 0,
        "entry": buffered.id.decode(),
        "status": 202,
        "attempts": 1,
        "age": 1.75,
        "took": 0.25,
    }


async def test_entries_of_a_lane_are_sent_one_after_the_other_and_lanes_side_by_side(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = rig.script.gates["a1"] = asyncio.Event()
    await rig.put(owned, "a1", "a2", to="alice")
    await rig.put(owned, "b1", "b2", to="bob")
    async with rig.working():
        await rig.settled(2)
        assert rig.script.sent == ["a1", "b1", "b2"]
        assert (rig.dispatcher.in_flight, owned.in_flight) == (1, 1)
        gate.set()
        await rig.settled(4)
    assert rig.script.sent == ["a1", "b1", "b2", "a2"]


async def test_no_more_calls_are_in_flight_than_there_are_places(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, places=2)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = await rig.put_unanswered(owned, 5)
    async with rig.working():
        await rig.clock.settle()
        assert rig.dispatcher.in_flight == 2
        gate.set()
        await rig.settled(5)


async def test_calls_that_are_not_answered_do_not_keep_the_start_of_a_worker_small(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, places=16, first=4)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = await rig.put_unanswered(owned, 20)
    async with rig.working():
        await rig.clock.settle()
        assert rig.dispatcher.in_flight == 4
        await rig.clock.advance(0.11)
        assert rig.dispatcher.in_flight == 8
        await rig.clock.advance(0.11)
        assert rig.dispatcher.in_flight == 16
        gate.set()
        await rig.settled(20)


async def test_a_class_that_opens_between_the_last_look_and_the_wait_is_not_waited_for(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    opens_at, looks = rig.clock.monotonic() + 0.001, list[float]()
    rig.gate.holds_back = True

    def opens(_route_class: RouteClass, now: float) -> float:
        looks.append(now)
        if len(looks) == len(RouteClass):  # the last look of the first round: time passes before the wait
            rig.clock.jump(0.002)
        return max(now, opens_at)

    monkeypatch.setattr(rig.gate, "opens_at", opens)
    await rig.put(owned, "hi")
    async with rig.working():
        await rig.settled(1)


async def test_an_entry_keeps_its_place_in_flight_until_it_is_settled_but_its_lane_goes_on(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client, places=2)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "1", "2", "3")
    async with asyncio.TaskGroup() as group:  # nothing is settled yet
        carrying = group.create_task(rig.dispatcher.run())
        await until(lambda: rig.script.sent == ["1", "2"])
        await rig.clock.settle()
        assert (rig.script.sent, rig.dispatcher.in_flight) == (["1", "2"], 2)
        settling = group.create_task(rig.settler.run())
        await rig.settled(3)
        for task in (carrying, settling):
            task.cancel()


async def test_a_failed_head_waits_in_its_lane_while_the_others_go_on(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [Answered(503), NotSent("no route"), OK]
    await rig.put(owned, "a", to="alice")
    await rig.put(owned, "b", to="bob")
    async with rig.working():
        await rig.settled(1)
        assert rig.script.sent == ["a", "b"]
        await rig.clock.advance(0.49)
        assert rig.script.sent == ["a", "b"]
        await rig.clock.advance(0.02)  # jitter 0.5 of 1 s
        assert rig.script.sent == ["a", "b", "a"]
        await rig.clock.advance(0.98)
        assert rig.script.sent == ["a", "b", "a"]
        await rig.clock.advance(0.02)  # 0.5 of 2 s
        lines = await rig.settled(2)
    assert lines[1]["attempts"] == 3
    assert rig.count("fanout_retries_total") == 2
    assert rig.count("fanout_failed_attempts_total", failure="unavailable") == 1
    assert rig.count("fanout_failed_attempts_total", failure="notSent") == 1
    assert rig.count("fanout_queue_wait_seconds_count") == 2  # of first attempts only
    assert [line["failure"] for line in rig.log.of("delivery.attempt")] == ["unavailable", "notSent"]


async def test_lanes_that_are_due_together_are_sent_together(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = asyncio.Event()
    for text in "abcd":
        rig.script.outcomes[text] = [Answered(503, retry_after=5.0)]
        await rig.put(owned, text, to=text)
    async with rig.working():
        await until(lambda: len(rig.script.sent) == 4)
        await rig.clock.settle()
        for text in "abcd":
            rig.script.gates[text] = gate
        await rig.clock.advance(5.0)
        assert rig.dispatcher.in_flight == 4
        gate.set()
        await rig.settled(4)


async def test_lanes_found_due_when_a_place_became_free_are_sent_together_too(
    redis_client: RedisClient,
) -> None:
    """A call ends before the timer of the postponed lanes runs."""
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.gates["z"] = coming_back = asyncio.Event()
    for text in "abc":
        rig.script.outcomes[text] = [Answered(503, retry_after=5.0)]
        await rig.put(owned, text, to=text)
    await rig.put(owned, "z", to="z")
    async with rig.working():
        await until(lambda: len(rig.log.of("delivery.attempt")) == 3)
        gate = asyncio.Event()
        for text in "abc":
            rig.script.gates[text] = gate
        await rig.clock.settle()
        rig.clock.jump(5.0)  # time has come, and no timer has run yet
        coming_back.set()
        await rig.settled(1)
        await rig.clock.advance(1.0)
        assert rig.dispatcher.in_flight == 3
        gate.set()
        await rig.settled(4)


async def test_a_lane_is_alarmed_for_when_it_is_due_before_the_one_waited_for(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes = {"late": [Answered(503, retry_after=60.0)], "soon": [Answered(503, retry_after=2.0)]}
    await rig.put(owned, "late", to="late")
    async with rig.working():
        await until(lambda: len(rig.log.of("delivery.attempt")) == 1)
        await rig.put(owned, "soon", to="soon")
        await until(lambda: len(rig.log.of("delivery.attempt")) == 2)
        await rig.clock.advance(2.0)
        assert rig.script.sent == ["late", "soon", "soon"]
        await rig.settled(1)
        await rig.clock.advance(58.0)
        await rig.settled(2)


async def test_a_401_has_the_token_renewed_once_and_is_repeated_at_once(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [Answered(401), Answered(401)]
    await rig.put(owned, "a", "b")
    rig.script.outcomes["b"] = [Answered(401)]
    async with rig.working():
        await rig.clock.settle()
        assert (rig.script.sent, rig.script.renewed) == (["a", "a"], ["a"])
        await rig.clock.advance(1.0)
        await rig.settled(2)
    assert rig.script.renewed == ["a", "b"]  # once for each entry


async def test_a_stale_connection_is_repeated_at_once(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [MaybeSent("hung up", stale=True)]
    await rig.put(owned, "a")
    async with rig.working():
        [line] = await rig.settled(1)
    assert line["attempts"] == 2
    assert rig.count("fanout_failed_attempts_total", failure="maybeSent") == 1


async def test_gone_is_an_outcome_of_its_own(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [NOBODY]
    await rig.put(owned, "a")
    async with rig.working():
        [line] = await rig.settled(1)
    assert (line["end"], line["status"]) == ("gone", 404)
    assert rig.count("fanout_gone_total", operation="sendToUser") == 1
    assert rig.count("fanout_delivered_total", operation="sendToUser") == 0
    assert rig.count("fanout_failed_attempts_total", failure="notFound") == 0
    assert await rig.left() == 0


async def test_a_404_without_a_code_to_leaving_is_gone_once_the_endpoint_took_a_call(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["action"] = [Answered(404), Answered(404)]
    await rig.put_entry(owned, an_entry(GroupAction(Verb.REMOVE, Scope.USER, "u", "g")), lane="g")
    async with rig.working():
        await rig.idle()
        assert rig.count("fanout_failed_attempts_total", failure="notFound") == 1
        await rig.put(owned, "a")
        await rig.settled(1)
        await rig.clock.advance(1.0)
        ends = [line["end"] for line in await rig.settled(2)]
    assert ends == ["delivered", "gone"]
    assert rig.count("fanout_gone_total", operation="removeUser") == 1


async def test_a_refused_entry_is_parked_with_the_reason_and_its_lane_goes_on(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [Answered(503), Answered(413)]
    [first, _] = await rig.put(owned, "a") + await rig.put(owned, "b", to="bob")
    async with rig.working():
        await rig.clock.advance(1.0)
        lines = await rig.settled(2)
    [letter] = await DeadLetters(redis_client).oldest(0)
    assert letter.entry.id == first.id
    assert (letter.cause.reason, letter.cause.status, letter.cause.attempts) == ("tooLarge", 413, 2)
    assert rig.count("fanout_dead_total", reason="tooLarge") == 1
    assert rig.count("fanout_failed_attempts_total", failure="refused") == 1
    assert sorted(str(line["end"]) for line in lines) == ["dead: tooLarge", "delivered"]
    assert await rig.left() == 0


async def test_an_entry_too_old_to_be_repeated_is_parked(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [NotSent("no route")]
    await rig.put(owned, "a", age=3600.0)
    async with rig.working():
        [line] = await rig.settled(1)
    assert (line["end"], line["status"]) == ("dead: tooOld", 0)


async def test_an_expired_message_is_dropped_unsent_and_counted(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "late", ttl=5.0, age=5.1)
    await rig.put(owned, "in time", ttl=5.0, age=4.0)
    async with rig.working():
        lines = await rig.settled(2)
    assert rig.script.sent == ["in time"]
    assert rig.count("fanout_expired_total") == 1
    assert {line["end"] for line in lines} == {"expired", "delivered"}
    assert await rig.left() == 0


async def test_a_message_can_expire_while_it_waits_to_be_repeated(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [Answered(503, retry_after=10.0)]
    await rig.put_entry(owned, an_entry(a_message(text="a", ttl=5.0)), age=6.0, seems=0.0)
    async with rig.working():
        await until(lambda: len(rig.log.of("delivery.attempt")) == 1)
        await rig.clock.advance(10.0)
        [line] = await rig.settled(1)
    assert (line["end"], line["attempts"], rig.script.sent) == ("expired", 1, ["a"])


async def test_the_stores_clock_has_the_last_word_on_what_is_late(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put_entry(owned, an_entry(a_message(text="a", ttl=500.0)), seems=501.0)
    async with rig.working():
        [line] = await rig.settled(1)
    assert (line["end"], rig.script.sent) == ("delivered", ["a"])


async def test_a_throttled_call_waits_and_is_no_attempt_and_the_others_hear_of_it(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    rig.script.outcomes["a"] = [Answered(429, retry_after=5.0)]
    await rig.put(owned, "a")
    async with rig.working():
        await rig.clock.advance(4.9)
        assert rig.script.sent == ["a"]
        await rig.clock.advance(0.2)
        [line] = await rig.settled(1)
    assert (line["attempts"], rig.script.sent) == (1, ["a", "a"])
    assert [(route_class, cause) for route_class, _slowdown, cause in rig.told] == [
        (RouteClass.SEND, "status 429 (Retry-After: 5 s)")
    ]
    assert rig.count("fanout_queue_wait_seconds_count") == 1


async def test_a_hub_that_is_held_back_waits_without_an_attempt_while_another_goes_on(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    now = rig.clock.monotonic()
    for number in range(10):
        rig.gate.breakers[RouteClass.SEND].failed("dead", now - 1 + number / 9, f"dead\nu{number % 3}", 0.0)
    rig.gate._update(now)
    dead = await rig.put(owned, *"123", to="dead\nu1")
    async with rig.working():
        await rig.put(owned, "hi", to="quiet\nu1")
        await rig.settled(1)
        assert rig.script.sent == ["hi"]
        assert dead[0].partition.in_flight == 0
        rig.clock.jump(1.26)
        rig.dispatcher.wake()
        lines = await rig.settled(4)
    assert rig.script.sent == ["hi", "1", "2", "3"]
    assert {line["attempts"] for line in lines} == {1}


async def test_many_lanes_that_are_held_back_let_all_else_have_its_turn(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    [first] = await rig.put(owned, "0", to="dead\nu0")
    for number in range(1, 500):
        rig.schedule.add(f"dead\nu{number}", first)
    looks: list[Lane] = []
    turns: list[int] = []

    def held_until(lane: Lane, _now: float) -> float:
        looks.append(lane)
        return 1e9

    monkeypatch.setattr(rig.gate, "held_until", held_until)

    def turn() -> None:
        turns.append(len(looks))
        if len(looks) < 500:
            asyncio.get_running_loop().call_soon(turn)

    async with rig.working():
        asyncio.get_running_loop().call_soon(turn)
        await until(lambda: len(looks) == 500)
    assert max(after - before for before, after in pairwise(turns)) <= 32


async def test_many_lanes_that_may_go_let_all_else_have_its_turn(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, places=300)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = rig.script.gates["0"] = asyncio.Event()
    [first] = await rig.put(owned, "0", to="u0")
    for number in range(1, 900):
        rig.schedule.add(f"u{number}", first)
    async with rig.working():
        turns = rig.ready_by_turn()
        await until(lambda: rig.dispatcher.in_flight == 300)
        gate.set()  # hundreds of answers come in one turn, and each would begin another call
        await until(lambda: not rig.schedule.ready)
    assert max(before - after for before, after in pairwise(turns)) <= 64


@pytest.mark.parametrize("outcome", [Answered(503), Answered(429), Answered(400), NotSent("no route")])
async def test_many_calls_that_fail_at_once_let_all_else_have_its_turn(
    redis_client: RedisClient, outcome: Outcome
) -> None:
    rig = Rig(redis_client, places=200)
    [owned] = await taken(redis_client, rig.clock, 0)
    answer = await rig.put_failing(owned, 200, outcome)
    async with rig.working():
        await until(lambda: len(rig.script.sent) == 200)
        judged = rig.by_turn(lambda: len(rig.script.outcomes["0"]) + len(rig.endpoint.put_off))
        answer.set()  # hundreds of them fail in one turn
        await until(lambda: bool(judged) and judged[-1] == 0)
        assert max(before - after for before, after in pairwise(judged)) <= 8
        await until(lambda: rig.dispatcher.in_flight == 0)


async def test_calls_that_failed_give_their_places_back_when_the_worker_stops_before_they_were_judged(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client, places=100)
    [owned] = await taken(redis_client, rig.clock, 0)
    answer = await rig.put_failing(owned, 100, Answered(503))
    async with rig.working():
        await until(lambda: len(rig.script.sent) == 100)
        some_wait = asyncio.Event()
        rig.script.meanwhile = lambda: some_wait.set() if rig.endpoint.put_off else None
        answer.set()
        await some_wait.wait()
        assert rig.endpoint.put_off
    assert (rig.dispatcher.in_flight, owned.in_flight) == (0, 0)


async def test_calls_that_fail_take_more_of_a_turn_than_those_that_are_served(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, places=300)
    [owned] = await taken(redis_client, rig.clock, 0)
    [first] = await rig.put(owned, "0", to="u0")
    for number in range(1, 400):
        rig.schedule.add(f"u{number}", first)
    for _ in range(100):
        rig.endpoint.failed()
    rig.script.gates["0"] = asyncio.Event()  # none of them is answered
    async with rig.working():
        turns = rig.ready_by_turn()
        await until(lambda: rig.dispatcher.in_flight == 300)
        assert max(before - after for before, after in pairwise(turns)) <= 16
        rig.script.gates["0"].set()
        await until(lambda: not rig.schedule.ready)
    assert rig.endpoint.cost == 1.0  # which is forgotten as soon as others are served


async def test_many_lanes_that_failed_are_tried_again_bit_by_bit_and_keep_no_other_waiting(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client, places=400)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = rig.script.gates["0"] = asyncio.Event()
    [first] = await rig.put(owned, "0", to="u0")
    for number in range(1, 300):
        rig.schedule.add(f"u{number}", first)
    lanes = [rig.schedule.take(rig.clock.monotonic()) for _ in range(300)]
    for lane in lanes:
        assert lane is not None
        lane.count_attempt()
        rig.schedule.release(lane)
    async with rig.working():
        await until(lambda: len(rig.script.sent) == 128)
        await rig.put(owned, "hi", to="alice")
        await until(lambda: rig.script.sent[128:] == ["hi"])
        await rig.clock.advance(0.1)
        assert 129 + 40 <= len(rig.script.sent) <= 129 + 50  # as many as the time allows, a few at a time
        await rig.clock.advance(0.3)
        assert len(rig.script.sent) == 301
        gate.set()


async def test_messages_that_wait_together_go_in_one_call_and_are_settled_one_by_one(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    rig.script.bounds = Bounds()
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "a", "b", "c")
    async with rig.working():
        lines = await rig.settled(3)
    assert rig.script.sent == ["a+b+c"]
    assert [line["id"] for line in lines] == ["id of a", "id of b", "id of c"]
    assert rig.count("fanout_delivered_total", operation="sendToUser") == 3
    assert (await rig.left(), rig.schedule.waiting) == (0, 0)


async def test_a_joined_call_that_is_refused_is_taken_apart_so_that_one_bad_message_harms_no_other(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client)
    rig.script.bounds = Bounds()
    rig.script.outcomes = {"a+b": [Answered(400)], "a": [Answered(413)]}
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "a", "b")
    async with rig.working():
        lines = await rig.settled(2)
    assert rig.script.sent == ["a+b", "a", "b"]
    assert sorted(str(line["end"]) for line in lines) == ["dead: tooLarge", "delivered"]


async def test_of_what_collapses_only_the_newest_is_sent_and_the_rest_is_settled(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    for text in ("old", "older", "new"):
        message = msgspec.structs.replace(a_message(text=text), collapse="k")
        await rig.put_entry(owned, an_entry(message, message_id=text))
    async with rig.working():
        lines = await rig.settled(3)
    assert rig.script.sent == ["new"]
    assert sorted(str(line["end"]) for line in lines) == ["delivered", "superseded", "superseded"]
    assert rig.count("fanout_superseded_total") == 2
    assert (await rig.left(), rig.schedule.waiting, owned.known) == (0, 0, 0)


async def test_an_entry_from_the_stores_future_has_age_zero(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "a", age=-7.0)
    async with rig.working():
        [line] = await rig.settled(1)
    assert line["age"] == 0


async def test_a_group_action_is_carried_like_a_message(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put_entry(owned, an_entry(a_join()))
    async with rig.working():
        [line] = await rig.settled(1)
    assert line["operation"] == "addUser"
    assert rig.count("fanout_delivered_total", operation="addUser") == 1


async def test_nothing_is_sent_under_a_lease_that_ran_out(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    lost, kept = await taken(redis_client, rig.clock, 0, lifetime=5.0) + await taken(
        redis_client, rig.clock, 1, lifetime=50.0
    )
    await rig.put(lost, "no", "no more")
    await rig.put(kept, "yes", to="bob")
    rig.clock.jump(5.0)
    async with rig.working():
        await rig.settled(1)
    assert rig.script.sent == ["yes"]
    assert rig.schedule.waiting == 0
    assert await rig.left(0) == 2


async def test_a_call_that_waited_for_a_connection_is_not_written_under_a_lease_that_ran_out_meanwhile(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0, lifetime=5.0)
    await rig.put(owned, "a", "b")
    rig.script.connected, rig.script.connecting = False, asyncio.Event()
    async with rig.working():
        await until(lambda: owned.in_flight == 1)
        rig.clock.jump(5.0)
        rig.script.connecting.set()
        await until(lambda: owned.in_flight == 0)
        await rig.idle()
    assert (rig.script.sent, rig.schedule.waiting, rig.dispatcher.in_flight) == ([], 0, 0)
    assert await rig.left() == 2
    assert owned.doubted


async def test_a_call_that_waited_for_a_connection_is_not_written_in_a_pause_that_began_meanwhile(
    redis_client: RedisClient,
) -> None:
    """It is no attempt, and goes when the pause is over."""
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0, lifetime=50.0)
    await rig.put(owned, "a")
    rig.script.connected, rig.script.connecting = False, asyncio.Event()
    async with rig.working():
        await until(lambda: owned.in_flight == 1)
        now = rig.clock.monotonic()
        rig.gate.set_pauses({RouteClass.SEND: now + 3.0}, {}, now)
        rig.script.connecting.set()
        await until(lambda: owned.in_flight == 0)
        assert (rig.script.sent, rig.gate.in_flight(RouteClass.SEND)) == ([], 0)
        await rig.clock.advance(3.0)
        [line] = await rig.settled(1)
    assert (rig.script.sent, line["attempts"]) == (["a"], 1)


async def test_a_message_that_may_have_expired_in_the_wait_for_a_connection_is_not_written_until_the_store_was_asked(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0, lifetime=50.0)
    message = msgspec.structs.replace(a_message(text="a"), ttl=2.0)
    await rig.put_entry(owned, an_entry(message))
    rig.script.connected, rig.script.connecting = False, asyncio.Event()
    asked: list[list[str]] = []
    expire = rig.settler.expire

    async def asking(buffered: BufferedEntry, ttl: float) -> bool | None:
        asked.append(list(rig.script.sent))
        return await expire(buffered, ttl)

    monkeypatch.setattr(rig.settler, "expire", asking)
    async with rig.working():
        await until(lambda: owned.in_flight == 1)
        rig.clock.jump(4.0)
        rig.script.connecting.set()
        [line] = await rig.settled(1)
    assert (asked, rig.script.sent, line["attempts"]) == ([[]], ["a"], 1)  # by the clock of the store it is young


async def test_a_call_whose_lease_is_lost_meanwhile_is_told_as_not_settled(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "a", "b")

    def lose() -> None:
        rig.schedule.drop(owned)
        owned.lose()

    rig.script.meanwhile = lose
    async with rig.working():
        [line] = await rig.settled(1)
    assert line["end"] == "delivered, not settled"
    assert rig.script.sent == ["a"]
    assert await rig.left() == 2
    assert owned.in_flight == 0


@pytest.mark.parametrize("outcome", [Answered(400), Answered(503), Answered(503, retry_after=1.0)])
async def test_a_call_that_fails_after_its_lease_was_lost_changes_nothing(
    redis_client: RedisClient, outcome: Outcome
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "a")

    def lose() -> None:
        rig.schedule.drop(owned)
        owned.lose()

    rig.script.meanwhile = lose
    rig.script.outcomes["a"] = [outcome]
    async with rig.working():
        await until(lambda: rig.script.sent == ["a"])
        await rig.idle()
        await rig.clock.advance(10.0)
    assert rig.script.sent == ["a"]
    assert (await rig.left(), await DeadLetters(redis_client).oldest(0)) == (1, [])
    assert rig.log.of("delivery.settled") == []
    assert rig.schedule.next_due() is None


async def test_after_closing_calls_in_flight_end_and_nothing_new_is_taken(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = rig.script.gates["a"] = asyncio.Event()
    await rig.put(owned, "a", to="alice")
    async with rig.working():
        await until(lambda: rig.dispatcher.in_flight == 1)
        assert repr(rig.dispatcher) == "<Dispatcher 1 in flight>"
        rig.dispatcher.close()
        assert repr(rig.dispatcher) == "<Dispatcher 1 in flight, closed>"
        await rig.put(owned, "b", to="bob")
        gate.set()
        await rig.settled(1)
        await rig.clock.settle()
    assert rig.script.sent == ["a"]
    assert await rig.left() == 1


async def test_a_call_that_is_given_up_counts_as_ended_and_its_answer_changes_nothing(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    gate = rig.script.gates["a"] = asyncio.Event()
    await rig.put(owned, "a")
    async with rig.working():
        await until(lambda: rig.dispatcher.in_flight == 1)
    gate.set()
    await until(lambda: not rig.dispatcher.in_flight and not rig.script.answering)
    assert (owned.in_flight, rig.gate.in_flight(RouteClass.SEND)) == (0, 0)
    assert await rig.left() == 1
    assert rig.count("fanout_delivered_total", operation="sendToUser") == 0


async def test_a_mistake_in_what_follows_a_call_ends_the_dispatcher(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    await rig.put(owned, "a")

    def fail(*_arguments: object) -> None:
        raise RuntimeError("a mistake")

    rig.schedule.advance = fail  # type: ignore[assignment, method-assign] # a mistake in the program
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a mistake"))):
        async with rig.working():
            await asyncio.sleep(5)
