"""The composition root: which object of a process is given which others.

Rules guarded: this is the only file of the service that knows the workers. What a setting means for delivery is decided
here, once: the parts of a worker are given numbers and each other, never settings. A store that may lose what was
accepted is named in the log at start.
"""

import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from fanout.clock import Clock
from fanout.http1.exchange import Limits
from fanout.instruments import Gauges, open_delivery_log
from fanout.log import Logger, get_audit_logger, get_logger
from fanout.memory import memory_limit, read_ahead, tokens_within
from fanout.metrics import Metrics
from fanout.queue.api_keys import ApiKeys
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.evidence import Evidence
from fanout.queue.keys import Keys
from fanout.queue.leases import Leases
from fanout.queue.pace_channel import PaceChannel
from fanout.queue.pauses import Pauses
from fanout.queue.presence import Presence
from fanout.queue.store import prepare, room_of
from fanout.queue.stream import Stream
from fanout.queue.traces import Traces, open_traces
from fanout.redis.client import RedisClient
from fanout.redis.durability import Durability, durability_of
from fanout.secret import Secret
from fanout.settings import Settings
from fanout.signalr.client import Bounds, Sender
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints
from fanout.signalr.message import RouteClass, label_of
from fanout.tracing import Tracing, calling, header_lines
from service.callers.key_ring import KeyRing
from service.identities import Identities
from service.outgoing import open_client, open_configured_redis
from service.tracing import open_tracing
from workers.bodies import Bodies
from workers.dispatch import Dispatcher
from workers.endpoint import Endpoint, watch_endpoints
from workers.flight import Flights
from workers.gate import Gate, Window
from workers.joining import Joining
from workers.lane import Lane
from workers.ownership import Ownership
from workers.partition import StoreClock
from workers.peers import Peers
from workers.pruner import Pruner
from workers.reader import Reader
from workers.retention import Retention
from workers.schedule import Schedule
from workers.settler import Settler
from workers.sweeps import Sweeps
from workers.telemetry import Telemetry
from workers.tracing import TracedSender, TracedTelemetry
from workers.unclaimed import Unclaimed
from workers.verdicts import RetryPolicy
from workers.worker import Worker

SENDS_PER_UNIT = 200.0  # published capacity of sends to users by REST, per second; docs/sources.md, limits
BROADCASTS = 2.0  # published capacity of broadcasts by REST, per second, at every size


