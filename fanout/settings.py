"""Every setting, documented where it is defined.

Rules guarded: a setting is a decision that cannot be made for the operator; what can be derived is derived. Secrets are
`SecretStr`, so no repr and no log shows them. Each subject is one class, and a number carries its unit in its type.
`fanout.environment` reads the values; README, chart and `fanout config` repeat the descriptions.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from fanout.binding.names import check_application, check_hub
from fanout.environment_endpoints import NamedConnection
from fanout.hub_metrics import MAX_HUBS
from fanout.settings_callers import CallerSettings
from fanout.settings_http import ListenerSettings, NegotiateSettings
from fanout.settings_queue import QueueSettings
from fanout.settings_rules import check_name
from fanout.signalr.routes import API_VERSION, ApiVersion
from fanout.units import Duration, Size, Unit


class ServiceSettings(BaseModel):
    """The service to deliver to."""

    connection_string: SecretStr = Field(
        SecretStr(""),
        description="Connection string of the Azure SignalR Service to deliver to: "
        "`Endpoint=...;AccessKey=...;Version=1.0;`, or `Endpoint=...;AuthType=azure;` for Microsoft Entra ID. "
        "Functions apps use the same name.",
    )
    connection_string_settings: tuple[str, ...] = Field(
        (),
        description="Further variables that hold connection strings, as `connectionStringSetting` of a Functions app "
        "names them; each is an endpoint of that name. Endpoints can also be written as "
        "`Azure__SignalR__Endpoints__NAME` or `AzureSignalRConnectionString__NAME`, with `__secondary` where clients "
        "are to go there only if no other is online. See docs/endpoints.md.",
    )
    second_access_key: SecretStr = Field(
        SecretStr(""),
        description="The other access key of the service, while keys are rotated: callers of the compatible routes "
        "(`/api/hubs/...`) may sign with either. Deliveries are signed with that of the connection string. Of several "
        "endpoints it is a key of the first: the one without a name, or else the first by name.",
    )
    api_version: ApiVersion = Field(API_VERSION, description="API version of the REST calls.")
    application: str = Field(
        "",
        description="Application name that prefixes hub names when several applications share one service. "
        "Usually empty.",
    )
    audience: Literal["endpoint", "server"] = Field(
        "endpoint",
        description="Host that the token audience names when the connection string has a ServerEndpoint: `endpoint` "
        "for the host of Endpoint, `server` for the host of ServerEndpoint. `fanout doctor` finds out which one works.",
    )

    service_ca: str = Field(
        "",
        description="File with certificate authorities to trust for the service, in addition to those of the system.",
    )
    https_proxy: SecretStr = Field(
        SecretStr(""),
        description="Proxy for calls to an `https` service: `http://[user:password@]host[:port]`. A tunnel is opened "
        "with CONNECT, so the proxy sees no message and no token. The name in lower case takes precedence.",
    )
    http_proxy: SecretStr = Field(SecretStr(""), description="Proxy for calls to an `http` service.")
    no_proxy: str = Field(
        "",
        description="What is called without a proxy, separated by commas: domains with all names below them "
        "(`example.com`), addresses, networks (`10.0.0.0/8`), `*` for everything; each may have a port. This machine "
        "never needs a proxy.",
    )

    @field_validator("application")
    @classmethod
    def _application_is_valid(cls, name: str) -> str:
        return check_name(check_application, name) if name else name


class DeliverySettings(BaseModel):
    """Delivery: workers, rates and retries."""

    concurrency: Annotated[int, Unit("calls")] = Field(
        128,
        ge=1,
        le=4096,
        description="Maximum number of REST calls in flight per worker process. A killed worker repeats at most that "
        "many.",
    )
    read_ahead_bytes: Size = Field(
        0,
        ge=0,
        description="Maximum size of the entries a worker process holds in memory, and once more of the large bodies "
        "of the calls it makes. 0 takes a sixth of what FANOUT_MEMORY_LIMIT leaves, at most 32 MiB.",
    )
    lease_seconds: Duration = Field(
        10.0,
        ge=0.2,
        le=300,
        description="Lifetime of the lease on a partition. The partitions of a worker that died are taken over after "
        "this time.",
    )
    connect_timeout: Duration = Field(5.0, gt=0, description="How long opening a connection to the service may take.")
    attempt_timeout: Duration = Field(
        10.0, gt=0, description="How long one REST call may take, not counting the time to connect."
    )
    outcome_unknown: Literal["retry", "dead"] = Field(
        "retry",
        description="What happens to a message whose outcome is unknown, after a 500 or a lost answer: `retry` "
        "(delivered at least once) or `dead` (delivered at most once, kept as a dead letter).",
    )
    execute: Literal["auto", "true", "false"] = Field(
        "auto",
        description="Whether messages that wait for one user, or for everybody, share a REST call (`:execute`). "
        "`auto`: where a backlog waits, if `fanout doctor --record` has stored that the service does it, and until it "
        "refuses once; without that record never.",
    )
    units: Annotated[int, Unit("units")] = Field(
        0,
        ge=0,
        le=1000,
        description="Units of the service, from which rates are derived: 200 sends per second and unit, 2 broadcasts "
        "per second. 0 finds the rates from what the service refuses.",
    )
    send_rate: Annotated[float, Unit("calls per second")] = Field(
        0.0,
        ge=0,
        description="Maximum rate of sends to users, groups and connections, of all workers together. 0 derives it "
        "from the units.",
    )
    broadcast_rate: Annotated[float, Unit("calls per second")] = Field(
        0.0,
        ge=0,
        description="Maximum rate of broadcasts, of all workers together. 0 derives it from the units.",
    )
    order_wait: Duration = Field(
        1.0,
        ge=0,
        le=60,
        description="Longest time that messages to groups wait for a removeAll or closeConnection that was queued "
        "before them, and these for messages that were queued before. Changes of one member keep their order "
        "without limit.",
    )
    retry_base: Duration = Field(
        0.2,
        gt=0,
        description="Upper limit of the first backoff. It doubles with each attempt; the wait is chosen at random "
        "below it.",
    )
    retry_cap: Duration = Field(30.0, gt=0, description="Maximum of the upper limit of the backoff.")
    retry_max_age: Duration = Field(
        3600.0,
        gt=0,
        description="Age at which a failed entry becomes a dead letter instead of being retried. The last attempt is "
        "made at this age.",
    )
    pause_cap: Duration = Field(
        300.0,
        gt=0,
        description="Longest time that a `Retry-After` of the service is waited for. After it one call is made to find "
        "out whether the service accepts calls again.",
    )
    retry_max_attempts: Annotated[int, Unit("attempts")] = Field(
        200,
        ge=1,
        description="Number of failed attempts after which an entry becomes a dead letter. Throttled calls do not "
        "count.",
    )
    shutdown_grace: Duration = Field(
        25.0, gt=0, description="How long calls in flight may take to finish after SIGTERM."
    )
    token_lifetime: Duration = Field(
        3600.0, ge=120, le=86_400, description="How long the tokens of our own REST calls are valid."
    )
    token_cache: Annotated[int, Unit("tokens")] = Field(
        100_000,
        ge=1,
        description="Maximum number of REST tokens kept in memory: one per destination, about 0.9 KB each, and no "
        "more than an eighth of FANOUT_MEMORY_LIMIT. The least recently used are dropped first.",
    )

    @field_validator("execute", mode="before")
    @classmethod
    def _execute_is_a_word(cls, value: object) -> object:
        return str(value).lower() if isinstance(value, bool) else value


class ObservationSettings(BaseModel):
    """Logs and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="Format of the log: `json` for machines, `console` for people."
    )
    metrics_hubs: tuple[str, ...] = Field(
        (),
        max_length=MAX_HUBS,
        description="Hubs that are counted one by one in the metrics `fanout_hub_...`, comma-separated. All others "
        "count together, as `other`. Each adds 26 series to a process. At most 50 may be named. Empty counts none.",
    )
    trace_keep: Duration = Field(
        0.0,
        ge=0,
        le=604_800,
        description="How long the trace of a message is kept after its last event, for `fanout trace`. 0 keeps no "
        "traces; the logs still have the events.",
    )
    trace_max_per_second: Annotated[int, Unit("messages per second")] = Field(
        100,
        ge=1,
        le=10_000,
        description="Maximum number of messages per second that one process traces. Above it, messages are chosen by "
        "their id. A trace needs about 1 KB of Redis and has at most 64 events.",
    )
    otel: bool = Field(
        default=False,
        description="Send spans of requests and deliveries to an OpenTelemetry collector, and pass `traceparent` on to "
        "the service. Needs the extra `otel`; where and what to send is set by the standard variables (`OTEL_...`).",
    )

    @field_validator("metrics_hubs")
    @classmethod
    def _metrics_hubs_are_hubs(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_name(check_hub, name) for name in names)


