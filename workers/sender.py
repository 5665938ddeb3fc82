"""HTTP out: one call, timed, its end told as a value. Never touches Redis.

Rules guarded: errors of the transport become outcomes here and nowhere else, so that judging needs no exceptions; a
service that refuses `:execute` as such is not asked for it again for a while.
"""

from collections.abc import Awaitable, Sequence

from fanout.clock import Clock
from fanout.errors import MaybeSentError, NotSentError
from fanout.metrics import Metrics
from fanout.queue.entry import Entry
from fanout.signalr.client import Client
from fanout.signalr.http1.exchange import Response
from fanout.signalr.http1.failures import BrokenExchangeError, StaleConnectionError
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
        return self._joined if self._clock.monotonic() >= self._asked_again_at else None

    async def send(self, entries: Sequence[Entry]) -> Outcome:
        """Make one call for one or more entries and tell how it ended; several are messages for one destination."""
        if len(entries) == 1:
            return await self._ended(self._client.call(entries[0].hub, entries[0].item))
        first = entries[0].item
        bodies = [entry.item.body for entry in entries if isinstance(entry.item, Message)]
        if not isinstance(first, Message) or len(bodies) != len(entries):
            raise TypeError("only messages share a call")
        self._metrics.joined.inc(len(entries))
        return await self._ended(self._client.execute(entries[0].hub, first.scope, first.to, bodies))

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

    async def _ended(self, calling: Awaitable[Response]) -> Outcome:
        started = self._clock.monotonic()
        try:
            response = await calling
        except NotSentError as error:
            return NotSent(str(error))
        except BrokenExchangeError as error:
            if error.answered is not None and error.answered < _FIRST_NOT_TAKEN:
                return TAKEN  # the answer was there, only its body broke off, and that says nothing
            return MaybeSent(str(error), stale=isinstance(error, StaleConnectionError) and error.reused)
        except MaybeSentError as error:
            return MaybeSent(str(error))
        finally:
            self._metrics.send_seconds.observe(self._clock.monotonic() - started)
        if response.status < _FIRST_NOT_TAKEN:
            return TAKEN
        return Answered(
            status=response.status,
            error_code=response.headers.get("x-ms-error-code") or "",
            retry_after=retry_after(response.headers.get("retry-after"), self._clock.wall()),
        )
