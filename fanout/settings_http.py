"""The settings of the HTTP side: listening, callers, and negotiate.

Rules guarded: as in `fanout.settings`, of which these are a part. A value that can never match anything is refused.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

from fanout.binding.names import check_hub
from fanout.settings_rules import (
    check_claim,
    check_header_name,
    check_key,
    check_name,
    check_peers,
    check_prefix,
    check_user_source,
    normalize_origin,
    weights_of,
)
from fanout.units import Duration, Size, Unit

_MIB = 1024 * 1024


class ListenerSettings(BaseModel):
    """Listening, callers and the size of requests."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on. 0 chooses a free port.")
    api_key: SecretStr = Field(
        SecretStr(""),
        description="Key that callers send as `Authorization: Bearer <key>` or `X-API-Key: <key>`, with every right on "
        "every hub. At least 16 characters; white space and quotes around it are removed. `fanout keys` makes others.",
    )
    api_keys_file: str = Field(
        "",
        description="File with further API keys, one a line as `fanout keys create --print` writes them. It is read "
        "again when it changes.",
    )
    auth: Literal["key", "none"] = Field(
        "key",
        description="How callers are recognised: `key` (by the API key; without one an ingress does not start), or "
        "`none` (requests from this machine to a loopback name are served without a key; for trying it out).",
    )
    admin_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a listener of its own for metrics, probes, the admin API and /docs. 0 serves them on the "
        "one port, where metrics, admin API and /docs ask for the API key. Keep it away from the internet.",
    )
    path_prefix: str = Field(
        "",
        description="Path under which a gateway forwards requests without removing it: `/signalr` serves "
        "`/signalr/v1/...` like `/v1/...`.",
    )
    hubs: tuple[str, ...] = Field(
        (),
        description="The hubs that may be named, comma-separated; others are refused with this list. Empty allows any.",
    )
    max_body: Size = Field(16 * _MIB, ge=1024, description="Maximum size of a request body.")
    body_timeout: Duration = Field(
        30.0,
        gt=0,
        le=3600,
        description="How long a client may take to send the head of a request, and then its body, before the request "
        "is refused with 408.",
    )
    max_connections: Annotated[int, Unit("connections")] = Field(
        768,
        ge=8,
        le=100_000,
        description="Maximum number of client connections served at once. Further connections wait until one ends; "
        "probes are answered all the same.",
    )
    keep_alive: Duration = Field(
        75.0,
        gt=0,
        le=7200,
        description="How long a connection without a request is kept open. Set it above the idle timeout of the "
        "gateway in front (often 60s, 120s or 10m), or a request may meet a connection that is being closed.",
    )
    lame_duck: Duration = Field(
        5.0,
        ge=0,
        le=600,
        description="How long an ingress still serves after SIGTERM while /readyz fails and answers close their "
        "connections, so that load balancers and callers can turn to another one before it stops.",
    )
    max_bodies: Size = Field(
        0,
        ge=0,
        description="Maximum total size of the request bodies that an ingress handles at the same time, and of what "
        "their items and lists of targets add. Past it requests are answered 503 before their body is read. 0: as the "
        "memory limit of the process allows.",
    )
    memory_limit: Size = Field(
        0,
        ge=0,
        description="Memory this process may use, from which bounds in bytes are derived. 0: the limit of its cgroup "
        "(that of its container), or else the memory of the machine.",
    )
    max_items: Annotated[int, Unit("items")] = Field(10_000, ge=1, description="Maximum number of items per batch.")
    max_targets: Annotated[int, Unit("entries")] = Field(
        100_000,
        ge=1,
        description="Maximum number of queue entries per batch, after each item is expanded to one entry per target.",
    )
    max_message: Size = Field(
        1_000_000,
        ge=1024,
        description="Maximum size of the REST body of one message. The service refuses more than 1 MB.",
    )
    empty_address: Literal["broadcast", "refuse"] = Field(
        "broadcast",
        description="What becomes of a message whose destination is an empty string or null. `broadcast` sends it to "
        "everybody, as the output binding of Azure Functions does, and warns in the answer; `refuse` rejects it.",
    )

    compat_hold: Duration = Field(
        10.0,
        ge=0,
        le=95,
        description="How long a call to the compatible routes (`/api/hubs/...`) waits for room before it is refused "
        "with 503. The vendor's SDK repeats nothing by itself and gives up after 100 s.",
    )
    compat_wait: Duration = Field(
        3.0,
        ge=0,
        le=60,
        description="How long a question to the compatible routes about a user, connection or group waits for what was "
        "queued for it before. Then it is asked anyway, and the answer has `X-Fanout-Behind: 1`.",
    )

    @field_validator("api_key")
    @classmethod
    def _key_is_strong(cls, key: SecretStr) -> SecretStr:
        return SecretStr(check_key(key.get_secret_value()))

    @field_validator("path_prefix")
    @classmethod
    def _prefix_is_a_path(cls, prefix: str) -> str:
        return check_prefix(prefix)

    @field_validator("hubs")
    @classmethod
    def _hubs_are_valid(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_name(check_hub, name) for name in names)


