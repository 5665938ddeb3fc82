"""From a complete REST request to its answer: limits, token, api-version, route, hub, operation, in that order.

Source: contract 8.1. Nothing here knows of faults or of the journal; those stand in front, in the gate.
"""

from dataclasses import dataclass

from emulator.config import EmulatorConfig
from emulator.credentials import Credentials
from emulator.exchange import Call, Reply
from emulator.hubs import Hubs
from emulator.refusal import V1, RefusedError, reply_of
from emulator.rest.access import Access
from emulator.rest.api_version import check_api_version
from emulator.rest.call import Offer, RestCall
from emulator.rest.names import effective_hub
from emulator.routing import Router

HEALTH = (("api", "health"), ("api", "v1", "health"))
_ACCESS_KEY = (("api", "auth", "accessKey"), ("api", "v1", "auth", "accessKey"))
_HEADER_OVERHEAD = 4  # ": " and CRLF


@dataclass(frozen=True, slots=True)
class RestRoutes:
    """The operations of the current and of the v1 routes, and the ones outside any hub."""

    current: Router[Offer]
    legacy: Router[Offer]
    access: Access


class RestSide:
    """Answers REST calls."""

    def __init__(self, config: EmulatorConfig, credentials: Credentials, hubs: Hubs, routes: RestRoutes) -> None:
        self._config = config
        self._credentials = credentials
        self._hubs = hubs
        self._routes = routes

    async def answer(self, call: Call, body: bytes) -> Reply:
        """Do what is asked and say how it went."""
        if call.segments in HEALTH and call.method in {"HEAD", "GET"}:
            return Reply(200)
        version = V1 if is_v1(call) else call.parameter("api-version")
        try:
            self._check_size(call)
            self._credentials.check_rest(call)
            if version != V1:
                version = check_api_version(version, strict=self._config.check_api_version)
            return await self._dispatch(call, version, body)
        except RefusedError as refusal:
            return reply_of(refusal, version)

    async def _dispatch(self, call: Call, version: str, body: bytes) -> Reply:
        if call.segments in _ACCESS_KEY and call.method == "GET":
            return self._routes.access.access_key()
        rest = call.segments[2:] if version == V1 else call.segments[1:]
        hub, path = hub_and_path(rest)
        found = (self._routes.legacy if version == V1 else self._routes.current).find(call.method, path)
        offer = found.operation
        if offer is None and found.allowed:
            allowed = ", ".join(found.allowed)
            raise RefusedError(405, "MethodNotAllowed", f"This path takes {allowed}.", headers=(("Allow", allowed),))
        if offer is None or (self._config.check_api_version and version < offer.since):
            raise _no_such_path(version)
        name = effective_hub(hub, "" if version == V1 else call.parameter("application"))
        return await offer.operation(RestCall(call, found.names, self._hubs[name], version, body))

    def _check_size(self, call: Call) -> None:
        uri = len(call.raw_path) + len(call.raw_query) + 1
        if uri > self._config.max_uri:
            raise RefusedError(414, "UriTooLong", f"The URI has {uri} bytes, at most {self._config.max_uri} are read.")
        headers = sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in call.headers.items())
        if headers > self._config.max_headers:
            raise RefusedError(431, "HeadersTooLarge", f"The headers have {headers} bytes.")


def is_v1(call: Call) -> bool:
    """Tell whether a call uses the v1 forms."""
    return call.segments[1:2] == ("v1",)


def hub_and_path(rest: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Split what follows `/api` or `/api/v1` into the hub and the path under it."""
    match rest:
        case ("hubs", hub, *path):
            return hub, tuple(path)
    raise _no_such_path("")


def _no_such_path(version: str) -> RefusedError:
    under = f" under api-version {version}" if version else ""
    return RefusedError(404, "NotFound", f"There is no such path{under}.")
