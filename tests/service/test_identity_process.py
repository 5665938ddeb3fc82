"""A process that calls the service by identity: it waits for the authority, delivers, negotiates, and tells nobody."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from emulator.config import EmulatorConfig
from service.identities import REDIS_SCOPE
from tests.authority import CLIENT, OBJECT, SECRET, TENANT, Authority, authority, token_number
from tests.emulator.running import END, HANDSHAKE, Service, SignalRClient, running
from tests.redis_kinds import MAKES
from tests.redis_servers import PORT, USUAL, RedisProcess
from tests.service.programs import ROOT, Program, forked_program

pytestmark = pytest.mark.process

API_KEY = "the-key-of-the-tests"
SCRIPT = ROOT / "helm" / "files" / "delivery_test.py"
_ALL = "~* &* +@all"
NAME = "AzureSignalRConnectionString"


def environ(redis_port: int, port: int, entra: Authority) -> dict[str, str]:
    return entra.environ | {
        "FANOUT_REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "FANOUT_REDIS_AUTH": "entra",
        "FANOUT_PORT": "0",
        "FANOUT_API_KEY": API_KEY,
        f"{NAME}__serviceUri": f"http://127.0.0.1:{port}",
        f"{NAME}__clientId": CLIENT,
        f"{NAME}__tenantId": TENANT,
        f"{NAME}__clientSecret": SECRET,
    }


async def call(port: int, path: str, document: object) -> httpx.Response:
    async with httpx.AsyncClient(headers={"x-api-key": API_KEY}) as http:
        return await http.post(f"http://127.0.0.1:{port}{path}", json=document)


async def warnings(port: int) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).text


async def negotiated(port: int) -> SignalRClient:
    """Negotiate as a backend does, and connect with what it answers."""
    asked = {"userId": "alice", "claims": {"team": "blue"}}
    answer = await call(port, "/chat/negotiate", asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    url = f"{found['url'].replace('http', 'ws', 1)}&access_token={found['accessToken']}"
    socket = await connect(url, ping_interval=None)
    await socket.send(HANDSHAKE % "json")
    assert await asyncio.wait_for(socket.recv(), 5) == "{}" + END
    return SignalRClient(socket)


@contextmanager
def redis_for(user: str, password: str) -> Iterator[RedisProcess]:
    """Run a Redis that lets nobody in but the operator, and this user."""
    users = ("default off", f"operator on >operator {_ALL}", f"{user} on >{password} {_ALL}")
    options = [word for each in users for word in ("--user", *each.split())]
    login = {"username": "operator", "password": "operator"}
    server = RedisProcess(next(iter(MAKES.values())), "--port", PORT, *options, *USUAL, login=login).start()
    try:
        yield server
    finally:
        server.stop()


async def test_messages_wait_for_the_authority_and_for_a_token_that_is_accepted(tmp_path: Path) -> None:
    with authority(tmp_path) as entra, redis_for(OBJECT, token_number(1, REDIS_SCOPE)) as redis:
        entra.refusal = "AADSTS90033: A transient error has occurred."
        config = EmulatorConfig(
            entra_tokens=(token_number(2),), keys=("nobody has this access key, which is long enough",)
        )
        async with (
            running(config) as service,
            forked_program(tmp_path / "run", "serve", **environ(redis.port, service.port, entra)) as fanout,
        ):
            port = await fanout.port()
            answer = await call(port, "/v1/hubs/chat/messages", {"userId": "alice", "target": "t", "arguments": [1]})
            assert answer.status_code == 202, answer.text
            await fanout.until(lambda: len(fanout.lines_of("identity.failed")) > 1)
            assert (await call(port, "/chat/negotiate", {"userId": "alice"})).status_code == 503
            assert "The token for the SignalR service cannot be renewed" in await warnings(port)
            entra.refusal = ""  # the first token is refused by the service, the second is not
            await fanout.until(lambda: 202 in statuses(service))
            assert statuses(service) == [401, 202]
            client = await negotiated(port)
            answer = await call(port, "/v1/hubs/chat/messages", {"userId": "alice", "target": "t", "arguments": [2]})
            assert '"arguments":[2]' in await client.receive()
            await client.socket.close()
            await the_test_of_the_chart_passes(environ(redis.port, service.port, entra), port)
            _says_what_it_should(fanout, entra)


async def the_test_of_the_chart_passes(given: dict[str, str], port: int) -> None:
    """Run what `helm test` runs in a pod: it has no key of the service, so that its client negotiates."""
    where = {"TEST_URL": f"http://127.0.0.1:{port}", "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), cwd=ROOT, env=given | where)
    assert await asyncio.wait_for(process.wait(), 30) == 0


def statuses(service: Service) -> list[int | None]:
    """Return how the sends were answered, in order."""
    return [entry.status for entry in service.emulator.journal.entries() if entry.path.endswith(":send")]


def _says_what_it_should(fanout: Program, entra: Authority) -> None:
    lines = fanout.lines_of("identity.used")
    assert {line["identity"] for line in lines} == {f"the app registration {CLIENT} of tenant {TENANT}, by its secret"}
    assert len(lines) == 2
    assert sorted(entra.given) == sorted([token_number(1), token_number(2), token_number(1, REDIS_SCOPE)])
    for secret in (SECRET, *entra.given):
        assert secret not in fanout.err
