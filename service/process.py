"""Runs one process: starts it, and ends it in order.

Rules guarded: the HTTP server and the worker run in one task group, so a worker that fails ends the process instead of
leaving a server that answers for a dead worker. The server answers the probes while Redis is still away. Shutdown is
readiness first, then the worker's drain, then the server, then the clients.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fanout import __version__
from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING, variable_of
from fanout.instruments import open_delivery_log
from fanout.log import Logger
from fanout.queue.allowances import Allowances
from fanout.queue.pauses import Pauses
from fanout.queue.survey import Surveyor
from fanout.serving import listen, port_of
from fanout.settings import Settings
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from service.app import Role
from service.applications import Parts
from service.callers.key_ring import KeyRing
from service.callers.tokens import open_tokens
from service.compat.questions import Service, open_services
from service.compose import Resources, build_worker, open_endpoints, open_resources, prepare_store
from service.doctor.probe import probe
from service.health import Health
from service.http.connection import Timeouts
from service.http.probes import PROBE_PATHS, Readiness
from service.http.refusals import Refusals
from service.http.server import Server, ServerLimits
from service.identities import redis_identity
from service.measurements import measure_loop_lag
from service.negotiate.tokens import open_user_tokens
from service.outgoing import origin_of, proxy_to
from service.rotation import Rotation, rotation_of
from service.startup import CheckedQueue, Queue, check_settings, open_queue, watch_access


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process is to be. `ready` is called with the port once the process accepts traffic."""

    settings: Settings
    role: Role
    page: Path | None = None
    ready: Callable[[int], None] = lambda _port: None

    @property
    def lame_duck(self) -> float:
        """Seconds between the signal to stop and the end of serving; nobody sends requests to a worker."""
        return 0.0 if self.role == "worker" else self.settings.lame_duck


async def run(plan: Plan, clock: Clock, stopping: asyncio.Event) -> None:
    """Run one process until `stopping` is set; an error in any of its tasks ends it and is raised."""
    settings = plan.settings
    endpoints = check_settings(settings, plan.role)
    with _listening(plan) as listeners:
        async with (
            open_resources(settings, clock) as resources,
            open_services(endpoints, settings, clock, resources.identities) as asked,
        ):
            for correction in settings.corrections:
                resources.log.warning("settings.corrected", correction=correction)
            readiness, queue = Readiness(), CheckedQueue(resources.stream)
            readiness.watch("identity", resources.identities.warning)
            rotation = rotation_of(resources, endpoints)
            health = None if endpoints is None else Health(endpoints, asked, clock, resources.log)
            parts = _parts(plan, resources, queue, readiness, endpoints, asked, health, rotation)
            servers = _servers(parts, listeners)

            async with asyncio.TaskGroup() as group:
                works = [*(server.serve() for server in servers), *_background(parts, resources, rotation)]
                tasks = [group.create_task(work) for work in works]
                await asyncio.sleep(0)  # the servers listen before Redis is asked
                starting = open_queue(queue, lambda: prepare_store(resources, endpoints), clock, resources.log)
                if await _finishes(starting, before=stopping):
                    _announce(plan, listeners, resources.log)
                    retiring = group.create_task(_retire(stopping, servers, readiness, clock, plan.lame_duck))
                    await _work_until(retiring, plan, resources, endpoints, readiness, rotation.files.look)
                readiness.draining = True
                for task in tasks:
                    task.cancel()


def _background(parts: Parts, resources: Resources, rotation: Rotation) -> Sequence[Coroutine[Any, Any, None]]:
    if resources.settings.redis_auth == "entra":
        identity = redis_identity(resources.settings).text
        resources.log.info("identity.used", identity=identity, endpoint="Redis")
    works = [_watch(resources, parts.readiness, each, rotation.renewed[each.key]) for each in parts.endpoints or ()]
    works += [] if parts.health is None else [parts.health.run()]
    works += [resources.stream.run(), rotation.files.run(), resources.identities.run(), _read_keys(parts)]
    return [*works, measure_loop_lag(resources.metrics.loop_lag_seconds, resources.clock)]


@contextmanager
def _listening(plan: Plan) -> Iterator[list[socket.socket]]:
    # The sockets: of the port, and of the port for administration where an ingress has one.
    settings = plan.settings
    only_admin = plan.role == "worker" and bool(settings.admin_port)
    ports = [(settings.admin_port if only_admin else settings.port, "--port")]
    if settings.admin_port and not only_admin:
        ports.append((settings.admin_port, variable_of("admin_port")))
    with ExitStack() as stack:
        yield [stack.enter_context(closing(listen(settings.host, port, option=option))) for port, option in ports]


def _servers(parts: Parts, listeners: Sequence[socket.socket]) -> list[Server]:
    settings, clock, metrics = parts.settings, parts.clock, parts.metrics
    timeouts = Timeouts(head=settings.body_timeout, idle=settings.keep_alive, unread=settings.body_timeout)
    limits = ServerLimits(settings.max_connections, timeouts, probes=PROBE_PATHS)
    served = [app for app in parts.build() if app is not None]
    servers = [
        Server(app, listener, limits, clock, parts.refusals.note_connection)
        for app, listener in zip(served, listeners, strict=True)
    ]
    metrics.gauges.watch(
        http_connections=lambda: sum(server.connections for server in servers),
        http_connections_waiting=lambda: sum(server.waiting for server in servers),
    )
    return servers


