"""The composition root: which object of a process is given which others.

Rules guarded: this is the only file of the service that knows the workers. What a setting means for delivery is decided
here, once: the parts of a worker are given numbers and each other, never settings. A store that may lose what was
accepted is named in the log at start.
"""

import os
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI

from fanout.clock import Clock
from fanout.delivery_log import DeliveryLog, open_delivery_log
from fanout.errors import ConfigurationError, QueueError
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from fanout.log import Logger, get_logger
from fanout.metrics import Gauges, Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.leases import Leases
from fanout.queue.pace_channel import PaceChannel
from fanout.queue.store import prepare
from fanout.queue.stream import Stream
from fanout.queue.traces import Traces, open_traces
from fanout.redis.client import RedisClient
from fanout.redis.durability import Durability, durability_of
from fanout.redis.open import open_redis
from fanout.settings import Settings
from fanout.signalr.client import Client, service_address
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import AccessKeyCredential
from service.admin.dead_letters.route import DeadLetterAdmin
from service.admin.traces import TraceAdmin
from service.app import Role, create_app
from service.http.auth import Guard
from service.http.probes import Probes, Readiness
from service.http.probes import Queue as ProbedQueue
from service.ingress.intake import Intake
from service.ingress.intake import Queue as IntakeQueue
from service.ingress.route import Ingress, limits_of
from service.negotiate.route import Negotiate
from workers.bell import Bell
from workers.coalescer import Bounds
from workers.courier import Couriers
from workers.gate import Gate
from workers.keeper import Keeper
from workers.lanes import Lanes
from workers.reader import Reader, Tools
from workers.retry import RetryPolicy
from workers.route_class import RouteClass
from workers.sender import Sender
from workers.settler import Settler
from workers.trade import Trade
from workers.whisper import Mouth, Whisper
from workers.window import Window
from workers.worker import Crew, Worker

SENDS_PER_UNIT = 200.0  # published capacity of sends to users by REST, per second (contract 4.3)
BROADCASTS = 2.0  # published capacity of broadcasts by REST, per second, at every size
_STORE_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What ingress and worker of one process share."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    redis_client: RedisClient
    stream: Stream
    log: Logger
    traces: Traces | None = None


@asynccontextmanager
async def open_resources(settings: Settings, clock: Clock) -> AsyncIterator[Resources]:
    """Open them for as long as the block lasts.

    A store that does not answer is tried again for some seconds; then, or when it cannot be used, ConfigurationError.
    """
    redis_client = open_redis(settings.redis_url.get_secret_value(), clock, ca=settings.redis_ca)
    durability = durability_of(settings.durability, settings.durability_replicas, settings.durability_timeout)
    try:
        await _prepare(redis_client, settings, durability, clock)
        limits = {"partitions": settings.partitions, "max_depth": settings.max_depth}
        stream = Stream(redis_client, clock, **limits, dedup_window=settings.dedup_window, durability=durability)
        metrics = Metrics()
        metrics.expect_partitions(settings.partitions)
        async with open_traces(
            redis_client, clock, keep=settings.trace_keep, max_per_second=settings.trace_max_per_second
        ) as traces:
            metrics.gauges.watch(trace_events_skipped=lambda: traces.skipped, trace_events_lost=lambda: traces.lost)
            yield Resources(settings, clock, metrics, redis_client, stream, get_logger(), traces)
    finally:
        await redis_client.aclose()


async def _prepare(redis_client: RedisClient, settings: Settings, durability: Durability | None, clock: Clock) -> None:
    deadline = clock.monotonic() + _STORE_WITHIN
    while True:
        try:
            findings = await prepare(redis_client, settings.partitions, durability)
        except QueueError as error:
            if clock.monotonic() > deadline:
                raise ConfigurationError(f"{error} Start Redis there, or name another in FANOUT_REDIS_URL.") from None
            await clock.sleep(0.2)
        else:
            for finding in findings:
                get_logger().warning("store.unsafe", finding=finding.text)
            return


class Queue(ProbedQueue, IntakeQueue, Protocol):
    """The queue as the routes see it."""


def build_app(
    settings: Settings,
    role: Role,
    queue: Queue,
    metrics: Metrics,
    clock: Clock,
    readiness: Readiness,
    *,
    service: ConnectionString | None,
    traces: Traces | None,
    dead_letters: DeadLetters | None,
    delivery_log: DeliveryLog | None,
    page: Path | None,
) -> FastAPI:
    """Give each route what it needs and return the application; a worker has no other routes than the probes."""
    probes = Probes(queue, metrics, readiness, clock)
    if role == "worker":
        return create_app(probes, page=page)
    guard = Guard(settings)
    intake = Intake(queue, metrics, clock, max_expanded=settings.max_expanded, traces=traces, delivery_log=delivery_log)
    return create_app(
        probes,
        ingress=Ingress(settings, intake, guard, metrics, clock, limits_of(settings, service)),
        negotiate=Negotiate(settings, guard, metrics, clock, service),
        traces=TraceAdmin(guard, traces),
        dead_letters=DeadLetterAdmin(settings, dead_letters, guard, metrics, clock),
        page=page,
    )


