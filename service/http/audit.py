"""The audit log: who did what besides sending, from where, how much of it, and what the answer was.

Its lines have names `audit.*` and the field `stream` with the value `audit`, and are written whatever FANOUT_LOG_LEVEL
says. A handler notes what its request was about; the middleware here writes the line when the answer is out.

Rules guarded: what changes something always has its line. Of what is read, negotiated or refused there is a bounded
number of lines for each caller, and a line says how many were left out before it. A line names no user, no group and no
connection, and shows no key, no token and no query.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fanout.clock import Clock
from fanout.log import Logger
from service.http.refusals import Sample
from service.http.request import NOTED, Deed, peer_of, request_id_of

_MAX_SAMPLES: Final = 1024
_MAX_PATH: Final = 200
_MAX_FORWARDED: Final = 64
_REFUSED: Final = frozenset({401, 403})  # these have a line of their own, which is written where they are counted


class Audit:
    """ASGI middleware that writes the lines. `believes` says whether a peer is a gateway that tells who it forwards."""

    def __init__(self, app: ASGIApp, log: Logger, clock: Clock, believes: Callable[[str], bool]) -> None:
        self._app = app
        self._log = log
        self._clock = clock
        self._believes = believes
        self._samples: OrderedDict[tuple[Deed, str], Sample] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        status = 0  # none: the client left before it was answered

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if NOTED in scope and status not in _REFUSED:
                self._write(scope, status)

    def _write(self, scope: Scope, status: int) -> None:
        deed, noted = scope[NOTED]
        left_out = 0 if deed is Deed.ACTED else self._sample(deed, noted["caller"]).take(self._clock.monotonic())
        if left_out is None:
            return
        peer = peer_of(scope)
        more: dict[str, Any] = {"left_out": left_out} if left_out else {}
        if (forwarded := _forwarded(scope)) and self._believes(peer):
            more["forwarded"] = forwarded
        self._log.info(
            deed.value,
            request_id=request_id_of(scope),
            peer=peer,
            method=scope["method"],
            path=scope["path"][:_MAX_PATH],
            status=status,
            **noted,
            **more,
        )

    def _sample(self, deed: Deed, caller: str) -> Sample:
        found = self._samples.get((deed, caller))
        if found is None:
            found = self._samples[deed, caller] = Sample()
            if len(self._samples) > _MAX_SAMPLES:
                self._samples.popitem(last=False)
        else:
            self._samples.move_to_end((deed, caller))
        return found


def _forwarded(scope: Scope) -> str:
    # The address that the nearest gateway saw, "" for none.
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    last = ",".join(values).rpartition(",")[2].strip()
    return last if last.isprintable() and len(last) <= _MAX_FORWARDED else ""
