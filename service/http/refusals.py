"""Counts and logs what was refused.

Rules guarded: every refused request counts under its code, whoever refused it. The log has one line per refusal as long
as there are few; of many it has some, and each says how many it left out before it. A line names peer, method and path,
never a header, a query or a body. A peer that tries many wrong keys waits longer for each answer; the right key never
waits.
"""

from collections import OrderedDict
from typing import Final

from fanout.clock import Clock
from fanout.log import get_audit_logger, get_logger
from fanout.metrics import Metrics
from service.http.problems import Problem

ANSWER_UNREAD: Final = "answerUnread"  # a connection was closed because the client did not read its answer
WRONG_KEY: Final = "wrongKey"
_FREE_ATTEMPTS: Final = 10  # wrong keys of one peer in a minute that are answered at once
_ATTEMPTS_PERIOD: Final = 60.0
_DELAY_STEP, _MAX_DELAY = 0.1, 2.0  # seconds that each further attempt adds, and at most
_MAX_SLOWED: Final = 32  # answers that may wait; more would take the places of other callers
_MAX_PEERS: Final = 1024
_LINES: Final = 10  # of one code
_PERIOD: Final = 10.0  # seconds
_MAX_PATH: Final = 200
_AUDITED: Final = frozenset({401, 403})
_WARNINGS: Final = frozenset({401, 403, 500, 503})


class Refusals:
    """The refusals of one process."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._counters = metrics.refused
        self._clock = clock
        self._log = get_logger()
        self._audit = get_audit_logger()
        self._samples: dict[str, Sample] = {}
        self._audited: dict[str, Sample] = {}
        self._attempts = _Attempts()
        self._slowed = 0  # answers that wait now

    def note(self, problem: Problem, *, request_id: str, peer: str, method: str, path: str) -> None:
        """Count a refused request, and log it unless its code was logged often enough lately."""
        if problem.status in _AUDITED:
            self._note_audited(problem, request_id=request_id, peer=peer, method=method, path=path[:_MAX_PATH])
        self._count(
            problem.code,
            warning=problem.status in _WARNINGS,
            status=problem.status,
            request_id=request_id,
            peer=peer,
            method=method,
            path=path[:_MAX_PATH],
            detail=problem.detail,
        )

    def _note_audited(self, problem: Problem, **fields: object) -> None:
        left_out = self._audited.setdefault(problem.code, Sample()).take(self._clock.monotonic())
        if left_out is not None:
            more = {"left_out": left_out} if left_out else {}
            code, status, detail = problem.code, problem.status, problem.detail
            self._audit.info("audit.refused", code=code, status=status, detail=detail, **fields, **more)

    def note_connection(self, code: str, peer: str) -> None:
        """Count what was refused before it was a request."""
        self._count(code, warning=False, peer=peer)

    async def slow_down(self, problem: Problem, peer: str) -> None:
        """Wait before a wrong key is answered, when its sender has tried many; a few at a time wait, others do not."""
        if problem.code != WRONG_KEY:
            return
        seconds = self._attempts.note(peer, self._clock.monotonic())
        if seconds and self._slowed < _MAX_SLOWED:
            self._slowed += 1
            try:
                await self._clock.sleep(seconds)
            finally:
                self._slowed -= 1

    def _count(self, code: str, *, warning: bool, **fields: object) -> None:
        self._counters.get(code, self._counters["internal"]).inc()
        sample = self._samples.setdefault(code, Sample())
        left_out = sample.take(self._clock.monotonic())
        if left_out is None:
            return
        if left_out:
            fields["left_out"] = left_out
        (self._log.warning if warning else self._log.info)("request.refused", code=code, **fields)


class _Attempts:
    """Counts wrong keys by peer, for the peers that tried last."""

    def __init__(self) -> None:
        self._by_peer: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, peer: str, now: float) -> float:
        """Count one more and return how many seconds its answer waits."""
        began, count = self._by_peer.pop(peer, (now, 0))
        if now - began >= _ATTEMPTS_PERIOD:
            began, count = now, 0
        self._by_peer[peer] = began, count + 1
        if len(self._by_peer) > _MAX_PEERS:
            self._by_peer.popitem(last=False)
        return min(_MAX_DELAY, max(0, count + 1 - _FREE_ATTEMPTS) * _DELAY_STEP)


class Sample:
    """Lets a number of lines through in each period."""

    __slots__ = ("_began", "_left_out", "_lines")

    def __init__(self) -> None:
        self._began = float("-inf")
        self._lines = 0
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """Return how many were left out before this one, None when this one is left out."""
        if now - self._began >= _PERIOD:
            self._began, self._lines = now, 0
        self._lines += 1
        if self._lines > _LINES:
            self._left_out += 1
            return None
        left_out, self._left_out = self._left_out, 0
        return left_out
