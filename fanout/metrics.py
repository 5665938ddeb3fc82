"""Every metric of the service, defined once.

Rules guarded: labels have closed sets of values, so each series exists at zero from the start and no user, group or
connection id can become one. The children of the hot path are looked up once, here, never by label value for each
message.
"""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics import exposition as openmetrics

from fanout import __version__
from fanout.binding.refusals import ITEM_CODES, WARNING_CODES
from fanout.bounds_metrics import DEAD_BOUNDS, bounds_gauges
from fanout.caller_metrics import CallerMetrics
from fanout.endpoint_metrics import EndpointMetrics, endpoint_gauges
from fanout.errors import REFUSALS
from fanout.hub_metrics import HubMetrics
from fanout.instruments import Counters, Definition, Gauges
from fanout.signalr.message import OPERATIONS, UNNAMED, Scope

CONTENT_TYPE = CONTENT_TYPE_LATEST

# How one REST call that was not delivered ended.
FAILURES = (
    "notSent",
    "noToken",
    "maybeSent",
    "throttled",
    "unavailable",
    "serverError",
    "unauthorized",
    "forbidden",
    "notFound",
    "redirected",
    "foreign",
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
# What a request was about.
ROUTES = ("messages", "compatible", "negotiate", "admin", "probe", "other")

_WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 90, 120, 180, 300, 600, 1800, 3600)
_CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)

QUEUE, INGRESS, DELIVERY, BY_HUB, BY_ENDPOINT = "The queue", "The ingress", "Delivery", "By hub", "By endpoint"
WORKER, REDIS, PROCESS = "The state of a worker", "Redis", "The process"
SECTIONS = (QUEUE, INGRESS, DELIVERY, BY_HUB, BY_ENDPOINT, WORKER, REDIS, PROCESS)
_BY_CLASS = (("class", CLASSES),)

