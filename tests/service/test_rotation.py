"""Secrets that come from files are followed: a rotated key or password needs no restart, and loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import jwt
import pytest

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.log import Logger
from fanout.secret import Secret
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import rest_token
from fanout.signalr.endpoints import Endpoints
from service.compose import open_resources
from service.rotation import rotation_of
from service.secret_files import SecretFiles
from service.startup import endpoints_of
from tests.fakes import FakeClock
from tests.redis_kinds import MAKES, PASSWORD
from tests.redis_servers import PORT, USUAL, RedisProcess
from tests.service.programs import KEY, Program, forked_program, service_at
from tests.workers.scripted_service import ACCEPTED, Received, scripted_service

NEW_KEY = "0123456789ABCDEFGHABCDEFGHIJKLMNOPQRSTUVWXYZ"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
OTHERS = "AccessKey=k;Version=1.0;"


class Log:
    """Collects what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))

    warning = info


class KeyedService:
    """A service that takes the tokens of one key at a time; `taken` are the paths of the calls that it took."""

    def __init__(self) -> None:
        self.key = KEY
        self.taken: set[str] = set()

    async def answer(self, request: Received) -> bytes:
        token = request.fields["authorization"].removeprefix("Bearer ")
        if not is_signed(token, self.key):
            return REFUSED
        self.taken.add(request.target.partition("?")[0])
        return ACCEPTED


def is_signed(token: str, key: str) -> bool:
    try:
        jwt.decode(token, key, algorithms=["HS256"], options={"verify_aud": False})
    except jwt.InvalidSignatureError:
        return False
    return True


def path_of(user: str) -> str:
    return f"/api/hubs/chat/users/{user}/:send"


async def posted(client: httpx.AsyncClient, user: str) -> bool:
    item = {"userId": user, "target": "t", "arguments": []}
    return (await client.post("/v1/hubs/chat/messages", json=item)).status_code == 202


async def sent_with(client: httpx.AsyncClient, key: str, service_port: int) -> int:
    """Return the status of a compatible call that is signed with this key."""
    token = rest_token(key, f"http://127.0.0.1:{service_port}{path_of('sdk')}", 4_000_000_000)
    document, headers = {"Target": "t", "Arguments": []}, {"Authorization": f"Bearer {token}"}
    return (await client.post(path_of("sdk"), json=document, headers=headers)).status_code


@asynccontextmanager
async def serving(directory: Path, **environ: str) -> AsyncIterator[tuple[Program, httpx.AsyncClient]]:
    """Run ingress and worker in one process, with a client of it."""
    async with (
        forked_program(directory / "run", "serve", **environ, FANOUT_PORT="0", FANOUT_RETRY_CAP="0.5") as fanout,
        httpx.AsyncClient() as client,
    ):
        client.base_url = f"http://127.0.0.1:{await fanout.port()}"
        yield fanout, client


@pytest.mark.process
async def test_a_rotated_access_key_is_taken_from_its_file_and_nothing_is_lost(redis_url: str, tmp_path: Path) -> None:
    """The service refuses the old key before the file has the new one."""
    file, service = tmp_path / "connection", KeyedService()
    async with scripted_service(service.answer) as end:
        file.write_text(service_at(end.port))
        environ = {"FANOUT_REDIS_URL": redis_url, "AzureSignalRConnectionString_FILE": str(file)}
        async with serving(tmp_path, **environ) as (fanout, client):
            assert await posted(client, "before")
            await fanout.until(lambda: service.taken == {path_of("before")})
            service.key = NEW_KEY
            assert await posted(client, "meanwhile")
            await fanout.until(lambda: len(end.received) > 1)  # it was refused
            assert await sent_with(client, KEY, end.port) == 202
            file.write_text(service_at(end.port).replace(KEY, NEW_KEY))
            await fanout.until(lambda: service.taken == {path_of(user) for user in ("before", "meanwhile", "sdk")})
            assert [await sent_with(client, key, end.port) for key in (KEY, NEW_KEY)] == [401, 202]
            negotiated = (await client.post("/chat/negotiate", json={"userId": "ann"})).json()
            assert is_signed(negotiated["accessToken"], NEW_KEY)
        assert [line["setting"] for line in fanout.lines_of("secrets.changed")] == ["AzureSignalRConnectionString_FILE"]
        assert not any(key in fanout.err for key in (KEY, NEW_KEY))


