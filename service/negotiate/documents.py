"""What a negotiation reads and writes, and its description.

Source: docs/sources.md, client-tokens. Rule guarded: the description is true; the tests validate real answers against
these models.
"""

from typing import Any

from pydantic import Field

from fanout.binding.action_item import MAX_MEMBERSHIP_TTL
from fanout.signalr.endpoints import EndpointType
from service.negotiate.identity import MAX_GROUPS
from service.openapi.describe import HUB, REQUEST_ID, answer, body, refusal
from service.openapi.model import Document

NEGOTIATE = "/{hub}/negotiate"


class NegotiateRequest(Document):
    """For whom a token is asked; only a caller with an API key may say so."""

    user_id: str | None = Field(None, max_length=1024)
    claims: dict[str, Any] | None = Field(None, description="Claims of the token, besides those of the service.")
    id_token: str | None = Field(
        None,
        description="A JSON Web Token of the user, with or without `Bearer `. It is verified where "
        "FANOUT_NEGOTIATE_ISSUERS names its issuer, and clients may send it then; otherwise it is only read.",
    )
    claim_type_list: list[str] | None = Field(None, description="The claims of `idToken` that go into the token.")
    lifetime_seconds: float | None = Field(None, ge=60, le=86_400, description="How long the token is valid.")
    enable_detailed_errors: bool | None = Field(None, description="Whether the client sees the reason of a close.")
    close_on_authentication_expiration: bool | None = Field(
        None, description="Whether the connection is closed when the token expires."
    )
    groups: list[str] | None = Field(
        None,
        max_length=MAX_GROUPS,
        description="Groups that the user is added to, through the queue. Needs the right `send` too.",
    )
    group_ttl_seconds: int | None = Field(
        None,
        ge=0,
        le=MAX_MEMBERSHIP_TTL,
        description="How long connections of the user join these groups, as long as the token is valid by default.",
    )


class NegotiateResponse(Document):
    """Where a client connects, and with what."""

    # Not "format": "uri": hub names may have brackets, which the service wants in its query unescaped.
    url: str = Field(description="Where the client connects, with the hub in the query.")
    access_token: str


class EndpointOffer(Document):
    """One endpoint, as the signalRNegotiation binding of Functions names it."""

    endpoint_type: EndpointType
    name: str = Field(description="Its name, empty for the endpoint of AzureSignalRConnectionString.")
    endpoint: str = Field(description="The address of the service.")
    online: bool = Field(description="Whether it answered when it was asked for its health last.")
    connection_info: NegotiateResponse


class NegotiateAllResponse(Document):
    """All endpoints, with `?endpoints=all`: the caller chooses one of them."""

    endpoints: list[EndpointOffer]


DESCRIPTION: dict[str, Any] = {
    "operation_id": "negotiate",
    "summary": "Return the address of the service and a token for it",
    "tags": ["clients"],
    "responses": {
        200: answer(
            NegotiateResponse | NegotiateAllResponse,
            "Where to connect, and with what; with `endpoints=all` this for each endpoint.",
        ),
        400: refusal("The hub, the query or the body is not valid.", "invalidRequest", "unknownHub"),
        401: refusal(
            "No user was found and clients without one are not served, the body names one without a key, or the "
            "client's token is not accepted.",
            "unauthorized",
            "wrongKey",
            "invalidToken",
        ),
        403: refusal(
            "The caller lacks the right negotiate, or has it for other hubs, or its token names no user.", "forbidden"
        ),
        408: refusal("The body did not arrive within FANOUT_BODY_TIMEOUT.", "bodyTooSlow"),
        413: refusal(
            "The body is too large, or the token would be longer than the 4,096 characters of the service.",
            "bodyTooLarge",
            "tokenTooLong",
        ),
        415: refusal("The body is not JSON in UTF-8, or is compressed.", "unsupportedMediaType"),
        500: refusal("An unexpected error.", "internal"),
        503: refusal(
            "The service's connection string is not set, too many bytes are held, no key can be judged, or the groups "
            "could not be queued.",
            "notConfigured",
            "overloaded",
            "callersUnavailable",
            "queueFull",
            "queueUnavailable",
            "queueSilent",
        ),
    },
    "openapi_extra": {
        "security": [{}, {"bearer": ["negotiate"]}, {"apiKey": ["negotiate"]}],
        "parameters": [
            HUB,
            {
                "name": "userId",
                "in": "query",
                "required": False,
                "description": "Whose token: for callers with an API key, and for others where FANOUT_NEGOTIATE_USER "
                "lists `query`.",
                "schema": {"type": "string", "maxLength": 1024},
            },
            {
                "name": "endpoints",
                "in": "query",
                "required": False,
                "description": "`all` returns every endpoint with a token for it, instead of one that is chosen here.",
                "schema": {"type": "string", "enum": ["all"]},
            },
            REQUEST_ID,
        ],
        "requestBody": body(
            NegotiateRequest,
            {"userId": "alice", "claims": {"role": "admin"}, "groups": ["red"], "groupTtlSeconds": 3600},
            required=False,
            description="Read from callers with the right negotiate. Clients may send idToken and claimTypeList where "
            "FANOUT_NEGOTIATE_ISSUERS is set.",
        ),
    },
}
