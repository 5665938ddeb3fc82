"""Pauses in Redis, on every kind of server."""

from math import inf

import pytest

from fanout.queue.keys import Keys
from fanout.queue.pauses import ALL, Pause, Pauses, at_endpoint, is_lifted_by, of_class, of_hub, of_service
from fanout.redis.client import RedisClient
from fanout.signalr.message import RouteClass

SEND = RouteClass.SEND


async def test_a_pause_is_there_until_it_is_over(redis_client: RedisClient) -> None:
    pauses = Pauses(redis_client)
    assert await pauses.current() == {}
    kept = await pauses.put(of_hub("Chat"), seconds=60.0, by="operator", cause="a reason")
    [(pause, left)] = (await pauses.current()).items()
    assert pause == kept
    assert (pause.target, pause.by, pause.cause) == ("hub:chat", "operator", "a reason")
    assert 50 < left <= 60
    assert pause.until == pytest.approx(pause.since + 60)
    await pauses.put(of_hub("chat"), seconds=0.0, by="operator", cause="")
    assert await pauses.current() == {}


async def test_a_pause_without_an_end_lasts_until_it_is_lifted(redis_client: RedisClient) -> None:
    pauses = Pauses(redis_client)
    await pauses.put(ALL, seconds=None, by="operator", cause="")
    assert list((await pauses.current()).values()) == [inf]
    assert await pauses.lift(of_class(SEND)) == 0
    assert await pauses.lift(ALL) == 1
    assert await pauses.lift(ALL) == 0
    assert await pauses.current() == {}


async def test_pauses_that_are_over_leave_nothing_behind(redis_client: RedisClient) -> None:
    pauses = Pauses(redis_client)
    await pauses.put(ALL, seconds=None, by="operator", cause="")
    for number in range(5):
        await pauses.put(of_hub(f"hub{number}"), seconds=-1.0, by="operator", cause="")
    await pauses.put(of_hub("chat"), seconds=60.0, by="operator", cause="")
    kept = await redis_client.ask("HKEYS", Keys().pauses)
    assert {target.decode() for target in kept} == {ALL, "hub:chat"}


async def test_lifting_a_class_lifts_what_the_service_asked_for_too_and_nothing_else(redis_client: RedisClient) -> None:
    pauses = Pauses(redis_client)
    for target in (of_class(SEND), of_service(SEND), of_service(RouteClass.ACTION), of_hub("chat")):
        await pauses.put(target, seconds=60.0, by="w", cause="")
    await pauses.keep(SEND, seconds=5.0, by="w", cause="shorter")
    assert {pause.cause for pause in await pauses.current()} == {""}
    assert await pauses.lift(of_class(SEND)) == 2
    assert {pause.target for pause in await pauses.current()} == {"service:action", "hub:chat"}


async def test_of_two_pauses_that_the_service_asked_for_the_longer_one_is_kept(redis_client: RedisClient) -> None:
    pauses = Pauses(redis_client)
    for seconds in (60.0, 90.0, 30.0):
        await pauses.keep(SEND, seconds=seconds, by=f"w{seconds:g}", cause="status 429")
    [(pause, left)] = (await pauses.current()).items()
    assert (pause.target, pause.by, left > 80) == ("service:send", "w90", True)


async def test_namespaces_have_pauses_of_their_own(redis_client: RedisClient) -> None:
    await Pauses(redis_client, Keys("one")).put(ALL, seconds=60.0, by="operator", cause="")
    assert await Pauses(redis_client, Keys("other")).current() == {}


@pytest.mark.parametrize(
    ("target", "hub", "classes", "asked"),
    [
        (ALL, None, tuple(RouteClass), False),
        (of_hub("Chat"), "chat", (), False),
        (of_hub("send"), "send", (), False),
        (of_class(SEND), None, (SEND,), False),
        (of_service(SEND), None, (SEND,), True),
        ("class:of a newer version", None, (), False),
        (at_endpoint(ALL, "east"), None, tuple(RouteClass), False),
        (at_endpoint(of_hub("Chat"), ""), "chat", (), False),
        (at_endpoint(of_class(SEND), "east"), None, (SEND,), False),
    ],
)
async def test_a_pause_says_what_it_holds_back(
    redis_client: RedisClient, target: str, hub: str | None, classes: tuple[RouteClass, ...], asked: bool
) -> None:
    pause = await Pauses(redis_client).put(target, seconds=1.0, by="w", cause="")
    assert (pause.hub, pause.route_classes, pause.is_asked) == (hub, classes, asked)


async def test_a_pause_that_an_endpoint_asked_for_is_its_own_and_is_lifted_with_the_class(
    redis_client: RedisClient,
) -> None:
    pauses = Pauses(redis_client)
    for endpoint in ("", "east"):
        await pauses.keep(SEND, endpoint, seconds=60.0, by="w", cause="status 429")
    await pauses.put(of_class(SEND), seconds=60.0, by="operator", cause="")
    found = {pause.target: (pause.endpoint, pause.route_classes) for pause in await pauses.current()}
    assert found == {
        "service:send": ("", (SEND,)),
        "service:send@east": ("east", (SEND,)),
        "class:send": (None, (SEND,)),
    }
    assert await pauses.lift(at_endpoint(of_class(SEND), "east")) == 1
    assert await pauses.lift(at_endpoint(of_class(SEND), "")) == 1
    assert {pause.target for pause in await pauses.current()} == {"class:send"}
    for endpoint in ("", "east"):
        await pauses.keep(SEND, endpoint, seconds=60.0, by="w", cause="status 429")
    assert await pauses.lift(of_class(SEND)) == 3


@pytest.mark.parametrize(
    ("target", "lifted"),
    [
        (ALL, {"all", "all@east", "all@default", "hub:chat", "hub:chat@east", "service:send@east", "service:send"}),
        ("all@east", {"all@east", "hub:chat@east", "service:send@east"}),
        ("all@default", {"all@default", "service:send"}),
        ("hub:chat", {"hub:chat", "hub:chat@east"}),
        ("hub:chat@east", {"hub:chat@east"}),
        ("class:send", {"service:send@east", "service:send"}),
        ("class:send@default", {"service:send"}),
    ],
)
def test_lifting_at_one_endpoint_ends_nothing_of_another_and_nothing_that_holds_back_all(
    target: str, lifted: set[str]
) -> None:
    targets = ("all", "all@east", "all@default", "hub:chat", "hub:chat@east", "service:send@east", "service:send")
    pauses = [Pause(each, 1.0, None, "operator", "") for each in targets]
    assert {pause.target for pause in pauses if is_lifted_by(pause, target)} == lifted
