"""Who is served by the real process: with a key, without one, and behind a proxy or a browser of this machine."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile.ingress import KEY, ingress
from tests.service.programs import forked_program, service_at

MESSAGES, NEGOTIATE, PURGE = "/v1/hubs/chat/messages", "/chat/negotiate?userId=eve", "/v1/admin/dead-letters/purge"
ITEM = {"userId": "alice", "target": "t"}
NGINX = """daemon off; pid {directory}/pid; error_log stderr; worker_processes 1; events {{ }}
http {{ access_log off; client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen 127.0.0.1:{port}; location / {{ {lines} proxy_pass http://127.0.0.1:{target}; }} }} }}
"""


def settings(redis_url: str, **more: str) -> dict[str, str]:
    return {
        "AzureSignalRConnectionString": service_at(9),
        "FANOUT_REDIS_URL": redis_url,
        "FANOUT_PORT": "0",
        "FANOUT_NEGOTIATE_ANONYMOUS": "true",
        **more,
    }


async def statuses(base: str, **headers: str) -> list[int]:
    """Send, negotiate and purge, and return what each was answered."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=base, headers=named, trust_env=False) as client:
        sent = await client.post(MESSAGES, json=ITEM)
        negotiated = await client.post(NEGOTIATE)
        purged = await client.post(PURGE, json={"all": True})
    return [sent.status_code, negotiated.status_code, purged.status_code]


async def test_without_any_source_of_callers_an_ingress_does_not_start_and_a_worker_does(
    redis_url: str, tmp_path: Path
) -> None:
    keyless = settings(redis_url, FANOUT_AUTH="key")
    for role in ("ingress", "all"):
        async with forked_program(tmp_path / role, "serve", "--role", role, **keyless) as running:
            assert await running.ended() == 2
        assert "set FANOUT_API_KEY to a long random text" in running.err
        assert "token_urlsafe" in running.err
    async with forked_program(tmp_path / "worker", "serve", "--role", "worker", **keyless) as running:
        base = f"http://127.0.0.1:{await running.port()}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            assert [(await client.get(path)).status_code for path in ("/metrics", "/livez")] == [200, 200]


@pytest.mark.parametrize("key", ["a", "' '", "fifteen-letters"])
async def test_a_weak_key_does_not_start(redis_url: str, tmp_path: Path, key: str) -> None:
    weak = settings(redis_url, FANOUT_API_KEY=key)
    async with forked_program(tmp_path, "serve", "--role", "ingress", **weak) as running:
        assert await running.ended() == 2
    assert "FANOUT_API_KEY" in running.err


async def test_a_key_with_quotes_and_a_newline_is_trimmed_and_that_is_logged(redis_url: str, tmp_path: Path) -> None:
    async with ingress(tmp_path, redis_url, FANOUT_API_KEY=f'"{KEY}"\n') as victim:
        assert await statuses(victim.url, X_API_Key=KEY) == [202, 200, 200]
        [line] = victim.program.lines_of("settings.corrected")
    assert "white space or quotes" in line["correction"]
    assert KEY not in victim.program.err


async def test_wrong_keys_leave_lines_a_count_and_their_difference_from_none(redis_url: str, tmp_path: Path) -> None:
    async with ingress(tmp_path, redis_url) as victim:
        async with httpx.AsyncClient(base_url=victim.url, trust_env=False) as client:
            wrong = [await client.post(MESSAGES, json=ITEM, headers={"X-API-Key": f"{KEY}x"}) for _ in range(9)]
            bearer = await client.post(MESSAGES, json=ITEM, headers={"Authorization": "Bearer something-else"})
            none = await client.post(MESSAGES, json=ITEM)
            metrics = (await client.get("/metrics", headers={"X-API-Key": KEY})).text
        refused = victim.program.lines_of("request.refused")
    assert [answer.json()["code"] for answer in (*wrong, bearer, none)] == ["wrongKey"] * 10 + ["unauthorized"]
    assert 'fanout_refused_requests_total{code="wrongKey"} 10.0' in metrics.splitlines()
    where = [(line["peer"], line["path"], line["code"]) for line in refused[:9]]
    assert where == [("127.0.0.1", MESSAGES, "wrongKey")] * 9
    assert KEY not in victim.program.err


@asynccontextmanager
async def nginx(directory: Path, target: int, lines: str) -> AsyncIterator[str]:
    """The base URL of an nginx of this machine that forwards to `target`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, port=port, target=target, lines=lines))
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(config), "-p", str(directory), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while not (directory / "pid").exists():  # noqa: ASYNC110 - nginx tells nobody
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
@pytest.mark.parametrize(
    "lines",
    [
        "",
        "proxy_set_header X-Forwarded-For $remote_addr; proxy_http_version 1.1;",
        'proxy_http_version 1.1; proxy_set_header Via "1.1 nginx";',
        "proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Forwarded for=192.0.2.7;",
    ],
)
async def test_without_a_key_nothing_is_served_behind_a_proxy_of_this_machine(
    redis_url: str, tmp_path: Path, lines: str
) -> None:
    local: dict[str, Any] = settings(redis_url, FANOUT_AUTH="none")
    async with forked_program(tmp_path / "ingress", "serve", "--role", "ingress", **local) as running:
        port = await running.port()
        assert await statuses(f"http://127.0.0.1:{port}") == [202, 200, 200]
        async with nginx(tmp_path / "nginx", port, lines) as front:
            assert await statuses(front) == [401, 401, 401]
            async with httpx.AsyncClient(base_url=front, trust_env=False) as client:
                paths = ("/metrics", "/docs", "/livez")
                assert [(await client.get(path)).status_code for path in paths] == [401, 401, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "http://["},
        {"Origin": "null"},
        {"Host": "rebound.example.com"},
        {"Host": "rebound.example.com", "Origin": "http://rebound.example.com"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_without_a_key_no_page_of_another_origin_is_served(
    redis_url: str, tmp_path: Path, headers: dict[str, str]
) -> None:
    local = settings(redis_url, FANOUT_AUTH="none", FANOUT_CORS_ORIGINS="https://app.example.com")
    async with forked_program(tmp_path, "serve", "--role", "ingress", **local) as running:
        base = f"http://127.0.0.1:{await running.port()}"
        assert await statuses(base, **{name.replace("-", "_"): value for name, value in headers.items()}) == [401] * 3
        listed = await statuses(base, Origin="https://app.example.com")
    assert listed == [401, 200, 401], "a listed origin may negotiate and nothing else"
    assert "Traceback" not in running.err


async def test_administration_has_a_port_of_its_own(redis_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin_port = free.getsockname()[1]
    async with (
        ingress(tmp_path, redis_url, FANOUT_ADMIN_PORT=str(admin_port)) as victim,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        paths = ("/metrics", "/docs", "/openapi.json", "/v1/admin/dead-letters", "/livez", "/readyz")
        main = [(await client.get(victim.url + path)).status_code for path in paths]
        admin = [(await client.get(f"http://127.0.0.1:{admin_port}{path}")).status_code for path in paths]
        head = [(await client.head(f"http://127.0.0.1:{admin_port}{path}")).status_code for path in paths]
    assert main == [404, 404, 404, 404, 200, 200]
    assert admin == head == [200, 200, 200, 401, 200, 200]
