"""The control API under `/emulator/`: journal, statistics, clients, faults, quota. No token: a test tool on loopback.

Source: contract 8.1 point 11. JSON in camelCase both ways; what is refused is a 400 that says why.
"""

from typing import Any

from emulator.control.fault_rules import parse_rules
from emulator.control.faults import Faults
from emulator.control.journal import Entry, Journal
from emulator.control.quota import Quota, parse_quota
from emulator.exchange import BodyTooLongError, Call, Receive, Reply, json_reply, read_body, text_reply
from emulator.hubs import Hubs
from emulator.refusal import RefusedError, invalid, reply_of

_MOST_BODY = 1024 * 1024
_PAGE = 1000


class Control:
    """Answers the control API."""

    def __init__(self, journal: Journal, faults: Faults, quota: Quota, hubs: Hubs) -> None:
        self._journal = journal
        self._faults = faults
        self._quota = quota
        self._hubs = hubs

    async def answer(self, call: Call, receive: Receive) -> Reply:
        """Do what is asked."""
        topics = {
            "journal": self._order_journal,
            "stats": self._show_stats,
            "clients": self._show_clients,
            "faults": self._order_faults,
            "quota": self._order_quota,
        }
        try:
            body = await read_body(receive, _MOST_BODY)
            topic = topics.get("/".join(call.segments[1:]).rstrip("/"))
            return _unknown() if topic is None else topic(call, body)
        except RefusedError as refusal:
            return reply_of(refusal, "")
        except BodyTooLongError:
            return text_reply("The body is too large.", 413)

    def _order_journal(self, call: Call, _body: bytes) -> Reply:
        if call.method == "DELETE":
            self._journal.clear()
            return Reply(204)
        return self._page(call) if call.method == "GET" else _unknown()

    def _show_stats(self, call: Call, _body: bytes) -> Reply:
        return json_reply(self._stats()) if call.method == "GET" else _unknown()

    def _show_clients(self, call: Call, _body: bytes) -> Reply:
        return json_reply(self._clients()) if call.method == "GET" else _unknown()

    def _page(self, call: Call) -> Reply:
        since = _number(call, "since", 0)
        entries = self._journal.entries(since, _number(call, "limit", _PAGE))
        last = entries[-1].sequence if entries else since
        return json_reply({"entries": [_shown(entry) for entry in entries], "last": last})

    def _stats(self) -> dict[str, Any]:
        journal = self._journal
        statuses = journal.statuses()
        return {
            "calls": sum(statuses.values()),
            "statuses": statuses,
            "inFlight": journal.in_flight,
            "maxInFlight": journal.most_in_flight,
            "maxInFlightPerPath": journal.most_in_flight_per_path,
            "distinctTokens": journal.distinct_tokens,
            "connections": journal.connections_used,
            "duplicates": journal.duplicates(),
            "clients": {hub.name: len(hub.connections) for hub in self._hubs.all() if hub.connections},
        }

    def _clients(self) -> list[dict[str, Any]]:
        return [
            {
                "connectionId": client.connection_id,
                "hub": client.identity.hub,
                "userId": client.user_id,
                "transport": client.transport,
                "protocol": client.protocol.name if client.protocol else None,
                "groups": sorted(client.groups),
                "unread": client.outbox.waiting,
            }
            for client in self._hubs.clients()
        ]

    def _order_faults(self, call: Call, body: bytes) -> Reply:
        if call.method == "PUT":
            try:
                self._faults.set(parse_rules(body))
            except ValueError as error:
                raise invalid(str(error)) from None
        elif call.method == "DELETE":
            self._faults.clear()
        elif call.method != "GET":
            return _unknown()
        return json_reply(self._faults.report())

    def _order_quota(self, call: Call, body: bytes) -> Reply:
        if call.method == "PUT":
            try:
                self._quota.set_classes(parse_quota(body))
            except ValueError as error:
                raise invalid(str(error)) from None
        elif call.method == "DELETE":
            self._quota.set(0)
        elif call.method != "GET":
            return _unknown()
        return json_reply(self._quota.report())


def _unknown() -> Reply:
    return reply_of(RefusedError(404, "NotFound", "The control API has no such operation."), "")


def _number(call: Call, name: str, default: int) -> int:
    text = call.parameter(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise invalid(f"'{name}' must be a whole number.", name)
    return int(text)


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "monotonic": entry.monotonic,
        "wall": entry.wall,
        "answered": entry.answered,
        "method": entry.method,
        "path": entry.path,
        "query": entry.query,
        "hub": entry.hub,
        "status": entry.status,
        "fault": entry.fault,
        "delivered": entry.delivered,
        "inFlight": entry.in_flight,
        "connection": entry.connection,
        "token": entry.token,
        "body": entry.body.decode("utf-8", "replace"),
    }