@pytest.fixture
async def guarded_redis() -> AsyncIterator[RedisProcess]:
    """A Redis that asks for a password."""
    server = RedisProcess(
        next(iter(MAKES.values())), "--port", PORT, "--requirepass", PASSWORD, *USUAL, login={"password": PASSWORD}
    ).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.process
async def test_a_rotated_password_of_redis_counts_from_the_next_connection(
    guarded_redis: RedisProcess, tmp_path: Path
) -> None:
    file, renewed = tmp_path / "password", "another password"
    file.write_text(PASSWORD)
    async with scripted_service() as end:
        environ = {
            "FANOUT_REDIS_URL": f"redis://127.0.0.1:{guarded_redis.port}/0",
            "FANOUT_REDIS_PASSWORD_FILE": str(file),
            "AzureSignalRConnectionString": service_at(end.port),
        }
        async with serving(tmp_path, **environ) as (fanout, client):
            assert await posted(client, "before")
            file.write_text(renewed)
            await fanout.until(lambda: bool(fanout.lines_of("secrets.changed")))
            with guarded_redis.client() as operator:
                operator.config_set("requirepass", renewed)
                operator.client_kill_filter(_type="normal", skipme=True)
            await fanout.until(lambda: posted(client, "after"))
            await fanout.until(lambda: any("/after/" in request.target for request in end.received))
        assert renewed not in fanout.err


@pytest.mark.process
async def test_a_rotated_api_key_counts_and_the_former_one_does_not(redis_url: str, tmp_path: Path) -> None:
    file, keys = tmp_path / "key", ("k" * 32, "n" * 32)
    file.write_text(keys[0])
    environ = {"FANOUT_REDIS_URL": redis_url, "FANOUT_API_KEY_FILE": str(file)}
    async with scripted_service() as end:
        environ["AzureSignalRConnectionString"] = service_at(end.port)
        async with serving(tmp_path, **environ) as (fanout, client):

            async def statuses() -> list[int]:
                item = {"userId": "u", "target": "t", "arguments": []}
                answers = [
                    await client.post("/v1/hubs/chat/messages", json=item, headers={"X-API-Key": key}) for key in keys
                ]
                return [answer.status_code for answer in answers]

            assert await statuses() == [202, 401]
            file.write_text("short")
            await fanout.until(lambda: bool(fanout.lines_of("secrets.refused")))
            assert await statuses() == [202, 401]
            file.write_text(keys[1])
            await fanout.until(lambda: bool(fanout.lines_of("secrets.changed")))
            assert await statuses() == [401, 202]


