"""Every metric of the product, named once.

Rules guarded: labels are closed sets, so that each series exists at zero from the start and no user, group or
connection id can become one; what is counted on the hot path is a child looked up once, here, never by label values
per message.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

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
DEAD_REASONS = ("refused", "unauthorized", "wrongEndpoint", "tooLarge", "tooOld", "outcomeUnknown", "unreadable")
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
        "tokens": "REST tokens in the cache.",
    }
    _COUNTERS: ClassVar[dict[str, str]] = {
        "token_cache_hits": "REST tokens found in the cache.",
        "token_cache_misses": "REST tokens signed.",
        "connections_opened": "Connections made to the service.",
        "connections_reused": "REST calls that found an open connection.",
    }

    def __init__(self) -> None:
        self._sources: dict[str, Callable[[], float]] = {}

    def watch(self, **sources: Callable[[], float]) -> None:
        """Read these names from these functions from now on."""
        unknown = sources.keys() - self._GAUGES.keys() - self._COUNTERS.keys()
        if unknown:
            raise ValueError(f"no such readings: {sorted(unknown)}")
        self._sources.update(sources)

    def collect(self) -> Iterator[Metric]:
        """Give all readings, as the registry asks for them."""
        for name, text in self._GAUGES.items():
            yield GaugeMetricFamily(f"fanout_{name}", text, value=self._read(name))
        for name, text in self._COUNTERS.items():
            yield CounterMetricFamily(f"fanout_{name}", text, value=self._read(name))

    def _read(self, name: str) -> float:
        source = self._sources.get(name)
        return 0.0 if source is None else source()


def _by(counter: Counter, values: Iterable[str]) -> dict[str, Counter]:
    return {value: counter.labels(value) for value in values}


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._ingress()
        self._delivery()
        self._state()

    def _ingress(self) -> None:
        r = self.registry
        self.accepted = _by(
            Counter("fanout_accepted", "Entries stored, by operation.", ["operation"], registry=r), OPERATIONS
        )
        self.duplicates = Counter("fanout_duplicates", "Entries that were stored before.", registry=r)
        self.rejected = Counter("fanout_rejected", "Items refused by the ingress.", registry=r)
        self.backpressure = Counter("fanout_backpressure", "Requests answered 503: queue full or absent.", registry=r)
        self.requests = _by(
            Counter("fanout_ingress_requests", "Batches answered, by status class.", ["status"], registry=r), STATUSES
        )
        self.negotiated = _by(
            Counter("fanout_negotiate_requests", "Negotiations answered, by status class.", ["status"], registry=r),
            STATUSES,
        )
        self.append_seconds = Histogram(
            "fanout_append_seconds", "Time to store one batch.", buckets=_CALL_BUCKETS, registry=r
        )

    def _delivery(self) -> None:
        r = self.registry
        self.delivered = _by(
            Counter("fanout_delivered", "Entries delivered, by operation.", ["operation"], registry=r), OPERATIONS
        )
        self.failures = _by(
            Counter("fanout_failed_attempts", "REST calls that did not deliver, by class.", ["failure"], registry=r),
            FAILURES,
        )
        self.retries = Counter("fanout_retries", "REST calls repeated.", registry=r)
        self.dead = _by(
            Counter("fanout_dead", "Entries parked as dead letters, by reason.", ["reason"], registry=r), DEAD_REASONS
        )
        self.expired = Counter("fanout_expired", "Messages dropped because their ttlSeconds ran out.", registry=r)
        self.queue_wait_seconds = Histogram(
            "fanout_queue_wait_seconds", "From stored to first REST call.", buckets=_WAIT_BUCKETS, registry=r
        )
        self.send_seconds = Histogram("fanout_send_seconds", "One REST call.", buckets=_CALL_BUCKETS, registry=r)
        self.settle_seconds = Histogram(
            "fanout_settle_seconds", "Taking delivered entries out of the queue.", buckets=_CALL_BUCKETS, registry=r
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
