"""Builds worker processes as service/compose.py does, on a simulated network.

Rule guarded: only connections, clocks and chance are simulated. The parts of a worker, the queue, the Redis client, the
credential and the client are the real ones, put together by the product's own build_worker, so that a part added there
is simulated too.
"""

from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from redis.asyncio.connection import AbstractConnection

from fanout.http1.pool import Pool
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.keys import KEYS
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from fanout.redis.server import ServerClient
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service import compose as assembly
from service.compose import Resources
from service.identities import Identities
from tests.simulation.coverage import LEASE
from tests.simulation.instruments import instrumented, writing_both
from tests.simulation.loop import SimulatedClock
from tests.simulation.observer import Observer
from tests.simulation.service_model import ModelPool, ServiceModel
from tests.simulation.store_network import StoreNetwork
from workers.worker import Worker

_SERVICE = "Endpoint=http://far.example;AccessKey=" + "k" * 44 + ";Version=1.0;"
_METRICS = Metrics()  # not read; made once because making it is slow


class JournalLog:
    """A logger that writes into the journal."""

    def __init__(self, observer: Observer, who: str) -> None:
        self._observer = observer
        self._who = who

    def debug(self, event: str, **fields: Any) -> None:
        self._observer.note(self._who, event, fields)
        if event == "lease.lost" and fields["cause"] == "expired" and fields["unsettled"]:
            self._observer.count(LEASE)
        if event == "worker.grace_over":
            self._observer.overtime.add(self._who)

    info = warning = error = debug


class ProcessFactory:
    """Builds the processes of one world."""

    def __init__(
        self, settings: Settings, network: StoreNetwork, service: ServiceModel, observer: Observer, *, prunes: bool
    ) -> None:
        self._settings = settings
        self._prunes = prunes
        self._network = network
        self._service = service
        self._observer = observer
        self._origins = count(1)

    def worker(self, name: str, clock: SimulatedClock, *, newer: bool) -> Worker:
        """Build the worker of a process; a `newer` one reads the newer format too."""
        redis_client = self._redis(clock)
        log = cast("Logger", JournalLog(self._observer, name))
        stream, letters = self._stream(redis_client, clock), self._letters(redis_client)
        resources = Resources(
            self._settings, clock, _METRICS, redis_client, KEYS, stream, letters, log, identities=Identities(clock)
        )
        chance = {
            "socket": SimpleNamespace(gethostname=lambda: name.partition("-")[0]),
            "os": SimpleNamespace(getpid=lambda: 0),
            "secrets": SimpleNamespace(token_hex=lambda _length: "0"),
        }
        parts = instrumented(self._observer, clock, name, newer=newer, prunes=self._prunes)
        with patch.multiple(assembly, **cast("dict[str, Any]", chance), **parts):
            service = ConnectionString.parse(_SERVICE)  # for each its own, because a key knows the clients it is of
            endpoint = assembly.open_endpoint(self._settings, clock, _METRICS, service)
            pool = ModelPool(self._service, clock, request_timeout=self._settings.attempt_timeout)
            endpoint.client.pool = cast("Pool", pool)
            return assembly.build_worker(resources, [endpoint])

    def stream(self, clock: SimulatedClock, chance: Random, newer: float) -> Stream:
        """Build the queue as a producer sees it; it writes `newer`, a part of all entries, in the newer format."""
        stream = self._stream(self._redis(clock), clock)
        return writing_both(stream, chance, newer) if newer else stream

    def _letters(self, redis_client: RedisClient) -> DeadLetters:
        made: type[DeadLetters] = vars(assembly)["DeadLetters"]
        return made(redis_client, partitions=self._settings.partitions, max_bytes=1 << 20)

    def _redis(self, clock: SimulatedClock) -> RedisClient:
        return ServerClient(lambda: cast("AbstractConnection", self._network.connect()), clock)

    def _stream(self, redis_client: RedisClient, clock: SimulatedClock) -> Stream:
        settings = self._settings
        return Stream(
            redis_client, clock, partitions=settings.partitions, max_bytes=settings.max_bytes,
            origin=f"{next(self._origins)}-",
            dedup_window=settings.dedup_window,
        )  # fmt: skip
