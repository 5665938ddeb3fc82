"""One process as it is run: how it starts, refuses to start, drains, and falls."""

import asyncio
import re
import signal
import socket
from pathlib import Path

import httpx
import pytest

from emulator.config import EmulatorConfig
from fanout import __version__
from fanout.clock import SystemClock
from fanout.metrics import WORKER, Metrics
from fanout.queue.leases import Leases
from fanout.redis.open import open_redis
from tests.documents import METRICS
from tests.emulator.running import running
from tests.free_ports import free_port
from tests.service.programs import KEY, program, service_at
from tests.workers.helpers import until
from tests.workers.scripted_service import ACCEPTED, Received, scripted_service

pytestmark = pytest.mark.process

BROKEN = """
import workers.reader
async def broken(*args):
    raise RuntimeError("a mistake in the program")
workers.reader.Reader._listen = broken
"""


def environ(redis_url: str, service: str, **more: str) -> dict[str, str]:
    return {"FANOUT_REDIS_URL": redis_url, "FANOUT_PORT": "0", "AzureSignalRConnectionString": service, **more}


async def posted(port: int, user: str = "alice") -> None:
    async with httpx.AsyncClient() as client:
        item = {"userId": user, "target": "t", "arguments": ["hi"]}
        answer = await client.post(f"http://127.0.0.1:{port}/v1/hubs/chat/messages", json=item)
        assert answer.status_code == 202, answer.text


async def readiness(port: int) -> tuple[int, list[str]]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/readyz")
        return answer.status_code, answer.json()["reasons"]


async def test_a_process_takes_messages_delivers_them_and_ends_with_zero_on_sigterm(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        scripted_service() as end,
        program(tmp_path, "serve", **environ(redis_url, service_at(end.port))) as fanout,
    ):
        port = await fanout.port()
        assert await readiness(port) == (200, [])
        await posted(port)
        await fanout.until(lambda: len(end.received) == 1)
        assert end.received[0].target.startswith("/api/hubs/chat/users/alice/:send")
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        assert "fanout_leases 16.0" in metrics
        exported = set(re.findall(r"^# TYPE (fanout_\w+)", metrics, re.MULTILINE))
        documented = set(re.findall(r"^\| `(fanout_\w+)`", METRICS.read_text(), re.MULTILINE))
        # The first only with an identity, the second only with several endpoints.
        assert exported == documented - {"fanout_identity_token_seconds", "fanout_endpoint_online"}
        fanout.signal(signal.SIGTERM)
        assert await fanout.ended() == 0
    assert "Traceback" not in fanout.err
    assert KEY not in fanout.err + fanout.out
    redis_client = open_redis(redis_url, SystemClock())
    assert await Leases(redis_client, SystemClock(), worker="w", lifetime=1).owners(16) == {}
    await redis_client.aclose()


async def test_while_it_drains_it_is_not_ready_and_what_is_in_flight_is_finished(
    redis_url: str, tmp_path: Path
) -> None:
    gate = asyncio.Event()

    async def answer(_request: Received) -> bytes:
        await gate.wait()
        return ACCEPTED

    async with (
        scripted_service(answer) as end,
        program(tmp_path, "serve", **environ(redis_url, service_at(end.port))) as fanout,
    ):
        port = await fanout.port()
        await posted(port)
        await fanout.until(lambda: len(end.received) == 1)
        fanout.signal(signal.SIGINT)
        await fanout.until(lambda: bool(fanout.lines_of("worker.draining")))
        assert await readiness(port) == (503, ["draining"])
        gate.set()
        assert await fanout.ended() == 0
    assert [line["end"] for line in fanout.lines_of("delivery.settled")] == ["delivered"]


async def test_a_second_signal_ends_it_at_once(redis_url: str, tmp_path: Path) -> None:
    never = asyncio.Event()

    async def answer(_request: Received) -> bytes:
        await never.wait()
        return b""

    async with (
        scripted_service(answer) as end,
        program(tmp_path, "serve", **environ(redis_url, service_at(end.port))) as fanout,
    ):
        await posted(await fanout.port())
        await fanout.until(lambda: len(end.received) == 1)
        fanout.signal(signal.SIGTERM)
        await fanout.until(lambda: bool(fanout.lines_of("worker.draining")))
        fanout.signal(signal.SIGTERM)
        assert await fanout.ended(within=5) == 128 + signal.SIGTERM
        never.set()


async def test_a_worker_that_fails_takes_the_process_down(redis_url: str, tmp_path: Path) -> None:
    settings = environ(redis_url, service_at(1))
    async with program(tmp_path, "serve", code=BROKEN, **settings) as fanout:
        assert await fanout.ended() == 1
    assert "RuntimeError: a mistake in the program" in fanout.err


