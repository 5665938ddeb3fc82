"""HTTP out: one call, timed, its end told as a value. Never touches Redis.

Rule guarded: errors of the transport become outcomes here and nowhere else, so that judging needs no exceptions.
"""

from fanout.clock import Clock
from fanout.errors import MaybeSentError, NotSentError
from fanout.metrics import Metrics
from fanout.queue.entry import Entry
from fanout.signalr.client import Client
from workers.retry import Answered, MaybeSent, NotSent, Outcome, retry_after


class Sender:
    """Sends entries to one service."""

    def __init__(self, client: Client, clock: Clock, metrics: Metrics) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics

    async def send(self, entry: Entry) -> Outcome:
        """Make the call of one entry and tell how it ended."""
        started = self._clock.monotonic()
        try:
            response = await self._client.call(entry.hub, entry.item)
        except NotSentError as error:
            return NotSent(str(error))
        except MaybeSentError as error:
            return MaybeSent(str(error), stale=bool(getattr(error, "reused", False)))
        finally:
            self._metrics.send_seconds.observe(self._clock.monotonic() - started)
        return Answered(
            status=response.status,
            error_code=response.headers.get("x-ms-error-code") or "",
            retry_after=retry_after(response.headers.get("retry-after"), self._clock.wall()),
        )

    def renew_token(self, entry: Entry) -> None:
        """Have the next call of this entry carry a new token."""
        self._client.renew_token(entry.hub, entry.item)
