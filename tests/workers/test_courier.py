"""The loop around one entry, with a scripted sender, a clock of our own, and the real lanes, settler and store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest

from fanout.clock import SystemClock
from fanout.metrics import Metrics
from fanout.queue import keys
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import Entry, encode
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.message import Message
from tests.builders import a_join, a_message, an_entry
from tests.fakes import FakeClock
from tests.workers.crew import Lines, a_settler, taken, text_of, until
from workers.bell import Bell
from workers.coalescer import Bounds
from workers.courier import Couriers
from workers.gate import Gate
from workers.lanes import Lanes
from workers.pace import Slowdown
from workers.retry import Answered, MaybeSent, NotSent, Outcome, RetryPolicy
from workers.route_class import RouteClass
from workers.sender import Sender
from workers.tenure import Held, Tenure
from workers.trade import Trade
from workers.window import Window

POLICY = RetryPolicy(base=1.0, cap=30.0, max_age=3600.0, max_attempts=100, retry_unknown=True)
OK = Answered(202)
NOBODY = Answered(404, "Warning.User.NotExisted")


@pytest.fixture(autouse=True, params=[True, False], ids=["at once", "as soon as there is a connection"])
def rests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are begun in both ways there are."""
    monkeypatch.setattr(Script, "rests", request.param)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[RedisClient]:
    """One server is enough here: what differs between servers is tested with the settler."""
    redis_client = open_redis(redis_url, SystemClock())
    yield redis_client
    await redis_client.aclose()


class Script:
    """A sender that does as the script says: outcomes by text in order, 202 when there is none, a gate to wait at."""

    rests = True  # a connection does, for each call

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.renewed: list[str] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.meanwhile: Callable[[], None] = lambda: None
        self.bounds: Bounds | None = None
        self.telling: set[asyncio.Task[None]] = set()

    def start(self, entry: Entry, leaving: Callable[[], None], told: Callable[[Outcome], None]) -> bool:
        if self.rests:
            leaving()
            task = asyncio.ensure_future(self._tell(self.send([entry]), told))
            self.telling.add(task)
            task.add_done_callback(self.telling.discard)
        return self.rests

    async def _tell(self, sending: Awaitable[Outcome], told: Callable[[Outcome], None]) -> None:
        told(await sending)

    async def send(self, entries: Sequence[Entry]) -> Outcome:
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


