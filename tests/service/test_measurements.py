"""What a process measures about Redis, the queue and itself."""

import asyncio
from dataclasses import dataclass

from msgspec import structs

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.instruments import Histogram
from fanout.metrics import Metrics
from fanout.queue.entry import Depth, Submission
from fanout.queue.pauses import ALL, Pauses, of_class, of_hub
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from fanout.signalr.message import RouteClass, Scope
from service.measurements import QueueReadings, measure_loop_lag
from tests.builders import a_message, an_entry
from tests.fakes import FakeClock


@dataclass
class Measured:
    """A queue that answers after `latency` seconds, or fails."""

    clock: FakeClock
    latency: float = 0.25
    fails: bool = False
    asked: int = 0

    async def depth(self) -> Depth:
        self.asked += 1
        self.clock.jump(self.latency)
        if self.fails:
            raise QueueError("Redis is away.")
        return Depth((3, 0), {Scope.USER: 12.5}, 7, unowned=1, dead_age=86.5)

    async def memory_ratio(self) -> float | None:
        return 0.5


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_readings_are_exported_and_taken_once_a_second() -> None:
    clock, metrics = FakeClock(), Metrics()
    queue = Measured(clock)
    readings = QueueReadings(queue, metrics, clock)
    for _ in range(3):
        await readings.refresh()
    assert queue.asked == 1
    assert (sample(metrics, "fanout_redis_up"), sample(metrics, "fanout_redis_latency_seconds")) == (1, 0.25)
    assert sample(metrics, "fanout_redis_memory_ratio") == 0.5
    assert sample(metrics, "fanout_queue_depth", partition="0") == 3
    age = sample(metrics, "fanout_oldest_age_seconds", destination="user")
    assert (age, sample(metrics, "fanout_dead_letters")) == (12.5, 7)
    assert sample(metrics, "fanout_oldest_dead_letter_age_seconds") == 86.5
    assert [sample(metrics, "fanout_partitions", state=state) for state in ("owned", "unowned")] == [1, 1]
    clock.jump(1.1)
    await readings.refresh()
    assert queue.asked == 2


async def test_when_redis_is_away_nothing_old_is_shown() -> None:
    clock, metrics = FakeClock(), Metrics()
    queue = Measured(clock)
    readings = QueueReadings(queue, metrics, clock)
    await readings.refresh()
    clock.jump(2)
    queue.fails = True
    await readings.refresh()
    assert sample(metrics, "fanout_redis_up") == 0
    text = metrics.render().decode()
    for name in (
        "fanout_queue_depth",
        "fanout_oldest_age_seconds",
        "fanout_dead_letters",
        "fanout_oldest_dead_letter_age_seconds",
        "fanout_redis_latency",
        "fanout_partitions",
        "fanout_pauses",
        "fanout_unknown_endpoint_entries",
    ):
        assert name not in text


async def test_pauses_are_counted_by_who_asked(redis_client: RedisClient) -> None:
    clock, metrics, pauses = FakeClock(), Metrics(), Pauses(redis_client)
    await pauses.put(of_hub("chat"), seconds=None, by="operator at 127.0.0.1", cause="an update")
    await pauses.put(of_class(RouteClass.SEND), seconds=60, by="operator at 127.0.0.1", cause="")
    await pauses.keep(RouteClass.SEND, seconds=30, by="worker-a", cause="429")
    readings = QueueReadings(Measured(clock), metrics, clock, pauses)
    await readings.refresh()
    assert [sample(metrics, "fanout_pauses", cause=cause) for cause in ("operator", "service")] == [2, 1]
    await pauses.lift(ALL)
    clock.jump(1.1)
    await readings.refresh()
    assert [sample(metrics, "fanout_pauses", cause=cause) for cause in ("operator", "service")] == [0, 0]


async def test_what_waits_for_endpoints_that_are_not_configured_is_one_number(redis_client: RedisClient) -> None:
    stream = Stream(redis_client, SystemClock(), partitions=2, max_bytes=1 << 30, dedup_window=1)
    for endpoint, count in (("", 1), ("east", 20), ("west", 300), ("gone", 4000)):
        entry = structs.replace(an_entry(a_message("ann")), endpoint=endpoint)
        await stream.append([Submission(entry)] * count)
    seen = []
    for names in ([""], ["", "east", "west", "gone"], ["east"]):
        metrics = Metrics(endpoints=[(name, name or "default") for name in names])
        await QueueReadings(stream, metrics, FakeClock()).refresh()
        seen.append(sample(metrics, "fanout_unknown_endpoint_entries"))
    assert seen == [4320, 0, 4301]


async def test_the_memory_of_a_real_redis_is_a_share(redis_client: RedisClient) -> None:
    stream = Stream(redis_client, SystemClock(), partitions=2, max_bytes=1 << 30, dedup_window=1)
    machine = await stream.memory_ratio()
    assert machine is not None
    assert 0 < machine < 1


async def test_a_loop_that_is_busy_is_late() -> None:
    clock, histogram = FakeClock(), Histogram((0.01, 1))
    async with asyncio.TaskGroup() as group:
        measuring = group.create_task(measure_loop_lag(histogram, clock))
        await clock.advance(0.55)
        assert histogram.counts == [5, 0, 0]
        await clock.settle()
        clock.jump(3)  # something else holds the loop
        await clock.advance(0.1)
        assert histogram.counts[2] == 1
        measuring.cancel()