@asynccontextmanager
async def looking(files: SecretFiles) -> AsyncIterator[None]:
    """Have the files looked at while the block runs."""
    task = asyncio.create_task(files.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_logged(log: Log, clock: FakeClock, count: int) -> None:
    async with asyncio.timeout(10):
        while len(log.lines) < count:
            await clock.advance(1.0)
            await asyncio.sleep(0.001)


async def test_what_cannot_be_used_is_told_once_and_changes_nothing(tmp_path: Path) -> None:
    file, log, clock, secret = tmp_path / "key", Log(), FakeClock(), Secret("old")

    def take(value: str) -> None:
        if value == "bad":
            raise ConfigurationError("it is bad")
        secret.replace(value)

    file.write_text("old\n")
    files = SecretFiles({"api_key": str(file)}, clock, cast("Logger", log))
    files.watch("api_key", "old", take)
    files.watch("redis_password", "", take)  # has no file
    async with looking(files):
        file.write_text("bad")
        await until_logged(log, clock, 1)
        file.write_text("")
        await until_logged(log, clock, 2)
        file.unlink()
        await until_logged(log, clock, 3)
        assert secret.value == "old"
        file.write_text("new")
        await until_logged(log, clock, 4)
    assert secret.value == "new"
    assert [event for event, _values in log.lines] == [*["secrets.refused"] * 3, "secrets.changed"]
    assert {values["setting"] for _event, values in log.lines} == {"FANOUT_API_KEY_FILE"}


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ("connection_string", f"Endpoint=https://a.net;{OTHERS}", f"Endpoint=https://b.net;{OTHERS}"),
        ("connection_string", f"Endpoint=https://a.net;{OTHERS}", "Endpoint=https://a.net;AuthType=azure;"),
        ("connection_string", f"Endpoint=https://a.net;{OTHERS}", "nonsense"),
        ("redis_url", "redis://:p@a:1/0", "redis://:p@b:1/0"),
        ("redis_url", "redis://:p@a:1/0", "redis://other:p@a:1/0"),
        ("redis_url", "redis://:p@a:1/0", "http://a"),
    ],
)
async def test_a_file_that_names_another_place_is_refused(
    setting: str, before: str, after: str, tmp_path: Path
) -> None:
    file, log, clock = tmp_path / "secret", Log(), FakeClock()
    file.write_text(before)
    variable = "AzureSignalRConnectionString" if setting == "connection_string" else f"FANOUT_{setting.upper()}"
    settings = load({f"{variable}_FILE": str(file)})
    service = ConnectionString.parse(f"Endpoint=https://a.net;{OTHERS}")
    async with open_resources(settings, SystemClock()) as resources:
        files = rotation_of(replace(resources, clock=clock, log=cast("Logger", log)), Endpoints.single(service)).files
        async with looking(files):
            file.write_text(after)
            await until_logged(log, clock, 1)
        assert [event for event, _values in log.lines] == ["secrets.refused"]
        assert service.access_key == "k"
        assert resources.redis_password.value == ("p" if setting == "redis_url" else "")


async def test_a_url_of_redis_with_another_password_replaces_it(tmp_path: Path) -> None:
    file, log, clock = tmp_path / "url", Log(), FakeClock()
    file.write_text("redis://:p@a:1/0")
    async with open_resources(load({"FANOUT_REDIS_URL_FILE": str(file)}), SystemClock()) as resources:
        files = rotation_of(replace(resources, clock=clock, log=cast("Logger", log)), None).files
        async with looking(files):
            file.write_text("redis://:q@a:1/0")
            await until_logged(log, clock, 1)
        assert resources.redis_password.value == "q"
    assert "q" not in str(log.lines).replace("secrets.changed", "").replace("FANOUT_REDIS_URL_FILE", "")


async def test_each_endpoint_with_a_name_follows_its_own_file(tmp_path: Path) -> None:
    log, clock, environ = Log(), FakeClock(), {}
    for name, variable in (("east", "Azure__SignalR__Endpoints__east"), ("west", "AzureSignalRConnectionString__west")):
        (tmp_path / name).write_text(f"Endpoint=https://{name}.net;{OTHERS}")
        environ[f"{variable}_FILE"] = str(tmp_path / name)
    settings = load(environ)
    endpoints = endpoints_of(settings, needed=True)
    assert endpoints is not None
    async with open_resources(settings, SystemClock()) as resources:
        rotation = rotation_of(replace(resources, clock=clock, log=cast("Logger", log)), endpoints)
        async with looking(rotation.files):
            (tmp_path / "west").write_text("Endpoint=https://west.net;AccessKey=renewed;Version=1.0;")
            await until_logged(log, clock, 1)
            (tmp_path / "east").write_text((tmp_path / "west").read_text())
            await until_logged(log, clock, 2)
    assert {each.name: each.service.access_key for each in endpoints} == {"east": "k", "west": "renewed"}
    assert {key for key, renewed in rotation.renewed.items() if renewed.is_set()} == {"west"}
    assert [(event, values["setting"]) for event, values in log.lines] == [
        ("secrets.changed", "AzureSignalRConnectionString__west_FILE"),
        ("secrets.refused", "Azure__SignalR__Endpoints__east_FILE"),
    ]
    assert "renewed" not in str(log.lines)
