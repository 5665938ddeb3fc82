"""Every metric of the product, named once.

Rules guarded: labels are closed sets, so that each series exists at zero from the start and no user, group or
connection id can become one; what is counted on the hot path is a child looked up once, here, never by label values
per message.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from fanout.counters import Tallies
from fanout.signalr.message import OPERATIONS

CONTENT_TYPE = CONTENT_TYPE_LATEST

# How one REST call that was not delivered ended.
FAILURES = (
    "notSent",
    "maybeSent",
    "throttled",
    "unavailable",
    "serverError",
    "unauthorized",
    "forbidden",
    "notFound",
    "refused",
)
# Why an entry lies in the dead letters.
DEAD_REASONS = (
    "refused",
    "unauthorized",
    "wrongEndpoint",
    "tooLarge",
    "tooOld",
    "tooManyAttempts",
    "outcomeUnknown",
    "unreadable",
)
# The classes of calls that the service limits apart.
CLASSES = ("broadcast", "send", "action")
# How a request to the ingress ended.
STATUSES = ("2xx", "4xx", "5xx")

_WAIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Readings:
    """Numbers that somebody else keeps and that are read when metrics are scraped; zero until somebody does."""

    _GAUGES: ClassVar[dict[str, str]] = {
        "in_flight": "REST calls in flight or not yet settled.",
        "waiting": "Entries this worker holds in memory.",
        "lanes": "Destinations with entries in this worker's memory.",
        "leases": "Partitions this worker owns.",
        "connections": "Connections to the service now.",
        "window": "Calls that may be in flight at once.",
        "tokens": "REST tokens in the cache.",
    }
    _BY_CLASS: ClassVar[dict[str, str]] = {
        "rate_limit": "Calls per second for all workers together, by class; +Inf without a limit.",
        "rate_share": "This worker's part of it, by class.",
        "breaker_open": "Hubs whose calls of the class are held back because the far side fails, by class.",
    }
    _COUNTERS: ClassVar[dict[str, str]] = {
        "token_cache_hits": "REST tokens found in the cache.",
        "token_cache_misses": "REST tokens signed.",
        "connections_opened": "Connections made to the service.",
        "connections_reused": "REST calls that found an open connection.",
        "trace_events_skipped": "Events of messages whose trace is not kept, because there are too many.",
        "trace_events_lost": "Events of traces that found no room here, or no store.",
    }

    def __init__(self) -> None:
        self._sources: dict[str, Callable[[], float]] = {}
        self._by_class: dict[str, Callable[[int], float]] = {}

    def watch(self, **sources: Callable[[], float]) -> None:
        """Read these names from these functions from now on."""
        unknown = sources.keys() - self._GAUGES.keys() - self._COUNTERS.keys()
        if unknown:
            raise ValueError(f"no such readings: {sorted(unknown)}")
        self._sources.update(sources)

    def watch_classes(self, **sources: Callable[[int], float]) -> None:
        """Read these names, for each number of a class, from these functions from now on."""
        self._by_class.update(sources)

    def collect(self) -> Iterator[Metric]:
        """Give all readings, as the registry asks for them."""
        for name, text in self._GAUGES.items():
            yield GaugeMetricFamily(f"fanout_{name}", text, value=self._read(name))
        for name, text in self._BY_CLASS.items():
            family = GaugeMetricFamily(f"fanout_{name}", text, labels=["class"])
            source = self._by_class.get(name, _nothing)
            for number, label in enumerate(CLASSES):
                family.add_metric([label], source(number))
            yield family
        for name, text in self._COUNTERS.items():
            yield CounterMetricFamily(f"fanout_{name}", text, value=self._read(name))

    def _read(self, name: str) -> float:
        source = self._sources.get(name)
        return 0.0 if source is None else source()


def _nothing(_number: int) -> float:
    return 0.0


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        tallies = Tallies()
        self._ingress(tallies)
        self._delivery(tallies)
        self.registry.register(tallies)
        self._state()

    def _ingress(self, new: Tallies) -> None:
        self.accepted = new.counts("fanout_accepted", "Entries stored, by operation.", "operation", OPERATIONS)
        self.duplicates = new.count("fanout_duplicates", "Entries that were stored before.")
        self.rejected = new.count("fanout_rejected", "Items refused by the ingress.")
        self.backpressure = new.count("fanout_backpressure", "Requests answered 503: queue full or absent.")
        self.requests = new.counts("fanout_ingress_requests", "Batches answered, by status class.", "status", STATUSES)
        self.negotiated = new.counts(
            "fanout_negotiate_requests", "Negotiations answered, by status class.", "status", STATUSES
        )
        self.replayed = new.count("fanout_replayed", "Dead letters an operator sent again.")
        self.purged = new.count("fanout_purged", "Dead letters an operator deleted.")
        self.append_seconds = new.spread("fanout_append_seconds", "Time to store one batch.", _CALL_BUCKETS)

    def _delivery(self, new: Tallies) -> None:
        self.delivered = new.counts("fanout_delivered", "Entries delivered, by operation.", "operation", OPERATIONS)
        self.failures = new.counts(
            "fanout_failed_attempts", "REST calls that did not deliver, by class.", "failure", FAILURES
        )
        self.retries = new.count("fanout_retries", "REST calls repeated.")
        self.dead = new.counts("fanout_dead", "Entries parked as dead letters, by reason.", "reason", DEAD_REASONS)
        self.expired = new.count("fanout_expired", "Messages dropped because their ttlSeconds ran out.")
        self.superseded = new.count(
            "fanout_superseded", "Entries dropped because a newer one of their key or member waited."
        )
        self.joined = new.count("fanout_joined", "Messages that shared a call with others.")
        self.slowdowns = new.counts(
            "fanout_slowdowns", "Refusals for speed (429) that slowed a class down.", "class", CLASSES
        )
        self.queue_wait_seconds = new.spread(
            "fanout_queue_wait_seconds", "From stored to first REST call.", _WAIT_BUCKETS
        )
        self.send_seconds = new.spread("fanout_send_seconds", "One REST call.", _CALL_BUCKETS)
        self.settle_seconds = new.spread(
            "fanout_settle_seconds", "Taking delivered entries out of the queue.", _CALL_BUCKETS
        )

    def _state(self) -> None:
        r = self.registry
        self.depth = Gauge("fanout_queue_depth", "Entries in the queue, by partition.", ["partition"], registry=r)
        self.oldest_age = Gauge("fanout_oldest_age_seconds", "Age of the oldest entry in the queue.", registry=r)
        self.dead_letters = Gauge("fanout_dead_letters", "Dead letters kept.", registry=r)
        self.readings = Readings()
        r.register(self.readings)

    def expect_partitions(self, count: int) -> None:
        """Have the depth of each partition present from the start."""
        for partition in range(count):
            self.depth.labels(str(partition)).set(0)

    def render(self) -> bytes:
        """Give the Prometheus text format."""
        return generate_latest(self.registry)
