"""Surrounds the REST API: records each call in the journal and causes the requested faults.

The order is that of the wire: arrival, latency, reset before the body, body, status, reset after the body, quota,
delivery, status after delivery. Rule guarded: the journal has a call's status before the caller can see it, so a test
that has its response finds a complete entry.
"""

from http import HTTPStatus

from emulator.config import EmulatorConfig
from emulator.control.faults import FaultDecision, FaultRule, Faults
from emulator.control.journal import Journal, JournalEntry
from emulator.control.quota import Quota
from emulator.credentials import bearer_token
from emulator.http import (
    V1,
    BodyTooLargeError,
    ClientDisconnectedError,
    HttpError,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    error_response,
    read_body,
    respond,
)
from emulator.rest.api import HEALTH, RestApi, hub_and_path, is_v1
from emulator.tcp import reset_connection, tcp_connection_of
from fanout.clock import Clock

_SUCCESS = range(200, 300)


class ControlMiddleware:
    """Takes one REST call and ends with one response or a reset connection."""

    def __init__(self, config: EmulatorConfig, clock: Clock, rest: RestApi) -> None:
        self._config = config
        self._clock = clock
        self._rest = rest
        self.journal = Journal(clock, max_entries=config.journal_entries, max_bytes=config.journal_bytes)
        self.faults = Faults()
        self.quota = Quota()

    async def handle(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one REST call."""
        connection = tcp_connection_of(scope)
        number = 0 if connection is None else connection.number
        entry = self.journal.start(request, hub=_hub_of(request), connection=number, token=bearer_token(request))
        decision = self.faults.decide(request.method, request.raw_path)
        entry.fault = decision.name
        response = None
        try:
            response = await self._respond(request, entry, decision, receive)
        except ClientDisconnectedError:
            return
        finally:
            self.journal.finish(entry, None if response is None else response.status)
        if response is None:
            await reset_connection(connection, receive)
        else:
            await respond(send, response)

    async def _respond(
        self, request: Request, entry: JournalEntry, decision: FaultDecision, receive: Receive
    ) -> Response | None:
        """Return the response, None when the connection is to be reset."""
        rule = decision.rule
        kind = "" if rule is None else rule.kind
        if decision.latency:
            await self._clock.sleep(decision.latency)
        if kind == "resetBeforeBody":
            return None
        try:
            body = await read_body(receive, self._config.max_body, request.header(b"content-length"))
        except BodyTooLargeError:
            text = f"The body is larger than {self._config.max_body} bytes."
            return error_response(HttpError(413, "PayloadTooLarge", text), V1 if is_v1(request) else "")
        self.journal.add_body(entry, body)
        if rule is not None and kind == "status":
            return _fault_response(rule)
        if rule is not None and kind == "resetAfterBody" and not rule.deliver:
            return None
        return await self._deliver(request, entry, rule, body)

    async def _deliver(
        self, request: Request, entry: JournalEntry, rule: FaultRule | None, body: bytes
    ) -> Response | None:
        exceeded = None
        if request.segments not in HEALTH:
            exceeded = self.quota.refusal(request.raw_path, self._clock.monotonic())
        if exceeded is not None:
            entry.fault = "quota"
            return _refusal(429, exceeded.retry_after)
        response = await self._rest.answer(request, body)
        entry.delivered = response.status in _SUCCESS
        if rule is None:
            return response
        return _fault_response(rule) if rule.kind == "statusAfterDelivery" else None


def _fault_response(rule: FaultRule) -> Response:
    response = _refusal(rule.status, rule.retry_after)
    if rule.status == HTTPStatus.UNAUTHORIZED:  # the service sends a challenge with it
        challenge = 'Bearer error="invalid_token", error_description="The signature key was not found"'
        return Response(401, headers=(*response.headers, ("WWW-Authenticate", challenge)))
    return response


def _refusal(status: int, retry_after: str | float | None) -> Response:
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    if status in _SUCCESS:
        return Response(status, headers=headers)
    text = "A fault rule or a quota of the emulator caused this response."
    return error_response(HttpError(status, "InjectedFault", text, headers=headers), "")


def _hub_of(request: Request) -> str:
    try:
        hub, _path = hub_and_path(request)
    except HttpError:
        return ""
    application = request.parameter("application")
    return (f"{application}_{hub}" if application else hub).lower()