@dataclass(frozen=True, slots=True)
class Resources:
    """What ingress and worker of one process share."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    redis_client: RedisClient
    keys: Keys
    stream: Stream
    dead_letters: DeadLetters
    log: Logger
    traces: Traces | None = None
    durability: Durability | None = None
    redis_password: Secret = field(default_factory=Secret)
    tracing: Tracing | None = None
    key_ring: KeyRing | None = None
    identities: Identities = field(kw_only=True)


@asynccontextmanager
async def open_resources(settings: Settings, clock: Clock) -> AsyncIterator[Resources]:
    """Open them for the duration of the block; nothing is connected yet."""
    keys = Keys(settings.namespace)
    password = Secret()
    identities = Identities(clock)
    redis_client = open_configured_redis(settings, clock, password, identities)
    durability = durability_of(settings.durability, settings.durability_replicas, settings.durability_timeout)
    try:
        stream = Stream(
            redis_client, clock, keys, partitions=settings.partitions, max_bytes=settings.max_bytes,
            dedup_window=settings.dedup_window, durability=durability, origin=f"{secrets.token_hex(5)}-",
        )  # fmt: skip
        dead_letters = DeadLetters(
            redis_client, keys, partitions=settings.partitions, max_bytes=settings.max_dead_bytes
        )
        metrics = Metrics(settings.metrics_hubs, settings.metrics_callers, endpoints=_endpoint_names(settings))
        async with (
            open_traces(
                redis_client, clock, keys, keep=settings.trace_keep, max_per_second=settings.trace_max_per_second
            ) as traces,
            open_tracing(clock, metrics, enabled=settings.otel) as tracing,
        ):
            metrics.gauges.watch(identity_token_seconds=identities.seconds_left)
            metrics.gauges.watch(dead_letter_age_limit_seconds=lambda: settings.max_dead_age or None)
            metrics.gauges.watch(trace_events_skipped=lambda: traces.skipped, trace_events_lost=lambda: traces.lost)
            ring = KeyRing(ApiKeys(redis_client, keys), settings.api_keys_file, clock, get_logger(), get_audit_logger())
            yield Resources(
                settings, clock, metrics, redis_client, keys, stream, dead_letters, get_logger(), traces, durability,
                password, tracing, ring, identities=identities,
            )  # fmt: skip
    finally:
        await redis_client.aclose()


def _endpoint_names(settings: Settings) -> list[tuple[str, str]]:
    """Return the names of what is delivered to, as the queue and as metrics have them."""
    names = [each.name for each in settings.named_connections]
    unnamed = [""] if settings.connection_string.get_secret_value() or not names else []
    return [(name.lower(), label_of(name.lower())) for name in (*unnamed, *names)]


async def prepare_store(resources: Resources, endpoints: Endpoints | None = None) -> None:
    """Check Redis, and log what may lose accepted messages. `endpoints` are delivered to, where that is known.

    Raises QueueError when it is away, and ConfigurationError when it cannot be used as configured.
    """
    settings = resources.settings
    findings = await prepare(
        resources.redis_client,
        settings.partitions,
        resources.durability,
        keys=resources.keys,
        endpoints=list(dict.fromkeys(each.service.identity(settings.application) for each in endpoints or ())),
    )
    for finding in findings:
        resources.log.warning("store.unsafe", finding=finding.text)
    room = await room_of(resources.redis_client, settings.max_bytes, settings.max_dead_bytes)
    resources.stream.limit(room.waiting)
    resources.dead_letters.limit(room.dead)


def open_endpoint(
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    service: ConnectionString,
    on_refused: Callable[[], None] = lambda: None,
    tracing: Tracing | None = None,
    identities: Identities | None = None,
    *,
    name: str = "",
    share: float = 1.0,
) -> Endpoint:
    """Build what a worker needs of one instance of the service; nothing is connected yet.

    `on_refused` is called when the service refuses a token. `name` is that in the keys of the queue, and `share` its
    part of the memory for tokens.
    """
    limits = Limits(
        connections=settings.concurrency,
        connect_timeout=settings.connect_timeout,
        request_timeout=settings.attempt_timeout,
    )
    tokens = max(1, int(share * tokens_within(settings.memory_limit or memory_limit(), settings.token_cache)))
    more_lines = None if tracing is None else _trace_lines
    client = open_client(
        settings, service, clock, limits, cache_size=tokens, on_refused=on_refused, more_lines=more_lines,
        identities=identities,
    )  # fmt: skip
    joined = Bounds() if settings.execute == "true" and not settings.application else None
    gate = Gate(Window(settings.concurrency), ceilings_of(settings), random.random, pause_cap=settings.pause_cap)
    sender = (
        Sender(client, clock, metrics, joined=joined)
        if tracing is None
        else TracedSender(client, clock, metrics, tracing, joined=joined)
    )
    return Endpoint(client, sender, gate, name=name, address=service.server_endpoint)


def open_endpoints(resources: Resources, endpoints: Endpoints, on_refused: Callable[[], None]) -> list[Endpoint]:
    """Build what a worker needs of all endpoints. `on_refused` is called when one of them refuses a token."""
    settings, clock, metrics, tracing = resources.settings, resources.clock, resources.metrics, resources.tracing
    share, identities = 1 / len(endpoints), resources.identities
    return [
        open_endpoint(
            settings, clock, metrics, each.service, on_refused, tracing, identities, name=each.key, share=share
        )
        for each in endpoints
    ]


def _trace_lines() -> bytes:
    return header_lines(calling.get())


def build_worker(resources: Resources, endpoints: Sequence[Endpoint], *, with_ingress: bool = False) -> Worker:
    """Build a worker that delivers to these endpoints, in a process of its own or in that of an ingress."""
    settings, clock, metrics, log = resources.settings, resources.clock, resources.metrics, resources.log
    stream, redis_client, keys = resources.stream, resources.redis_client, resources.keys
    by_name = {endpoint.name: endpoint for endpoint in endpoints}
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    limit = settings.memory_limit or memory_limit()
    room = settings.read_ahead_bytes or read_ahead(limit, with_ingress=with_ingress)
    schedule, store_clock = Schedule(room=room, held_until=partial(_held_until, by_name)), StoreClock()
    settler = Settler(stream, resources.dead_letters, clock, metrics)
    sweeps = Sweeps(Presence(redis_client, keys), schedule, settler, clock, metrics, bound=settings.order_wait)
    pruner = Pruner(stream, clock)
    reader = Reader(stream, schedule, settler, sweeps, pruner, clock, metrics, log, endpoints=by_name)
    bodies = Bodies(stream, clock, room=room)
    leases = Leases(redis_client, clock, keys, worker=name, lifetime=settings.lease_seconds)
    ownership = Ownership(leases, schedule, store_clock, clock, log, partitions=settings.partitions)
    telemetry = _telemetry(resources, store_clock)
    unclaimed = Unclaimed(stream, settler, telemetry, clock, metrics, log, max_age=settings.retry_max_age)
    retention = Retention(resources.dead_letters, clock, metrics, log, max_age=settings.max_dead_age)
    channels = {each: PaceChannel(redis_client, clock, keys, worker=name, endpoint=each) for each in by_name}
    peers = Peers(channels, Pauses(redis_client, keys), endpoints, schedule, clock, log)
    dispatcher = Dispatcher(
        Flights(
            schedule,
            by_name,
            settler,
            bodies,
            sweeps,
            telemetry,
            policy_of(settings),
            clock,
            random.random,
            peers.tell,
        )
    )
    _watch_worker(metrics.gauges, dispatcher, schedule, ownership)
    _watch_bounds(metrics.gauges, pruner, sweeps)
    watch_endpoints(metrics.gauges, endpoints, clock)
    return Worker(
        ownership, reader, dispatcher, settler, sweeps, unclaimed, retention, peers, _joining(resources, endpoints),
        clock, log, grace=settings.shutdown_grace,
    )  # fmt: skip


def _held_until(endpoints: Mapping[str, Endpoint], lane: Lane, now: float) -> float | None:
    return endpoints[lane.flow.endpoint].gate.held_until(lane, now)


def _telemetry(resources: Resources, store_clock: StoreClock) -> Telemetry:
    settings, clock, tracing = resources.settings, resources.clock, resources.tracing
    delivery_log = open_delivery_log("delivery.settled", clock, level=settings.log_level, style=settings.log_format)
    parts = (resources.metrics, resources.log, clock, store_clock, delivery_log, resources.traces)
    return Telemetry(*parts) if tracing is None else TracedTelemetry(tracing, *parts)


def _joining(resources: Resources, endpoints: Sequence[Endpoint]) -> list[Joining]:
    settings = resources.settings
    if settings.execute != "auto" or settings.application:
        return []
    evidence = Evidence(resources.redis_client, resources.keys)
    return [Joining(evidence, each.address, each.sender, resources.clock, resources.log) for each in endpoints]


def policy_of(settings: Settings) -> RetryPolicy:
    """Return the bounds of retrying."""
    return RetryPolicy(
        base=settings.retry_base,
        cap=settings.retry_cap,
        max_age=settings.retry_max_age,
        max_attempts=settings.retry_max_attempts,
        retry_unknown=settings.outcome_unknown == "retry",
        pause_cap=settings.pause_cap,
    )


def ceilings_of(settings: Settings) -> dict[RouteClass, float]:
    """Return the configured rates by class, in calls per second for all workers; only classes that have one."""
    send = settings.send_rate or settings.units * SENDS_PER_UNIT
    broadcast = settings.broadcast_rate or (BROADCASTS if settings.units else 0.0)
    wanted = {RouteClass.SEND: send, RouteClass.BROADCAST: broadcast}
    return {route_class: rate for route_class, rate in wanted.items() if rate}


def _watch_bounds(gauges: Gauges, pruner: Pruner, sweeps: Sweeps) -> None:
    gauges.watch(
        flows_pruned=lambda: pruner.pruned,
        order_markers=lambda: sweeps.markers,
        order_markers_full=lambda: sweeps.filled,
    )


def _watch_worker(gauges: Gauges, dispatcher: Dispatcher, schedule: Schedule, ownership: Ownership) -> None:
    gauges.watch(
        in_flight=lambda: dispatcher.in_flight,
        waiting=lambda: schedule.waiting,
        lanes=lambda: len(schedule),
        leases=lambda: len(ownership),
        leases_gained=lambda: ownership.gained,
        leases_lost=lambda: ownership.lost,
        held_lanes=lambda: ownership.held,
        lanes_leaving=lambda: ownership.lanes_leaving,
    )
