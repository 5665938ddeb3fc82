"""A login that runs out: new connections use the latest, and open ones log in again before it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from fanout.clock import SystemClock
from fanout.errors import FanoutError, QueueError
from fanout.redis.address import Login
from fanout.redis.client import RedisClient
from fanout.redis.login import LoginProvider
from fanout.redis.open import open_redis
from tests.flow.waiting import until
from tests.redis_kinds import MAKES
from tests.redis_servers import PORT, USUAL, RedisProcess, eventually

pytestmark = pytest.mark.lengthy

OPERATOR = "operator"


class Changing:
    """A login that the test replaces; `error` is raised instead of it."""

    def __init__(self) -> None:
        self.now = Login("first", "token-1")
        self.error: FanoutError | None = None
        self._callbacks: list[Callable[[Login], None]] = []

    async def login(self) -> Login:
        if self.error is not None:
            raise self.error
        return self.now

    def when_renewed(self, callback: Callable[[Login], None]) -> None:
        self._callbacks.append(callback)

    def replace(self, login: Login) -> None:
        self.now = login
        for callback in self._callbacks:
            callback(login)


@pytest.fixture(scope="module", params=["single", "cluster"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    """A Redis where nobody may do anything without a login, alone or as a Cluster of one."""
    more = ("--cluster-enabled", "yes") if request.param == "cluster" else ()
    login = {"username": OPERATOR, "password": OPERATOR}
    found = RedisProcess(
        next(iter(MAKES.values())), "--port", PORT, *USUAL, *more,
        "--user", "default", "off", "--user", OPERATOR, "on", f">{OPERATOR}", "~*", "&*", "+@all", login=login,
    ).start()  # fmt: skip
    if more:
        found.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: b"cluster_state:ok" in found.ask("CLUSTER", "INFO"), what="the Cluster serves")
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def logins(server: RedisProcess) -> Changing:
    for name, token in (("first", "token-1"), ("second", "token-2")):
        server.ask("ACL", "SETUSER", name, "reset", "on", f">{token}", "~*", "&*", "+@all")
    return Changing()


@pytest.fixture
async def client(server: RedisProcess, logins: Changing) -> AsyncIterator[RedisClient]:
    more = "?cluster=true" if server.info("cluster")["cluster_enabled"] else ""
    found = open_redis(f"redis://127.0.0.1:{server.port}{more}", SystemClock(), logins=logins)
    yield found
    await found.aclose()


def users(server: RedisProcess) -> dict[str, str]:
    """Return who is logged in on each connection that is not the operator's, by its number."""
    lines = server.ask("CLIENT", "LIST").decode().splitlines()
    fields = [dict(field.split("=", 1) for field in line.split(" ") if "=" in field) for line in lines]
    return {each["id"]: each["user"] for each in fields if each["user"] != OPERATOR}


async def gone(server: RedisProcess) -> bool:
    return not users(server)


async def blocked(server: RedisProcess) -> bool:
    return bool(server.info("clients")["blocked_clients"] == 1)


async def all_are(server: RedisProcess, user: str) -> None:
    async def as_expected() -> bool:
        return set(users(server).values()) == {user}

    await until(as_expected, within=10, what=f"all are {user}")


@pytest.mark.slow
async def test_open_connections_log_in_again_idle_busy_and_waiting_ones(
    server: RedisProcess, logins: Changing, client: RedisClient
) -> None:
    waiting = asyncio.ensure_future(client.ask("BLPOP", "nothing", 0.5, blocking=True, time_limit=5))
    await asyncio.gather(*(client.ask("SET", f"key-{n}", n) for n in range(3)))
    await until(lambda: blocked(server), within=10, what="it waits")
    before = users(server)
    assert set(before.values()) == {"first"}
    assert len(before) >= 3
    logins.replace(Login("second", "token-2"))
    assert await client.ask("GET", "key-1") == b"1"
    assert await waiting is None
    await all_are(server, "second")
    assert before.keys() <= users(server).keys()
    server.ask("ACL", "DELUSER", "first")  # closes what is still logged in as that one
    assert [await client.ask("GET", f"key-{n}") for n in range(3)] == [b"0", b"1", b"2"]
    assert before.keys() <= users(server).keys()


async def test_a_login_that_is_refused_does_no_harm_while_the_former_one_lasts(
    server: RedisProcess, logins: Changing, client: RedisClient
) -> None:
    await client.ask("SET", "key", "value")
    waiting = asyncio.ensure_future(client.ask("BLPOP", "nothing", 0.3, blocking=True, time_limit=5))
    await until(lambda: blocked(server), within=10, what="it waits")
    logins.replace(Login("second", "wrong"))
    assert await waiting is None  # what was in flight is not disturbed
    await until(lambda: gone(server), within=10, what="what was refused is closed")
    with pytest.raises(QueueError, match="cannot be reached") as caught:
        await client.ask("GET", "key")
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")
    logins.replace(Login("second", "token-2"))
    assert await client.ask("GET", "key") == b"value"


async def test_a_connection_that_is_opened_meanwhile_has_the_latest_login(
    server: RedisProcess, logins: Changing, client: RedisClient
) -> None:
    await client.ask("PING")
    logins.now = Login("second", "token-2")  # nobody was told yet
    asking = [asyncio.ensure_future(client.ask("BLPOP", "nothing", 0.3, blocking=True, time_limit=5)) for _ in range(2)]
    await asyncio.sleep(0)
    logins.replace(Login("second", "token-2"))
    await asyncio.gather(*asking)
    assert set(users(server).values()) == {"second"}


async def test_without_a_login_nothing_is_done_and_the_reason_is_said(logins: Changing, client: RedisClient) -> None:
    logins.error = FanoutError("There is no token for Redis: the authority is away.")
    with pytest.raises(QueueError, match="the authority is away"):
        await client.ask("PING")
    logins.error = None
    assert await client.ask("PING") == b"PONG"


def test_no_repr_shows_a_login(logins: Changing) -> None:
    assert "token-1" not in repr(LoginProvider(logins)) + repr(logins.now)