class NegotiateSettings(BaseModel):
    """Negotiate: access tokens for clients."""

    negotiate_user: tuple[str, ...] = Field(
        (),
        description="Where the user id of a caller without an API key comes from. A comma-separated list, the first "
        "match is used: `principal-id` and `principal-name` (the `x-ms-client-principal-*` headers of App Service "
        "Authentication), `principal:<type>` (a claim in its `x-ms-client-principal`), `header:<name>` (any other "
        "header), `token:<claim>` (a claim of a token of FANOUT_NEGOTIATE_ISSUERS), `query` (`?userId=`) and "
        "`query:<name>`. Headers are believed from FANOUT_NEGOTIATE_PEERS only. With "
        "`query` any caller may claim any id.",
    )
    negotiate_peers: tuple[str, ...] = Field(
        (),
        validate_default=True,
        description="The gateways whose identity headers are believed: addresses and networks (`10.0.0.0/8`), "
        "comma-separated, `*` for every address. They must remove these headers from the requests that they pass on.",
    )
    negotiate_claims: tuple[str, ...] = Field(
        (),
        description="Claims that go along into the token of a client from where its user id comes from, "
        "comma-separated, by their exact names: those of the token or of `x-ms-client-principal`.",
    )
    negotiate_issuers: tuple[str, ...] = Field(
        (),
        max_length=8,
        description="Issuers of the tokens (JWT) that clients present of themselves, as `Authorization: Bearer` or "
        "`idToken`, comma-separated, each as it stands in `iss`. Where one is named, every idToken is verified. Needs "
        "the extra `jwt`; FANOUT_JWT_ALGORITHMS and FANOUT_JWT_LEEWAY hold for these too.",
    )
    negotiate_audience: tuple[str, ...] = Field(
        (),
        description="What the tokens of clients must be for (`aud`), comma-separated; one of them is enough.",
    )
    negotiate_jwks_url: str = Field(
        "",
        description="Where the keys of the issuer of clients' tokens are. Without it the issuer's "
        "`/.well-known/openid-configuration` says so.",
    )
    negotiate_weights: tuple[str, ...] = Field(
        (),
        max_length=16,
        description="How many of the clients each of several endpoints gets, in proportion, comma-separated: "
        "`east=3,west=1`. 1 for one that is not named, `default` for the endpoint without a name, from 0 to 1000. One "
        "with 0 gets clients only while no other is online.",
    )
    negotiate_anonymous: bool = Field(
        default=False, description="Issue tokens to clients without a user id instead of refusing them with 401."
    )
    negotiate_lifetime: Duration = Field(
        3600.0, ge=60, le=86_400, description="How long the access token of a client is valid."
    )
    negotiate_detailed_errors: bool = Field(
        default=False, description="Let clients see why they are disconnected, where a negotiation does not say."
    )
    negotiate_close_on_expiration: bool = Field(
        default=False,
        description="Close the connection of a client when its access token expires, where a negotiation does not say.",
    )
    default_hub: str = Field(
        "",
        description="The hub of clients that name none: `POST /negotiate`, and `POST /api/negotiate`, which clients of "
        "Functions apps ask for.",
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Origins from which browsers may negotiate, as an exact, comma-separated list: "
        "`https://app.example.com`. Wildcards are not supported.",
    )
    cors_headers: tuple[str, ...] = Field(
        (
            "authorization",
            "content-type",
            "x-requested-with",
            "x-signalr-user-agent",
            "x-request-id",
            "traceparent",
            "tracestate",
            "baggage",
            "request-id",
            "request-context",
        ),
        description="Request headers that pages of these origins may send, comma-separated.",
    )

    @field_validator("negotiate_user")
    @classmethod
    def _sources_are_known(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_user_source(source) for source in sources)

    @field_validator("negotiate_peers")
    @classmethod
    def _peers_are_named(cls, peers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return check_peers(peers, info.data.get("negotiate_user", ()))

    @field_validator("negotiate_claims")
    @classmethod
    def _claims_steer_nothing(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_claim(name) for name in names)

    @field_validator("negotiate_weights")
    @classmethod
    def _weights_are_numbers(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        weights_of(texts)
        return texts

    @field_validator("default_hub")
    @classmethod
    def _hub_is_valid(cls, name: str) -> str:
        return check_name(check_hub, name) if name else name

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_valid(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(normalize_origin(origin) for origin in origins)

    @field_validator("cors_headers")
    @classmethod
    def _headers_are_valid(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_header_name(name) for name in names)
