"""How a call ended, as a value: answered, not sent, or perhaps sent. Pure.

Rule guarded: errors of the transport become outcomes here and nowhere else, so that judging needs no exceptions. What
an outcome means for what was sent is judged elsewhere.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from fanout.errors import MaybeSentError, NotSentError, TokenUnavailableError
from fanout.http1.exchange import BrokenExchangeError, Response, StaleConnectionError

FIRST_NOT_TAKEN = 300
_WEB_PAGE = "text/html"
# No name is documented for the id of a request; these are what Azure services and gateways use.
_REQUEST_IDS = ("x-ms-request-id", "x-ms-client-request-id", "x-request-id", "x-azure-ref")
_MAX_REQUEST_ID = 100
_EXCERPT = 2000  # bytes of a refusal: more than is shown, so that no secret is cut before it is masked
_LONGEST = 1e9  # seconds: a Retry-After may have hundreds of digits


@dataclass(frozen=True, slots=True)
class Answered:
    """The service answered: its status, x-ms-error-code ("" without) and the seconds that Retry-After asks for.

    `foreign`: a success that the service would not answer so. `request_id` and the beginning of the `body` are for
    people who have to find out why.
    """

    status: int
    error_code: str = ""
    retry_after: float | None = None
    request_id: str = ""
    body: bytes = b""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the request was written. `no_token`: because no identity token can be had."""

    detail: str
    no_token: bool = False


@dataclass(frozen=True, slots=True)
class MaybeSent:
    """The request was written and no answer came. `stale`: on a kept-alive connection that died under it."""

    detail: str
    stale: bool = False


Outcome = Answered | NotSent | MaybeSent
TAKEN = Answered(202)  # any 2xx: the differences between them mean nothing


def outcome_of(end: Response | NotSentError | MaybeSentError, wall: float) -> Outcome:
    """Return the outcome of a call from its answer or error; `wall` is the unix time now."""
    if not isinstance(end, Response):
        return _unanswered(end)
    foreign = False
    if end.status < FIRST_NOT_TAKEN:
        foreign = bool(end.body) and _is_web_page(end)
        if not foreign:
            return TAKEN
    headers: dict[str, str] = {}
    for name, value in end.headers:  # parsed once, because a service that is down is asked often
        headers.setdefault(name, value)
    return Answered(
        status=end.status,
        foreign=foreign,
        error_code=headers.get("x-ms-error-code", ""),
        retry_after=retry_after(headers.get("retry-after"), wall),
        request_id=next((text for name in _REQUEST_IDS if (text := headers.get(name))), "")[:_MAX_REQUEST_ID],
        body=end.body[:_EXCERPT],
    )


def retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds from `now` (unix time) that a Retry-After header asks for: a number or a date (RFC 9110)."""
    if not text:
        return None
    try:
        seconds = (
            float(text) if text.isascii() and text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now
        )
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), _LONGEST)


def _is_web_page(response: Response) -> bool:
    # A login page or the page of a gateway. The service answers a success with no body, or with JSON.
    return (response.headers.get("content-type") or "").lower().startswith(_WEB_PAGE)


def _unanswered(error: NotSentError | MaybeSentError) -> Outcome:
    match error:
        case TokenUnavailableError():
            return NotSent(str(error), no_token=True)
        case NotSentError():
            return NotSent(str(error))
        case BrokenExchangeError(answered=int(status)) if status < FIRST_NOT_TAKEN:
            return TAKEN  # the answer was complete up to its body, which says nothing
        case BrokenExchangeError():
            return MaybeSent(str(error), stale=isinstance(error, StaleConnectionError) and error.reused)
        case _:
            return MaybeSent(str(error))
