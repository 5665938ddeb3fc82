"""The composition root: builds one process from its settings, runs it, and ends it in order.

Rules guarded: the HTTP server and the worker live side by side in one task group, so a worker that fails takes the
process down with it instead of leaving a server that answers for a dead one; signals are handled here and nowhere else;
shutdown is readiness first, then the worker's drain, then the server, then the clients.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from fanout.clock import Clock
from fanout.delivery_log import open_delivery_log
from fanout.errors import ConfigurationError
from fanout.log import Logger
from fanout.queue.dead_letters import DeadLetters
from fanout.serving import listen, port_of, serve
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString, require_access_key
from service.app import Role
from service.compose import Resources, build_app, build_worker, open_endpoint, open_resources
from service.http.auth import check_exposure
from service.http.connection import bounded_connection
from service.http.probes import Readiness

_KEEP_ALIVE = 75
_SERVER_GRACE = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process is to be: `ready` is called with the port once requests are taken."""

    settings: Settings
    role: Role
    page: Path | None = None
    ready: Callable[[int], None] = lambda _port: None


async def run(plan: Plan, clock: Clock, stopping: asyncio.Event) -> None:
    """Run one process until `stopping` is set; an error in any of its tasks ends it and is raised."""
    settings = plan.settings
    if plan.role != "worker":
        check_exposure(settings, settings.host)
    service = _service(settings, needed=plan.role != "ingress")
    listener = listen(settings.host, settings.port, option="--port")
    try:
        async with open_resources(settings, clock, service) as resources:
            readiness = Readiness()
            app = _app(plan, resources, readiness, service)
            async with asyncio.TaskGroup() as group:
                ready = _announce(plan, listener, resources.log)
                serving = group.create_task(serve(_uvicorn(app, settings), listener, ready=ready))
                if plan.role != "ingress" and service is not None:
                    await _deliver_until(stopping, resources, service, readiness)
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


def _app(plan: Plan, resources: Resources, readiness: Readiness, service: ConnectionString | None) -> FastAPI:
    settings, clock = resources.settings, resources.clock
    return build_app(
        settings,
        plan.role,
        resources.stream,
        resources.metrics,
        clock,
        readiness,
        service=service,
        traces=resources.traces,
        dead_letters=DeadLetters(resources.redis_client, resources.keys),
        delivery_log=open_delivery_log("ingress.accepted", clock, level=settings.log_level, style=settings.log_format),
        page=plan.page,
    )


async def _deliver_until(
    stopping: asyncio.Event, resources: Resources, service: ConnectionString, readiness: Readiness
) -> None:
    endpoint = open_endpoint(resources.settings, resources.clock, resources.metrics, service)
    worker = build_worker(resources, endpoint)
    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(worker.run())
            waiting = group.create_task(stopping.wait())
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            readiness.draining = True
            worker.stop()
    finally:
        await endpoint.aclose()


def _service(settings: Settings, *, needed: bool) -> ConnectionString | None:
    text = settings.connection_string.get_secret_value()
    if text:
        return require_access_key(ConnectionString.parse(text))
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


def _uvicorn(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=bounded_connection(settings.body_timeout),
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SERVER_GRACE,
    )
