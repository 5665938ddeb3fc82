"""The composition root: builds one process from its settings, runs it, and ends it in order.

Rules guarded: the HTTP server and the worker live side by side in one task group, so a worker that fails takes the
process down with it instead of leaving a server that answers for a dead one; signals are handled here and nowhere else;
shutdown is readiness first, then the worker's drain, then the server, then the clients. The only file of the service
that knows the workers.
"""

import asyncio
import os
import random
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from fanout.clock import Clock
from fanout.errors import ConfigurationError, QueueError
from fanout.log import Logger, get_logger, masked
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.leases import Leases
from fanout.queue.store import open_wire, prepare
from fanout.queue.stream import Stream
from fanout.queue.wire import Wire
from fanout.serving import listen, port_of, serve
from fanout.settings import Settings
from fanout.signalr.client import Client, address_of
from fanout.signalr.connection_string import ConnectionString, with_access_key
from fanout.signalr.http1.exchange import Limits, Origin
from fanout.signalr.http1.pool import Pool
from fanout.signalr.tokens import TokenCache
from service.app import create_app
from service.auth import check_exposure
from service.door import Door, Readiness, Role
from workers.bell import Bell
from workers.courier import Couriers, Trade
from workers.keeper import Keeper
from workers.lanes import Lanes
from workers.reader import Reader, Tools
from workers.retry import RetryPolicy
from workers.sender import Sender
from workers.settler import Settler
from workers.worker import Crew, Worker

_KEEP_ALIVE = 75
_SERVER_GRACE = 5
_STORE_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process is to be: `ready` is called with the port once requests are taken."""

    settings: Settings
    role: Role
    page: Path | None = None
    ready: Callable[[int], None] = lambda _port: None


@dataclass(frozen=True, slots=True)
class Parts:
    """What both sides of a process share."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    wire: Wire
    stream: Stream
    log: Logger


async def run(plan: Plan, clock: Clock, stopping: asyncio.Event) -> None:
    """Run one process until `stopping` is set; an error in any of its tasks ends it and is raised."""
    settings = plan.settings
    if plan.role != "worker":
        check_exposure(settings, settings.host)
    service = _service(settings, needed=plan.role != "ingress")
    listener = listen(settings.host, settings.port, option="--port")
    readiness = Readiness()
    try:
        async with _parts(settings, clock) as parts:
            door = Door(settings, plan.role, parts.stream, parts.metrics, clock, service, readiness, plan.page)
            async with asyncio.TaskGroup() as group:
                ready = _announce(plan, listener, parts.log)
                serving = group.create_task(serve(_uvicorn(door), listener, ready=ready))
                if plan.role != "ingress" and service is not None:
                    await _deliver_until(stopping, parts, service, readiness)
                else:
                    await stopping.wait()
                    readiness.draining = True
                serving.cancel()
    finally:
        listener.close()


def stop_on_signals(stopping: asyncio.Event) -> None:
    """Set `stopping` on SIGTERM or SIGINT; a second one ends the process at once."""

    def heard(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, number)


async def _deliver_until(
    stopping: asyncio.Event, parts: Parts, service: ConnectionString, readiness: Readiness
) -> None:
    client = _client(parts.settings, parts.clock, service)
    worker = build_worker(parts, client)
    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(worker.run())
            waiting = group.create_task(stopping.wait())
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            readiness.draining = True
            worker.stop()
    finally:
        await client.aclose()


@asynccontextmanager
async def _parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    url = settings.redis_url.get_secret_value()
    wire = open_wire(url, clock)
    log = get_logger()
    try:
        await _prepare(wire, url, settings, log, clock)
        limits = {"partitions": settings.partitions, "max_depth": settings.max_depth}
        stream = Stream(wire, clock, **limits, dedup_window=settings.dedup_window)
        metrics = Metrics()
        metrics.expect_partitions(settings.partitions)
        yield Parts(settings, clock, metrics, wire, stream, log)
    finally:
        await wire.aclose()


async def _prepare(wire: Wire, url: str, settings: Settings, log: Logger, clock: Clock) -> None:
    deadline = clock.monotonic() + _STORE_WITHIN
    while True:
        try:
            findings = await prepare(wire, settings.partitions)
        except QueueError as error:
            if clock.monotonic() > deadline:
                raise ConfigurationError(
                    f"{error} (FANOUT_REDIS_URL={masked(url)}). Start Redis there, or name another one."
                ) from None
            await clock.sleep(0.2)
        else:
            for finding in findings:
                log.warning("store.unsafe", finding=finding.text)
            return


def build_worker(parts: Parts, client: Client) -> Worker:
    """Put the stations of one worker together."""
    settings, clock, metrics, log = parts.settings, parts.clock, parts.metrics, parts.log
    lanes, bell = Lanes(), Bell()
    settler = Settler(parts.stream, DeadLetters(parts.wire), clock, metrics)
    trade = Trade(clock, metrics, log, policy=_policy(settings), random=random.random)
    couriers = Couriers(lanes, Sender(client, clock, metrics), settler, bell, trade)
    reader = Reader(parts.stream, lanes, settler, bell, Tools(clock, metrics, log, room=settings.read_ahead))
    leases = Leases(parts.wire, clock, worker=_worker_id(), lifetime=settings.lease_seconds)
    keeper = Keeper(leases, lanes, clock, log, partitions=settings.partitions)
    metrics.readings.watch(
        in_flight=lambda: couriers.in_flight,
        waiting=lambda: lanes.waiting,
        lanes=lambda: len(lanes),
        leases=lambda: keeper.held,
        tokens=lambda: len(client.tokens),
        token_cache_hits=lambda: client.tokens.hits,
        token_cache_misses=lambda: client.tokens.misses,
        connections=lambda: client.pool.stats.idle + client.pool.stats.busy,
        connections_opened=lambda: client.pool.stats.opened,
        connections_reused=lambda: client.pool.stats.reused,
    )
    crew = Crew(keeper, reader, couriers, settler, trade)
    return Worker(crew, clock, log, concurrency=settings.concurrency, grace=settings.shutdown_grace)


def _client(settings: Settings, clock: Clock, service: ConnectionString) -> Client:
    address = address_of(
        service, audience=settings.audience, api_version=settings.api_version, application=settings.application
    )
    limits = Limits(
        connections=settings.concurrency,
        connect_timeout=settings.connect_timeout,
        request_timeout=settings.attempt_timeout,
    )
    tls = ssl.create_default_context() if service.server_endpoint.startswith("https") else None
    tokens = TokenCache(service.access_key, clock, lifetime=settings.token_lifetime, size=settings.token_cache)
    return Client(Pool(Origin.parse(service.server_endpoint), limits, clock, tls), tokens, address)


def _policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(
        base=settings.retry_base,
        cap=settings.retry_cap,
        max_age=settings.retry_max_age,
        retry_unknown=settings.outcome_unknown == "retry",
    )


def _service(settings: Settings, *, needed: bool) -> ConnectionString | None:
    text = settings.connection_string.get_secret_value()
    if text:
        return with_access_key(ConnectionString.parse(text))
    if needed:
        raise ConfigurationError(
            "AzureSignalRConnectionString is not set: name the service to deliver to. "
            "`fanout emulate` prints one for a local emulator."
        )
    return None


def _announce(plan: Plan, listener: socket.socket, log: Logger) -> Callable[[], None]:
    def announce() -> None:
        log.info("service.ready", role=plan.role, host=plan.settings.host, port=port_of(listener))
        plan.ready(port_of(listener))

    return announce


def _uvicorn(door: Door) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(door),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SERVER_GRACE,
    )


def _worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
