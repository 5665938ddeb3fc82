"""Everything with one command, and nothing left behind."""

import asyncio
import os
import re
import signal
import socket
from pathlib import Path

import httpx
import pytest

from emulator.config import connection_string
from fanout.environment import load
from service.dev.run import DevPlan, banner
from tests.service.programs import Program, program

pytestmark = pytest.mark.process


@pytest.fixture
def files(short_directory: Path) -> Path:
    """Where the program puts its temporary files."""
    return short_directory


async def arrived(client: httpx.AsyncClient, emulator: str) -> bool:
    """Whether a message has reached the emulator."""
    return ":send" in (await client.get(f"{emulator}journal")).text


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def base_of(fanout: Program) -> str:
    await fanout.until(lambda: "Ctrl-C stops everything" in fanout.out)
    return next(line.strip() for line in fanout.out.splitlines() if line.strip().startswith("http://"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(*pids: int) -> None:
    async with asyncio.timeout(10):
        while any(is_alive(pid) for pid in pids):  # noqa: ASYNC110 - a process that ends tells only its parent
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_leaves_no_process_and_no_file(tmp_path: Path, files: Path, number: signal.Signals) -> None:
    async with program(tmp_path / "program", "dev", "--port", "0", "--emulator-port", "0", TMPDIR=str(files)) as fanout:
        base = await base_of(fanout)
        async with httpx.AsyncClient() as client:
            assert (await client.get(base)).status_code == 200
            message = {"target": "newMessage", "arguments": ["hello"]}
            assert (await client.post(f"{base}v1/hubs/chat/messages", json=message)).status_code == 202
            assert (await client.post(f"{base}chat/negotiate?userId=alice")).status_code == 200
        children = fanout.children()
        assert len(children) == 1
        assert len(names_in(files)) == 1
        fanout.signal(number)
        assert await fanout.ended() == 0
        await gone(*children)
    assert names_in(files) == []
    assert "Traceback" not in fanout.err


async def test_a_killed_parent_leaves_no_server_behind(tmp_path: Path, files: Path) -> None:
    async with program(tmp_path / "program", "dev", "--port", "0", "--emulator-port", "0", TMPDIR=str(files)) as fanout:
        await base_of(fanout)
        children = fanout.children()
        assert all(is_alive(child) for child in children)
        fanout.signal(signal.SIGKILL)
        await fanout.ended()
        await gone(*children)


@pytest.mark.parametrize("option", ["--port", "--emulator-port"])
async def test_a_taken_port_is_one_clear_line_that_names_the_option(tmp_path: Path, files: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"--port": "0", "--emulator-port": "0", option: str(taken.getsockname()[1])}
        arguments = [part for pair in ports.items() for part in pair]
        async with program(tmp_path / "program", "dev", *arguments, TMPDIR=str(files)) as fanout:
            assert await fanout.ended() == 2
    [line] = fanout.err.splitlines()
    assert line.startswith(f"fanout: Port {taken_of(ports, option)} on 127.0.0.1 is not available")
    assert f" {option}" in line
    assert names_in(files) == []


def taken_of(ports: dict[str, str], option: str) -> str:
    return ports[option]


async def test_a_redis_that_is_named_is_used_and_none_is_started(redis_url: str, tmp_path: Path, files: Path) -> None:
    arguments = ["--port", "0", "--emulator-port", "0", "--redis-url", redis_url]
    async with program(tmp_path / "program", "dev", *arguments, TMPDIR=str(files)) as fanout:
        await base_of(fanout)
        assert (fanout.children(), names_in(files)) == ([], [])
        fanout.signal(signal.SIGINT)
        assert await fanout.ended() == 0


async def test_redis_and_the_service_never_come_from_the_environment(tmp_path: Path, files: Path) -> None:
    """A shell with production's settings must not deliver production's queue to the emulator, or the reverse."""
    elsewhere = {
        "FANOUT_REDIS_URL": "redis://127.0.0.1:1/0",
        "FANOUT_REDIS_CA": "/none",
        "AzureSignalRConnectionString": "Endpoint=http://127.0.0.1:1;AccessKey=production;",
        "AzureSignalRConnectionString__east": "Endpoint=http://127.0.0.1:2;AccessKey=production;",
        "FANOUT_NEGOTIATE_WEIGHTS": "east=3",
        "FANOUT_ADMIN_PORT": "1",
        "TMPDIR": str(files),
    }
    async with program(tmp_path / "program", "dev", "--port", "0", "--emulator-port", "0", **elsewhere) as fanout:
        base = await base_of(fanout)
        assert "(private, deleted at the end)" in fanout.out
        assert " (emulator)" in fanout.out
        assert "127.0.0.1:1/" not in fanout.out
        assert fanout.err == f"fanout: `fanout dev` leaves out {', '.join(sorted(elsewhere)[:-1])}; see its --help.\n"
        async with httpx.AsyncClient() as client:
            [emulator] = re.findall(r"http://\S+/emulator/", fanout.out)
            assert (await client.post(f"{base}v1/hubs/chat/messages", json={"target": "t"})).status_code == 202
            await fanout.until(lambda: arrived(client, emulator))
        fanout.signal(signal.SIGINT)
        assert await fanout.ended() == 0


@pytest.mark.parametrize(("callers", "header"), [({"auth": "none"}, False), ({"api_key": "k" * 20}, True)])
def test_the_first_request_has_the_key_where_one_is_asked_for(callers: dict[str, str], header: bool) -> None:
    settings = load({}, connection_string=connection_string(8888), **callers)
    text = banner(DevPlan(settings, 8888), settings, 8080)
    assert ('-H "Authorization: Bearer $FANOUT_API_KEY" -d' in text) is header
    assert "k" * 20 not in text


async def test_the_service_may_be_named_and_then_there_is_no_emulator(tmp_path: Path, files: Path) -> None:
    text = "Endpoint=http://127.0.0.1:1;AccessKey=secret-key;"
    arguments = ["--port", "0", "--connection-string", text]
    async with program(tmp_path / "program", "dev", *arguments, TMPDIR=str(files)) as fanout:
        await base_of(fanout)
        assert "Delivers to http://127.0.0.1:1\n" in fanout.out
        assert "emulator" not in fanout.out
        assert "secret-key" not in fanout.out + fanout.err
        fanout.signal(signal.SIGINT)
        assert await fanout.ended() == 0


async def test_traces_are_kept(tmp_path: Path, files: Path) -> None:
    async with program(tmp_path / "program", "dev", "--port", "0", "--emulator-port", "0", TMPDIR=str(files)) as fanout:
        base = await base_of(fanout)
        async with httpx.AsyncClient() as client:
            item = {"target": "t", "messageId": "m1"}
            assert (await client.post(f"{base}v1/hubs/chat/messages", json=item)).status_code == 202

            async def traced() -> bool:
                answer = await client.get(f"{base}v1/admin/messages/m1/trace")
                return answer.status_code == 200 and "settled" in answer.text

            await fanout.until(traced)
        fanout.signal(signal.SIGINT)
        assert await fanout.ended() == 0


def test_this_machine_tells_which_processes_live() -> None:
    assert is_alive(os.getpid())
