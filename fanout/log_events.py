"""Every event of the log with its fields, so that whoever parses the log has a schema to parse by.

Rule guarded: an event and its fields are named here once. docs/operating.md and docs/log-events.schema.json are
generated from here, and the tests hold every line that they see, and every call that writes one, against it.
"""

from dataclasses import dataclass
from typing import Any, Final

# The JSON types of fields that mean the same in every event.
TYPES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("asked", "more"), ("boolean",)),
    **dict.fromkeys(("age", "took", "seconds", "grace", "refused_anyway"), ("number",)),
    **dict.fromkeys(("rate", "again_in"), ("number", "null")),
    **dict.fromkeys(
        (
            *("accepted", "admin_port", "attempt", "attempts", "duplicates", "failed", "fence", "format", "held"),
            *(
                "in_flight",
                "items",
                "lanes_left",
                "leases",
                "left_out",
                "lifted",
                "matched",
                "more_ids",
                "partition",
                "port",
            ),
            *(
                "count",
                "deleted",
                "keys",
                "lost",
                "markers",
                "purged",
                "reads",
                "rejected",
                "replayed",
                "sampled",
                "spans",
                "status",
                "unsettled",
            ),
        ),
        ("integer",),
    ),
    "ids": ("array",),
}
_TEXT: Final = ("string",)
_NULLABLE_NUMBER: Final = ("number", "null")


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One or more events with the same fields. A field whose name ends with `?` may be left out.

    `types` are those of fields that mean something else here than in other events.
    """

    names: tuple[str, ...]
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    text: str
    note: str = ""
    types: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def field_names(self) -> frozenset[str]:
        """The names of the fields."""
        return frozenset(name.removesuffix("?") for name in self.fields)

    def schema_of(self, field: str) -> dict[str, Any]:
        """Return the JSON schema of one field."""
        types = dict(self.types).get(field, TYPES.get(field, _TEXT))
        more = {"items": {"type": "string"}} if types == ("array",) else {}
        return {"type": types[0] if len(types) == 1 else list(types), **more}


def _event(names: str, levels: str, fields: str, text: str, note: str = "", **types: tuple[str, ...]) -> LogEvent:
    return LogEvent(
        tuple(names.split()), tuple(levels.split()), tuple(fields.split()), text, note, tuple(sorted(types.items()))
    )


EVENTS: Final = (
    _event(
        "ingress.accepted",
        "info",
        "request_id caller hub items accepted duplicates rejected failed ids more_ids sampled?",
        "a batch was taken, in whole or in part; `ids` are the first 20",
    ),
    _event(
        "delivery.settled",
        "info",
        "end id hub endpoint operation partition entry status attempts age took sampled?",
        "an entry left the queue",
    ),
    _event(
        "delivery.attempt",
        "info",
        "id hub endpoint attempt failure status detail again_in",
        "a call did not deliver; `detail` is the cause in words, or what the service answered",
    ),
    _event("service.proxy", "info", "proxy endpoint", "at start: calls go through a proxy"),
    _event("entry.unreadable", "error", "partition id detail", "a broken entry went to the dead letters unread"),
    _event(
        "entry.newer",
        "warning",
        "partition id hub format reads stops",
        "warning: an entry is of a newer `format` than this worker `reads`; its lane stands still, or its flow where"
        " the lane is not known. Once for each partition and format; see [Upgrading](#upgrading)",
    ),
    _event(
        "order.markers_full",
        "warning",
        "markers hub",
        "warning: as many `markers` of `removeAll` and `closeConnection` are remembered as a worker may; what waits for"
        " groups is read only up to the next one. Once until a quarter of them is gone. `hub` has the last one",
    ),
    _event("endpoint.online", "info", "endpoint", "an endpoint answers again: clients are sent there"),
    _event(
        "endpoint.offline",
        "warning",
        "endpoint",
        "warning: an endpoint does not answer: clients are sent to others, and what is queued for it waits",
    ),
    _event(
        "endpoint.unknown",
        "warning",
        "endpoint partition",
        "warning: messages wait for an endpoint that is not configured here, until their age. Once for each",
    ),
    _event(
        "delivery.dead",
        "warning",
        "reason id hub endpoint operation status attempts detail left_out",
        "warning: an entry became a dead letter; one line per reason in 10 seconds, `left_out` counts the others",
    ),
    _event(
        "delivery.credentials_refused",
        "warning",
        "status id hub endpoint operation left_out",
        "warning: the service answered 401 or 403; one line per kind in 10 seconds",
    ),
    _event(
        "delivery.paused",
        "warning",
        "class endpoint seconds rate asked left_out",
        "warning: a 429 pauses a class of calls to an endpoint; one line for both in 10 seconds",
    ),
    _event(
        "delivery.paced",
        "warning",
        "class endpoint rate refused_anyway left_out",
        "warning: what was learned of the rate, or of refusals that do not come from it",
    ),
    _event(
        "delivery.paused",
        "warning",
        "target seconds cause by left_out?",
        "warning: a pause that is kept in Redis holds back delivery; `seconds` is null until it is lifted",
        "kept",
        seconds=_NULLABLE_NUMBER,
    ),
    _event("delivery.resumed", "warning", "target lifted", "warning: it is over, or was lifted", lifted=("boolean",)),
    _event(
        "pauses.unknown",
        "warning",
        "error",
        "Redis has not said for a while which pauses there are; none is in force until it does",
    ),
    _event(
        "pauses.set",
        "warning",
        "request_id target seconds",
        "an operator paused delivery; `seconds` is null until it is lifted",
        seconds=_NULLABLE_NUMBER,
    ),
    _event(
        "hub.closing",
        "warning",
        "request_id hub endpoint?",
        "an operator queued the closing of all connections of a hub, at one endpoint where one is named",
    ),
    _event("pauses.lifted", "warning", "request_id target lifted", "an operator resumed delivery"),
    _event(
        "callers.unreadable",
        "warning",
        "source reason",
        "the keys of `redis`, `file` or an issuer cannot be read; those that were read count for a while",
    ),
    _event("callers.readable_again", "info", "source keys", "the keys can be read again"),
    _event("callers.unreadable_keys", "warning", "count", "some API keys in Redis cannot be read and are left out"),
    _event("execute.allowed execute.not_proved", "info", "endpoint", "whether messages may share a call, as recorded"),
    _event("lease.taken", "info", "partition fence", "ownership moved; the fence grows with each owner"),
    _event(
        "lease.released",
        "info",
        "partition lanes_left",
        "a partition was handed back, but for `lanes_left` destinations that follow when their calls have ended",
    ),
    _event(
        "store.forgot",
        "error",
        "partition unsettled",
        "the store lost who owned a partition (emptied, or a failover that lost writes), and with it what was stored"
        " there; this worker had read `unsettled` entries that were not settled",
    ),
    _event(
        "lease.lost",
        "warning",
        "partition cause in_flight unsettled",
        "a lease ran out or was taken: what was in flight may repeat",
    ),
    _event("leases.unreachable", "warning", "error held", "Redis did not answer; it is tried again"),
    _event(
        "dead_letters.unreachable",
        "warning",
        "partition error",
        "Redis did not answer when old dead letters were to be deleted; it is tried again; one line in 60 seconds",
    ),
    _event("reader.failed", "warning", "partition error", "Redis did not answer; it is tried again"),
    _event(
        "reader.rewound",
        "warning",
        "partition flow oldest",
        "Redis went back in time (a failover); the partition is read from its start",
    ),
    _event("store.unsafe", "warning", "finding", "at start: Redis may evict, forget, or lacks replicas"),
    _event("settings.corrected", "warning", "correction", "at start: a setting was read as what it was meant to be"),
    _event(
        "dead_letters.replayed",
        "info",
        "request_id matched replayed more",
        "an operator sent dead letters again",
    ),
    _event(
        "dead_letters.aged",
        "warning",
        "deleted age",
        "warning: dead letters older than FANOUT_MAX_DEAD_AGE (`age`, in seconds) were deleted; one line in 10"
        " seconds, `deleted` counts all since the one before",
    ),
    _event("dead_letters.purged", "info", "request_id matched purged more", "an operator deleted dead letters"),
    _event(
        "service.ready",
        "info",
        "role host port version admin_port?",
        "Redis has been checked; the process accepts traffic",
    ),
    _event(
        "store.waiting",
        "warning",
        "reason",
        "at start: Redis is away; the process waits for it and is not ready (every 10 seconds)",
    ),
    _event("service.access_granted", "info", "detail", "at start: the service accepts the access key"),
    _event(
        "service.key_refused service.version_refused",
        "error",
        "detail",
        "at start: the service refuses the key or the API version; nothing will be delivered (every minute)",
    ),
    _event("service.unavailable", "warning", "detail", "at start: the service did not answer (every minute)"),
    _event("identity.used", "info", "identity endpoint", "at start: who calls the service, or logs in to Redis"),
    _event(
        "identity.renewed", "info", "what seconds", "a new identity token is in force, which ends in so many seconds"
    ),
    _event(
        "identity.failed",
        "warning",
        "what reason seconds",
        "warning: an identity token could not be renewed, which is tried again; the former one ends in `seconds`, and"
        " while there is none, deliveries wait",
    ),
    _event("secrets.changed", "info", "setting", "the file of a secret holds another one, which is in force now"),
    _event(
        "secrets.refused",
        "warning",
        "setting reason",
        "the file of a secret cannot be used; the secret that was in force stays (once for each reason)",
    ),
    _event(
        "spans.lost",
        "warning",
        "spans lost left_out?",
        "the collector did not take these spans; `lost` counts all lost",
    ),
    _event("worker.draining", "info", "in_flight leases", "SIGTERM"),
    _event("worker.grace_over", "warning", "in_flight grace", "the grace time did not suffice"),
    _event(
        "request.refused",
        "info warning",
        "code peer status? method? path? detail? request_id? left_out?",
        "a request was refused; of each code at most ten lines in ten seconds, and `left_out` counts the others. Before"
        " a request is known there is only `peer`",
    ),
    _event(
        "audit.acted audit.read audit.negotiated",
        "info",
        "stream request_id caller peer forwarded? method path status hub? endpoint? target? matched? count? seconds? "
        "dry? left_out?",
        "audit log: a caller acted on the queue or the service, read what administration shows, or negotiated for a"
        " client that it named; `forwarded` is whom a gateway of FANOUT_NEGOTIATE_PEERS says it forwards. Of reading"
        " and negotiating at most ten lines for a caller in ten seconds",
        dry=("boolean",),
    ),
    _event(
        "audit.refused",
        "info",
        "stream request_id peer method path status code detail left_out?",
        "audit log: a caller is not known, or may not, as `detail` says; of each code at most ten lines in ten seconds",
    ),
    _event(
        "audit.key_added audit.key_removed",
        "info",
        "stream source key name rights hubs",
        "audit log: an API key counts from now on, or no longer; every ingress says so",
    ),
    _event("request.failed", "error", "request_id method path exception?", "a bug: please report it"),
    _event("request.broken_off", "error", "path exception?", "a bug: please report it"),
)
ALWAYS: Final = ("timestamp", "level", "event")
