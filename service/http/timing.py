"""Measures how long requests take.

Rule guarded: the label of a route is one of a closed set, whatever path a client sends.
"""

from starlette.types import Scope

from fanout.clock import Clock
from fanout.metrics import Metrics
from service.http.probes import PROBE_PATHS


class RequestTimes:
    """The times of the requests of one process, from their head to the head of their answer."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._histograms = metrics.http_seconds
        self.now = clock.monotonic

    def answered(self, scope: Scope, status: int, began: float) -> None:
        """Observe an answer to a request that began at this time."""
        key = (route_of(scope["path"]), f"{status // 100}xx")
        histogram = self._histograms.get(key)
        if histogram is not None:
            histogram.observe(self.now() - began)


def route_of(path: str) -> str:
    """Return what a path is about: one of `fanout.metrics.ROUTES`."""
    if path.startswith("/v1/hubs/") and path.endswith("/messages"):
        return "messages"
    if path.startswith(_COMPATIBLE):
        return "compatible"
    if path.endswith("/negotiate"):
        return "negotiate"
    if path.startswith("/v1/admin/"):
        return "admin"
    return "probe" if path in _PROBES else "other"


_COMPATIBLE = ("/api/hubs/", "/api/v1/hubs/", "/server")
_PROBES = frozenset({*PROBE_PATHS, "/metrics", "/backlog"})
