"""Sends clients to the service: `POST /{hub}/negotiate` answers `{url, accessToken}`.

With several endpoints a client goes to an online primary one, or else to an online secondary one, by their weights.
With `?endpoints=all` the caller gets all of them and chooses.

Rules guarded: who may have a token for whom is decided by the caller's rights, and for clients by the settings. What
is asked for and will not be used is refused, never ignored. Refusals carry the CORS headers too, or a page could not
learn why. Source: docs/sources.md, client-tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from secrets import SystemRandom
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING
from fanout.errors import BadRequestError, FanoutError, ForbiddenError, NotConfiguredError, UnauthorizedError
from fanout.metrics import Metrics
from fanout.settings import Settings
from fanout.signalr.credentials import client_url
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from service.callers.caller import Caller, Right
from service.callers.jwks import INVALID_TOKEN, end_of
from service.health import choose
from service.http.cors import cors_headers, preflight_headers
from service.http.problems import problem_of, response_of
from service.http.request import (
    ByteBudget,
    Deed,
    Guard,
    Hubs,
    announced_size,
    check_media_type,
    note,
    note_caller,
    read_body,
    request_id_of,
)
from service.ingress.route import counted
from service.negotiate.client_tokens import ClientTokens, SignedTokens
from service.negotiate.documents import (
    DESCRIPTION,
    NEGOTIATE,
    EndpointOffer,
    NegotiateAllResponse,
    NegotiateResponse,
)
from service.negotiate.id_token import claims_of
from service.negotiate.identity import (
    Asked,
    ClientIdentity,
    asked_by_caller,
    asked_by_client,
    steering_claims,
)
from service.negotiate.joins import Joins, joins_of
from service.negotiate.sources import ClientRequest, bearer_of, identity_from_settings
from service.negotiate.tokens import UserTokens

_RANDOM = SystemRandom()
_MAX_BODY = 64 * 1024  # the token that the claims go into has at most 4 KB
_DEFAULT = "/negotiate"
_NOT_USED = (
    "What a body asks for is taken from callers with the right to negotiate only, and would be ignored. Send "
    "the API key, or no body."
)


class Negotiate:
    """The handlers of the route; `endpoints` is None without a connection string.

    `is_online` says where clients may be sent, and `random` returns numbers in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        hubs: Hubs,
        guard: Guard,
        metrics: Metrics,
        clock: Clock,
        endpoints: Endpoints | None,
        budget: ByteBudget,
        joins: Joins,
        user_tokens: UserTokens | None,
        client_tokens: Mapping[str, ClientTokens],
        is_online: Callable[[ServiceEndpoint], bool],
        random: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self._settings = settings
        self._hubs = hubs
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._endpoints = endpoints
        self._is_online = is_online
        self._random = random
        self._budget = budget
        self._joins = joins
        self._user_tokens = user_tokens
        self._client_tokens = client_tokens

    def router(self) -> APIRouter:
        """Return the route with its description, the same for the default hub, and the preflight of browsers."""
        router = APIRouter()
        router.add_api_route(
            NEGOTIATE, self.answer, methods=["POST"], response_model=None, response_class=Response, **DESCRIPTION
        )
        router.add_api_route(_DEFAULT, self.answer, methods=["POST"], response_model=None, include_in_schema=False)
        for path in (NEGOTIATE, _DEFAULT):
            router.add_api_route(path, self.preflight, methods=["OPTIONS"], include_in_schema=False)
        return router

    async def answer(self, request: Request) -> Response:
        """Answer one negotiation."""
        return await counted(self._metrics.negotiated, self._respond(request))

    async def preflight(self, request: Request) -> Response:
        """Answer a browser that asks whether its page may negotiate."""
        settings = self._settings
        headers = preflight_headers(request.headers, settings.cors_origins, settings.cors_headers)
        return Response(status_code=204, headers=headers)

    async def _respond(self, request: Request) -> Response:
        try:
            content = await self._negotiate(request)
        except FanoutError as error:
            response = response_of(problem_of(error), request_id_of(request.scope))
        else:
            response = Response(content, media_type="application/json")
        response.headers.update(cors_headers(request.headers, self._settings.cors_origins))
        return response

    async def _negotiate(self, request: Request) -> bytes:
        caller = self._guard.caller_of(request.scope, request.headers, self._settings.cors_origins)
        if not caller.is_client:
            note_caller(request.scope, Deed.NEGOTIATED, caller.name)
            caller.require(Right.NEGOTIATE)
        hub = self._hubs.negotiated(request.path_params.get("hub", ""))
        note(request.scope, hub=hub)
        if not caller.is_client:
            caller.require(Right.NEGOTIATE, hub)
        endpoints = self._configured()
        wants_all = _wants_all(request)
        chosen = endpoints.all if wants_all else (choose(endpoints, self._is_online, self._random),)
        issuers = [self._tokens_of(endpoint) for endpoint in chosen]
        identity = await self._identity(request, caller)
        settings, now = self._settings, self._clock.wall()
        lifetime = settings.negotiate_lifetime if identity.lifetime is None else identity.lifetime
        if identity.until is not None:
            lifetime = _capped(lifetime, identity.until - now)
        effective = f"{settings.application.lower()}_{hub}" if settings.application else hub
        claims = identity.claims | steering_claims(identity, settings, now + lifetime)
        named = replace(identity, claims=claims)
        tokens = [await issuer.issue(effective, named, now, lifetime) for issuer in issuers]
        if identity.groups:
            caller.require(Right.SEND, hub)
            await self._joins.store(hub, joins_of(identity, lifetime), request_id_of(request.scope))
        answers = [
            NegotiateResponse(url=client_url(endpoint.service, effective), access_token=token)
            for endpoint, token in zip(chosen, tokens, strict=True)
        ]
        return self._all_of_them(chosen, answers) if wants_all else answers[0].to_json()

    def _all_of_them(self, endpoints: Sequence[ServiceEndpoint], answers: Sequence[NegotiateResponse]) -> bytes:
        offers = [
            EndpointOffer(
                endpoint_type=endpoint.type,
                name=endpoint.name,
                endpoint=endpoint.service.endpoint,
                online=self._is_online(endpoint),
                connection_info=answer,
            )
            for endpoint, answer in zip(endpoints, answers, strict=True)
        ]
        return NegotiateAllResponse(endpoints=offers).to_json()

    async def _identity(self, request: Request, caller: Caller) -> ClientIdentity:
        with self._budget.hold(announced_size(request.headers, _MAX_BODY)):
            body = await read_body(request, _MAX_BODY, clock=self._clock, within=self._settings.body_timeout)
        if Right.NEGOTIATE in caller.rights:
            return await self._of_caller(request, body)
        return await self._of_client(request, caller, body)

    async def _of_caller(self, request: Request, body: bytes) -> ClientIdentity:
        if body.strip():  # some clients name a media type although they send no body
            check_media_type(request.headers)
        asked = asked_by_caller(body, request.query_params)
        verified = await self._verified_id_token(asked.id_token) if asked.id_token else None
        claims = verified if verified is not None else claims_of(asked.id_token) if asked.id_token else {}
        found = identity_from_settings(self._settings, _sent(request, verified))
        if found is not None and asked.identity == ClientIdentity():
            asked = replace(asked, identity=found)
        return _with_token(asked, claims, verified)

    async def _of_client(self, request: Request, caller: Caller, body: bytes) -> ClientIdentity:
        tokens = self._user_tokens
        asked = asked_by_client(body, with_token=tokens is not None)
        if asked is None:
            if not caller.refusal:
                caller.require(Right.NEGOTIATE)
            raise UnauthorizedError(_NOT_USED, label=caller.code)
        verified = None
        if asked.id_token:
            verified = await self._verified_id_token(asked.id_token)
        elif tokens is not None and (bearer := bearer_of(request.headers)):
            verified = await tokens.claims(bearer)
        found = identity_from_settings(self._settings, _sent(request, verified))
        if found is not None:
            return _with_token(replace(asked, identity=found), verified or {}, verified)
        if verified is not None:
            raise ForbiddenError(
                "The token is accepted and names no user: it has no claim that the settings take the user id from."
            )
        if not caller.refusal:
            caller.require(Right.NEGOTIATE)  # it is known, and without the right it is a client like any other
        raise UnauthorizedError(
            f"The settings find no user in this request, and clients without one are not served. {caller.refusal}",
            label=caller.code,
        )

    async def _verified_id_token(self, token: str) -> Mapping[str, Any] | None:
        # The claims of an idToken, where one has to be verified: then it has to be of one of the issuers.
        if self._user_tokens is None:
            return None
        claims = await self._user_tokens.claims(token)
        if claims is None:
            raise UnauthorizedError("The idToken is not of an issuer that this service knows.", label=INVALID_TOKEN)
        return claims

    def _configured(self) -> Endpoints:
        if self._endpoints is None:
            raise NotConfiguredError(f"There is no service to send clients to: {CONNECTION_STRING} is not set.")
        return self._endpoints

    def _tokens_of(self, endpoint: ServiceEndpoint) -> ClientTokens:
        tokens = self._client_tokens.get(endpoint.key)
        if tokens is None and not endpoint.service.access_key:
            name = endpoint.variable or CONNECTION_STRING
            raise NotConfiguredError(f"{name} has no AccessKey, with which tokens of clients are signed.")
        return tokens or SignedTokens(endpoint.service)


def _sent(request: Request, token: Mapping[str, Any] | None = None) -> ClientRequest:
    peer = request.client.host if request.client else ""
    return ClientRequest(request.headers, request.query_params, peer, token)


def _with_token(asked: Asked, claims: Mapping[str, Any], verified: Mapping[str, Any] | None) -> ClientIdentity:
    # A client is known no longer than the token is valid that says who it is. One that is not verified says nothing.
    return replace(asked.with_claims(claims), until=None if verified is None else end_of(verified))


def _capped(lifetime: float, left: float) -> float:
    if left < 1:
        raise UnauthorizedError("The token of the client has expired.", label=INVALID_TOKEN)
    return min(lifetime, left)


def _wants_all(request: Request) -> bool:
    asked = request.query_params.get("endpoints")
    if asked in (None, "all"):
        return asked is not None
    raise BadRequestError("The parameter endpoints can only be `all`, which returns every endpoint with its token.")
