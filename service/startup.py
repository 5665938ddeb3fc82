"""What a process checks before it serves, and what it waits for while it starts.

Rules guarded: a setting that cannot work is reported before anything is opened, every finding at once. A Redis that is
away is waited for: the process lives, is not ready and says why. Nothing is stored before Redis has been checked. The
service is asked whether it accepts the key, because a wrong key would otherwise be noticed only in the dead letters;
until it does the process says so loudly, and still accepts messages, which are safe in the queue.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from pydantic import SecretStr

from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING, variable_of
from fanout.environment_endpoints import NamedConnection
from fanout.errors import ConfigurationError, QueueError
from fanout.log import Logger
from fanout.loopback import is_loopback
from fanout.metrics import Metrics
from fanout.queue.entry import Depth, Receipt, Submission
from fanout.queue.keys import Keys
from fanout.queue.store import Finding, inspect
from fanout.redis.durability import durability_of
from fanout.settings import Settings
from fanout.settings_rules import weights_of
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from service.app import Role
from service.callers.key_ring import read_file
from service.callers.tokens import check_tokens
from service.doctor.probe import Access, ProbeResult, probe
from service.http.probes import Queue as ProbedQueue
from service.http.probes import Readiness
from service.identities import Identities, check_identity
from service.ingress.intake import Queue as IntakeQueue
from service.negotiate.tokens import check_user_tokens
from service.outgoing import check_redis_url, check_way, open_configured_redis

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LOG_INTERVAL = 10.0
_PROBE_INTERVAL = 60.0
_CONNECT_TIMEOUT = 5.0
_NOT_CHECKED = "Redis has not been checked yet."

_MAKE_A_KEY = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


def check_settings(settings: Settings, role: Role) -> Endpoints | None:
    """Return what is delivered to; ConfigurationError with everything in the settings that cannot work."""
    endpoints, findings = examine_settings(settings, role)
    if findings:
        raise ConfigurationError(*findings)
    return endpoints


def examine_settings(settings: Settings, role: Role) -> tuple[Endpoints | None, list[str]]:
    """Return what is delivered to, where it can be read, and everything in the settings that cannot work."""
    found: list[Endpoints | None] = []
    findings: list[str] = []
    checks: Sequence[Callable[[], object]] = (
        lambda: found.append(endpoints_of(settings, needed=role != "ingress")),
        lambda: _check_ways(settings, found[0] if found else None),
        lambda: check_redis_url(settings),
        lambda: None if role == "worker" else check_exposure(settings, settings.host),
        lambda: None if role == "worker" else check_user_tokens(settings),
    )
    for check in checks:
        try:
            check()
        except ConfigurationError as error:
            findings += error.findings
    return (found[0] if found else None), findings


def _check_ways(settings: Settings, endpoints: Endpoints | None) -> None:
    for endpoint in endpoints or ():
        check_way(settings, endpoint.service)


def endpoints_of(settings: Settings, *, needed: bool) -> Endpoints | None:
    """Return what is configured; ConfigurationError where it cannot be used, or there is none and one is needed."""
    endpoints: list[ServiceEndpoint] = []
    findings: list[str] = []
    text = settings.connection_string.get_secret_value()
    unnamed = [NamedConnection(CONNECTION_STRING, "", "Primary", SecretStr(text))] if text else []
    for each in (*unnamed, *settings.named_connections):
        try:
            service = ConnectionString.parse(each.text.get_secret_value())
            check_identity(service)
        except ConfigurationError as error:
            findings += [f"{each.variable}: {finding}" if each.name else finding for finding in error.findings]
        else:
            endpoints.append(ServiceEndpoint(each.name, service, each.type, each.variable))
    if findings:
        raise ConfigurationError(*findings)
    if needed and not endpoints:
        raise ConfigurationError(
            f"{CONNECTION_STRING} is not set: name the service to deliver to. "
            "`fanout emulate` prints one for a local emulator."
        )
    weighted = _weighted(endpoints, settings)
    return Endpoints.of(weighted) if weighted else None


def _weighted(endpoints: Sequence[ServiceEndpoint], settings: Settings) -> Sequence[ServiceEndpoint]:
    weights = weights_of(settings.negotiate_weights)
    labels = {endpoint.label for endpoint in endpoints}
    if unknown := sorted(weights.keys() - labels):
        raise ConfigurationError(
            f"{variable_of('negotiate_weights')} names {', '.join(unknown)}, and there is no such endpoint: "
            f"{', '.join(sorted(labels)) or 'none'} is configured."
        )
    return [replace(endpoint, weight=weights.get(endpoint.label, 1.0)) for endpoint in endpoints]


async def check_connections(settings: Settings, endpoints: Endpoints | None, clock: Clock) -> list[Finding]:
    """Return what is wrong with Redis and the service. It changes nothing in either."""
    findings = await _redis_findings(settings, clock)
    for endpoint in endpoints or ():
        result = await probe(endpoint.service, settings, clock, variable=endpoint.variable or CONNECTION_STRING)
        if result.access is not Access.GRANTED:
            findings.append(Finding(result.detail, fatal=True))
    return findings


async def _redis_findings(settings: Settings, clock: Clock) -> list[Finding]:
    try:
        identities = Identities(clock)
        redis_client = open_configured_redis(settings, clock, identities=identities)
    except ConfigurationError:
        return []  # a finding about the settings
    durability = durability_of(settings.durability, settings.durability_replicas, settings.durability_timeout)
    try:
        await identities.prepare()
        async with clock.timeout(_CONNECT_TIMEOUT):
            return await inspect(redis_client, settings.partitions, durability, keys=Keys(settings.namespace))
    except QueueError as error:
        return [Finding(str(error), fatal=True)]
    except TimeoutError:
        return [Finding(f"Redis did not answer within {_CONNECT_TIMEOUT:g} s.", fatal=True)]
    finally:
        await redis_client.aclose()


class Queue(ProbedQueue, IntakeQueue, Protocol):
    """The queue as the routes use it."""


class CheckedQueue:
    """The queue, closed until Redis has been checked; until then each call raises QueueError with the reason.

    Once it is open, entries are stored by the queue itself, so that no message pays for what happens at the start.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._reason = _NOT_CHECKED
        self.append: Callable[[Sequence[Submission]], Coroutine[Any, Any, list[Receipt]]] = self._append

    def open(self) -> None:
        """Let calls through."""
        self._reason = ""
        self.append = self._queue.append

    def keep_closed(self, reason: str) -> None:
        """Tell callers this reason."""
        self._reason = reason

    async def _append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store entries."""
        return await self._opened().append(submissions)

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember an idempotency key."""
        return await self._opened().claim_key(hub, key, fingerprint)

    async def depth(self) -> Depth:
        """Return what waits."""
        return await self._opened().depth()

    async def memory_ratio(self) -> float | None:
        """Return the share of its memory that the store uses."""
        return await self._opened().memory_ratio()

    async def ping(self) -> None:
        """Return when the store answers."""
        await self._opened().ping()

    def _opened(self) -> Queue:
        if self._reason:
            raise QueueError(self._reason)
        return self._queue


