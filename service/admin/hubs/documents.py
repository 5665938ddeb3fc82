"""What the routes about one hub read and write, and their descriptions.

Rule guarded: the description is true; the tests validate real answers of every status against these models.
"""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from fanout.signalr.endpoints import MAX_ENDPOINTS
from service.callers.caller import Right
from service.openapi.describe import (
    HUB,
    READ_REFUSALS,
    REQUEST_ID,
    answer,
    body,
    busy,
    callers,
    query_parameter,
    refusal,
)
from service.openapi.model import Absent, Count, Document

EXISTS: Final = "/v1/admin/hubs/{hub}/exists"
CONNECTIONS: Final = "/v1/admin/hubs/{hub}/connections"
CLOSE: Final = "/v1/admin/hubs/{hub}/close"
MAX_PAGE: Final = 200  # connections, by the limit of the service
MAX_REASON: Final = 200
MAX_TOKEN: Final = 2048  # characters of what continues a list


class Existence(Document):
    """What the service says now. What waits in the queue has not been done yet."""

    exists: bool = Field(description="Whether any endpoint that was asked says so.")
    endpoints: list[str] = Field(max_length=MAX_ENDPOINTS, description="The endpoints that say so.")
    unanswered: list[str] = Field(
        max_length=MAX_ENDPOINTS,
        description="Those that did not answer; where none of the others says so, it is a 503.",
    )


class Connection(Document):
    """A connection of a group."""

    connection_id: str
    user_id: str | None = Field(description="null for a connection without a user.")
    endpoint: str = Field(description="The endpoint that it is at, `default` for the one without a name.")


class ConnectionList(Document):
    """A page of the connections of a group. Of several endpoints one is listed after the other."""

    items: list[Connection] = Field(max_length=MAX_PAGE)
    next: str | None = Field(description="The `cursor` of the next page; null at the end.")


class CloseCommand(Document):
    """Closes every connection of the hub, in the order of the queue."""

    model_config = ConfigDict(json_schema_extra={"required": ["all"]})

    all: bool = Field(description="true, so that no hub is closed by accident.")
    reason: Annotated[str, Field(max_length=MAX_REASON)] | Absent = Field(
        None, description="Told to the clients, where detailed errors are enabled."
    )
    endpoint: Annotated[str, Field(min_length=1)] | Absent = Field(
        None, description="Only at this endpoint, `default` for the one without a name. Without it at every one."
    )
    dry_run: bool | Absent = Field(None, description="Only tell what waits; close nothing.")


class Closing(Document):
    """What a closing does, or would do."""

    waiting: Count = Field(description="Entries of this hub that wait now; they may arrive before or after.")
    message_id: str | None = Field(description="The id that its trace and its log lines have; null for a dry run.")


_ASKED: Final[dict[int | str, Any]] = {
    400: refusal("The query names nothing that can be asked about.", "invalidRequest", "unknownHub"),
    **READ_REFUSALS,
    500: refusal("An unexpected error.", "internal"),
    503: refusal(
        "The service does not answer, or refuses.", "serviceUnavailable", "notConfigured", "callersUnavailable"
    ),
}
_LISTED: Final = {"connectionId": "c1", "userId": "alice", "endpoint": "default"}
_TEXT: Final = {"type": "string", "minLength": 1}


def _asked(operation: str, summary: str, success: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    parameters = [HUB, *(query_parameter(name, _TEXT) for name in names)]
    parameters += [query_parameter(name, schema) for name, schema in more.items()]
    return {
        "operation_id": operation,
        "summary": summary,
        "description": "Asked of the service itself, as delivery calls it: of the endpoint that is named, or of each.",
        "responses": {200: success, **_ASKED},
        "openapi_extra": {"security": callers(Right.READ), "parameters": [*parameters, REQUEST_ID]},
    }


EXISTS_DESCRIPTION: Final = _asked(
    "askExistence", "Ask whether a connection, a user or a group has a connection, or a user is in a group",
    answer(Existence, "What the service says.", {"exists": True, "endpoints": ["east"], "unanswered": []}),
    "connection", "user", "group", "endpoint",
)  # fmt: skip
CONNECTIONS_DESCRIPTION: Final = _asked(
    "listConnections", "List the connections of a group",
    answer(ConnectionList, "A page.", {"items": [_LISTED], "next": "c1"}),
    "group", "cursor", "endpoint", limit={"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": MAX_PAGE},
)  # fmt: skip
CLOSE_DESCRIPTION: Final[dict[str, Any]] = {
    "operation_id": "closeHub",
    "summary": "Close every connection of a hub",
    "responses": {
        202: answer(Closing, "Queued; for a dry run nothing is.", {"waiting": 12, "messageId": "9f2c4e1ab03d5577.0"}),
        400: refusal("The body does not say what to close.", "invalidRequest", "unknownHub"),
        **READ_REFUSALS,
        408: refusal("The body came too slowly.", "bodyTooSlow"),
        413: refusal("The body is too large.", "bodyTooLarge"),
        415: refusal("The body is not JSON.", "unsupportedMediaType"),
        500: refusal("An unexpected error.", "internal"),
        503: busy(
            "The queue does not answer, or is full.",
            "queueUnavailable", "queueSilent", "queueFull", "overloaded", "callersUnavailable",
        ),
    },
    "openapi_extra": {
        "security": callers(Right.ADMIN),
        "parameters": [HUB, REQUEST_ID],
        "requestBody": body(CloseCommand, {"all": True, "reason": "maintenance"}),
    },
}  # fmt: skip