async def test_an_ingress_needs_no_connection_string_and_ends_with_zero(redis_url: str, tmp_path: Path) -> None:
    settings = {"FANOUT_REDIS_URL": redis_url, "FANOUT_PORT": "0"}
    async with program(tmp_path, "serve", "--role", "ingress", **settings) as fanout:
        port = await fanout.port()
        await posted(port)
        fanout.signal(signal.SIGTERM)
        assert await fanout.ended() == 0


async def test_an_ingress_exports_no_state_of_a_worker(redis_url: str, tmp_path: Path) -> None:
    settings = {"FANOUT_REDIS_URL": redis_url, "FANOUT_PORT": "0"}
    async with program(tmp_path, "serve", "--role", "ingress", **settings) as fanout, httpx.AsyncClient() as client:
        metrics = (await client.get(f"http://127.0.0.1:{await fanout.port()}/metrics")).text
    names = {definition.exported_name for definition in Metrics().definitions if definition.section == WORKER}
    assert names
    assert names & set(re.findall(r"^# TYPE (fanout_\w+)", metrics, re.MULTILINE)) == set()
    assert "fanout_redis_up 1.0" in metrics
    assert "fanout_redis_latency_seconds " in metrics
    assert "fanout_redis_memory_ratio " in metrics


async def test_a_worker_answers_probes_and_takes_no_messages(redis_url: str, tmp_path: Path) -> None:
    async with scripted_service() as end:
        settings = environ(redis_url, service_at(end.port))
        async with program(tmp_path, "serve", "--role", "worker", **settings) as fanout:
            port = await fanout.port()
            assert await readiness(port) == (200, [])
            async with httpx.AsyncClient() as client:
                answer = await client.post(f"http://127.0.0.1:{port}/v1/hubs/chat/messages", json={"target": "t"})
            assert answer.status_code == 404
            fanout.signal(signal.SIGTERM)
            assert await fanout.ended() == 0


async def test_a_server_endpoint_with_a_path_is_called_under_that_path(redis_url: str, tmp_path: Path) -> None:
    async with scripted_service() as end:
        behind = f"ServerEndpoint=http://127.0.0.1:{end.port}/behind/proxy;"
        settings = environ(redis_url, service_at(1, behind))
        async with program(tmp_path, "serve", **settings) as fanout:
            await posted(await fanout.port())
            await fanout.until(lambda: len(end.received) == 1)
            assert end.received[0].target.startswith("/behind/proxy/api/hubs/chat/users/alice/:send")
            fanout.signal(signal.SIGTERM)
            assert await fanout.ended() == 0


