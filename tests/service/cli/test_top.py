"""`fanout top` against a real service: once, as JSON, and live in a terminal."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanout.clock import SystemClock
from fanout.queue.pauses import Pauses
from fanout.queue.survey import Surveyor
from fanout.redis.client import RedisClient
from service.cli.main import main
from tests.free_ports import free_port
from tests.service.apps import KEY, an_app, served

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LEAVES = b"\x1b[?25h\x1b[?1049l"


@pytest.fixture
async def url(one_redis: RedisClient) -> AsyncIterator[str]:
    """A real ingress that asks for a key."""
    app = an_app(api_key=KEY)
    surveyor = Surveyor(one_redis, SystemClock(), partitions=4)
    async with served(replace(app, pauses=Pauses(one_redis), surveyor=surveyor)) as url:
        yield url


async def fanout(url: str, *arguments: str, key: str = KEY) -> Result:
    command = ["top", *arguments, "--url", url]
    return await asyncio.to_thread(CliRunner().invoke, main, command, env={"FANOUT_API_KEY": key})


async def test_once_prints_the_figures_with_rates_and_ends(url: str) -> None:
    answer = await fanout(url, "--once")
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert "NO OWNER for 4 of 4 partitions" in answer.output
    assert "in 0/s  out 0/s" in answer.output
    as_json = await fanout(url, "--once", "--json")
    assert json.loads(as_json.output)["queue"]["acceptedPerSecond"] == 0.0


async def test_without_a_terminal_it_prints_once(url: str) -> None:
    assert (await fanout(url)).exit_code == 0


async def test_a_refusal_and_a_service_that_is_away_are_no_answer(url: str) -> None:
    refused = await fanout(url, "--once", key="the-key-of-somebody-else")
    assert (refused.exit_code, "FANOUT_API_KEY" in refused.stderr) == (2, True)
    away = await fanout("http://127.0.0.1:1", "--once")
    assert (away.exit_code, "cannot be reached" in away.stderr) == (2, True)


class Terminal:
    """A program in a pseudo-terminal, and what it wrote since the last look."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self._master = master
        self.written = b""

    async def until(self, text: bytes) -> None:
        """Read on until `text` is there, and forget what came up to it."""
        async with asyncio.timeout(20):
            while text not in self.written:
                self.written += await asyncio.to_thread(os.read, self._master, 65_536)
        assert b"Traceback" not in self.written
        self.written = self.written.partition(text)[2]


@asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[Terminal]:
    """Run `fanout` in a terminal."""
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", *arguments,
        cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env=os.environ | {"FANOUT_API_KEY": KEY},
    )  # fmt: skip
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)


@pytest.mark.process
async def test_live_it_waits_for_a_service_that_is_away_and_leaves_the_terminal_as_it_was(
    one_redis: RedisClient,
) -> None:
    port = free_port()
    surveyor = Surveyor(one_redis, SystemClock(), partitions=4)
    app = replace(an_app(api_key=KEY), pauses=Pauses(one_redis), surveyor=surveyor)
    async with terminal("top", "--url", f"http://127.0.0.1:{port}", "--interval", "1") as screen:
        await screen.until(b"cannot be reached")
        async with served(app, port=port):
            await screen.until(b"PARTITION")
        await screen.until(b"cannot be reached")
        await screen.until(b"PARTITION")  # the last figures stay
        screen.process.send_signal(signal.SIGINT)
        await screen.until(LEAVES)
        assert await asyncio.wait_for(screen.process.wait(), 10) == 0