def _parts(
    plan: Plan,
    resources: Resources,
    queue: Queue,
    readiness: Readiness,
    endpoints: Endpoints | None,
    asked: Mapping[str, Service],
    health: Health | None,
    rotation: Rotation,
) -> Parts:
    settings, clock, metrics = resources.settings, resources.clock, resources.metrics
    if health is not None:
        readiness.watch("endpoints", health.warning)
        metrics.gauges.watch(endpoint_online=health.by_label)
    return Parts(
        settings,
        plan.role,
        queue,
        metrics,
        clock,
        readiness,
        Refusals(metrics, clock),
        endpoints=endpoints,
        health=health,
        traces=resources.traces,
        dead_letters=resources.dead_letters,
        pauses=Pauses(resources.redis_client, resources.keys),
        surveyor=Surveyor(resources.redis_client, clock, resources.keys, partitions=settings.partitions),
        delivery_log=open_delivery_log("ingress.accepted", clock, level=settings.log_level, style=settings.log_format),
        page=plan.page,
        waiting=resources.stream,
        asked=asked,
        second_key=rotation.second_key,
        api_key=rotation.api_key,
        tracing=resources.tracing,
        keys=_key_ring(plan, resources),
        identities=resources.identities,
        allowances=Allowances(resources.redis_client, resources.keys),
        tokens=None if plan.role == "worker" else open_tokens(settings, clock, resources.log),
        user_tokens=None if plan.role == "worker" else open_user_tokens(settings, clock, resources.log),
    )


async def _read_keys(parts: Parts) -> None:
    # What callers and clients are recognised by: keys from Redis and a file, and those of issuers of tokens.
    async with asyncio.TaskGroup() as group:
        for source in (parts.keys, parts.tokens, parts.user_tokens):
            if source is not None:
                group.create_task(source.run())


def _key_ring(plan: Plan, resources: Resources) -> KeyRing | None:
    # The keys of callers, where there are callers that have keys.
    return None if plan.role == "worker" or plan.settings.auth == "none" else resources.key_ring


async def _finishes(work: Coroutine[Any, Any, None], *, before: asyncio.Event) -> bool:
    # Whether `work` ends before the event is set. If it does not, it is cancelled.
    async with asyncio.TaskGroup() as group:
        working, waiting = group.create_task(work), group.create_task(before.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finished = working.done()
        working.cancel()
        waiting.cancel()
    return finished


async def _watch(resources: Resources, readiness: Readiness, endpoint: ServiceEndpoint, renewed: asyncio.Event) -> None:
    settings, clock, service = resources.settings, resources.clock, endpoint.service
    if proxy := proxy_to(settings, origin_of(service)):
        resources.log.info("service.proxy", proxy=str(proxy), endpoint=service.server_endpoint)
    if service.entra is not None:
        resources.log.info("identity.used", identity=service.entra.text, endpoint=service.server_endpoint)
    variable = endpoint.variable or CONNECTION_STRING
    ask = partial(probe, service, settings, clock, resources.identities, variable=variable)
    await watch_access(ask, readiness, resources.metrics, clock, resources.log, renewed, endpoint.name)


async def _retire(
    stopping: asyncio.Event, servers: Sequence[Server], readiness: Readiness, clock: Clock, lame_duck: float
) -> None:
    # Waits until the process is to end, and serves on until callers have turned to another one.
    await stopping.wait()
    readiness.draining = True
    for server in servers:
        server.retire()
    if not lame_duck:  # a prober may use its connection until the drain is over
        return
    await clock.sleep(lame_duck)
    for server in servers:
        server.close_idle()


async def _work_until(
    retiring: "asyncio.Task[None]",
    plan: Plan,
    resources: Resources,
    endpoints: Endpoints | None,
    readiness: Readiness,
    on_refused: Callable[[], None],
) -> None:
    if plan.role == "ingress" or endpoints is None:
        await retiring
        return
    opened = open_endpoints(resources, endpoints, on_refused)
    worker = build_worker(resources, opened, with_ingress=plan.role == "all")
    readiness.watch("worker", worker.warning)
    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(worker.run())
            await asyncio.wait({working, retiring}, return_when=asyncio.FIRST_COMPLETED)
            retiring.cancel()
            worker.stop()
    finally:
        for endpoint in opened:
            await endpoint.aclose()


def _announce(plan: Plan, listeners: Sequence[socket.socket], log: Logger) -> None:
    ports = [port_of(listener) for listener in listeners]
    admin = {"admin_port": ports[1]} if len(ports) > 1 else {}
    log.info("service.ready", role=plan.role, host=plan.settings.host, port=ports[0], version=__version__, **admin)
    plan.ready(ports[0])
