"""How the REST side says no: one error that carries the status, the code and the words.

Source: contract 2.5: an ErrorDetail body (`code`, `message`, not wrapped in `error`), plain text under v1, and the
`x-ms-error-code` header that tells "this does not exist" from "you called the wrong place".
"""

from emulator.exchange import Reply, json_reply, text_reply
from fanout.errors import FanoutError

CONNECTION_GONE = "Warning.Connection.NotExisted"
USER_GONE = "Warning.User.NotExisted"
GROUP_GONE = "Warning.Group.NotExisted"
NOT_IN_GROUP = "Info.User.NotInGroup"
NO_CONNECTION_TO_ADD = "Error.Connection.NotExisted"
ERROR_CODE_HEADER = "x-ms-error-code"
V1 = "1.0"


class RefusedError(FanoutError):
    """A call is refused with `answer` (an HTTP status), an ErrorDetail `code` and a text a person can act on."""

    label = "refused"

    def __init__(
        self, answer: int, code: str, message: str, *, target: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """`target` names the part of the request that is wrong; `headers` go out with the answer."""
        super().__init__(message)
        self.answer = answer
        self.code = code
        self.target = target
        self.headers = headers


def invalid(message: str, target: str = "") -> RefusedError:
    """Make a 400."""
    return RefusedError(400, "BadRequest", message, target=target)


def gone(error_code: str) -> Reply:
    """Answer 404 with the code that makes it an answer, not a mistake."""
    return Reply(404, headers=((ERROR_CODE_HEADER, error_code),))


def reply_of(refusal: RefusedError, version: str) -> Reply:
    """Render a refusal the way `version` does."""
    if refusal.answer == 401:  # noqa: PLR2004 - Unauthorized says it all in its header
        return Reply(401, headers=refusal.headers)
    if version == V1:
        reply = text_reply(str(refusal), refusal.answer)
    else:
        detail = {"code": refusal.code, "message": str(refusal)}
        if refusal.target:
            detail["target"] = refusal.target
        reply = json_reply(detail, refusal.answer)
    return Reply(reply.status, reply.body, reply.content_type, refusal.headers)
