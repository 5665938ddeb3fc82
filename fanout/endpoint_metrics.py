"""What is measured for the endpoints one by one, where several are configured or one has a name.

Rule guarded: the values of the label are the configured names alone, so a series never comes from what callers send.
What concerns all endpoints together has no such label, so that dashboards and alerts of one endpoint hold for several.
What ends for an endpoint that is not configured is counted there alone.
"""

from collections.abc import Sequence
from typing import Final

from fanout.instruments import Counters, Definition

_BY_ENDPOINT: Final = (("endpoint", ()),)


def endpoint_gauges(section: str) -> Sequence[Definition]:
    """Return the gauges by endpoint."""
    return (
        Definition(
            section,
            "gauge",
            "fanout_endpoint_in_flight",
            "REST calls in flight or not yet settled, by endpoint; at most FANOUT_CONCURRENCY for each.",
            _BY_ENDPOINT,
        ),
        Definition(
            section,
            "gauge",
            "fanout_endpoint_breaker_open",
            "Hubs, once for each class of calls, that are held back because the endpoint fails.",
            _BY_ENDPOINT,
        ),
        Definition(
            section,
            "gauge",
            "fanout_endpoint_pause_seconds",
            "Seconds until the longest pause of the endpoint ends; 0 without one, +Inf until it is lifted.",
            _BY_ENDPOINT,
        ),
        Definition(
            section,
            "gauge",
            "fanout_endpoint_online",
            "1 when the endpoint answered this process when it was asked last, else 0. Only with several endpoints.",
            _BY_ENDPOINT,
        ),
        Definition(
            section,
            "gauge",
            "fanout_unknown_endpoint_entries",
            "Entries in the whole queue that wait for endpoints which are not configured here, all of these together.",
        ),
    )


class EndpointMetrics:
    """Counters for each endpoint, by the name that it has in the queue: "" for the one without a name."""

    def __init__(self, section: str, names: Sequence[tuple[str, str]]) -> None:
        """`names` has name and label of each."""
        self.counters = Counters(section)
        labels = [label for _name, label in names]
        settled = self.counters.counters(
            "fanout_endpoint_settled",
            "Entries that are delivered, gone, expired or superseded, by endpoint.",
            "endpoint",
            labels,
        )
        dead = self.counters.counters(
            "fanout_endpoint_dead", "Entries parked as dead letters, by endpoint.", "endpoint", labels
        )
        self.names = frozenset(name for name, _label in names)
        self.settled = {name: settled[label] for name, label in names}
        self.dead = {name: dead[label] for name, label in names}