def open_client(settings: Settings, clock: Clock, service: ConnectionString) -> Client:
    """Build the client of the service to deliver to; nothing is connected yet."""
    address = service_address(
        service, audience=settings.audience, api_version=settings.api_version, application=settings.application
    )
    limits = Limits(
        connections=settings.concurrency,
        connect_timeout=settings.connect_timeout,
        request_timeout=settings.attempt_timeout,
    )
    tls = ssl.create_default_context() if service.server_endpoint.startswith("https") else None
    credential = AccessKeyCredential(service.access_key, clock, lifetime=settings.token_lifetime)
    origin = Origin.parse(service.server_endpoint.removesuffix(address.prefix))
    pool = Pool(origin, limits, clock, tls)
    return Client(pool, credential, address, clock, cache_size=settings.token_cache)


def build_worker(resources: Resources, client: Client) -> Worker:
    """Put the stations of one worker together."""
    settings, clock, metrics, log = resources.settings, resources.clock, resources.metrics, resources.log
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    lanes, bell = Lanes(room=settings.read_ahead), Bell()
    gate = Gate(Window(settings.concurrency), ceilings_of(settings), random.random)
    pace_channel = PaceChannel(resources.redis_client, clock, worker=name)
    settler = Settler(resources.stream, DeadLetters(resources.redis_client), clock, metrics)
    mouth, delivery_log = (
        Mouth(pace_channel, metrics),
        open_delivery_log("delivery.settled", clock, level=settings.log_level, style=settings.log_format),
    )
    trade = Trade(clock, metrics, log, policy_of(settings), random.random, gate, mouth, delivery_log, resources.traces)
    sender = Sender(client, clock, metrics, joined=Bounds() if settings.execute and not settings.application else None)
    couriers = Couriers(lanes, sender, settler, bell, trade)
    reader = Reader(resources.stream, lanes, settler, bell, Tools(clock, metrics, log, room=settings.read_ahead))
    leases = Leases(resources.redis_client, clock, worker=name, lifetime=settings.lease_seconds)
    keeper = Keeper(leases, lanes, clock, log, partitions=settings.partitions)
    metrics.gauges.watch(
        in_flight=lambda: couriers.in_flight,
        waiting=lambda: lanes.waiting,
        lanes=lambda: len(lanes),
        leases=lambda: keeper.held,
    )
    _watch_client(metrics.gauges, client)
    _watch_gate(metrics.gauges, gate)
    crew = Crew(keeper, reader, couriers, settler, trade, Whisper(pace_channel, gate, lanes, bell, clock))
    return Worker(crew, clock, log, grace=settings.shutdown_grace)


def policy_of(settings: Settings) -> RetryPolicy:
    """Give the bounds of retrying."""
    return RetryPolicy(
        base=settings.retry_base,
        cap=settings.retry_cap,
        max_age=settings.retry_max_age,
        max_attempts=settings.retry_max_attempts,
        retry_unknown=settings.outcome_unknown == "retry",
    )


def ceilings_of(settings: Settings) -> dict[RouteClass, float]:
    """Give the configured rates by class, calls per second for all workers; a class without one is left out."""
    send = settings.send_rate or settings.units * SENDS_PER_UNIT
    broadcast = settings.broadcast_rate or (BROADCASTS if settings.units else 0.0)
    wanted = {RouteClass.SEND: send, RouteClass.BROADCAST: broadcast}
    return {route_class: rate for route_class, rate in wanted.items() if rate}


def _watch_client(gauges: Gauges, client: Client) -> None:
    gauges.watch(
        tokens=lambda: client.cache_stats.kept,
        token_cache_hits=lambda: client.cache_stats.hits,
        token_cache_misses=lambda: client.cache_stats.misses,
        connections=lambda: client.pool.stats.idle + client.pool.stats.busy,
        connections_opened=lambda: client.pool.stats.opened,
        connections_reused=lambda: client.pool.stats.reused,
    )


def _watch_gate(gauges: Gauges, gate: Gate) -> None:
    gauges.watch(window=lambda: gate.window.limit)
    gauges.watch_classes(
        rate_limit=lambda number: gate.paces[number].rate,
        rate_share=lambda number: gate.paces[number].share,
        breaker_open=lambda number: float(gate.held_back(RouteClass(number))),
    )