async def open_queue(queue: CheckedQueue, prepare: Callable[[], Awaitable[None]], clock: Clock, log: Logger) -> None:
    """Check Redis until it answers, then open the queue. ConfigurationError when it cannot be used."""
    pause, logged = _FIRST_PAUSE, float("-inf")
    while True:
        try:
            await prepare()
        except QueueError as error:
            queue.keep_closed(str(error))
            if clock.monotonic() - logged >= _LOG_INTERVAL:
                log.warning("store.waiting", reason=str(error))
                logged = clock.monotonic()
            await clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            queue.open()
            return


async def watch_access(
    ask: Callable[[], Awaitable[ProbeResult]],
    readiness: Readiness,
    metrics: Metrics,
    clock: Clock,
    log: Logger,
    renewed: asyncio.Event,
    endpoint: str = "",
) -> None:
    """Ask the service at start, and again while it does not accept the key; report every refusal.

    It is asked at once when `renewed` is set: its key is another one. `endpoint` names the one that is asked.
    ConfigurationError when the service asked is this one.
    """
    name = f"service {endpoint}".rstrip()
    while True:
        result = await ask()
        metrics.refusals_of_keys[endpoint] = result.access is Access.KEY_REFUSED
        if result.access is Access.LOOP:
            raise ConfigurationError(result.detail)
        if result.access is Access.GRANTED:
            readiness.clear_warning(name)
            log.info("service.access_granted", detail=result.detail)
            return
        readiness.warn(name, result.detail)
        report = log.warning if result.access is Access.UNAVAILABLE else log.error
        report(_EVENTS[result.access], detail=result.detail)
        with suppress(TimeoutError):
            async with clock.timeout(_PROBE_INTERVAL):
                await renewed.wait()
        renewed.clear()


_EVENTS = {
    Access.KEY_REFUSED: "service.key_refused",
    Access.VERSION_REFUSED: "service.version_refused",
    Access.UNAVAILABLE: "service.unavailable",
}


def check_exposure(settings: Settings, host: str) -> None:
    """Raise ConfigurationError when nobody could be recognised, or strangers would be served."""
    key, local, auth = bool(settings.api_key.get_secret_value()), settings.auth == "none", variable_of("auth")
    check_tokens(settings)
    for name in ("api_keys_file", "api_keys", "jwt_issuers"):
        if getattr(settings, name) and local:
            raise ConfigurationError(f"{variable_of(name)} and {auth}=none are both set: remove one of them.")
    key = key or bool(settings.api_keys or settings.jwt_issuers)
    if settings.api_keys_file:
        key = bool(read_file(settings.api_keys_file)) or key
    if key and local:
        raise ConfigurationError(f"{variable_of('api_key')} and {auth}=none are both set: remove one of them.")
    if not key and not local:
        raise ConfigurationError(
            f"No caller could be recognised: set {variable_of('api_key')} to a long random text, for example of "
            f"{_MAKE_A_KEY}, or set {variable_of('api_keys')}=redis and make keys with `fanout keys create`, or "
            f"{variable_of('jwt_issuers')} for tokens. To try the service on this machine alone, use `fanout dev` or "
            f"set {auth}=none."
        )
    if local and not is_loopback(host):
        raise ConfigurationError(
            f"{auth}=none serves this machine alone, so it cannot listen on {host or 'all addresses'}: listen on "
            f"127.0.0.1, or remove {auth} and set {variable_of('api_key')}."
        )
