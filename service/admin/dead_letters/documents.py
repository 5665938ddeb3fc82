"""What the dead-letter routes read and write, and their descriptions.

Rule guarded: the description is true; the tests validate real answers of every status against these models.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service.admin.dead_letters.command import (
    LIST_LIMIT,
    MAX_IDS,
    MAX_LETTERS,
    MAX_LIST,
    MAX_MESSAGE_ID,
    MAX_NAME,
    REASONS,
)
from service.callers.caller import Right
from service.openapi.describe import HUB_PATTERN, REQUEST_ID, answer, body, busy, callers, path, query, refusal
from service.openapi.model import Absent, Count, Document

DEAD_LETTERS = "/v1/admin/dead-letters"
DEAD_LETTER = f"{DEAD_LETTERS}/{{letter_id}}"
REPLAY = f"{DEAD_LETTERS}/replay"
PURGE = f"{DEAD_LETTERS}/purge"

_ID_PATTERN = "^[0-9]{1,4}:[0-9]{1,19}-[0-9]{1,19}$"
_CURSOR_PATTERN = r"^[0-9]{1,19}-[0-9]{1,19}\.[0-9]{1,4}\.[0-9]{1,15}$"
_FORM = "unix seconds, or ISO 8601 (UTC unless it has an offset)."
_SINCE = f"Only letters parked at this time or later: {_FORM}"
_BEFORE = f"Only letters parked before this time: {_FORM}"

LetterId = Annotated[
    str, Field(pattern=_ID_PATTERN, description="The partition, and the id in its stream of dead letters.")
]
Hub = Annotated[str, Field(pattern=HUB_PATTERN, description="Only letters of this hub; case does not matter.")]
Endpoint = Annotated[
    str,
    Field(
        min_length=1,
        max_length=50,
        description="Only letters for this endpoint, `default` for the one without a name; one that is not configured "
        "any more is known here too.",
    ),
]
Reason = Annotated[str, Field(description="Only letters with this reason.", json_schema_extra={"enum": [*REASONS]})]
MessageId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_MESSAGE_ID,
        description="Only letters of this message. A message with many targets has many entries.",
    ),
]
Recipient = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_NAME,
        description="Only letters for this user, group or connection, or with this member of a group action.",
    ),
]
Cursor = Annotated[
    str, Field(pattern=_CURSOR_PATTERN, description="The `next` of the previous answer, to continue after it.")
]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class DeadLetter(Document):
    """A dead letter without its message."""

    id: LetterId
    parked_at: Time | None = Field(description="When it was parked, by the clock of Redis.")
    reason: str = Field(description=f"One of {', '.join(REASONS)}, or one of a newer version.")
    status: Count = Field(description="The last HTTP status; 0 when there was no answer.")
    attempts: Count = Field(description="Calls made.")
    detail: str = Field(description="What the service answered.")
    hub: str | None = Field(description="null, as the next four, when the entry cannot be read.")
    endpoint: str | None = Field(description="The endpoint it was for, `default` for the one without a name.")
    message_id: str | None
    operation: str | None = Field(description="sendToUser, broadcast, addUser and so on, as in the metrics.")
    to: str | None = Field(
        description='The user, group or connection; the member of a group action; "" for a broadcast.'
    )
    bytes: Count = Field(description="The size of the entry in the queue.")


class DeadLetterList(Document):
    """A page of dead letters, oldest first."""

    items: list[DeadLetter] = Field(max_length=MAX_LIST)
    next: str | None = Field(description="The `cursor` of the next page; null when there is none.")


class DeadLetterWithMessage(DeadLetter):
    """A dead letter with its message."""

    message: dict[str, Any] | None = Field(
        description="The item as it may be POSTed again; null when it cannot be read."
    )
    entry: str | Absent = Field(
        None, description="An entry that cannot be read.", json_schema_extra={"contentEncoding": "base64"}
    )


class DeadLetterQuery(Document):
    """The query of a list."""

    hub: Hub | Absent = None
    endpoint: Endpoint | Absent = None
    reason: Reason | Absent = None
    to: Recipient | Absent = None
    message_id: MessageId | Absent = None
    since: Annotated[str, Field(min_length=1)] | Absent = Field(None, description=_SINCE)
    before: Annotated[str, Field(min_length=1)] | Absent = Field(None, description=_BEFORE)
    limit: int = Field(LIST_LIMIT, ge=1, le=MAX_LIST)
    cursor: Cursor | Absent = None


class DeadLetterCommand(Document):
    """Name `ids`, or filters (all of them must match), or `all`."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    ids: Annotated[list[LetterId], Field(min_length=1, max_length=MAX_IDS)] | Absent = None
    hub: Hub | Absent = None
    endpoint: Endpoint | Absent = None
    reason: Reason | Absent = None
    to: Recipient | Absent = None
    message_id: MessageId | Absent = None
    since: float | str | Absent = Field(None, description=_SINCE)
    before: float | str | Absent = Field(None, description=_BEFORE)
    all: bool | Absent = Field(None, description="Select every dead letter. Not together with ids or filters.")
    dry_run: bool | Absent = Field(None, description="Only count the letters that match.")
    limit: int = Field(MAX_LETTERS, ge=1, le=MAX_LETTERS)
    cursor: Cursor | Absent = None


