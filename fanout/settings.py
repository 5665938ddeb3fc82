"""Every setting, documented where it is defined; read from the environment once, at start.

Rule guarded: an unknown `FANOUT_` name refuses to start (a typing error must not silently mean a default), and secrets
are `SecretStr`, so no repr or log can show them. `fanout config` prints this table with the effective values. A plain
pydantic model is enough: the environment is handed in by `load`, which also has to see the names it does not know.
"""

import difflib
import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from fanout.errors import ConfigurationError

PREFIX = "FANOUT_"
CONNECTION_STRING = "AzureSignalRConnectionString"
_MIB = 1024 * 1024


class Settings(BaseModel):
    """The configuration of one process. Durations are seconds, sizes are bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # What to deliver to -------------------------------------------------------------------------------------------
    connection_string: SecretStr = Field(
        SecretStr(""),
        description="The service to deliver to: Endpoint=...;AccessKey=...;Version=1.0; (the name Functions apps use).",
    )
    api_version: str = Field("2022-06-01", description="api-version of the REST calls; 2022-06-01 or newer.")
    application: str = Field(
        "", description="Application name, the prefix of hub names in a shared service; usually empty."
    )
    audience: Literal["endpoint", "server"] = Field(
        "endpoint",
        description="Which host the token audience names when ServerEndpoint is set: Endpoint's or ServerEndpoint's.",
    )

    # The queue ----------------------------------------------------------------------------------------------------
    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="Redis 7.0+ or Valkey: redis://, rediss:// (TLS), unix://, a Cluster with ?cluster=true, or "
        "redis+sentinel://host:port,host:port/service; each with user:password@ as needed.",
    )
    redis_ca: str = Field(
        "", description="File of certificate authorities to trust for rediss://, besides those of the machine."
    )
    durability: Literal["configured", "replicas", "aof"] = Field(
        "configured",
        description="What a 202 waits for: configured (the primary, as Redis is configured), replicas (WAIT), or aof "
        "(WAITAOF: the primary's append-only file is on disk, and the replicas' too; Redis 7.2+ or Valkey).",
    )
    durability_replicas: int = Field(
        1, ge=0, le=16, description="Replicas that have to acknowledge; 0 with aof waits for the primary's disk alone."
    )
    durability_timeout: float = Field(
        2.0,
        gt=0,
        le=60,
        description="How long a request waits for them before it is answered 503: stored, unconfirmed.",
    )
    partitions: int = Field(
        16, ge=1, le=1024, description="Streams the queue is cut into; fixed at the first start of a Redis."
    )
    max_depth: int = Field(
        1_000_000, ge=1, description="Entries waiting in all partitions together before ingress answers 503."
    )
    dedup_window: float = Field(600.0, gt=0, description="How long a messageId or Idempotency-Key is remembered.")

    # The front door -----------------------------------------------------------------------------------------------
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_key: SecretStr = Field(
        SecretStr(""), description="Callers prove themselves with it: Authorization: Bearer, or X-API-Key."
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Without an API key, serve callers from anywhere, not loopback alone. Only behind a gateway.",
    )
    max_body: int = Field(16 * _MIB, ge=1024, description="Largest request body.")
    body_timeout: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="How long a request may take to send its head, and then its body, before it is refused with 408.",
    )
    max_items: int = Field(10_000, ge=1, description="Most items in one batch.")
    max_targets: int = Field(
        10_000, ge=1, description="Most queue entries one batch may become once its target lists are expanded."
    )
    max_expanded: int = Field(
        64 * _MIB,
        ge=1024,
        description="Largest sum of message bodies one batch may become once its targets are expanded.",
    )
    max_message: int = Field(
        1_000_000, ge=1024, description="Largest REST body of one message; the service refuses more than 1 MB."
    )

    # Negotiate ----------------------------------------------------------------------------------------------------
    negotiate_user: tuple[Literal["principal-id", "principal-name", "query"], ...] = Field(
        (),
        description="Where a caller without an API key may get its user id from, comma-separated, first match wins: "
        "principal-id, principal-name (the x-ms-client-principal-* headers; only behind a gateway that sets and strips "
        "them), query (?userId=: anybody may be anybody).",
    )
    negotiate_anonymous: bool = Field(default=False, description="Give clients without a user id a token too.")
    negotiate_lifetime: float = Field(3600.0, ge=60, le=86_400, description="Lifetime of a client's access token.")
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Exact origins browsers may negotiate from, comma-separated: https://app.example.com. No wildcard.",
    )

    # Delivery -----------------------------------------------------------------------------------------------------
    concurrency: int = Field(
        128, ge=1, le=4096, description="REST calls in flight, settled ones excluded, per worker process."
    )
    read_ahead: int = Field(2_000, ge=1, description="Entries a worker holds in memory, all partitions together.")
    lease_seconds: float = Field(
        10.0, ge=0.2, le=300, description="Lifetime of a partition lease; a dead worker's work waits this long."
    )
    connect_timeout: float = Field(5.0, gt=0, description="Bound on opening a connection to the service.")
    attempt_timeout: float = Field(10.0, gt=0, description="Bound on one REST call, connecting excluded.")
    outcome_unknown: Literal["retry", "dead"] = Field(
        "retry",
        description="After a 500 or a lost answer to a message: retry (at least once) or dead (at most once, parked).",
    )
    execute: bool = Field(
        default=False,
        description="The service runs :execute: messages that wait for one user, or for everybody, share a call. "
        "`fanout doctor` proves whether it does.",
    )
    units: int = Field(
        0,
        ge=0,
        le=1000,
        description="Units of the service, to derive rates from (200 sends a second each, 2 broadcasts a second); "
        "0: follow what the service refuses.",
    )
    send_rate: float = Field(
        0.0,
        ge=0,
        description="Most sends to users, groups and connections per second, all workers together; 0: by units.",
    )
    broadcast_rate: float = Field(
        0.0, ge=0, description="Most broadcasts per second, all workers together; 0: by units."
    )
    retry_base: float = Field(0.2, gt=0, description="First backoff ceiling; doubles with each attempt, full jitter.")
    retry_cap: float = Field(30.0, gt=0, description="Largest backoff ceiling.")
    retry_max_age: float = Field(
        3600.0, gt=0, description="An entry older than this is parked as dead instead of retried."
    )
    retry_max_attempts: int = Field(
        200, ge=1, description="An entry that failed this often is parked as dead; being throttled does not count."
    )
    shutdown_grace: float = Field(25.0, gt=0, description="How long calls in flight may take to finish after SIGTERM.")
    token_lifetime: float = Field(3600.0, ge=120, le=86_400, description="Lifetime of the tokens our REST calls carry.")
    token_cache: int = Field(
        100_000,
        ge=1,
        description="REST tokens kept, one for each destination, each about 0.9 KB; the least recently used "
        "goes first.",
    )

    # Logs ---------------------------------------------------------------------------------------------------------
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is written."
    )
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")

    # Trace --------------------------------------------------------------------------------------------------------
    trace_keep: float = Field(
        0.0,
        ge=0,
        le=604_800,
        description="How long the life of a message can be asked for after its last event (fanout trace ID); "
        "0 keeps it in the logs alone.",
    )
    trace_max_per_second: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Messages a second whose trace one process keeps, chosen by their ids when there are more; each "
        "takes about 1 KB of Redis, at most 64 events.",
    )


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from `environ` (the process's own by default); keyword arguments win over it.

    Raises ConfigurationError that names the variable and says what is allowed.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if name.lower() == CONNECTION_STRING.lower():
            values["connection_string"] = text
        elif name.upper().startswith(PREFIX):
            values[_field(name)] = text
    for name in ("negotiate_user", "cors_origins"):
        if isinstance(values.get(name), str):
            values[name] = tuple(part.strip() for part in values[name].split(",") if part.strip())
    values.update(overrides)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None


def variable_of(field: str) -> str:
    """Name the environment variable of a field."""
    return CONNECTION_STRING if field == "connection_string" else PREFIX + field.upper()


def _field(variable: str) -> str:
    name = variable[len(PREFIX) :].lower()
    if name in Settings.model_fields and name != "connection_string":
        return name
    known = [variable_of(field) for field in Settings.model_fields]
    close = difflib.get_close_matches(variable.upper(), known, n=1)
    hint = f" Did you mean {close[0]}?" if close else " `fanout config` lists the known ones."
    raise ConfigurationError(f"{variable} is not a setting of this version.{hint}")


def _explain(error: ValidationError) -> str:
    problems = []
    for detail in error.errors(include_input=False, include_url=False):
        name = variable_of(str(detail["loc"][0])) if detail["loc"] else "settings"
        problems.append(f"{name}: {detail['msg']}")
    return "; ".join(problems)
