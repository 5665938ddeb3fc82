"""Which endpoints are online: each is asked for its health again and again.

Rules guarded: the answer decides where clients are sent, and nothing else. What is queued has a leg for each endpoint,
online or not. Any answer below 500 counts: the vendor's local emulator answers 401 without a token. Until it was asked,
an endpoint counts as online, so that a process that starts sends nobody to a secondary one for nothing.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from fanout.clock import Clock
from fanout.errors import FanoutError
from fanout.log import Logger
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from service.compat.questions import Question, Service

_INTERVAL: Final = 10.0  # seconds between two questions
_WITHIN: Final = 5.0  # seconds for an answer
_SERVER_ERROR: Final = 500
_HEALTH: Final = Question("HEAD", "/api/health", "api-version=2022-06-01", {}, signed=False)


class Health:
    """What is known of the endpoints; `services` are the ways to ask them, by name."""

    def __init__(self, endpoints: Endpoints, services: Mapping[str, Service], clock: Clock, log: Logger) -> None:
        self._endpoints = endpoints
        self._services = services
        self._clock = clock
        self._log = log
        self._offline: set[str] = set()

    def __repr__(self) -> str:
        return f"<Health {len(self._endpoints) - len(self._offline)} of {len(self._endpoints)} online>"

    def is_online(self, endpoint: ServiceEndpoint) -> bool:
        """Return whether an endpoint answered when it was asked last."""
        return endpoint.key not in self._offline

    def warning(self) -> str:
        """Return what an operator should know, "" for nothing."""
        names = [endpoint.label for endpoint in self._endpoints if not self.is_online(endpoint)]
        return f"offline: {', '.join(names)}; what is sent to them waits in the queue" if names else ""

    def by_label(self) -> Mapping[str, float] | None:
        """Return 1 for each endpoint that is online and 0 for the others; None where nothing is asked."""
        if len(self._endpoints) == 1:
            return None
        return {endpoint.label: float(self.is_online(endpoint)) for endpoint in self._endpoints}

    async def run(self) -> None:
        """Ask until cancelled; nothing is asked where there is no choice."""
        if len(self._endpoints) > 1:
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints:
                    group.create_task(self._follow(endpoint))

    async def _follow(self, endpoint: ServiceEndpoint) -> None:
        while True:
            self._note(endpoint, online=await self._answers(self._services[endpoint.key]))
            await self._clock.sleep(_INTERVAL)

    async def _answers(self, service: Service) -> bool:
        try:
            async with self._clock.timeout(_WITHIN):
                return (await service.ask(_HEALTH)).status < _SERVER_ERROR
        except (FanoutError, TimeoutError):
            return False

    def _note(self, endpoint: ServiceEndpoint, *, online: bool) -> None:
        if online == self.is_online(endpoint):
            return
        if online:
            self._offline.discard(endpoint.key)
            self._log.info("endpoint.online", endpoint=endpoint.label)
        else:
            self._offline.add(endpoint.key)
            self._log.warning("endpoint.offline", endpoint=endpoint.label)


def choose(
    endpoints: Endpoints, is_online: Callable[[ServiceEndpoint], bool], random: Callable[[], float]
) -> ServiceEndpoint:
    """Return where a client is sent: an online primary, else an online secondary, else any at all, by their weights.

    One with the weight 0 comes only after all others that are online. `random` returns numbers in [0, 1).
    """
    online = [endpoint for endpoint in endpoints if is_online(endpoint)]
    usual = _weighty(online)
    candidates = (
        _primaries(usual) or usual or _primaries(online) or online or _weighty(endpoints.all) or list(endpoints)
    )
    shares = list(accumulate(endpoint.weight or 1.0 for endpoint in candidates))
    return candidates[min(bisect_right(shares, random() * shares[-1]), len(candidates) - 1)]


def _weighty(endpoints: Sequence[ServiceEndpoint]) -> list[ServiceEndpoint]:
    return [endpoint for endpoint in endpoints if endpoint.weight]


def _primaries(endpoints: Sequence[ServiceEndpoint]) -> list[ServiceEndpoint]:
    return [endpoint for endpoint in endpoints if endpoint.type == "Primary"]
