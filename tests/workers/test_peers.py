"""The exchange of limits between workers, through a real store."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import TYPE_CHECKING, cast

import pytest

from fanout.clock import SystemClock
from fanout.queue.keys import KEYS
from fanout.queue.pace_channel import PaceChannel
from fanout.queue.pauses import ALL, Pause, Pauses, at_endpoint, of_class, of_hub, of_service
from fanout.redis.client import RedisClient
from fanout.signalr.message import RouteClass
from fanout.signalr.outcome import Answered
from tests.builders import a_message, an_entry
from tests.workers.helpers import Head, Lines, a_partition, buffered_in, until
from workers.endpoint import Endpoint
from workers.gate import Gate, Window
from workers.limit import Found
from workers.peers import Peers, _hold_back
from workers.schedule import Schedule
from workers.slowdown import Slowdown
from workers.verdicts import Sign

if TYPE_CHECKING:
    from fanout.signalr.client import Client, Sender

pytestmark = pytest.mark.slow

BROADCAST, SEND, ACTION = RouteClass


class Peer:
    """The part of a worker that publishes and receives."""

    def __init__(self, redis_client: RedisClient, name: str) -> None:
        self.clock = SystemClock()
        self.pace_channel = PaceChannel(redis_client, self.clock, worker=name)
        self.gate = Gate(Window(128), {RouteClass.SEND: 100.0}, lambda: 0.0)
        self.lanes = Schedule()
        self.changes = 0
        self.lines = Lines()
        self.pauses = Pauses(redis_client)
        endpoint = Endpoint(cast("Client", None), cast("Sender", None), self.gate)
        self.peers = Peers({"": self.pace_channel}, self.pauses, [endpoint], self.lanes, self.clock, self.lines.log)
        self._owned = a_partition()

    def waits(self, count: int) -> None:
        """Have messages for `count` users wait here."""
        for number in range(count):
            buffered = buffered_in(self._owned, number + 1, entry=an_entry(a_message(f"u{number}")))
            self.lanes.add(f"u{number}", buffered)

    def _now(self) -> float:
        return self.clock.monotonic()

    def _on_change(self) -> None:
        self.changes += 1

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Publish and receive while the block runs."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in self.peers.tasks(self._on_change)]
            await until(lambda: bool(self.pace_channel._last) and BROADCAST in self.gate.open_classes(self._now(), 0))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()


def refuse(peer: Peer, retry_after: float | None) -> None:
    """Have one call of a peer refused."""
    now = peer.clock.monotonic()
    peer.gate.began(RouteClass.SEND, Head(), now)
    answer = Answered(429, "", retry_after)
    slowdown = peer.gate.ended(RouteClass.SEND, Head().key, answer, Sign.THROTTLED, now=now, took=0.0, in_flight=1)
    assert slowdown is not None
    peer.peers.tell("", RouteClass.SEND, slowdown, "status 429")


async def test_a_retry_after_seen_by_one_worker_pauses_all_within_a_tenth_of_a_second(
    redis_client: RedisClient,
) -> None:
    one, other = Peer(redis_client, "one"), Peer(redis_client, "other")
    async with one.at_work(), other.at_work():
        refuse(one, 0.05)  # connects
        await until(lambda: other.gate.paces[RouteClass.SEND].paused_until > 0)
        delays = []
        for seconds in (60.0, 120.0, 180.0, 240.0):  # a busy machine may delay some of them
            other.changes = 0
            began = time.monotonic()
            refuse(one, seconds)
            await until(partial(_is_paused, other, began + seconds - 1))
            delays.append(time.monotonic() - began)
            assert other.changes
            assert other.gate.open_classes(time.monotonic(), 0) == (RouteClass.BROADCAST, RouteClass.ACTION)
            assert other.gate.opens_at(RouteClass.SEND, began) >= began + seconds
    assert min(delays) < 0.1


def _is_paused(peer: Peer, until: float) -> bool:
    return peer.gate.opens_at(RouteClass.SEND, time.monotonic()) > until


async def test_the_rate_is_shared_by_what_waits(redis_client: RedisClient) -> None:
    one, other = Peer(redis_client, "one"), Peer(redis_client, "other")
    one.waits(30)
    other.waits(10)
    async with one.at_work(), other.at_work():
        await until(lambda: other.gate.paces[RouteClass.SEND].share == 0.25)
        await until(lambda: one.gate.paces[RouteClass.SEND].share == 0.75)


async def test_calls_under_way_are_demand_too(redis_client: RedisClient) -> None:
    one, other = Peer(redis_client, "one"), Peer(redis_client, "other")
    one.waits(1)
    other.waits(1)
    for _ in range(2):
        one.gate.began(RouteClass.SEND, Head(), 0.0)
    async with one.at_work(), other.at_work():
        await until(lambda: one.gate.paces[RouteClass.SEND].share == 0.75)


async def test_who_starts_while_a_pause_runs_keeps_to_it(redis_client: RedisClient) -> None:
    one, late = Peer(redis_client, "one"), Peer(redis_client, "late")
    async with one.at_work():
        refuse(one, 60.0)
        async with asyncio.timeout(5):
            while not await redis_client.ask("XLEN", KEYS.pace_notices()):  # noqa: ASYNC110 - the store tells nobody
                await asyncio.sleep(0.01)
    async with late.at_work():
        await until(lambda: late.gate.opens_at(RouteClass.SEND, time.monotonic()) > time.monotonic() + 50)


# Pauses -----------------------------------------------------------------------------------------------------------


def open_classes(peer: Peer) -> tuple[RouteClass, ...]:
    return peer.gate.open_classes(peer.clock.monotonic(), 0)


async def test_before_the_pauses_are_known_no_call_is_made(redis_client: RedisClient) -> None:
    peer = Peer(redis_client, "one")
    tasks = peer.peers.tasks(lambda: None)
    assert open_classes(peer) == ()
    for task in tasks:
        task.close()


async def test_a_pause_that_is_set_by_hand_holds_until_it_is_lifted(redis_client: RedisClient) -> None:
    peer = Peer(redis_client, "one")
    async with peer.at_work():
        await peer.pauses.put(of_class(SEND), seconds=None, by="operator", cause="maintenance")
        await until(lambda: open_classes(peer) == (BROADCAST, ACTION))
        await peer.pauses.lift(of_class(SEND))
        await until(lambda: open_classes(peer) == (BROADCAST, SEND, ACTION))
    [paused] = peer.lines.of("delivery.paused")
    assert paused == {"target": "class:send", "seconds": None, "cause": "maintenance", "by": "operator"}
    assert peer.lines.of("delivery.resumed") == [{"target": "class:send", "lifted": True}]


async def test_a_pause_of_a_hub_holds_back_that_hub_alone_and_ends_by_itself(redis_client: RedisClient) -> None:
    peer = Peer(redis_client, "one")
    async with peer.at_work():
        await peer.pauses.put(of_hub("Chat"), seconds=1.0, by="operator", cause="")
        await until(lambda: peer.gate.paused_hubs == 1)
        assert open_classes(peer) == (BROADCAST, SEND, ACTION)
        now = peer.clock.monotonic()
        assert all(peer.gate.held_until(Head(route_class=each), now) for each in RouteClass)
        assert peer.gate.held_until(Head("news\nua"), now) is None
        await until(lambda: peer.gate.held_until(Head(), peer.clock.monotonic()) is None)
        await until(lambda: peer.gate.paused_hubs == 0)


async def test_a_pause_that_the_service_asked_for_can_be_seen_and_lifted(redis_client: RedisClient) -> None:
    one, other = Peer(redis_client, "one"), Peer(redis_client, "other")
    async with one.at_work(), other.at_work():
        refuse(one, 60.0)
        await until(lambda: SEND not in open_classes(one) and SEND not in open_classes(other))
        async with asyncio.timeout(5):
            while not (running := await one.pauses.current()):  # noqa: ASYNC110 - the store notifies nobody
                await asyncio.sleep(0.01)
        [(pause, left)] = running.items()
        assert (pause.target, pause.by, pause.cause) == ("service:send", "one", "status 429")
        assert 55 < left <= 60
        await until(lambda: of_service(SEND) in one.peers._known and of_service(SEND) in other.peers._known)
        assert await one.pauses.lift(ALL) == 1
        await until(lambda: SEND in open_classes(one) and SEND in open_classes(other))


async def test_a_worker_that_starts_after_a_pause_was_lifted_does_not_obey_it(redis_client: RedisClient) -> None:
    one, late = Peer(redis_client, "one"), Peer(redis_client, "late")
    async with one.at_work():
        refuse(one, 60.0)
        await until(lambda: of_service(SEND) in one.peers._known)
        await one.pauses.lift(of_class(SEND))
    await asyncio.sleep(2.1)  # the notice of the pause is old
    async with late.at_work():
        assert SEND in open_classes(late)


async def test_what_an_endpoint_asked_for_or_an_operator_set_for_it_holds_back_that_endpoint_alone(
    redis_client: RedisClient,
) -> None:
    pauses, clock = Pauses(redis_client), SystemClock()
    await pauses.keep(RouteClass.SEND, "east", seconds=60.0, by="w", cause="status 429")
    await pauses.put(of_hub("chat"), seconds=60.0, by="operator", cause="")
    endpoints = [
        Endpoint(cast("Client", None), cast("Sender", None), Gate(Window(8), {}, lambda: 0.0), name=name)
        for name in ("", "east")
    ]
    channels = {each.name: PaceChannel(redis_client, clock, worker="w", endpoint=each.name) for each in endpoints}
    peers = Peers(channels, pauses, endpoints, Schedule(), clock, Lines().log)
    home, east = (endpoint.gate for endpoint in endpoints)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in peers.tasks(lambda: None)]
        await until(lambda: SEND in home.open_classes(clock.monotonic(), 0))
        assert SEND not in east.open_classes(clock.monotonic(), 0)
        assert home.held_until(Head("chat\nu1"), clock.monotonic()) is not None
        assert east.held_until(Head("chat@east\nu1"), clock.monotonic()) is not None
        peers.tell("east", ACTION, Slowdown(30.0, Found(inf), asked=True), "status 429")
        await until(lambda: ACTION not in east.open_classes(clock.monotonic(), 0))
        assert ACTION in home.open_classes(clock.monotonic(), 0)
        await pauses.put(at_endpoint(ALL, ""), seconds=None, by="operator", cause="")
        await until(lambda: home.open_classes(clock.monotonic(), 0) == ())
        assert BROADCAST in east.open_classes(clock.monotonic(), 0)
        await pauses.lift(at_endpoint(ALL, ""))
        await until(lambda: home.open_classes(clock.monotonic(), 0) == tuple(RouteClass))
        for task in tasks:
            task.cancel()


def test_of_two_pauses_of_one_hub_the_longer_one_counts_and_only_at_its_endpoint() -> None:
    home, east = (
        Endpoint(cast("Client", None), cast("Sender", None), Gate(Window(8), {}, lambda: 0.0), name=name)
        for name in ("", "east")
    )
    everywhere, here = (Pause(target, 0.0, None, "operator", "") for target in ("hub:chat", "hub:chat@east"))
    for pauses in ({everywhere: 5.0, here: 60.0}, {here: 60.0, everywhere: 5.0}):
        for endpoint in (home, east):
            _hold_back(endpoint, pauses, 100.0)
        assert home.gate.held_until(Head("chat\nu1"), 100.0) == 105.0
        assert east.gate.held_until(Head("chat@east\nu1"), 100.0) == 160.0