async def refused(directory: Path, *arguments: str, **settings: str) -> str:
    """Run it, expect exit code 2 and one clear line on standard error, and give that line."""
    async with program(directory, *arguments, **settings) as fanout:
        assert await fanout.ended() == 2, fanout.err
    lines = [line for line in fanout.err.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, fanout.err
    assert "Traceback" not in fanout.err
    assert lines[0].startswith("fanout: ")
    assert fanout.out == ""
    return lines[0]


async def test_no_connection_string_is_one_clear_line(tmp_path: Path) -> None:
    line = await refused(tmp_path, "serve")
    assert "AzureSignalRConnectionString is not set" in line


@pytest.mark.parametrize(
    ("text", "clue"),
    [
        ("Endpoint=http://x;Version=1.0;", "no AccessKey="),
        ("AccessKey=abc", "no Endpoint="),
        ("Endpoint=http://x;AuthType=azure.msi;", "identity tokens in clear text"),
    ],
)
async def test_a_connection_string_that_cannot_be_used_is_one_clear_line(tmp_path: Path, text: str, clue: str) -> None:
    assert clue in await refused(tmp_path, "serve", AzureSignalRConnectionString=text)


async def test_an_unknown_setting_is_one_clear_line(tmp_path: Path) -> None:
    line = await refused(tmp_path, "serve", FANOUT_PROT="1")
    assert "FANOUT_PROT is not a setting of this version. Did you mean FANOUT_PORT?" in line


async def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = await refused(tmp_path, "serve", "--port", str(port), AzureSignalRConnectionString=service_at(1))
    assert f"Port {port} on 127.0.0.1 is not available (Address already in use)" in line
    assert "--port" in line


async def test_an_open_door_on_every_address_is_one_clear_line(tmp_path: Path) -> None:
    line = await refused(tmp_path, "serve", "--host", "0.0.0.0", AzureSignalRConnectionString=service_at(1))
    assert "FANOUT_API_KEY" in line


async def test_another_number_of_partitions_than_the_store_has_is_one_clear_line(
    redis_url: str, tmp_path: Path
) -> None:
    redis_client = open_redis(redis_url, SystemClock())
    await redis_client.ask("SET", "fanout:partitions", "8")
    await redis_client.aclose()
    line = await refused(tmp_path, "serve", **environ(redis_url, service_at(1)))
    assert "first used with 8 partitions and FANOUT_PARTITIONS says 16" in line


async def test_while_redis_is_away_the_process_lives_is_not_ready_and_says_why(tmp_path: Path) -> None:
    port = free_port()
    settings = environ("redis://:open-sesame@127.0.0.1:1/0", service_at(1)) | {"FANOUT_PORT": str(port)}
    async with program(tmp_path, "serve", **settings) as fanout:
        await fanout.until(lambda: bool(fanout.lines_of("store.waiting")))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/metrics")).status_code == 200
            item = {"userId": "alice", "target": "t"}
            refusal = await client.post("/v1/hubs/chat/messages", json=item)
        status, reasons = await readiness(port)
        fanout.signal(signal.SIGTERM)
        assert await fanout.ended() == 0
    assert (refusal.status_code, refusal.json()["code"]) == (503, "queueUnavailable")
    assert status == 503
    assert "Redis cannot be reached" in reasons[0]
    [line] = fanout.lines_of("store.waiting")
    assert line["reason"] in reasons[0]
    assert fanout.lines_of("service.ready") == []
    assert "Traceback" not in fanout.err
    assert "sesame" not in fanout.err + str(reasons)


async def test_a_key_that_the_service_refuses_is_loud_and_the_process_is_ready_all_the_same(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        running(EmulatorConfig(keys=("another-key-" * 4,))) as service,
        program(tmp_path, "serve", **environ(redis_url, service_at(service.port))) as fanout,
    ):
        port = await fanout.port()
        await fanout.until(lambda: bool(fanout.lines_of("service.key_refused")))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.get("/readyz")
            metrics = (await client.get("/metrics")).text
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert "refuses the access key (401)" in answer.json()["warnings"][0]
    assert "fanout_service_key_refused 1.0" in metrics
    assert f'fanout_build_info{{version="{__version__}"}} 1.0' in metrics
    [line] = fanout.lines_of("service.key_refused")
    assert line["level"] == "error"
    assert "AzureSignalRConnectionString" in line["detail"]
    assert KEY not in fanout.err


async def test_a_key_that_the_service_accepts_is_said_once(redis_url: str, tmp_path: Path) -> None:
    async with (
        running() as service,
        program(tmp_path, "serve", **environ(redis_url, service_at(service.port))) as fanout,
    ):
        port = await fanout.port()
        await fanout.until(lambda: bool(fanout.lines_of("service.access_granted")))
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/readyz")).json()["warnings"] == []
        assert fanout.lines_of("service.key_refused") == []


async def test_every_wrong_setting_is_a_line_before_anything_is_opened(tmp_path: Path) -> None:
    wrong = environ("http://redis", "Endpoint=nowhere;AccessKey=k;")
    async with program(tmp_path, "serve", "--host", "0.0.0.0", **wrong) as fanout:
        assert await fanout.ended() == 2
    lines = fanout.err.splitlines()
    assert len(lines) == 3
    for name in ("connection string", "FANOUT_REDIS_URL", "FANOUT_API_KEY"):
        assert any(name in line for line in lines), lines


async def test_a_store_that_comes_up_a_little_later_is_waited_for(redis_url: str, tmp_path: Path) -> None:
    """Pods of one release start in any order."""
    path = redis_url.removeprefix("unix://").partition("?")[0]
    late = tmp_path / "late.sock"
    settings = environ(f"unix://{late}?db=0", service_at(1))
    async with program(tmp_path / "program", "serve", **settings) as fanout:
        await asyncio.sleep(1.0)
        assert fanout.process.returncode is None
        late.symlink_to(path)
        await fanout.port()
        fanout.signal(signal.SIGTERM)
        assert await fanout.ended() == 0


async def test_what_another_process_left_is_delivered(redis_url: str, tmp_path: Path) -> None:
    settings = {"FANOUT_REDIS_URL": redis_url, "FANOUT_PORT": "0"}
    async with program(tmp_path / "first", "serve", "--role", "ingress", **settings) as ingress:
        await posted(await ingress.port(), "bob")
        ingress.signal(signal.SIGKILL)
        await ingress.ended()
    async with scripted_service() as end:
        settings = environ(redis_url, service_at(end.port))
        async with program(tmp_path / "second", "serve", "--role", "worker", **settings) as worker:
            await until(lambda: len(end.received) == 1, within=20)
            worker.signal(signal.SIGTERM)
            assert await worker.ended() == 0
