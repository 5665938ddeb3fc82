"""Puts the stations of one worker together; the only file of the service that knows the workers.

Rule guarded: what a setting means for delivery is decided here, once; the stations are handed numbers and each other,
never settings.
"""

import os
import random
import secrets
import socket
import ssl

from fanout.clock import Clock
from fanout.delivery_log import open_delivery_log
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from fanout.metrics import Gauges
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.leases import Leases
from fanout.queue.pace_channel import PaceChannel
from fanout.settings import Settings
from fanout.signalr.client import Client, service_address
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import AccessKeyCredential
from service.parts import Parts
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
    tokens = AccessKeyCredential(service.access_key, clock, lifetime=settings.token_lifetime, size=settings.token_cache)
    origin = Origin.parse(service.server_endpoint.removesuffix(address.prefix))
    return Client(Pool(origin, limits, clock, tls), tokens, address)


def build_worker(parts: Parts, client: Client) -> Worker:
    """Put the stations of one worker together."""
    settings, clock, metrics, log = parts.settings, parts.clock, parts.metrics, parts.log
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    lanes, bell = Lanes(room=settings.read_ahead), Bell()
    gate = Gate(Window(settings.concurrency), ceilings_of(settings), random.random)
    pace_channel = PaceChannel(parts.redis_client, clock, worker=name)
    settler = Settler(parts.stream, DeadLetters(parts.redis_client), clock, metrics)
    mouth, delivery_log = (
        Mouth(pace_channel, metrics),
        open_delivery_log("delivery.settled", clock, level=settings.log_level, style=settings.log_format),
    )
    trade = Trade(clock, metrics, log, policy_of(settings), random.random, gate, mouth, delivery_log, parts.traces)
    sender = Sender(client, clock, metrics, joined=Bounds() if settings.execute and not settings.application else None)
    couriers = Couriers(lanes, sender, settler, bell, trade)
    reader = Reader(parts.stream, lanes, settler, bell, Tools(clock, metrics, log, room=settings.read_ahead))
    leases = Leases(parts.redis_client, clock, worker=name, lifetime=settings.lease_seconds)
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
        tokens=lambda: client.kept,
        token_cache_hits=lambda: client.tokens.hits,
        token_cache_misses=lambda: client.tokens.misses,
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