class _Report(Document):
    matched: Count = Field(description="Dead letters that matched and existed.")
    more: bool = Field(description="Not all were processed: repeat with `next` as `cursor`.")
    next: str | None = Field(description="Where to continue; null at the end, and when ids were given.")
    before: Time | None = Field(description="All scanned letters were parked before this; null with ids.")


class Replayed(_Report):
    """What a replay did."""

    replayed: Count = Field(description="How many of them are in the queue again.")


class Purged(_Report):
    """What a purge did."""

    purged: Count = Field(description="How many of them were deleted.")


_SHOWN = {
    "id": "3:1795388238626-0",
    "parkedAt": "2026-11-22T22:57:18.626Z",
    "reason": "refused",
    "status": 400,
    "attempts": 1,
    "detail": "HTTP 400",
    "hub": "chat",
    "endpoint": "default",
    "messageId": "order-1",
    "operation": "sendToUser",
    "to": "alice",
    "bytes": 91,
}
_CURSOR_SHOWN = "1795388238626-0.3.1795388238627"  # the generated document drops null from examples
_MESSAGE = {"userId": "alice", "target": "newMessage", "arguments": ["hi"], "messageId": "order-1"}
_REST = {"more": True, "next": _CURSOR_SHOWN, "before": "2026-11-22T22:57:18.627Z"}
_UNKNOWN = "The queue is unavailable or full; nothing of this request is known to have been done."
_UNAVAILABLE = ("queueUnavailable", "queueSilent")
_REFUSALS = {
    401: refusal("The caller did not authenticate.", "unauthorized", "wrongKey", "invalidToken"),
    403: refusal("The caller lacks the right, or has it for other hubs.", "forbidden"),
    500: refusal("An unexpected error.", "internal"),
    503: busy(_UNKNOWN, *_UNAVAILABLE),
}
LIST: Mapping[str, Any] = {
    "operation_id": "listDeadLetters",
    "summary": "List dead letters, oldest first",
    "openapi_extra": {"security": callers(Right.READ), "parameters": [*query(DeadLetterQuery), REQUEST_ID]},
    "responses": {
        200: answer(
            DeadLetterList,
            "A page of dead letters. It may be short or empty although `next` is given.",
            {"items": [_SHOWN], "next": _CURSOR_SHOWN},
        ),
        400: refusal("A parameter is not valid, unknown or repeated.", "invalidRequest"),
        **_REFUSALS,
    },
}
SHOW: Mapping[str, Any] = {
    "operation_id": "showDeadLetter",
    "summary": "Show one dead letter with its message",
    "openapi_extra": {
        "security": callers(Right.READ),
        "parameters": [path("letter_id", {"type": "string", "pattern": _ID_PATTERN}), REQUEST_ID],
    },
    "responses": {
        200: answer(DeadLetterWithMessage, "The dead letter.", {**_SHOWN, "message": _MESSAGE}),
        400: refusal("The id is not valid.", "invalidRequest"),
        404: refusal("There is no such dead letter, or none are shown here.", "deadLetterUnknown", "notFound"),
        405: refusal("`replay` and `purge` are not ids; they take POST.", "methodNotAllowed"),
        **_REFUSALS,
    },
}


def acting(action: Literal["replayed", "purged"]) -> Mapping[str, Any]:
    """Return the description of the route that replays or purges."""
    model, operation_id, summary = _ACTIONS[action]
    return {
        "operation_id": operation_id,
        "summary": summary,
        "openapi_extra": {
            "security": callers(Right.ADMIN),
            "parameters": [REQUEST_ID],
            "requestBody": body(DeadLetterCommand, {"reason": "tooOld"}),
        },
        "responses": {
            200: answer(model, "What was done.", {"matched": 37, action: 37, **_REST}),
            400: refusal("The body is not valid, or selects nothing; nothing was done.", "invalidRequest"),
            408: refusal("The body did not arrive within FANOUT_BODY_TIMEOUT.", "bodyTooSlow"),
            413: refusal("The body is too large.", "bodyTooLarge"),
            415: refusal("The body is not JSON in UTF-8, or is compressed.", "unsupportedMediaType"),
            **_REFUSALS,
            503: busy(_UNKNOWN, *_UNAVAILABLE, "queueFull", "overloaded"),
        },
    }


_ACTIONS: Mapping[str, tuple[type[_Report], str, str]] = {
    "replayed": (Replayed, "replayDeadLetters", "Put dead letters back into the queue, at the end of their lanes"),
    "purged": (Purged, "purgeDeadLetters", "Delete dead letters permanently"),
}
