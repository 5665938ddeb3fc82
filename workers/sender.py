"""HTTP out: one call, timed, its end returned as a value. Never touches Redis.

Rules guarded: errors of the transport become outcomes here and nowhere else, so that judging needs no exceptions. A
service that refused `:execute` is not asked for it again for a while.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from fanout.clock import Clock
from fanout.errors import MaybeSentError, NotSentError, TokenUnavailableError
from fanout.http1.exchange import BrokenExchangeError, Response, StaleConnectionError
from fanout.metrics import Metrics
from fanout.queue.entry import Entry
from fanout.signalr.client import Client
from fanout.signalr.message import Message
from workers.coalescer import Bounds
from workers.verdicts import TAKEN, Answered, MaybeSent, NotSent, Outcome, retry_after

# An `:execute` that ends so may contain one bad message, or the service may not know it. Its messages go one by one,
# and it is not tried again before `_REMEMBERED` seconds have passed.
_REFUSALS = frozenset({400, 404, 413, 415, 501})
_REMEMBERED = 600.0
_FIRST_NOT_TAKEN = 300
_WEB_PAGE = "text/html"
# No name is documented for the id of a request; these are what Azure services and gateways use.
_REQUEST_IDS = ("x-ms-request-id", "x-ms-client-request-id", "x-request-id", "x-azure-ref")
_MAX_REQUEST_ID = 100
_EXCERPT = 2000  # bytes of a refusal: more than is shown, so that no secret is cut before it is masked

OnOutcome = Callable[[Outcome], None]


class Sender:
    """Sends entries to one service. `joined` bounds one `:execute`; None where the service is not known to run it."""

    def __init__(self, client: Client, clock: Clock, metrics: Metrics, *, joined: Bounds | None = None) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._joined = joined
        self._is_on_trial = False
        self._not_joined_until = float("-inf")

    def __repr__(self) -> str:
        return f"<Sender {self._client!r}>"

    @property
    def bounds(self) -> Bounds | None:
        """How much may go in one call now; None when each message goes in its own."""
        if self._joined is None or self._clock.monotonic() < self._not_joined_until:
            return None
        return self._joined

    def join(self, joined: Bounds | None) -> None:
        """Use `:execute` within these bounds until it is refused once, or not any longer."""
        self._joined = joined
        self._is_on_trial = True
        self._not_joined_until = float("-inf")

    async def send(self, entries: Sequence[Entry]) -> Outcome:
        """Make one call for one or more entries and return its outcome; several are messages for one destination."""
        calling = self._client.call(entries[0].hub, entries[0].item) if len(entries) == 1 else self._joint(entries)
        started = self._clock.monotonic()
        try:
            return self._outcome(await calling)
        except (NotSentError, MaybeSentError) as error:
            return self._outcome(error)
        finally:
            self._metrics.send_seconds.observe(self._clock.monotonic() - started)

    def start(self, entry: Entry, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        """Make the call for one entry at once, and call `on_outcome` when it has ended.

        `before_write` is called right before the request is written. Return False when nothing was done, because no
        connection is free: `send` can wait for one. `on_outcome` must not raise.
        """
        on_done = partial(self._ended, on_outcome, self._clock.monotonic())
        return self._client.start(entry.hub, entry.item, before_write, on_done)

    def refused_joining(self, outcome: Outcome) -> bool:
        """Return whether an `:execute` was refused as such; if so, it is not used for a while, or not any more."""
        if not (isinstance(outcome, Answered) and outcome.status in _REFUSALS):
            return False
        if self._is_on_trial:
            self._joined = None
        self._not_joined_until = self._clock.monotonic() + _REMEMBERED
        return True

    def renew_token(self, entries: Sequence[Entry]) -> None:
        """Have the next call for these entries carry a new token."""
        first = entries[0]
        if len(entries) == 1:
            self._client.renew_token(first.hub, first.item)
        elif isinstance(first.item, Message):
            self._client.renew_execute_token(first.hub, first.item.scope, first.item.to)

    def _ended(self, on_outcome: OnOutcome, started: float, end: Response | MaybeSentError) -> None:
        self._metrics.send_seconds.observe(self._clock.monotonic() - started)
        on_outcome(self._outcome(end))

    def _outcome(self, end: Response | NotSentError | MaybeSentError) -> Outcome:
        if not isinstance(end, Response):
            return _unanswered(end)
        foreign = False
        if end.status < _FIRST_NOT_TAKEN:
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
            retry_after=retry_after(headers.get("retry-after"), self._clock.wall()),
            request_id=next((text for name in _REQUEST_IDS if (text := headers.get(name))), "")[:_MAX_REQUEST_ID],
            body=end.body[:_EXCERPT],
        )

    def _joint(self, entries: Sequence[Entry]) -> Awaitable[Response]:
        first = entries[0].item
        bodies = [entry.item.body for entry in entries if isinstance(entry.item, Message)]
        if not isinstance(first, Message) or len(bodies) != len(entries):
            raise TypeError("only messages share a call")
        self._metrics.joined.inc(len(entries))
        return self._client.execute(entries[0].hub, first.scope, first.to, bodies)


def _is_web_page(response: Response) -> bool:
    # A login page or the page of a gateway. The service answers a success with no body, or with JSON.
    return (response.headers.get("content-type") or "").lower().startswith(_WEB_PAGE)


def _unanswered(error: NotSentError | MaybeSentError) -> Outcome:
    match error:
        case TokenUnavailableError():
            return NotSent(str(error), no_token=True)
        case NotSentError():
            return NotSent(str(error))
        case BrokenExchangeError(answered=int(status)) if status < _FIRST_NOT_TAKEN:
            return TAKEN  # the answer was complete up to its body, which says nothing
        case BrokenExchangeError():
            return MaybeSent(str(error), stale=isinstance(error, StaleConnectionError) and error.reused)
        case _:
            return MaybeSent(str(error))
