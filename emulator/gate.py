"""In front of the REST side: records each call in the journal and lets the ordered faults happen.

Source: contract 8.1 point 11. The order is the order of the wire: arrival, latency, reset before the body, body, reset
after the body, quota, status before delivery, delivery, status after delivery. Rule guarded: the journal shows a call's
status before its caller can see it, so a test that has its answer finds a complete entry.
"""

from emulator.config import EmulatorConfig
from emulator.control.fault_rules import FaultRule
from emulator.control.faults import Faults, Verdict
from emulator.control.journal import Entry, Journal
from emulator.control.quota import Quota
from emulator.credentials import bearer_of
from emulator.exchange import BodyTooLongError, Call, CallerGoneError, Receive, Reply, Scope, Send, read_body, respond
from emulator.refusal import V1, RefusedError, reply_of
from emulator.rest.side import HEALTH, RestSide, is_v1
from emulator.transports.peer import cut, peer_of
from fanout.clock import Clock

_SUCCESS = range(200, 300)


class Gate:
    """One call in, journal and faults around it, one answer or a cut connection out."""

    def __init__(self, config: EmulatorConfig, clock: Clock, journal: Journal, rest: RestSide) -> None:
        self._config = config
        self._clock = clock
        self.journal = journal
        self._rest = rest
        self.faults = Faults()
        self.quota = Quota()

    async def handle(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one REST call from arrival to its end."""
        peer = peer_of(scope)
        number = 0 if peer is None else peer.number
        entry = self.journal.arrive(call, hub=_hub_of(call), connection=number, token=bearer_of(call))
        verdict = self.faults.judge(call.method, call.raw_path)
        entry.fault = verdict.name
        reply = None
        try:
            reply = await self._outcome(call, entry, verdict, receive)
        except CallerGoneError:
            return
        finally:
            self.journal.leave(entry, None if reply is None else reply.status)
        if reply is None:
            await cut(peer, receive)
        else:
            await respond(send, reply)

    async def _outcome(self, call: Call, entry: Entry, verdict: Verdict, receive: Receive) -> Reply | None:
        """Give the answer; None when the connection is to be cut."""
        rule = verdict.rule
        kind = "" if rule is None else rule.kind
        if verdict.latency:
            await self._clock.sleep(verdict.latency)
        if kind == "resetBeforeBody":
            return None
        try:
            body = await read_body(receive, self._config.max_body, call.header(b"content-length"))
        except BodyTooLongError:
            return self._too_long(call)
        self.journal.body(entry, body)
        if rule is not None and kind == "status":
            return _fault_reply(rule)
        if rule is not None and kind == "resetAfterBody" and not rule.deliver:
            return None
        return await self._deliver(call, entry, rule, body)

    async def _deliver(self, call: Call, entry: Entry, rule: FaultRule | None, body: bytes) -> Reply | None:
        past = None if call.segments in HEALTH else self.quota.refusal(call.raw_path, self._clock.monotonic())
        if past is not None:
            entry.fault = "quota"
            return _throttled(429, past.retry_after)
        reply = await self._rest.answer(call, body)
        entry.delivered = reply.status in _SUCCESS
        if rule is None:
            return reply
        return _fault_reply(rule) if rule.kind == "statusAfterDelivery" else None

    def _too_long(self, call: Call) -> Reply:
        text = f"The body is larger than {self._config.max_body} bytes."
        return reply_of(RefusedError(413, "PayloadTooLarge", text), V1 if is_v1(call) else "")


def _fault_reply(rule: FaultRule) -> Reply:
    reply = _throttled(rule.status, rule.retry_after)
    if rule.status == 401:  # noqa: PLR2004 - a 401 without a challenge would be another service's
        challenge = 'Bearer error="invalid_token", error_description="The signature key was not found"'
        return Reply(401, headers=(*reply.headers, ("WWW-Authenticate", challenge)))
    return reply


def _throttled(status: int, retry_after: str | float | None) -> Reply:
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    refusal = RefusedError(status, "InjectedFault", "The emulator was told to answer so.", headers=headers)
    return Reply(status, headers=headers) if status in _SUCCESS else reply_of(refusal, "")


def _hub_of(call: Call) -> str:
    rest = call.segments[2:] if is_v1(call) else call.segments[1:]
    if len(rest) < 2 or rest[0] != "hubs":  # noqa: PLR2004 - `hubs` and its name
        return ""
    application = call.parameter("application")
    return (f"{application}_{rest[1]}" if application else rest[1]).lower()