class Round:
    """Couriers at work on one store."""

    def __init__(self, redis_client: RedisClient, policy: RetryPolicy = POLICY, *, places: int = 100) -> None:
        self.redis_client = redis_client
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.lines = Lines()
        self.lanes = Lanes()
        self.bell = Bell()
        self.script = Script()
        self.settler = a_settler(redis_client, self.clock, self.metrics)
        self.gate = Gate(Window(places), {}, lambda: 0.5)
        self.told: list[tuple[RouteClass, Slowdown]] = []
        self.trade = Trade(self.clock, self.metrics, self.lines.log, policy, lambda: 0.5, self.gate, self.tell)
        self.trade.store_time.note(2000.0, self.clock.monotonic(), self.clock.monotonic())
        sender = cast("Sender", self.script)
        self.couriers = Couriers(self.lanes, sender, self.settler, self.bell, self.trade)

    def tell(self, route_class: RouteClass, slowdown: Slowdown) -> None:
        self.told.append((route_class, slowdown))

    async def put(
        self, tenure: Tenure, *texts: str, to: str = "alice", ttl: float | None = None, age: float = 0.0
    ) -> list[Held]:
        """Store messages of this age and put them into their lane, as a reader would."""
        entries = [an_entry(a_message(to, text=text, ttl=ttl), message_id=f"id of {text}") for text in texts]
        return [await self.put_entry(tenure, entry, lane=to, age=age) for entry in entries]

    async def put_entry(
        self, tenure: Tenure, entry: Entry, *, lane: str = "alice", age: float = 0.0, seems: float | None = None
    ) -> Held:
        """Store an entry that is `age` seconds old by the store's clock, and `seems` so old by ours."""
        [seconds, micros] = await self.redis_client.ask("TIME")
        entry_id = f"{int(seconds) * 1000 + int(micros) // 1000 - int(age * 1000)}-*" if age else "*"
        entry_id = await self.redis_client.ask("XADD", keys.stream(tenure.partition), entry_id, "e", encode(entry))
        stored_at = self.trade.store_time.now(self.clock.monotonic()) - (age if seems is None else seems)
        held = Held(tenure, entry_id, entry, stored_at)
        self.lanes.add(lane, held)
        self.bell.work.set()
        return held

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            stations = (self.couriers.run(), self.couriers.alarm.run(), self.settler.run())
            tasks = [group.create_task(station) for station in stations]
            yield
            for task in tasks:
                task.cancel()

    async def idle(self) -> None:
        """Wait until every call so far has ended and is settled."""
        await until(lambda: not self.couriers.in_flight and not self.lanes.ready)

    async def settled(self, count: int) -> list[dict[str, object]]:
        """Wait for `count` entries to be done with and give what the log says of them."""
        await until(lambda: len(self.lines.of("delivery.settled")) == count)
        return self.lines.of("delivery.settled")

    def count(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(name, labels)
        assert value is not None
        return value

    async def left(self, partition: int = 0) -> int:
        return int(await self.redis_client.ask("XLEN", keys.stream(partition)))


async def test_a_delivered_entry_is_settled_counted_and_told(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    [held] = await desk.put(tenure, "hi", age=1.5)
    desk.script.meanwhile = lambda: desk.clock.jump(0.25)
    async with desk.working():
        [line] = await desk.settled(1)
    assert await desk.left() == 0
    assert (desk.lanes.waiting, tenure.known, tenure.in_flight) == (0, set(), 0)
    assert desk.count("fanout_delivered_total", operation="sendToUser") == 1
    assert desk.count("fanout_queue_wait_seconds_sum") == pytest.approx(1.5)
    assert line == {
        "end": "delivered",
        "id": "id of hi",
        "hub": "chat",
        "operation": "sendToUser",
        "partition": 0,
        "entry": held.id.decode(),
        "status": 202,
        "attempts": 1,
        "age": 1.75,
        "took": 0.25,
    }


async def test_entries_of_a_lane_are_sent_one_after_the_other_and_lanes_side_by_side(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    gate = desk.script.gates["a1"] = asyncio.Event()
    await desk.put(tenure, "a1", "a2", to="alice")
    await desk.put(tenure, "b1", "b2", to="bob")
    async with desk.working():
        await desk.settled(2)
        assert desk.script.sent == ["a1", "b1", "b2"]
        assert (desk.couriers.in_flight, tenure.in_flight) == (1, 1)
        gate.set()
        await desk.settled(4)
    assert desk.script.sent == ["a1", "b1", "b2", "a2"]


async def test_no_more_calls_are_in_flight_than_there_are_places(redis_client: RedisClient) -> None:
    desk = Round(redis_client, places=2)
    [tenure] = await taken(redis_client, desk.clock, 0)
    gate = asyncio.Event()
    for number in range(5):
        desk.script.gates[str(number)] = gate
        await desk.put(tenure, str(number), to=f"user{number}")
    async with desk.working():
        await desk.clock.settle()
        assert desk.couriers.in_flight == 2
        gate.set()
        await desk.settled(5)


async def test_an_entry_keeps_its_place_in_flight_until_it_is_settled_but_its_lane_goes_on(
    redis_client: RedisClient,
) -> None:
    desk = Round(redis_client, places=2)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "1", "2", "3")
    async with asyncio.TaskGroup() as group:  # nobody settles yet
        carrying = group.create_task(desk.couriers.run())
        await until(lambda: desk.script.sent == ["1", "2"])
        await desk.clock.settle()
        assert (desk.script.sent, desk.couriers.in_flight) == (["1", "2"], 2)
        settling = group.create_task(desk.settler.run())
        await desk.settled(3)
        for task in (carrying, settling):
            task.cancel()


async def test_a_failed_head_waits_in_its_lane_while_the_others_go_on(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [Answered(503), NotSent("no route"), OK]
    await desk.put(tenure, "a", to="alice")
    await desk.put(tenure, "b", to="bob")
    async with desk.working():
        await desk.settled(1)
        assert desk.script.sent == ["a", "b"]
        await desk.clock.advance(0.49)
        assert desk.script.sent == ["a", "b"]
        await desk.clock.advance(0.02)  # jitter 0.5 of 1 s
        assert desk.script.sent == ["a", "b", "a"]
        await desk.clock.advance(0.98)
        assert desk.script.sent == ["a", "b", "a"]
        await desk.clock.advance(0.02)  # 0.5 of 2 s
        lines = await desk.settled(2)
    assert lines[1]["attempts"] == 3
    assert desk.count("fanout_retries_total") == 2
    assert desk.count("fanout_failed_attempts_total", failure="unavailable") == 1
    assert desk.count("fanout_failed_attempts_total", failure="notSent") == 1
    assert desk.count("fanout_queue_wait_seconds_count") == 2  # of first attempts only
    assert [line["failure"] for line in desk.lines.of("delivery.attempt")] == ["unavailable", "notSent"]


async def test_lanes_that_are_due_together_are_sent_together(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    gate = asyncio.Event()
    for text in "abcd":
        desk.script.outcomes[text] = [Answered(503, retry_after=5.0)]
        await desk.put(tenure, text, to=text)
    async with desk.working():
        await until(lambda: len(desk.script.sent) == 4)
        await desk.clock.settle()
        for text in "abcd":
            desk.script.gates[text] = gate
        await desk.clock.advance(5.0)
        assert desk.couriers.in_flight == 4
        gate.set()
        await desk.settled(4)


async def test_lanes_found_due_by_a_courier_that_just_came_back_are_sent_together_too(
    redis_client: RedisClient,
) -> None:
    """The courier looks for work before the alarm for postponed lanes goes off."""
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.gates["z"] = coming_back = asyncio.Event()
    for text in "abc":
        desk.script.outcomes[text] = [Answered(503, retry_after=5.0)]
        await desk.put(tenure, text, to=text)
    await desk.put(tenure, "z", to="z")
    async with desk.working():
        await until(lambda: len(desk.lines.of("delivery.attempt")) == 3)
        gate = asyncio.Event()
        for text in "abc":
            desk.script.gates[text] = gate
        await desk.clock.settle()
        desk.clock.jump(5.0)  # time has come, and no timer has run yet
        coming_back.set()
        await desk.settled(1)
        await desk.clock.advance(1.0)
        assert desk.couriers.in_flight == 3
        gate.set()
        await desk.settled(4)


async def test_a_lane_is_alarmed_for_when_it_is_due_before_the_one_waited_for(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes = {"late": [Answered(503, retry_after=60.0)], "soon": [Answered(503, retry_after=2.0)]}
    await desk.put(tenure, "late", to="late")
    async with desk.working():
        await until(lambda: len(desk.lines.of("delivery.attempt")) == 1)
        await desk.put(tenure, "soon", to="soon")
        await until(lambda: len(desk.lines.of("delivery.attempt")) == 2)
        await desk.clock.advance(2.0)
        assert desk.script.sent == ["late", "soon", "soon"]
        await desk.settled(1)
        await desk.clock.advance(58.0)
        await desk.settled(2)


async def test_a_401_has_the_token_renewed_once_and_is_repeated_at_once(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [Answered(401), Answered(401)]
    await desk.put(tenure, "a", "b")
    desk.script.outcomes["b"] = [Answered(401)]
    async with desk.working():
        await desk.clock.settle()
        assert (desk.script.sent, desk.script.renewed) == (["a", "a"], ["a"])
        await desk.clock.advance(1.0)
        await desk.settled(2)
    assert desk.script.renewed == ["a", "b"]  # once for each entry


async def test_a_stale_connection_is_repeated_at_once(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [MaybeSent("hung up", stale=True)]
    await desk.put(tenure, "a")
    async with desk.working():
        [line] = await desk.settled(1)
    assert line["attempts"] == 2
    assert desk.count("fanout_failed_attempts_total", failure="maybeSent") == 1


async def test_gone_is_delivered(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [NOBODY]
    await desk.put(tenure, "a")
    async with desk.working():
        [line] = await desk.settled(1)
    assert (line["end"], line["status"]) == ("delivered", 404)


async def test_a_refused_entry_is_parked_with_the_reason_and_its_lane_goes_on(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [Answered(503), Answered(413)]
    [first, _] = await desk.put(tenure, "a") + await desk.put(tenure, "b", to="bob")
    async with desk.working():
        await desk.clock.advance(1.0)
        lines = await desk.settled(2)
    [letter] = await DeadLetters(redis_client).oldest(0)
    assert letter.entry.id == first.id
    assert (letter.cause.reason, letter.cause.status, letter.cause.attempts) == ("tooLarge", 413, 2)
    assert desk.count("fanout_dead_total", reason="tooLarge") == 1
    assert desk.count("fanout_failed_attempts_total", failure="refused") == 1
    assert [line["end"] for line in lines] == ["delivered", "dead: tooLarge"]
    assert await desk.left() == 0


async def test_an_entry_too_old_to_be_repeated_is_parked(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [NotSent("no route")]
    await desk.put(tenure, "a", age=3600.0)
    async with desk.working():
        [line] = await desk.settled(1)
    assert (line["end"], line["status"]) == ("dead: tooOld", 0)


async def test_an_expired_message_is_dropped_unsent_and_counted(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "late", ttl=5.0, age=5.1)
    await desk.put(tenure, "in time", ttl=5.0, age=4.0)
    async with desk.working():
        lines = await desk.settled(2)
    assert desk.script.sent == ["in time"]
    assert desk.count("fanout_expired_total") == 1
    assert {line["end"] for line in lines} == {"expired", "delivered"}
    assert await desk.left() == 0


async def test_a_message_can_expire_while_it_waits_to_be_repeated(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [Answered(503, retry_after=10.0)]
    await desk.put_entry(tenure, an_entry(a_message(text="a", ttl=5.0)), age=6.0, seems=0.0)
    async with desk.working():
        await until(lambda: len(desk.lines.of("delivery.attempt")) == 1)
        await desk.clock.advance(10.0)
        [line] = await desk.settled(1)
    assert (line["end"], line["attempts"], desk.script.sent) == ("expired", 1, ["a"])


async def test_the_stores_clock_has_the_last_word_on_what_is_late(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put_entry(tenure, an_entry(a_message(text="a", ttl=500.0)), seems=501.0)
    async with desk.working():
        [line] = await desk.settled(1)
    assert (line["end"], desk.script.sent) == ("delivered", ["a"])


async def test_a_throttled_call_waits_and_is_no_attempt_and_the_others_hear_of_it(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    desk.script.outcomes["a"] = [Answered(429, retry_after=5.0)]
    await desk.put(tenure, "a")
    async with desk.working():
        await desk.clock.advance(4.9)
        assert desk.script.sent == ["a"]
        await desk.clock.advance(0.2)
        [line] = await desk.settled(1)
    assert (line["attempts"], desk.script.sent) == (1, ["a", "a"])
    assert [route_class for route_class, _slowdown in desk.told] == [RouteClass.SEND]
    assert desk.count("fanout_queue_wait_seconds_count") == 1


async def test_a_hub_that_is_held_back_waits_without_an_attempt_while_another_goes_on(
    redis_client: RedisClient,
) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    now = desk.clock.monotonic()
    for number in range(10):
        desk.gate.breakers[RouteClass.SEND].failed("dead", now - 1 + number / 9, f"dead\nu{number}", 0.0)
    desk.gate._settle_limited(now)
    dead = await desk.put(tenure, *"123", to="dead\nu1")
    async with desk.working():
        await desk.put(tenure, "hi", to="quiet\nu1")
        await desk.settled(1)
        assert desk.script.sent == ["hi"]
        assert dead[0].tenure.in_flight == 0
        desk.clock.jump(1.01)
        desk.bell.due.set()
        lines = await desk.settled(4)
    assert desk.script.sent == ["hi", "1", "2", "3"]
    assert {line["attempts"] for line in lines} == {1}


async def test_messages_that_wait_together_go_in_one_call_and_are_settled_one_by_one(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    desk.script.bounds = Bounds()
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "a", "b", "c")
    async with desk.working():
        lines = await desk.settled(3)
    assert desk.script.sent == ["a+b+c"]
    assert [line["id"] for line in lines] == ["id of a", "id of b", "id of c"]
    assert desk.count("fanout_delivered_total", operation="sendToUser") == 3
    assert (await desk.left(), desk.lanes.waiting) == (0, 0)


async def test_a_joined_call_that_is_refused_is_taken_apart_so_that_one_bad_message_harms_no_other(
    redis_client: RedisClient,
) -> None:
    desk = Round(redis_client)
    desk.script.bounds = Bounds()
    desk.script.outcomes = {"a+b": [Answered(400)], "a": [Answered(413)]}
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "a", "b")
    async with desk.working():
        lines = await desk.settled(2)
    assert desk.script.sent == ["a+b", "a", "b"]
    assert sorted(str(line["end"]) for line in lines) == ["dead: tooLarge", "delivered"]


async def test_of_what_collapses_only_the_newest_is_sent_and_the_rest_is_settled(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    for text in ("old", "older", "new"):
        message = msgspec.structs.replace(a_message(text=text), collapse="k")
        await desk.put_entry(tenure, an_entry(message, message_id=text))
    async with desk.working():
        lines = await desk.settled(3)
    assert desk.script.sent == ["new"]
    assert sorted(str(line["end"]) for line in lines) == ["delivered", "superseded", "superseded"]
    assert desk.count("fanout_superseded_total") == 2
    assert (await desk.left(), desk.lanes.waiting, tenure.known) == (0, 0, set())


async def test_an_entry_from_the_stores_future_has_age_zero(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "a", age=-7.0)
    async with desk.working():
        [line] = await desk.settled(1)
    assert line["age"] == 0


async def test_a_group_action_is_carried_like_a_message(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put_entry(tenure, an_entry(a_join()))
    async with desk.working():
        [line] = await desk.settled(1)
    assert line["operation"] == "addUser"
    assert desk.count("fanout_delivered_total", operation="addUser") == 1


async def test_nothing_is_sent_under_a_lease_that_ran_out(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    lost, kept = await taken(redis_client, desk.clock, 0, lifetime=5.0) + await taken(
        redis_client, desk.clock, 1, lifetime=50.0
    )
    await desk.put(lost, "no", "no more")
    await desk.put(kept, "yes", to="bob")
    desk.clock.jump(5.0)
    async with desk.working():
        await desk.settled(1)
    assert desk.script.sent == ["yes"]
    assert desk.lanes.waiting == 0
    assert await desk.left(0) == 2


async def test_a_call_whose_lease_is_lost_meanwhile_is_told_as_not_settled(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "a", "b")

    def lose() -> None:
        desk.lanes.drop(tenure)
        tenure.lose()

    desk.script.meanwhile = lose
    async with desk.working():
        [line] = await desk.settled(1)
    assert line["end"] == "delivered, not settled"
    assert desk.script.sent == ["a"]
    assert await desk.left() == 2
    assert tenure.in_flight == 0


@pytest.mark.parametrize("outcome", [Answered(400), Answered(503), Answered(503, retry_after=1.0)])
async def test_a_call_that_fails_after_its_lease_was_lost_changes_nothing(
    redis_client: RedisClient, outcome: Outcome
) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "a")

    def lose() -> None:
        desk.lanes.drop(tenure)
        tenure.lose()

    desk.script.meanwhile = lose
    desk.script.outcomes["a"] = [outcome]
    async with desk.working():
        await until(lambda: desk.script.sent == ["a"])
        await desk.idle()
        await desk.clock.advance(10.0)
    assert desk.script.sent == ["a"]
    assert (await desk.left(), await DeadLetters(redis_client).oldest(0)) == (1, [])
    assert desk.lines.of("delivery.settled") == []
    assert desk.lanes.next_due() is None


async def test_after_closing_calls_in_flight_end_and_nothing_new_is_taken(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    gate = desk.script.gates["a"] = asyncio.Event()
    await desk.put(tenure, "a", to="alice")
    async with desk.working():
        await until(lambda: desk.couriers.in_flight == 1)
        assert repr(desk.couriers) == "<Couriers 1 in flight>"
        desk.couriers.close()
        assert repr(desk.couriers) == "<Couriers 1 in flight, closed>"
        await desk.put(tenure, "b", to="bob")
        gate.set()
        await desk.settled(1)
        await desk.clock.settle()
    assert desk.script.sent == ["a"]
    assert await desk.left() == 1


async def test_a_call_that_is_given_up_counts_as_ended_and_its_answer_changes_nothing(
    redis_client: RedisClient,
) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    gate = desk.script.gates["a"] = asyncio.Event()
    await desk.put(tenure, "a")
    async with desk.working():
        await until(lambda: desk.couriers.in_flight == 1)
    gate.set()
    await until(lambda: not desk.couriers.in_flight and not desk.script.telling)
    assert (tenure.in_flight, desk.gate.flying(RouteClass.SEND)) == (0, 0)
    assert await desk.left() == 1
    assert desk.count("fanout_delivered_total", operation="sendToUser") == 0


async def test_a_mistake_in_what_follows_a_call_ends_the_couriers_loudly(redis_client: RedisClient) -> None:
    desk = Round(redis_client)
    [tenure] = await taken(redis_client, desk.clock, 0)
    await desk.put(tenure, "a")

    def fail(*_arguments: object) -> None:
        raise RuntimeError("a mistake")

    desk.lanes.advance = fail  # type: ignore[assignment, method-assign] # a mistake in the program
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a mistake"))):
        async with desk.working():
            await asyncio.sleep(5)
