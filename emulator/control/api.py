"""The control API under `/emulator/`: journal, statistics, clients, faults and quota, as JSON in camelCase.

It needs no token, so it serves this machine only: under a loopback name, not through a proxy, and no page of another
origin. Its responses carry no CORS headers. What is wrong with a request is a 400 that says what.
"""

from typing import Any

from emulator.config import WELL_KNOWN_KEY, EmulatorConfig, connection_string
from emulator.control.faults import Faults, parse_rules
from emulator.control.index import serve_index
from emulator.control.journal import Journal, JournalEntry
from emulator.control.quota import Quota, parse_quota
from emulator.http import (
    BodyTooLargeError,
    HttpError,
    Receive,
    Request,
    Response,
    Scope,
    bad_request,
    error_response,
    json_response,
    read_body,
    text_response,
)
from emulator.hubs import Hubs
from fanout.loopback import is_from_this_machine, is_of_no_other_origin

_LOCAL_ONLY = (
    "The control API serves this machine only. Call it directly, at localhost or 127.0.0.1, and not from a page of "
    "another origin."
)
_MAX_BODY = 1024 * 1024
_PAGE = 1000


class ControlApi:
    """Answers the control API."""

    def __init__(self, config: EmulatorConfig, journal: Journal, faults: Faults, quota: Quota, hubs: Hubs) -> None:
        self._config = config
        self._journal = journal
        self._faults = faults
        self._quota = quota
        self._hubs = hubs

    async def answer(self, request: Request, scope: Scope, receive: Receive) -> Response:
        """Return the response to a request."""
        if not _is_local(request, scope):
            return error_response(HttpError(403, "Forbidden", _LOCAL_ONLY), "")
        topics = {
            "journal": self._serve_journal,
            "stats": self._serve_stats,
            "clients": self._serve_clients,
            "faults": self._serve_faults,
            "quota": self._serve_quota,
        }
        path = "/".join(request.segments[1:])
        try:
            body = await read_body(receive, _MAX_BODY)
            topic = topics.get(path.rstrip("/"))
            if topic is not None:
                return topic(request, body)
            found = serve_index(request, path, self._connection_string(request)) if request.method == "GET" else None
            return found or _no_such_operation()
        except HttpError as error:
            return error_response(error, "")
        except BodyTooLargeError:
            return text_response(f"The body is larger than {_MAX_BODY} bytes.", 413)

    def _connection_string(self, request: Request) -> str:
        """Return the connection string for the caller, "" when the key is not the one that everybody knows."""
        _, _, port = request.header(b"host").rpartition(":")
        well_known = self._config.keys[:1] == (WELL_KNOWN_KEY,)
        return connection_string(int(port)) if well_known and port.isdigit() else ""

    def _serve_journal(self, request: Request, _body: bytes) -> Response:
        if request.method == "DELETE":
            self._journal.clear()
            return Response(204)
        return self._page(request) if request.method == "GET" else _no_such_operation()

    def _serve_stats(self, request: Request, _body: bytes) -> Response:
        return json_response(self._stats()) if request.method == "GET" else _no_such_operation()

    def _serve_clients(self, request: Request, _body: bytes) -> Response:
        return json_response(self._clients()) if request.method == "GET" else _no_such_operation()

    def _page(self, request: Request) -> Response:
        since = _number(request, "since", 0)
        tail = _number(request, "tail", 0)
        entries = self._journal.latest(tail) if tail else self._journal.entries(since, _number(request, "limit", _PAGE))
        last = entries[-1].sequence if entries else since
        max_body = _number(request, "maxbody", _MAX_BODY)
        return json_response({"entries": [_entry_body(entry, max_body) for entry in entries], "last": last})

    def _stats(self) -> dict[str, Any]:
        journal = self._journal
        statuses = journal.statuses()
        return {
            "calls": sum(statuses.values()),
            "statuses": statuses,
            "inFlight": journal.in_flight,
            "maxInFlight": journal.max_in_flight,
            "maxInFlightPerPath": journal.max_in_flight_per_path,
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
                "unread": len(client.outbox),
            }
            for client in self._hubs.clients()
        ]

    def _serve_faults(self, request: Request, body: bytes) -> Response:
        if request.method == "PUT":
            try:
                self._faults.set(parse_rules(body))
            except ValueError as error:
                raise bad_request(str(error)) from None
        elif request.method == "DELETE":
            self._faults.clear()
        elif request.method != "GET":
            return _no_such_operation()
        return json_response(self._faults.report())

    def _serve_quota(self, request: Request, body: bytes) -> Response:
        if request.method == "PUT":
            try:
                self._quota.set_classes(parse_quota(body))
            except ValueError as error:
                raise bad_request(str(error)) from None
        elif request.method == "DELETE":
            self._quota.set(0)
        elif request.method != "GET":
            return _no_such_operation()
        return json_response(self._quota.report())


def _is_local(request: Request, scope: Scope) -> bool:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
    return is_from_this_machine(scope, headers) and is_of_no_other_origin(headers)


def _no_such_operation() -> Response:
    return error_response(HttpError(404, "NotFound", "The control API has no such operation."), "")


def _number(request: Request, name: str, default: int) -> int:
    text = request.parameter(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise bad_request(f"'{name}' must be a whole number.", name)
    return int(text)


def _entry_body(entry: JournalEntry, max_body: int) -> dict[str, Any]:
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
        "traceparent": entry.traceparent,
        "body": entry.body[:max_body].decode("utf-8", "replace"),
    }
