"""Counts and logs what was refused.

Rules guarded: every refused request counts under its code, whoever refused it. The log has one line per refusal as long
as there are few; of many it has some, and each says how many it left out before it. A line names peer, method and path,
never a header, a query or a body.
"""

from typing import Final

from fanout.clock import Clock
from fanout.log import get_logger
from fanout.metrics import Metrics
from service.http.problems import Problem

ANSWER_UNREAD: Final = "answerUnread"  # a connection was closed because the client did not read its answer
_LINES: Final = 10  # of one code
_PERIOD: Final = 10.0  # seconds
_MAX_PATH: Final = 200
_WARNINGS: Final = frozenset({401, 403, 500, 503})


class Refusals:
    """The refusals of one process."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._counters = metrics.refused
        self._clock = clock
        self._log = get_logger()
        self._samples: dict[str, _Sample] = {}

    def note(self, problem: Problem, *, request_id: str, peer: str, method: str, path: str) -> None:
        """Count a refused request, and log it unless its code was logged often enough lately."""
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

    def note_connection(self, code: str, peer: str) -> None:
        """Count what was refused before it was a request."""
        self._count(code, warning=False, peer=peer)

    def _count(self, code: str, *, warning: bool, **fields: object) -> None:
        self._counters.get(code, self._counters["internal"]).inc()
        sample = self._samples.setdefault(code, _Sample())
        left_out = sample.take(self._clock.monotonic())
        if left_out is None:
            return
        if left_out:
            fields["left_out"] = left_out
        (self._log.warning if warning else self._log.info)("request.refused", code=code, **fields)


class _Sample:
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
