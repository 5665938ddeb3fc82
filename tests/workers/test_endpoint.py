"""Two instances of the service in one process: what one of them refuses does not hold back the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.presence import Presence
from fanout.redis.client import RedisClient
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import verify
from fanout.signalr.message import RouteClass
from service.compose import open_endpoint
from tests.builders import a_message, a_submission
from tests.workers.helpers import Lines, a_stream, taken, until, users_in
from tests.workers.scripted_service import ACCEPTED, Received, ScriptedService, scripted_service
from workers.bodies import Bodies
from workers.dispatch import Dispatcher
from workers.endpoint import Endpoint
from workers.flight import Flights
from workers.partition import StoreClock
from workers.pruner import Pruner
from workers.reader import Reader
from workers.schedule import Schedule
from workers.settler import Settler
from workers.sweeps import Sweeps
from workers.telemetry import Telemetry
from workers.verdicts import RetryPolicy

POLICY = RetryPolicy(base=0.01, cap=0.1, max_age=60.0, max_attempts=100, retry_unknown=True)
KEYS = ("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH", "HGFEDCBAZYXWVUTSRQPONMLKJIHGFEDCBA9876543210")
THROTTLED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 200\r\nContent-Length: 0\r\n\r\n"


def an_endpoint(end: ScriptedService, key: str, metrics: Metrics) -> Endpoint:
    service = ConnectionString.parse(f"Endpoint=http://127.0.0.1;Port={end.port};AccessKey={key};Version=1.0;")
    return open_endpoint(load({}), SystemClock(), metrics, service)


@asynccontextmanager
async def delivering(redis_client: RedisClient, endpoint: Endpoint, partition: int) -> AsyncIterator[None]:
    """Deliver what is in one partition to one endpoint."""
    clock, metrics, log, store_clock = SystemClock(), Metrics(), Lines().log, StoreClock()
    stream, schedule = a_stream(redis_client, clock), Schedule(held_until=endpoint.gate.held_until)
    settler = Settler(stream, DeadLetters(redis_client), clock, metrics)
    sweeps = Sweeps(Presence(redis_client), schedule, settler, clock, metrics, bound=1.0)
    reader, bodies = (
        Reader(stream, schedule, settler, sweeps, Pruner(stream, clock), clock, metrics, log),
        Bodies(stream, clock, room=1_000_000),
    )
    telemetry = Telemetry(metrics, log, clock, store_clock)
    dispatcher = Dispatcher(
        Flights(
            schedule,
            {"": endpoint},
            settler,
            bodies,
            sweeps,
            telemetry,
            POLICY,
            clock,
            lambda: 0.5,
            lambda *_slowdown: None,
        )
    )
    [owned] = await taken(redis_client, clock, partition)
    async with asyncio.TaskGroup() as group:
        stations = (dispatcher.run(), settler.run(), reader.run(owned, dispatcher.wake))
        tasks = [group.create_task(station) for station in stations]
        yield
        for task in tasks:
            task.cancel()
    await endpoint.aclose()


async def throttle(_request: Received) -> bytes:
    return THROTTLED


async def accept(_request: Received) -> bytes:
    return ACCEPTED


async def test_two_endpoints_in_one_process_share_nothing(redis_client: RedisClient) -> None:
    metrics = Metrics()
    async with scripted_service(throttle) as limited, scripted_service(accept) as free:
        one, other = an_endpoint(limited, KEYS[0], metrics), an_endpoint(free, KEYS[1], metrics)
        stream = a_stream(redis_client, SystemClock())
        async with delivering(redis_client, one, 0), delivering(redis_client, other, 1):
            await stream.append([a_submission(a_message(users_in(0, 1)[0]))])
            await until(lambda: len(limited.received) == 1)
            await stream.append([a_submission(a_message(user)) for user in users_in(1, 5)])
            await until(lambda: len(free.received) == 5)
            now = SystemClock().monotonic()
            assert one.gate.opens_at(RouteClass.SEND, now) > now + 100
            assert other.gate.opens_at(RouteClass.SEND, now) == now
            assert not other.gate.holds_back
    for end, key in ((limited, KEYS[0]), (free, KEYS[1])):
        for request in end.received:
            token = request.fields["authorization"].removeprefix("Bearer ")
            path = request.target.partition("?")[0]
            assert verify(token, [key], [f"http://127.0.0.1:{end.port}{path}"])
    assert (one.client.cache_stats.kept, other.client.cache_stats.kept) == (1, 5)
    assert "<Endpoint default <Client" in repr(one)
