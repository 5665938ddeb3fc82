"""How the compatible routes answer: the statuses and the shape of refusals of the service's REST API.

Source: docs/sources.md, statuses and success-codes. Rules guarded: a 400 and a 401 begin with one plain sentence,
because the vendor's SDK shows the body as the text of its exception. Nothing is answered 429, which that SDK never
repeats. The problem is left in the scope, so that refusals are counted and logged like those of other routes.
"""

from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from fanout.signalr.credentials import InvalidTokenError
from service.http.problems import Problem, note_refusal
from service.http.refusals import WRONG_KEY

ERROR_CODE: Final = "x-ms-error-code"
_TEXT: Final = frozenset({400, 401})
_SERVER_ERROR: Final = 500
_V1: Final = "/api/v1/"


def taken(status: int) -> Response:
    """Return the answer to a call that is queued."""
    return Response(status_code=status)


def refused(problem: Problem, scope: Scope, request_id: str) -> Response:
    """Return a refusal in the service's own shape."""
    note_refusal(scope, problem)
    kind = "Unknown" if problem.status >= _SERVER_ERROR else "Invalid"
    headers = {**problem.headers, ERROR_CODE: f"Error.Request.{kind}"}
    if problem.status in _TEXT or scope["path"].startswith(_V1):
        text = f"{problem.detail}\nCode: {problem.code}. Request: {request_id}.\n"
        return Response(text, problem.status, headers, "text/plain")
    document: dict[str, object] = {
        "code": problem.code,
        "message": problem.detail,
        "target": None,
        "details": [],
        "inner": None,
    }
    return Response(msgspec.json.encode(document), problem.status, headers, "application/json")


def unauthorized(error: InvalidTokenError | None) -> Problem:
    """Return the refusal of a call without a token (None), or with one that is not accepted."""
    if error is None:
        detail = "The call carries no token: send Authorization: Bearer, signed with the service's access key."
        return Problem("unauthorized", 401, detail, {"WWW-Authenticate": "Bearer"})
    challenge = f'Bearer error="invalid_token", error_description="{error}"'
    detail = f"{error}: the token must be signed with the service's access key, for the URL called."
    return Problem(WRONG_KEY, 401, detail, {"WWW-Authenticate": challenge})
