"""A server of our own: private, empty, and gone with the block it was made for."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.redis.open import open_redis
from service.dev import private_redis as module
from service.dev.private_redis import find_server, private_redis


@pytest.fixture
def files(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_directory))
    return short_directory


def names_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def is_process(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pid_of(info: bytes) -> int:
    return int(info.decode().partition("process_id:")[2].split()[0])


async def test_a_server_is_empty_keeps_what_it_is_told_and_goes_with_its_files(every_server: str, files: Path) -> None:
    async with private_redis(SystemClock(), binary=every_server) as url:
        redis_client = open_redis(url, SystemClock())
        assert await redis_client.ask("DBSIZE") == 0
        assert await redis_client.ask("CONFIG", "GET", "appendonly") == [b"appendonly", b"yes"]
        assert await redis_client.ask("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"noeviction"]
        assert await redis_client.ask("CONFIG", "GET", "port") == [b"port", b"0"]
        pid = pid_of(bytes(await redis_client.ask("INFO", "server")))
        [directory] = names_in(files)
        assert mode_of(directory) == 0o700
        await redis_client.aclose()
        assert is_process(pid)
    assert not is_process(pid)
    assert names_in(files) == []


async def test_a_directory_too_deep_for_a_socket_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    async with private_redis(SystemClock()) as url:
        assert names_in(deep) == []
        directory = Path(url.removeprefix("unix://").partition("?")[0]).parent
        assert mode_of(directory) == 0o700
    assert not directory.exists()


async def test_options_reach_the_server(files: Path) -> None:
    async with private_redis(SystemClock(), options=["--maxmemory", "100mb"]) as url:
        redis_client = open_redis(url, SystemClock())
        assert await redis_client.ask("CONFIG", "GET", "maxmemory") == [b"maxmemory", str(100 * 1024 * 1024).encode()]
        await redis_client.aclose()


async def test_a_block_that_fails_leaves_nothing_behind_either(files: Path) -> None:
    with pytest.raises(RuntimeError, match="out of luck"):
        async with private_redis(SystemClock()):
            raise RuntimeError("out of luck")
    assert names_in(files) == []


async def test_a_server_that_was_killed_meanwhile_is_no_error(files: Path) -> None:
    async with private_redis(SystemClock()) as url:
        redis_client = open_redis(url, SystemClock())
        pid = pid_of(bytes(await redis_client.ask("INFO", "server")))
        await redis_client.aclose()
        os.kill(pid, 9)
    assert names_in(files) == []


async def test_a_binary_that_is_no_server_is_told_at_once(files: Path) -> None:
    with pytest.raises(ConfigurationError, match="The private Redis did not start"):
        async with private_redis(SystemClock(), binary="/bin/false"):
            pass
    assert names_in(files) == []


def test_a_server_is_found_on_this_machine() -> None:
    assert os.access(find_server(), os.X_OK)


def test_without_the_wheel_the_one_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"There is no Redis to start\. Install one"):
        find_server()
    (tmp_path / "valkey-server").touch(0o755)
    assert find_server() == str(tmp_path / "valkey-server")
    (tmp_path / "redis-server").touch(0o755)
    assert find_server() == str(tmp_path / "redis-server")
