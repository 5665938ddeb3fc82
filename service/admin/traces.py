"""The route of message traces: `GET /v1/admin/messages/{messageId}/trace`.

Rules guarded: only callers with the admin right are answered. Without a trace, the answer says whether traces are off
or whether none is kept for this id. Answers describe one moment, so they must not be cached.
"""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from fanout.environment import variable_of
from fanout.queue.traces import Traces
from service.http.auth import Guard, Right
from service.http.middleware import request_id_of
from service.http.problems import Problem, response_of

_NO_STORE = {"Cache-Control": "no-store"}


class TraceAdmin:
    """The handler of the route; `traces` is None where no traces are kept."""

    def __init__(self, guard: Guard, traces: Traces | None) -> None:
        self._guard = guard
        self._traces = traces

    async def trace(self, request: Request) -> Response:
        """Return the events of one message, oldest first; `at` is unix time in seconds."""
        self._authorize(request)
        message_id: str = request.path_params["message_id"]
        traces = self._traces
        if traces is None or not traces.is_enabled:
            detail = f"Traces are not kept here: {variable_of('trace_keep')} is 0."
            return _refuse(request, Problem("traceOff", 404, detail, _NO_STORE))
        events = await traces.events_of(message_id)
        if not events:
            detail = "No trace of a message with this id is kept."
            return _refuse(request, Problem("traceUnknown", 404, detail, _NO_STORE))
        listed = [{"at": event.at, "what": event.what, "detail": event.detail} for event in events]
        document = {"messageId": message_id, "events": listed}
        return Response(orjson.dumps(document), 200, _NO_STORE, "application/json")

    def _authorize(self, request: Request) -> None:
        peer = request.client.host if request.client else None
        self._guard.caller_of(request.headers, peer).require(Right.ADMIN)


def _refuse(request: Request, problem: Problem) -> Response:
    return response_of(problem, request_id_of(request.scope))
