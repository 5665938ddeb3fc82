"""Allows `:execute` where it was proved: looks again and again whether `fanout doctor --record` has stored a proof.

Rules guarded: without a proof nothing is joined. A refusal ends it, until there is another proof than the one that the
refusal contradicts. A store that does not answer changes nothing.
"""

from contextlib import suppress

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import Logger
from fanout.queue.evidence import Evidence
from fanout.signalr.client import Bounds, Sender

_LOOK_EVERY = 30.0  # seconds
BACKLOG = Bounds(least=8)  # a lane with fewer messages has no backlog, and gains next to nothing


class Joining:
    """Watches the evidence for one endpoint on behalf of its sender."""

    def __init__(self, evidence: Evidence, endpoint: str, sender: Sender, clock: Clock, log: Logger) -> None:
        self._evidence = evidence
        self._endpoint = endpoint
        self._sender = sender
        self._clock = clock
        self._log = log
        self._proof: bytes | None = None

    def __repr__(self) -> str:
        return f"<Joining {'proved' if self._proof else 'not proved'}>"

    async def run(self) -> None:
        """Look for evidence until cancelled."""
        while True:
            with suppress(QueueError):
                self._learn(await self._evidence.proved_at(self._endpoint))
            await self._clock.sleep(_LOOK_EVERY)

    def _learn(self, proof: bytes | None) -> None:
        if proof == self._proof:
            return
        self._proof = proof
        self._sender.join(BACKLOG if proof else None)
        self._log.info("execute.allowed" if proof else "execute.not_proved", endpoint=self._endpoint)
