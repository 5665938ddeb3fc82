"""A file on a volume that hangs: it is told, nothing else waits for it, and the process ends all the same."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.log import Logger, get_logger
from fanout.secret import Secret
from service.aside import Aside
from service.callers.key_ring import KeyRing
from service.secret_files import SecretFiles
from tests.fakes import FakeClock
from tests.service.callers.test_api_key import SECRET
from tests.service.callers.test_key_ring import DIGEST, a_shelf
from tests.service.test_rotation import Log, looking, until_logged

# Reading a pipe that nobody writes to takes for ever, as reading from a volume does whose server is gone.
ENDS = """
import asyncio, pathlib, sys
from fanout.clock import SystemClock
from service.aside import Aside

async def main():
    try:
        await Aside(pathlib.Path(sys.argv[1]).read_text, SystemClock(), within=0.05).result()
    except TimeoutError:
        print("told")

asyncio.run(main())
"""


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    path = tmp_path / "hanging"
    os.mkfifo(path)
    return path


def release(hanging: Path, text: str) -> None:
    """Let whoever reads go on."""
    hanging.write_text(text)


async def test_a_result_and_an_error_reach_the_one_who_waits(tmp_path: Path) -> None:
    def refuse() -> str:
        raise ConfigurationError("no")

    path = tmp_path / "file"
    path.write_text("text")
    assert await Aside(path.read_text, SystemClock(), within=5).result() == "text"
    with pytest.raises(ConfigurationError):
        await Aside(refuse, SystemClock(), within=5).result()


async def test_a_reading_that_takes_too_long_is_waited_for_again_and_not_begun_again(hanging: Path) -> None:
    begun = 0

    def read() -> str:
        nonlocal begun
        begun += 1
        return hanging.read_text()

    aside = Aside(read, SystemClock(), within=0.01)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await aside.result()
    release(hanging, "late")
    async with asyncio.timeout(10):
        while True:
            try:
                assert await aside.result() == "late"
                break
            except TimeoutError:
                continue
    assert begun == 1


def test_the_process_ends_while_a_file_is_still_being_read(hanging: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS, str(hanging)], capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"told\n", b"")


async def test_a_secret_that_cannot_be_read_is_told_of_and_the_others_are_followed(
    hanging: Path, tmp_path: Path
) -> None:
    file, log, clock, secret = tmp_path / "key", Log(), FakeClock(), Secret("old")
    file.write_text("old")
    files = SecretFiles({"redis_url": str(hanging), "api_key": str(file)}, clock, cast("Logger", log))
    files.watch("redis_url", "", Secret("").replace)
    files.watch("api_key", "old", secret.replace)
    async with looking(files):
        await until_logged(log, clock, 1)
        file.write_text("new")
        await until_logged(log, clock, 2)
        release(hanging, "redis://a")
        await until_logged(log, clock, 3)
    assert secret.value == "new"
    assert [(event, values["setting"]) for event, values in log.lines] == [
        ("secrets.refused", "FANOUT_REDIS_URL_FILE"),
        ("secrets.changed", "FANOUT_API_KEY_FILE"),
        ("secrets.changed", "FANOUT_REDIS_URL_FILE"),
    ]
    assert "10 s" in log.lines[0][1]["reason"]


async def test_a_file_of_keys_that_hangs_leaves_the_keys_of_redis(hanging: Path) -> None:
    clock = FakeClock()
    ring = KeyRing(a_shelf(), str(hanging), clock, get_logger())
    async with asyncio.timeout(10):
        refresh = asyncio.create_task(ring.refresh())
        while not refresh.done():
            await clock.advance(1.0)
        await refresh
    assert "more than 2 s" in ring.warning()
    assert ring.find(SECRET, DIGEST) is not None
    release(hanging, "")
