"""The applications of one process: which route is given what, and which listener has which routes.

Rules guarded: one budget bounds the request bodies of all routes, and one guard says who may call. What is for
operators is on a port of its own where there is one, and else asks for a caller that may read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp

from fanout import quota
from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING
from fanout.errors import NotConfiguredError
from fanout.instruments import DeliveryLog
from fanout.log import get_audit_logger
from fanout.memory import body_budget, memory_limit
from fanout.metrics import Metrics
from fanout.queue.allowances import Allowances
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.pauses import Pauses
from fanout.queue.survey import Surveyor
from fanout.queue.traces import Traces
from fanout.secret import Secret
from fanout.settings import Settings
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from fanout.tracing import Tracing
from service.admin.dead_letters.route import DeadLetterAdmin
from service.admin.hubs.route import HubAdmin
from service.admin.overview.looks import Looks
from service.admin.overview.route import OverviewAdmin
from service.admin.pauses import PauseAdmin
from service.admin.settings import ConfigAdmin
from service.admin.traces import TraceAdmin
from service.app import RequestTimes, Role, create_app
from service.callers.key_ring import KeyRing
from service.callers.quotas import Quotas
from service.callers.tokens import KeysFirst, TokenCallers
from service.compat.barrier import Barrier, Waiting
from service.compat.questions import Service
from service.compat.route import Compatible
from service.console import route as console
from service.health import Health
from service.http.audit import Audit
from service.http.probes import Probes, Readiness
from service.http.refusals import Refusals
from service.http.request import ByteBudget, Guard, Hubs
from service.identities import Identities
from service.ingress.intake import Intake
from service.ingress.route import Ingress, limits_of
from service.negotiate.client_tokens import ClientTokens, client_tokens_of
from service.negotiate.joins import Joins
from service.negotiate.route import Negotiate
from service.negotiate.sources import is_believed
from service.negotiate.tokens import UserTokens
from service.openapi import docs
from service.openapi.batch import MESSAGES
from service.startup import Queue
from service.tracing import TracedGuard, TracedQueue, TracedRoute


class Applications(NamedTuple):
    """What one process serves: on its port, and on the port for administration where that is another one."""

    main: FastAPI
    admin: FastAPI | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What the applications of a process are made of; None for what it does without.

    `waiting` is what compatible calls look into before they ask the service, and `asked` the ways to the endpoints by
    name. `second_key`, the other access key of the first endpoint, and `api_key` are those of the settings where not
    given. Without `health` all endpoints count as online.
    """

    settings: Settings
    role: Role
    queue: Queue
    metrics: Metrics
    clock: Clock
    readiness: Readiness
    refusals: Refusals
    endpoints: Endpoints | None = None
    health: Health | None = None
    traces: Traces | None = None
    dead_letters: DeadLetters | None = None
    pauses: Pauses | None = None
    surveyor: Surveyor | None = None
    delivery_log: DeliveryLog | None = None
    page: Path | None = None
    waiting: Waiting | None = None
    asked: Mapping[str, Service] = field(default_factory=dict)
    second_key: Secret | None = None
    api_key: Secret | None = None
    tracing: Tracing | None = None
    keys: KeyRing | None = None
    identities: Identities | None = None
    tokens: TokenCallers | None = None
    allowances: Allowances | None = None
    user_tokens: UserTokens | None = None

    def build(self) -> Applications:
        """Give each listener its routes."""
        probes = Probes(self.queue, self.metrics, self.readiness, self.clock, self.pauses)
        guard = (Guard if self.tracing is None else TracedGuard)(
            self.settings, self.keys, self.api_key, self.tokens
        )  # fmt: skip
        times = RequestTimes(self.metrics, self.clock)
        self.readiness.watch("callers", guard.warning)
        self.metrics.gauges.watch(
            api_keys_age_seconds=self.keys.age if self.keys is not None else lambda: 0.0,
            issuer_keys_age_seconds=self.tokens.age if self.tokens is not None else lambda: 0.0,
        )
        if self.role == "worker":  # it has no callers, so its port is for administration
            routers = [probes.router(), probes.metrics_router()]
            return Applications(_documented(create_app(self.refusals, times, routers)))
        return self._with_callers(guard, probes, times, self._routes(guard))

    def _with_callers(self, guard: Guard, probes: Probes, times: RequestTimes, routes: "_Routes") -> Applications:
        def served(routers: Sequence[APIRouter], prefix: str = "", page: Path | None = None) -> FastAPI:
            ingress, compatible = routes.ingress, routes.compatible
            return self._surrounded(
                create_app(
                    self.refusals, times, routers, ingress=ingress, compatible=compatible, page=page, prefix=prefix
                )
            )

        prefix = self.settings.path_prefix
        if not self.settings.admin_port:
            guarded = [Depends(guard.admit_reader)]
            routers = [probes.router(), probes.metrics_router(guarded), *routes.admin, routes.negotiate]
            return Applications(_documented(served(routers, prefix, self.page), guarded))
        routers = [probes.router(), probes.metrics_router(), *routes.admin]
        everything = served([*routers, routes.negotiate])  # described, and nothing listens for it
        shared = [] if self.page is None else [console.router()]  # the page uses files of the console
        return Applications(
            served([probes.router(), *shared, routes.negotiate], prefix, self.page),
            _documented(self._surrounded(create_app(self.refusals, times, routers)), described=everything),
        )

    def _surrounded(self, app: FastAPI) -> FastAPI:
        # The routes that ask who calls have the keys of issuers fetched first, and what they did goes to the audit log.
        peers = self.settings.negotiate_peers
        app.add_middleware(
            Audit, log=get_audit_logger(), clock=self.clock, believes=lambda peer: is_believed(peers, peer)
        )
        if self.tokens is not None:
            app.add_middleware(KeysFirst, tokens=self.tokens)
        return app

    def _routes(self, guard: Guard) -> "_Routes":
        """Make the routes of those who call and of those who operate."""
        settings, metrics, clock, endpoints = self.settings, self.metrics, self.clock, self.endpoints
        if endpoints is None:
            self.readiness.add("service", _no_service)
        hubs, budget = Hubs(settings), self._budget()
        queue = self.queue if self.tracing is None else TracedQueue(self.queue)
        legs = ("",) if endpoints is None else endpoints.keys
        intake = Intake(queue, metrics, clock, traces=self.traces, delivery_log=self.delivery_log, endpoints=legs)
        quotas = Quotas(
            self.allowances, clock, metrics.by_caller, quota.limits_of(settings.caller_rate, settings.caller_bytes)
        )
        limits = limits_of(settings, endpoints)
        batches = Ingress(settings, hubs, intake, guard, metrics, clock, limits, budget, quotas)
        looks = self._looks()
        hub_admin = HubAdmin(
            settings, hubs, guard, clock, budget, intake=intake, asked=self.asked, endpoints=legs, looks=looks
        )
        return _Routes(
            self._traced(batches if self.tokens is None else KeysFirst(batches, self.tokens), MESSAGES),
            self._traced(self._compatible(hubs, intake, budget, quotas), "/api/hubs"),
            self._negotiate(hubs, guard, intake, budget),
            (
                TraceAdmin(guard, self.traces).router(),
                DeadLetterAdmin(settings, self.dead_letters, guard, metrics, clock, budget).router(),
                PauseAdmin(settings, self.pauses, guard, clock, budget, looks, legs).router(),
                OverviewAdmin(guard, looks, legs).router(),
                ConfigAdmin(settings, guard).router(),
                console.router(),
                hub_admin.router(),
            ),
        )

    def _compatible(self, hubs: Hubs, intake: Intake, budget: ByteBudget, quotas: Quotas) -> Compatible:
        settings, clock = self.settings, self.clock
        second_key = self.second_key or Secret(settings.second_access_key.get_secret_value())
        barrier = None
        if self.waiting is not None:
            barrier = Barrier(self.waiting, clock, partitions=settings.partitions, within=settings.compat_wait)
        return Compatible(
            settings, hubs, intake, self.metrics, clock, budget,
            endpoints=self.endpoints, second_key=second_key, asked=self.asked, barrier=barrier, quotas=quotas,
            is_online=self._is_online,
        )  # fmt: skip

    def _is_online(self, endpoint: ServiceEndpoint) -> bool:
        return self.health is None or self.health.is_online(endpoint)

    def _looks(self) -> Looks | None:
        if self.surveyor is None or self.pauses is None:
            return None
        return Looks(self.surveyor, self.pauses, self.queue.memory_ratio, self.clock)

    def _negotiate(self, hubs: Hubs, guard: Guard, intake: Intake, budget: ByteBudget) -> APIRouter:
        if self.user_tokens is not None:
            self.readiness.watch("negotiate", self.user_tokens.warning)
        return Negotiate(
            self.settings,
            hubs,
            guard,
            self.metrics,
            self.clock,
            self.endpoints,
            budget,
            Joins(intake, budget),
            self.user_tokens,
            self._client_tokens(),
            self._is_online,
        ).router()

    def _client_tokens(self) -> dict[str, ClientTokens]:
        identities = self.identities or Identities(self.clock)
        return {
            each.key: client_tokens_of(each.service, self.asked[each.key], self.clock, identities)
            for each in self.endpoints or ()
            if each.key in self.asked
        }

    def _traced(self, route: ASGIApp, path: str) -> ASGIApp:
        return route if self.tracing is None else TracedRoute(route, self.tracing, path)

    def _budget(self) -> ByteBudget:
        settings = self.settings
        limit = settings.memory_limit or memory_limit()
        budget = ByteBudget(settings.max_bodies or body_budget(limit, with_worker=self.role == "all"))
        self.metrics.gauges.watch(body_bytes=lambda: budget.held, body_bytes_limit=lambda: budget.limit)
        return budget


class _Routes(NamedTuple):
    """The routes of one process that are not for those who watch it."""

    ingress: ASGIApp
    compatible: ASGIApp
    negotiate: APIRouter
    admin: Sequence[APIRouter]


def _documented(app: FastAPI, guarded: Sequence[Any] = (), described: FastAPI | None = None) -> FastAPI:
    # Adds /docs and the OpenAPI document: the application's own, or that of another one.
    app.include_router(docs.router((described or app).openapi, guarded))
    return app


async def _no_service() -> None:
    raise NotConfiguredError(f"{CONNECTION_STRING} is not set, so clients cannot negotiate.")
