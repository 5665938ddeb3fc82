"""The REST API: from a complete request to its response.

The checks have the order of the service: sizes, token, api-version, route, hub name, and then the operation's own.
Nothing here knows of faults or of the journal; the control middleware surrounds this. Source: docs/sources.md,
operations, limits and rest-tokens.
"""

from http import HTTPStatus

from emulator.config import EmulatorConfig
from emulator.credentials import Credentials
from emulator.http import V1, HttpError, Request, Response, bad_request, error_response, json_response
from emulator.hubs import Hubs
from emulator.protocols.hub import UnencodableError
from emulator.rest.request import RestRequest, check_api_version, full_hub_name
from emulator.rest.routes import current_routes, v1_routes
from emulator.rest.sends import Invoker
from fanout.clock import Clock

HEALTH = (("api", "health"), ("api", "v1", "health"))
_ACCESS_KEY = (("api", "auth", "accessKey"), ("api", "v1", "auth", "accessKey"))
_HEADER_OVERHEAD = 4  # ": " and CRLF
_TOKEN_MINUTES = 60
_MAX_TOKEN_MINUTES = 2**31 - 1


class RestApi:
    """Answers REST calls."""

    def __init__(self, config: EmulatorConfig, clock: Clock, credentials: Credentials, hubs: Hubs) -> None:
        self._config = config
        self._credentials = credentials
        self._hubs = hubs
        invoker = Invoker(clock, config.invoke_timeout)
        self._current = current_routes(self._generate_token, invoker.invoke, execute=config.execute)
        self._v1 = v1_routes()

    async def answer(self, request: Request, body: bytes) -> Response:
        """Return the response to a request."""
        is_health = request.segments in HEALTH and request.method in {"HEAD", "GET"}
        if is_health and self._config.open_health:
            return Response(200)
        version = V1 if is_v1(request) else request.parameter("api-version")
        try:
            self._check_sizes(request)
            self._credentials.check_rest(request)
            if is_health:
                return Response(200)
            if version != V1:
                version = check_api_version(version, strict=self._config.check_api_version)
            return await self._dispatch(request, version, body)
        except HttpError as error:
            return error_response(error, version)
        except UnencodableError as error:
            return error_response(bad_request(str(error)), version)

    async def _dispatch(self, request: Request, version: str, body: bytes) -> Response:
        if request.segments in _ACCESS_KEY and request.method == "GET":
            return self._issue_access_key()
        hub, path = hub_and_path(request)
        match = (self._v1 if version == V1 else self._current).find(request.method, path)
        route = match.route
        if route is None and match.allowed:
            allowed = ", ".join(match.allowed)
            raise HttpError(405, "MethodNotAllowed", f"This path takes {allowed}.", headers=(("Allow", allowed),))
        if route is None or (self._config.check_api_version and version < route.since):
            raise _no_such_path(version)
        name = full_hub_name(hub, "" if version == V1 else request.parameter("application"))
        response = await route.operation(
            RestRequest(request, match.names, self._hubs[name], version, body, self._config)
        )
        # An operation's own 404 says that something does not exist.
        is_answer = response.status == HTTPStatus.NOT_FOUND
        return Response(404) if is_answer and not self._config.error_codes else response

    async def _generate_token(self, request: RestRequest) -> Response:
        """Return a client token, as the service makes it: without claims of the application."""
        minutes = request.whole_number("minutestoexpire", _TOKEN_MINUTES, 1, _MAX_TOKEN_MINUTES)
        user = request.http.parameter("userid")
        return json_response({"token": self._credentials.client_token(request.http, request.hub.name, user, minutes)})

    def _issue_access_key(self) -> Response:
        """Return a temporary key, which counts only in tokens that carry its id as `kid`."""
        key_id, key = self._credentials.issue_temporary_key()
        return json_response({"AccessKey": key, "KeyId": key_id})

    def _check_sizes(self, request: Request) -> None:
        uri = len(request.raw_path) + len(request.raw_query) + 1
        if uri > self._config.max_uri:
            raise HttpError(414, "UriTooLong", f"The URI has {uri} bytes; the maximum is {self._config.max_uri}.")
        headers = sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in request.headers.items())
        if headers > self._config.max_headers:
            text = f"The headers have {headers} bytes; the maximum is {self._config.max_headers}."
            raise HttpError(431, "HeadersTooLarge", text)


def is_v1(request: Request) -> bool:
    """Return whether a request uses the v1 routes."""
    return request.segments[1:2] == ("v1",)


def hub_and_path(request: Request) -> tuple[str, tuple[str, ...]]:
    """Return the hub that a request names and the path under it, or raise a 404 when it names none."""
    match request.segments[2:] if is_v1(request) else request.segments[1:]:
        case ("hubs", hub, *path):
            return hub, tuple(path)
    raise _no_such_path("")


def _no_such_path(version: str) -> HttpError:
    under = f" under api-version {version}" if version else ""
    return HttpError(404, "NotFound", f"There is no such path{under}.")
