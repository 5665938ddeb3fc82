"""Every metric of the service, defined once.

Rules guarded: labels have closed sets of values, so each series exists at zero from the start and no user, group or
connection id can become one. The children of the hot path are looked up once, here, never by label value for each
message.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from fanout import __version__
from fanout.binding.refusals import WARNING_CODES
from fanout.counters import Counters
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


class Gauges:
    """Values kept elsewhere and read at each scrape; zero until somebody supplies them."""

    _GAUGES: ClassVar[dict[str, str]] = {
        "in_flight": "REST calls in flight or not yet settled.",
        "waiting": "Entries this worker holds in memory.",
        "lanes": "Destinations with entries in this worker's memory.",
        "leases": "Partitions this worker owns.",
        "connections": "Open connections to the service.",
        "window": "Calls that may be in flight at once.",
        "tokens": "REST tokens in the cache.",
    }
    _BY_CLASS: ClassVar[dict[str, str]] = {
        "rate_limit": "Calls per second allowed to all workers together, by class; +Inf without a limit.",
        "rate_share": "Share of the rate limit that belongs to this worker, by class.",
        "breaker_open": "Hubs whose calls of the class are held back because the service fails, by class.",
    }
    _COUNTERS: ClassVar[dict[str, str]] = {
        "token_cache_hits": "REST tokens found in the cache.",
        "token_cache_misses": "REST tokens signed.",
        "connections_opened": "Connections opened to the service.",
        "connections_reused": "REST calls that used an open connection.",
        "trace_events_skipped": "Trace events not stored because the limit of traced messages per second was reached.",
        "trace_events_lost": "Trace events dropped because the buffer was full or Redis did not answer.",
    }

    def __init__(self) -> None:
        self._sources: dict[str, Callable[[], float]] = {}
        self._by_class: dict[str, Callable[[int], float]] = {}

    def watch(self, **sources: Callable[[], float]) -> None:
        """Read these metrics from these functions; ValueError for a name that is not defined."""
        unknown = sources.keys() - self._GAUGES.keys() - self._COUNTERS.keys()
        if unknown:
            raise ValueError(f"no such gauges: {sorted(unknown)}")
        self._sources.update(sources)

    def watch_classes(self, **sources: Callable[[int], float]) -> None:
        """Read these metrics from these functions of the class's number."""
        self._by_class.update(sources)

    def collect(self) -> Iterator[Metric]:
        """Yield all of them; the registry calls this at each scrape."""
        for name, text in self._GAUGES.items():
            yield GaugeMetricFamily(f"fanout_{name}", text, value=self._read(name))
        for name, text in self._BY_CLASS.items():
            family = GaugeMetricFamily(f"fanout_{name}", text, labels=["class"])
            source = self._by_class.get(name, _zero)
            for number, label in enumerate(CLASSES):
                family.add_metric([label], source(number))
            yield family
        for name, text in self._COUNTERS.items():
            yield CounterMetricFamily(f"fanout_{name}", text, value=self._read(name))

    def _read(self, name: str) -> float:
        source = self._sources.get(name)
        return 0.0 if source is None else source()


def _zero(_number: int) -> float:
    return 0.0


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counters = Counters()
        self._define_ingress(counters)
        self._define_delivery(counters)
        self.registry.register(counters)
        self._define_state()

    def _define_ingress(self, new: Counters) -> None:
        self.accepted = new.counters("fanout_accepted", "Entries stored, by operation.", "operation", OPERATIONS)
        self.duplicates = new.counter("fanout_duplicates", "Entries that had been stored before.")
        self.item_warnings = new.counters(
            "fanout_item_warnings", "Items queued with a warning, by its code.", "warning", tuple(WARNING_CODES)
        )
        self.rejected = new.counter("fanout_rejected", "Items refused by the ingress.")
        self.backpressure = new.counter("fanout_backpressure", "Requests answered 503: queue full or unavailable.")
        self.requests = new.counters(
            "fanout_ingress_requests", "Batches answered, by status class.", "status", STATUSES
        )
        self.negotiated = new.counters(
            "fanout_negotiate_requests", "Negotiations answered, by status class.", "status", STATUSES
        )
        self.replayed = new.counter("fanout_replayed", "Dead letters replayed by an operator.")
        self.purged = new.counter("fanout_purged", "Dead letters deleted by an operator.")
        self.append_seconds = new.histogram("fanout_append_seconds", "Time to store one batch.", _CALL_BUCKETS)

    def _define_delivery(self, new: Counters) -> None:
        self.delivered = new.counters("fanout_delivered", "Entries delivered, by operation.", "operation", OPERATIONS)
        self.gone = new.counters(
            "fanout_gone", "Entries whose connection, user or group does not exist any more.", "operation", OPERATIONS
        )
        self.failures = new.counters(
            "fanout_failed_attempts", "REST calls that did not deliver, by kind of failure.", "failure", FAILURES
        )
        self.retries = new.counter("fanout_retries", "REST calls repeated.")
        self.dead = new.counters("fanout_dead", "Entries parked as dead letters, by reason.", "reason", DEAD_REASONS)
        self.expired = new.counter("fanout_expired", "Messages dropped because their ttlSeconds ran out.")
        self.superseded = new.counter(
            "fanout_superseded", "Entries dropped because a newer one with the same key or member was waiting."
        )
        self.joined = new.counter("fanout_joined", "Messages that shared a REST call with others.")
        self.slowdowns = new.counters(
            "fanout_slowdowns", "Throttling answers (429) that lowered the rate of a class, by class.", "class", CLASSES
        )
        self.queue_wait_seconds = new.histogram(
            "fanout_queue_wait_seconds", "Time from storing an entry to its first REST call.", _WAIT_BUCKETS
        )
        self.send_seconds = new.histogram("fanout_send_seconds", "Duration of one REST call.", _CALL_BUCKETS)
        self.settle_seconds = new.histogram(
            "fanout_settle_seconds", "Time to remove delivered entries from the queue.", _CALL_BUCKETS
        )

    def _define_state(self) -> None:
        r = self.registry
        self.depth = Gauge("fanout_queue_depth", "Entries in the queue, by partition.", ["partition"], registry=r)
        self.oldest_age = Gauge("fanout_oldest_age_seconds", "Age of the oldest entry in the queue.", registry=r)
        self.dead_letters = Gauge("fanout_dead_letters", "Dead letters kept.", registry=r)
        self.key_refused = Gauge(
            "fanout_service_key_refused", "1 while the service refuses the access key, asked at start.", registry=r
        )
        build = Gauge("fanout_build_info", "1, labelled with the version of this process.", ["version"], registry=r)
        build.labels(__version__).set(1)
        self.gauges = Gauges()
        r.register(self.gauges)

    def expect_partitions(self, count: int) -> None:
        """Create the depth series of each partition."""
        for partition in range(count):
            self.depth.labels(str(partition)).set(0)

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self.registry)
