"""The settings of callers beside their one key: where further keys are, and who is counted by name.

Rules guarded: as in `fanout.settings`, of which these are a part.
"""

from typing import Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from fanout.caller_metrics import MAX_CALLERS
from fanout.quota import parse_bytes, parse_rate
from fanout.settings_rules import check_caller
from fanout.units import Duration


class CallerSettings(BaseModel):
    """Callers: who they are, and what is known of each."""

    api_keys: Literal["", "redis"] = Field(
        "",
        description="`redis`: an ingress starts without FANOUT_API_KEY, and its callers have the keys that `fanout "
        "keys` made. Keys in Redis count in any case; this says that they are enough to start.",
    )
    jwt_issuers: tuple[str, ...] = Field(
        (),
        max_length=8,
        description="Issuers whose tokens (JWT) callers may send as `Authorization: Bearer`, comma-separated, each as "
        "it stands in `iss`. With Entra ID `https://login.microsoftonline.com/<tenant>/v2.0`. Needs the extra `jwt`.",
    )
    jwt_audience: tuple[str, ...] = Field(
        (),
        description="What tokens must be for (`aud`), comma-separated; one of them is enough. With Entra ID the client "
        "id of the app registration of this service, or its Application ID URI.",
    )
    jwt_jwks_url: str = Field(
        "",
        description="Where the keys of the issuer are (a JSON Web Key Set). Without it the issuer's "
        "`/.well-known/openid-configuration` says so.",
    )
    jwt_algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = Field(
        ("RS256", "PS256", "ES256"),
        min_length=1,
        description="Algorithms with which tokens may be signed, comma-separated. Shared keys (`HS256`) are not taken.",
    )
    jwt_leeway: Duration = Field(
        30.0, ge=0, le=300, description="How far the clocks of issuer and ingress may be apart."
    )
    jwt_name_claims: tuple[str, ...] = Field(
        ("azp", "appid", "client_id", "sub"),
        min_length=1,
        description="Claims that name the caller, comma-separated; the first that a token has counts.",
    )
    jwt_roles_claims: tuple[str, ...] = Field(
        ("roles",),
        min_length=1,
        description="Claims whose values are roles, comma-separated: a list, or a text with spaces in between (`scp`). "
        "`azp` makes the id of the calling app a role.",
    )
    jwt_roles: tuple[str, ...] = Field(
        (),
        max_length=200,
        description="What roles allow, comma-separated: `Orders.Writer=send:orders_* negotiate:orders_*`. A role "
        "`fanout.send:orders_*` needs no entry.",
    )
    caller_rate: str = Field(
        "",
        description="How many requests each caller may send that has no limit of its own: `100/s`, `6000/m`, "
        "`50000/h`. All ingresses together count; past it requests are answered 429. Empty sets no limit.",
    )
    caller_bytes: str = Field(
        "",
        description="How large the bodies of these requests may be together: `1MiB/s`, `2GiB/h`. Empty sets no limit.",
    )
    metrics_callers: tuple[str, ...] = Field(
        (),
        max_length=MAX_CALLERS,
        description="Callers that are counted one by one in the metrics `fanout_caller_...`, comma-separated: names of "
        "API keys, `api-key` for FANOUT_API_KEY, `access-key` for the compatible routes. All others count together, as "
        "`other`. At most 50 may be named. Empty counts none.",
    )

    @field_validator("caller_rate", "caller_bytes")
    @classmethod
    def _limits_are_rates(cls, text: str, info: ValidationInfo) -> str:
        (parse_rate if info.field_name == "caller_rate" else parse_bytes)(text)
        return text

    @field_validator("metrics_callers")
    @classmethod
    def _callers_are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_caller(name) for name in names)
