"""The route of message traces: `GET /v1/admin/messages/{messageId}/trace`.

Rules guarded: only callers that may read of all hubs are answered. Without a trace, the answer says whether traces
are off or whether none is kept for this id. Answers describe one moment, so they must not be cached.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from fanout.environment import variable_of
from fanout.queue.traces import Traces
from service.callers.caller import EVERY_HUB, Right
from service.http.problems import Problem, response_of
from service.http.request import Guard, request_id_of
from service.openapi.describe import REQUEST_ID, answer, busy, callers, path, refusal
from service.openapi.model import Document

MESSAGE_TRACE = "/v1/admin/messages/{message_id:path}/trace"  # an id may contain a slash
_NO_STORE = {"Cache-Control": "no-store"}


class TracedEvent(Document):
    """One step in the life of a message."""

    at: float = Field(description="Unix time in seconds.")
    what: Literal["accepted", "read", "attempt", "settled"]
    detail: dict[str, str | int | float | bool] = Field(
        description="What the step has of: hub, operation, admission, partition, entry, worker, number, status, "
        "failure, verdict, delay, end, attempts."
    )


class Trace(Document):
    """The life of one message, as far as it is kept."""

    message_id: str
    events: Annotated[list[TracedEvent], Field(min_length=1, max_length=64)] = Field(
        description="Oldest first, by the clocks of the machines; of more than 64 the newest."
    )


_TRACED: dict[str, Any] = {
    "messageId": "order-1",
    "events": [
        {"at": 1800000000.25, "what": "accepted", "detail": {"hub": "chat", "admission": "accepted", "partition": 3}},
        {"at": 1800000000.26, "what": "attempt", "detail": {"number": 1, "status": 202, "verdict": "delivered"}},
        {"at": 1800000000.27, "what": "settled", "detail": {"end": "delivered", "attempts": 1}},
    ],
}
_DESCRIPTION: dict[str, Any] = {
    "operation_id": "traceMessage",
    "summary": "Return the life of one message, as far as it is kept",
    "responses": {
        200: answer(Trace, "What is kept of it.", _TRACED),
        401: refusal("The caller is not known.", "unauthorized", "wrongKey", "invalidToken"),
        403: refusal("The caller may not read of all hubs.", "forbidden"),
        404: refusal(
            "Traces are not kept (traceOff), or none of this id is (traceUnknown).", "traceOff", "traceUnknown"
        ),
        500: refusal("An unexpected error.", "internal"),
        503: busy("The queue does not answer.", "queueUnavailable"),
    },
    "openapi_extra": {
        "security": callers(Right.READ),
        "parameters": [path("message_id", {"type": "string"}), REQUEST_ID],
    },
}


class TraceAdmin:
    """The handler of the route; `traces` is None where no traces are kept."""

    def __init__(self, guard: Guard, traces: Traces | None) -> None:
        self._guard = guard
        self._traces = traces

    def router(self) -> APIRouter:
        """Return the route with its description."""
        router = APIRouter(tags=["admin"])
        router.add_api_route(MESSAGE_TRACE, self.trace, response_model=None, response_class=Response, **_DESCRIPTION)
        return router

    async def trace(self, request: Request) -> Response:
        """Return the events of one message, oldest first; `at` is unix time in seconds."""
        self._guard.admit(request, Right.READ, EVERY_HUB)
        message_id: str = request.path_params["message_id"]
        traces = self._traces
        if traces is None or not traces.is_enabled:
            detail = f"Traces are not kept here: {variable_of('trace_keep')} is 0."
            return _refuse(request, Problem("traceOff", 404, detail, _NO_STORE))
        events = await traces.events_of(message_id)
        if not events:
            detail = "No trace of a message with this id is kept."
            return _refuse(request, Problem("traceUnknown", 404, detail, _NO_STORE))
        listed = [TracedEvent.model_construct(at=event.at, what=event.what, detail=event.detail) for event in events]
        trace = Trace.model_construct(message_id=message_id, events=listed)
        return Response(trace.to_json(), 200, _NO_STORE, "application/json")


def _refuse(request: Request, problem: Problem) -> Response:
    return response_of(problem, request_id_of(request.scope))
