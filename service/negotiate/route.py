"""Sends clients to the service: `POST /{hub}/negotiate` answers `{url, accessToken}`.

Source: contract 3.4. Rules guarded: an answer is for one client and is stored nowhere (no-store); refusals carry the
CORS headers too, or a browser could not tell its page why.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fanout.binding.names import check_hub
from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING
from fanout.errors import ConfigurationError, FanoutError, UnauthorizedError
from fanout.memory import ByteBudget
from fanout.metrics import Metrics
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import client_token, client_url
from service.http.auth import Guard, Right
from service.http.body import announced_size, check_media_type, read_body
from service.http.cors import cors_headers, preflight_headers
from service.http.middleware import request_id_of
from service.http.problems import problem_of, response_of
from service.ingress.route import counted
from service.negotiate.documents import DESCRIPTION, NEGOTIATE, NegotiateResponse
from service.negotiate.identity import Wanted, wanted_by_caller, wanted_by_stranger

_MAX_BODY = 64 * 1024  # the token these claims go into ends at 4 K


class Negotiate:
    """The route's handlers; `service` is None without a connection string."""

    def __init__(
        self, settings: Settings, guard: Guard, metrics: Metrics, clock: Clock, service: ConnectionString | None,
        budget: ByteBudget,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._service = service
        self._budget = budget

    def router(self) -> APIRouter:
        """Return the route with its description, and the preflight of browsers."""
        router = APIRouter()
        router.add_api_route(
            NEGOTIATE, self.answer, methods=["POST"], response_model=None, response_class=Response, **DESCRIPTION
        )
        router.add_api_route(NEGOTIATE, self.preflight, methods=["OPTIONS"], include_in_schema=False)
        return router

    async def answer(self, request: Request) -> Response:
        """Handle one negotiation."""
        return await counted(self._metrics.negotiated, self._answer(request))

    async def preflight(self, request: Request) -> Response:
        """Answer a browser that asks for leave first."""
        return Response(status_code=204, headers=preflight_headers(request.headers, self._settings.cors_origins))

    async def _answer(self, request: Request) -> Response:
        try:
            content = await self._negotiate(request)
        except FanoutError as error:
            response = response_of(problem_of(error), request_id_of(request.scope))
        else:
            response = Response(content, media_type="application/json")
        response.headers.update(cors_headers(request.headers, self._settings.cors_origins))
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _negotiate(self, request: Request) -> bytes:
        hub = check_hub(request.path_params["hub"])
        service = self._signing_service()
        wanted = await self._wanted(request)
        settings = self._settings
        effective = f"{settings.application.lower()}_{hub}" if settings.application else hub
        token = client_token(
            service,
            effective,
            user_id=wanted.user_id,
            claims=wanted.claims,
            now=self._clock.wall(),
            lifetime=settings.negotiate_lifetime,
        )
        return NegotiateResponse(url=client_url(service, effective), access_token=token).to_json()

    async def _wanted(self, request: Request) -> Wanted:
        peer = request.client.host if request.client else None
        caller = self._guard.caller_of(request.headers, peer)
        if Right.NEGOTIATE in caller.rights:
            within = self._settings.body_timeout
            with self._budget.hold(announced_size(request.headers, _MAX_BODY)):
                body = await read_body(request, _MAX_BODY, clock=self._clock, within=within)
            if body.strip():  # some clients name a type of the body they do not send
                check_media_type(request.headers)
            return wanted_by_caller(body, request.query_params)
        wanted = wanted_by_stranger(self._settings, request.headers, request.query_params)
        if wanted is None:
            raise UnauthorizedError("No user is named where the settings look for one, and no API key was sent.")
        return wanted

    def _signing_service(self) -> ConnectionString:
        service = self._service
        if service is None:
            raise ConfigurationError(f"No service to send clients to: {CONNECTION_STRING} is not set.")
        if not service.access_key:
            raise ConfigurationError(f"{CONNECTION_STRING} has no AccessKey, which client tokens are signed with.")
        return service