GAUGES = (
    Definition(
        QUEUE,
        "gauge",
        "fanout_queue_depth",
        "Entries that are not settled yet, those in flight included, by partition.",
        (("partition", ()),),
    ),
    Definition(
        QUEUE,
        "gauge",
        "fanout_oldest_age_seconds",
        "Age of the oldest entry in the queue, by the clock of Redis and by kind of destination; 0 when none waits.",
        (("destination", tuple(Scope)),),
    ),
    Definition(
        QUEUE,
        "gauge",
        "fanout_partitions",
        "Partitions of the queue with and without an owner, as Redis knows it. It is known without scraping a worker.",
        (("state", ("owned", "unowned")),),
    ),
    Definition(
        QUEUE, "gauge", "fanout_dead_letters", "Dead letters kept. It falls when an operator replays or deletes some."
    ),
    Definition(
        INGRESS,
        "gauge",
        "fanout_body_bytes",
        "Bytes of request bodies being handled, and what their items and lists of targets add.",
    ),
    Definition(
        INGRESS,
        "gauge",
        "fanout_body_bytes_limit",
        "Most of these bytes at the same time; past it requests are answered 503. It follows from the memory limit.",
    ),
    Definition(
        WORKER, "gauge", "fanout_leases", "Partitions this worker owns. The sum over all workers is FANOUT_PARTITIONS."
    ),
    Definition(WORKER, "counter", "fanout_leases_gained", "Leases on partitions this worker took."),
    Definition(WORKER, "counter", "fanout_leases_lost", "Leases that expired or were taken before they were released."),
    Definition(WORKER, "gauge", "fanout_in_flight", "REST calls in flight or not yet settled; see FANOUT_CONCURRENCY."),
    Definition(
        WORKER,
        "gauge",
        "fanout_window",
        "REST calls that may be in flight at once: few at the start, fewer after 429, 503 and lost answers.",
    ),
    Definition(WORKER, "gauge", "fanout_waiting", "Entries in this worker's memory, within FANOUT_READ_AHEAD_BYTES."),
    Definition(WORKER, "gauge", "fanout_lanes", "Destinations with entries in this worker's memory."),
    Definition(WORKER, "gauge", "fanout_lanes_leaving", "Destinations handed over whose calls still are in flight."),
    Definition(
        WORKER,
        "gauge",
        "fanout_held_lanes",
        "Destinations that stand still because an entry of a newer format waits there, which takes a newer worker.",
    ),
    Definition(
        WORKER,
        "gauge",
        "fanout_rate_limit",
        "Calls per second allowed to all workers together, by class; +Inf without a limit.",
        _BY_CLASS,
    ),
    Definition(
        WORKER,
        "gauge",
        "fanout_refused_anyway",
        "Share of the calls that is refused with 429 whatever the rate, by class; 0 where a 429 is taken for a limit.",
        _BY_CLASS,
    ),
    Definition(
        WORKER,
        "gauge",
        "fanout_rate_share",
        "Share of the rate limit that belongs to this worker, 0 to 1, by class.",
        _BY_CLASS,
    ),
    Definition(
        WORKER,
        "gauge",
        "fanout_breaker_open",
        "Hubs whose calls of the class are held back because the service fails, by class.",
        _BY_CLASS,
    ),
    Definition(
        WORKER,
        "gauge",
        "fanout_pause_seconds",
        "Seconds until the pause of the class ends; 0 without one, +Inf until it is lifted.",
        _BY_CLASS,
    ),
    Definition(WORKER, "gauge", "fanout_paused_hubs", "Hubs that an operator paused."),
    Definition(
        QUEUE,
        "gauge",
        "fanout_pauses",
        "Pauses in force, as Redis knows them, by who asked: an operator, or the service for a second or more.",
        (("cause", ("operator", "service")),),
    ),
    Definition(WORKER, "gauge", "fanout_connections", "Open connections to the service."),
    Definition(WORKER, "counter", "fanout_connections_opened", "Connections opened to the service."),
    Definition(WORKER, "counter", "fanout_connections_reused", "REST calls that used an open connection."),
    Definition(WORKER, "gauge", "fanout_tokens", "REST tokens in the cache."),
    Definition(WORKER, "counter", "fanout_token_cache_hits", "REST tokens found in the cache."),
    Definition(
        WORKER, "counter", "fanout_token_cache_misses", "Tokens signed. Many at full speed: raise FANOUT_TOKEN_CACHE."
    ),
    Definition(REDIS, "gauge", "fanout_redis_up", "1 when Redis answered at the last scrape, else 0."),
    Definition(REDIS, "gauge", "fanout_redis_latency_seconds", "Time in which Redis answered at the last scrape."),
    Definition(
        REDIS,
        "gauge",
        "fanout_redis_memory_ratio",
        "Memory that Redis uses, as a share of maxmemory or else of its machine; the fullest primary counts.",
    ),
    Definition(PROCESS, "gauge", "fanout_http_connections", "Connections of clients that are served now."),
    Definition(
        PROCESS,
        "gauge",
        "fanout_http_connections_waiting",
        "Connections of clients that wait for one of FANOUT_MAX_CONNECTIONS places.",
    ),
    Definition(
        PROCESS, "gauge", "fanout_build_info", "1, labelled with the version of this process.", (("version", ()),)
    ),
    Definition(
        PROCESS,
        "gauge",
        "fanout_service_key_refused",
        "1 while the service refuses the access key, asked at start and every minute until it accepts it.",
    ),
    Definition(
        PROCESS,
        "gauge",
        "fanout_identity_token_seconds",
        "Seconds until the first identity token of this process ends, 0 while there is none. Only with an identity.",
    ),
    Definition(
        INGRESS,
        "gauge",
        "fanout_api_keys_age_seconds",
        "How long ago the API keys of callers were read; past 300 they count no longer. 0 where none are read.",
    ),
    Definition(
        INGRESS,
        "gauge",
        "fanout_issuer_keys_age_seconds",
        "How long ago the keys of token issuers were fetched; past 86400 they count no longer. 0 where none are.",
    ),
    Definition(
        PROCESS,
        "counter",
        "fanout_trace_events_skipped",
        "Trace events not stored because the limit of traced messages per second was reached.",
    ),
    Definition(
        PROCESS,
        "counter",
        "fanout_trace_events_lost",
        "Trace events dropped because the buffer was full or Redis did not answer.",
    ),
    Definition(PROCESS, "counter", "fanout_spans_exported", "Spans that the OpenTelemetry collector took."),
    Definition(
        PROCESS,
        "counter",
        "fanout_spans_lost",
        "Spans dropped because their queue was full or the OpenTelemetry collector did not take them.",
    ),
    *endpoint_gauges(BY_ENDPOINT),
    *bounds_gauges(QUEUE, WORKER),
)


