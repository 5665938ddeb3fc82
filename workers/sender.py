"""HTTP out: one call, timed, its end told as a value. Never touches Redis.

Rules guarded: errors of the transport become outcomes here and nowhere else, so that judging needs no exceptions; a
service that refuses `:execute` as such is not asked for it again for a while.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from fanout.clock import Clock
from fanout.errors import MaybeSentError, NotSentError
from fanout.http1.exchange import BrokenExchangeError, Response, StaleConnectionError
from fanout.metrics import Metrics
from fanout.queue.entry import Entry
from fanout.signalr.client import Client
from fanout.signalr.message import Message
from workers.coalescer import Bounds
from workers.retry import Answered, MaybeSent, NotSent, Outcome, retry_after

# An `:execute` that ends so may hold one bad message, or the service may not know it: the messages go one by one, and
# it is not tried again before so many seconds have passed.
_REFUSALS = frozenset({400, 404, 413, 415, 501})
_REMEMBERED = 600.0
_FIRST_NOT_TAKEN = 300
TAKEN = Answered(202)  # any 2xx: their differences mean nothing (contract 2.2)


class Sender:
    """Sends entries to one service; `joined` bounds one `:execute`, None where the service does not run it."""

    def __init__(self, client: Client, clock: Clock, metrics: Metrics, *, joined: Bounds | None = None) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._joined = joined
        self._asked_again_at = float("-inf")

    @property
    def bounds(self) -> Bounds | None:
        """How much may go in one call now; None when each message goes in its own."""
        if self._joined is None or self._clock.monotonic() < self._asked_again_at:
            return None
        return self._joined

    async def send(self, entries: Sequence[Entry]) -> Outcome:
        """Make one call for one or more entries and tell how it ended; several are messages for one destination."""
        calling = self._client.call(entries[0].hub, entries[0].item) if len(entries) == 1 else self._joint(entries)
        started = self._clock.monotonic()
        try:
            return self._outcome(await calling)
        except (NotSentError, MaybeSentError) as error:
            return self._outcome(error)
        finally:
            self._metrics.send_seconds.observe(self._clock.monotonic() - started)

    def start(self, entry: Entry, leaving: Callable[[], None], told: Callable[[Outcome], None]) -> bool:
        """Make the call for one entry at once if that can be, and have `told` called with how it ended.

        `leaving` is called right before it leaves. False when nothing was done: `send` has to wait for a connection.
        `told` must raise nothing.
        """
        return self._client.start(entry.hub, entry.item, leaving, partial(self._heard, told, self._clock.monotonic()))

    def _heard(self, told: Callable[[Outcome], None], started: float, heard: Response | MaybeSentError) -> None:
        self._metrics.send_seconds.observe(self._clock.monotonic() - started)
        told(self._outcome(heard))

    def _outcome(self, heard: Response | NotSentError | MaybeSentError) -> Outcome:
        if not isinstance(heard, Response):
            return _unanswered(heard)
        if heard.status < _FIRST_NOT_TAKEN:
            return TAKEN
        return Answered(
            status=heard.status,
            error_code=heard.headers.get("x-ms-error-code") or "",
            retry_after=retry_after(heard.headers.get("retry-after"), self._clock.wall()),
        )

    def refused_joining(self, outcome: Outcome) -> bool:
        """Say whether an `:execute` was refused as such; if so it is left alone for a while."""
        if not (isinstance(outcome, Answered) and outcome.status in _REFUSALS):
            return False
        self._asked_again_at = self._clock.monotonic() + _REMEMBERED
        return True

    def renew_token(self, entries: Sequence[Entry]) -> None:
        """Have the next call for these entries carry a new token."""
        first = entries[0]
        if len(entries) == 1:
            self._client.renew_token(first.hub, first.item)
        elif isinstance(first.item, Message):
            self._client.renew_execute_token(first.hub, first.item.scope, first.item.to)

    def _joint(self, entries: Sequence[Entry]) -> Awaitable[Response]:
        first = entries[0].item
        bodies = [entry.item.body for entry in entries if isinstance(entry.item, Message)]
        if not isinstance(first, Message) or len(bodies) != len(entries):
            raise TypeError("only messages share a call")
        self._metrics.joined.inc(len(entries))
        return self._client.execute(entries[0].hub, first.scope, first.to, bodies)


def _unanswered(error: NotSentError | MaybeSentError) -> Outcome:
    match error:
        case NotSentError():
            return NotSent(str(error))
        case BrokenExchangeError(answered=int(status)) if status < _FIRST_NOT_TAKEN:
            return TAKEN  # the answer was there, only its body broke off, and that says nothing
        case BrokenExchangeError():
            return MaybeSent(str(error), stale=isinstance(error, StaleConnectionError) and error.reused)
        case _:
            return MaybeSent(str(error))