class ClientSettings(BaseModel):
    """The command line: `send`, `trace` and `dead-letters`."""

    url: str = Field("http://127.0.0.1:8080", description="URL of the ingress that the commands call.")
    admin_url: str = Field(
        "",
        description="URL for the commands of operators (`fanout top`, `trace`, `dead-letters`, `pause` and so on) when "
        "the admin routes have a port of their own. Without it FANOUT_URL is used.",
    )


# In the order in which they are shown. Fields of the last base class come first in `Settings.model_fields`.
SUBJECTS: tuple[type[BaseModel], ...] = (
    ServiceSettings,
    QueueSettings,
    ListenerSettings,
    CallerSettings,
    NegotiateSettings,
    DeliverySettings,
    ObservationSettings,
    ClientSettings,
)


class Settings(
    ClientSettings,
    ObservationSettings,
    DeliverySettings,
    NegotiateSettings,
    CallerSettings,
    ListenerSettings,
    QueueSettings,
    ServiceSettings,
):
    """The configuration of one process. Durations are in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    _corrections: tuple[str, ...] = PrivateAttr(())
    _secret_files: Mapping[str, str] = PrivateAttr({})
    _named_connections: tuple[NamedConnection, ...] = PrivateAttr(())

    @property
    def corrections(self) -> tuple[str, ...]:
        """What was written differently than meant and has been corrected, one sentence each, for the log."""
        return self._corrections

    @property
    def secret_files(self) -> Mapping[str, str]:
        """The files that secrets were read from, by the name of the setting, or of the variable of an endpoint."""
        return self._secret_files

    @property
    def named_connections(self) -> tuple[NamedConnection, ...]:
        """The endpoints with names, besides that of `connection_string`."""
        return self._named_connections

    def noted(
        self,
        corrections: Iterable[str],
        *,
        secret_files: Mapping[str, str],
        named_connections: tuple[NamedConnection, ...] = (),
    ) -> "Settings":
        """Return these settings with a note of what was corrected, and of what no field holds.

        That is the files that secrets were read from, and the endpoints with names.
        """
        self._corrections = tuple(corrections)
        self._secret_files = secret_files
        self._named_connections = named_connections
        return self


# What an operator decides first; everything else has a default that fits most installations.
ESSENTIAL = (
    "connection_string",
    "redis_url",
    "api_key",
    "host",
    "port",
    "units",
    "partitions",
    "negotiate_user",
    "cors_origins",
    "log_level",
)