class Metrics:
    """The instruments of one process, in a registry of their own.

    `refusals_of_keys` says of each endpoint that was asked whether it refuses its access key. `hubs` and `callers` are
    those that are counted one by one, from settings, `endpoints` names and labels of what is delivered to.
    `has_examples` is True where histograms keep traces as examples.
    """

    def __init__(
        self,
        hubs: Sequence[str] = (),
        callers: Sequence[str] = (),
        endpoints: Sequence[tuple[str, str]] = (("", UNNAMED),),
    ) -> None:
        self.registry = CollectorRegistry()
        self.gauges = Gauges(GAUGES)
        self.refusals_of_keys: dict[str, bool] = {}
        self.has_examples = False
        ingress, delivery, process = Counters(INGRESS), Counters(DELIVERY), Counters(PROCESS)
        self._define_ingress(ingress)
        self._define_delivery(delivery)
        self.loop_lag_seconds = process.histogram(
            "fanout_event_loop_lag_seconds", "How late the event loop wakes up a task that slept.", _LAG_BUCKETS
        )
        self.by_hub = HubMetrics(BY_HUB, hubs, _WAIT_BUCKETS)
        self.by_caller = CallerMetrics(INGRESS, callers)
        self.by_endpoint = EndpointMetrics(BY_ENDPOINT, endpoints)
        apart = (self.by_caller.counters, self.by_hub.counters, self.by_endpoint.counters)
        collectors = (ingress, delivery, *apart, process, self.gauges)
        self.definitions = [definition for collector in collectors for definition in collector.definitions]
        for collector in collectors:
            self.registry.register(collector)
        ProcessCollector(registry=self.registry)
        self.gauges.watch(
            build_info=lambda: {__version__: 1},
            service_key_refused=lambda: None if self.key_refused is None else float(self.key_refused),
        )

    @property
    def key_refused(self) -> bool | None:
        """Whether an access key is refused, None when no endpoint was asked."""
        return any(self.refusals_of_keys.values()) if self.refusals_of_keys else None

    def _define_ingress(self, new: Counters) -> None:
        self.accepted = new.counters(
            "fanout_accepted",
            "Entries stored, by operation: one for each target of an item. A replayed dead letter counts again.",
            "operation",
            OPERATIONS,
        )
        self.duplicates = new.counter("fanout_duplicates", "Entries that had been stored before.")
        self.item_warnings = new.counters(
            "fanout_item_warnings", "Items queued with a warning, by its code.", "warning", tuple(WARNING_CODES)
        )
        self.rejected = new.counter("fanout_rejected", "Items refused: not valid, or with an id that conflicts.")
        self.backpressure = new.counter(
            "fanout_backpressure", "Requests answered 503: queue full or unavailable, or no memory for them."
        )
        self.refused = new.counters(
            "fanout_refused_requests",
            "Requests and connections refused, by the code of the problem.",
            "code",
            (*REFUSALS, *ITEM_CODES),
        )
        self._define_requests(new)
        self.replayed = new.counter("fanout_replayed", "Dead letters replayed by an operator.")
        self.purged = new.counter("fanout_purged", "Dead letters deleted by an operator.")
        self._define_ingress_times(new)

    def _define_requests(self, new: Counters) -> None:
        self.requests = new.counters(
            "fanout_ingress_requests", "Batches answered, by status class.", "status", STATUSES
        )
        self.compatible = new.counters(
            "fanout_compatible_requests",
            "Requests of the compatible routes answered, by status class.",
            "status",
            STATUSES,
        )
        self.compatible_behind = new.counter(
            "fanout_compatible_behind",
            "Questions that may not see all that was queued before: FANOUT_COMPAT_WAIT was over, or too much waits.",
        )
        self.negotiated = new.counters(
            "fanout_negotiate_requests", "Negotiations answered, by status class.", "status", STATUSES
        )

    def _define_ingress_times(self, new: Counters) -> None:
        self.append_seconds = new.histogram(
            "fanout_append_seconds", "Time to store one batch, waiting for replicas or disks included.", _CALL_BUCKETS
        )
        self.http_seconds = new.histograms(
            "fanout_http_request_seconds",
            "Time from the head of a request to its answer, by route and status class.",
            _CALL_BUCKETS,
            route=ROUTES,
            status=STATUSES,
        )

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
        self.dropped_letters = new.counters(
            "fanout_dropped_letters", "Oldest dead letters deleted, by the bound reached.", "bound", DEAD_BOUNDS
        )
        self.expired = new.counter("fanout_expired", "Messages dropped because their ttlSeconds ran out.")
        self.superseded = new.counter(
            "fanout_superseded", "Entries dropped because a newer one with the same key or member was waiting."
        )
        self.unordered = new.counter(
            "fanout_unordered",
            "Messages and group actions that waited FANOUT_ORDER_WAIT for a removeAll or closeConnection and went on.",
        )
        self.joined = new.counter(
            "fanout_joined", "Messages that shared a REST call with others; a repeated call counts again."
        )
        self.slowdowns = new.counters(
            "fanout_slowdowns", "Throttling answers (429) that paused a class of calls, by class.", "class", CLASSES
        )
        self._define_delivery_times(new)

    def _define_delivery_times(self, new: Counters) -> None:
        self.queue_wait_seconds = new.histogram(
            "fanout_queue_wait_seconds", "Time from storing an entry to its first REST call.", _WAIT_BUCKETS
        )
        self.delivery_seconds = new.histograms(
            "fanout_delivery_seconds",
            "Time from accepting an entry to settling its delivery, by class.",
            _WAIT_BUCKETS,
            **{"class": CLASSES},
        )
        self.send_seconds = new.histogram("fanout_send_seconds", "Duration of one REST call.", _CALL_BUCKETS)
        self.settle_seconds = new.histogram(
            "fanout_settle_seconds", "Time to remove delivered entries from the queue.", _CALL_BUCKETS
        )

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self.registry)

    def rendered(self, accepted: str) -> tuple[bytes, str]:
        """Return the metrics and their content type for an `Accept` header.

        OpenMetrics is for the examples alone, because only it can carry them.
        """
        if self.has_examples and openmetrics.CONTENT_TYPE_LATEST.partition(";")[0] in accepted.lower():
            text: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call] # not typed there
            return text, openmetrics.CONTENT_TYPE_LATEST
        return self.render(), CONTENT_TYPE
