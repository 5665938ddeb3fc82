"""Which keys a process knows: read again every two seconds, good for a while without the store, then nobody's."""

import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest
import structlog

from fanout.environment import load
from fanout.errors import CallersUnavailableError, ConfigurationError, QueueError, UnauthorizedError
from fanout.log import configure, get_audit_logger, get_logger
from service.callers.caller import digest_of
from service.callers.key_ring import GOOD_FOR, INTERVAL, KeyRing, read_file
from service.http.request import KEY_HOLDER, KEYLESS, WRONG_TOKEN, Guard
from service.startup import check_exposure
from tests.fakes import FakeClock
from tests.log_lines import fault_of
from tests.service.apps import KEY
from tests.service.callers.test_api_key import SECRET, a_key

DIGEST = digest_of(SECRET.encode())


class Shelf:
    """A store in memory, which can be away."""

    def __init__(self, **keys: bytes) -> None:
        self.keys: dict[str, bytes] = keys
        self.away = False

    async def all(self) -> Mapping[str, bytes]:
        if self.away:
            raise QueueError("Redis is away.")
        return dict(self.keys)


def a_shelf() -> Shelf:
    shelf = Shelf()
    shelf.keys[a_key().id] = a_key().text
    return shelf


async def test_a_key_counts_from_the_next_reading_on_until_it_is_revoked() -> None:
    shelf, clock = Shelf(), FakeClock()
    ring = KeyRing(shelf, "", clock, get_logger())
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is None
    shelf.keys[a_key().id] = a_key().text
    await ring.refresh()
    found = ring.find(SECRET, DIGEST)
    assert found is not None
    assert found.name == "orders"
    assert ring.find(SECRET + "x", digest_of(f"{SECRET}x".encode())) is None
    shelf.keys.clear()
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is None
    assert INTERVAL <= 5


async def test_an_expired_key_counts_for_nothing_without_a_reading() -> None:
    shelf, clock = Shelf(), FakeClock()
    key = a_key(expires=clock.wall() + 10)
    shelf.keys[key.id] = key.text
    ring = KeyRing(shelf, "", clock, get_logger())
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is not None
    await clock.advance(10)
    assert ring.find(SECRET, DIGEST) is None


async def test_without_the_store_known_keys_count_for_a_while_and_then_nobody_is_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shelf, clock = a_shelf(), FakeClock()
    ring = KeyRing(shelf, "", clock, get_logger())
    assert ring.age() is None
    await ring.refresh()
    shelf.away = True
    await clock.advance(GOOD_FOR - 1)
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is not None
    assert "Redis is away" in ring.warning()
    assert ring.age() == GOOD_FOR - 1
    await clock.advance(1)
    with pytest.raises(CallersUnavailableError):
        ring.find(SECRET, DIGEST)
    shelf.away = False
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is not None
    assert ring.warning() == ""
    _check_log("".join(capsys.readouterr()))


def _check_log(text: str) -> None:
    assert [text.count(f"callers.{event}") for event in ("unreadable", "readable_again")] == [1, 1]
    assert SECRET not in text
    assert a_key().sha256 not in text


async def test_an_entry_that_cannot_be_read_is_left_out_and_so_is_one_under_another_id() -> None:
    shelf = a_shelf()
    shelf.keys |= {"ba9876543210": a_key().text, "x": b"{}", "y": b"\xff"}
    ring = KeyRing(shelf, "", FakeClock(), get_logger())
    await ring.refresh()
    assert repr(ring) == "<KeyRing of 1 keys>"


async def test_keys_of_a_file_count_without_the_store_and_a_broken_file_leaves_them(tmp_path: Path) -> None:
    path, clock, shelf = tmp_path / "keys", FakeClock(), Shelf()
    path.write_bytes(a_key().text + b"\n")
    shelf.away = True
    ring = KeyRing(shelf, str(path), clock, get_logger())
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is not None
    path.write_text("broken")
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is not None
    assert "line 1" in ring.warning()
    shelf.away = False
    path.write_text("")
    await ring.refresh()
    assert ring.find(SECRET, DIGEST) is None
    path.unlink()
    with pytest.raises(ConfigurationError, match="No such file"):
        read_file(str(path))


async def test_the_guard_asks_its_own_key_first_and_says_which_kind_of_wrong_it_is() -> None:
    shelf = a_shelf()
    ring = KeyRing(shelf, "", FakeClock(), get_logger())
    guard = Guard(load({}, api_key=KEY), ring)
    scope = {"client": None, "http_version": "1.1"}
    assert guard.caller_of(scope, {"x-api-key": KEY}) is KEY_HOLDER  # nothing was read yet
    with pytest.raises(CallersUnavailableError):
        guard.caller_of(scope, {"x-api-key": SECRET})
    await ring.refresh()
    for headers in ({"x-api-key": SECRET}, {"authorization": f"Bearer {SECRET}"}):
        assert guard.caller_of(scope, headers).name == "orders"
    assert guard.caller_of(scope, {"authorization": f"Bearer {SECRET}x"}) is WRONG_TOKEN
    with pytest.raises(UnauthorizedError):
        guard.caller_of(scope, {"x-api-key": f"{SECRET}x"})


async def test_keys_in_redis_are_enough_to_start_where_the_settings_say_so_and_it_warns_while_there_is_none() -> None:
    settings, shelf = load({}, api_keys="redis"), Shelf()
    check_exposure(settings, "0.0.0.0")
    with pytest.raises(ConfigurationError, match="FANOUT_API_KEYS and FANOUT_AUTH=none are both set"):
        check_exposure(load({}, api_keys="redis", auth="none"), "127.0.0.1")
    ring = KeyRing(shelf, "", FakeClock(), get_logger())
    guard, scope = Guard(settings, ring), {"client": None, "http_version": "1.1"}
    assert guard.warning() == ""  # nothing was read yet
    assert guard.caller_of(scope, {}) is KEYLESS
    await ring.refresh()
    assert "Make one with `fanout keys create`" in guard.warning()
    assert Guard(load({}, api_key=KEY), ring).warning() == ""
    shelf.keys[a_key().id] = a_key().text
    await ring.refresh()
    assert guard.warning() == ""
    assert guard.caller_of(scope, {"x-api-key": SECRET}).name == "orders"


async def test_keys_that_come_and_go_stand_in_the_audit_log(capsys: pytest.CaptureFixture[str]) -> None:
    shelf, stream = a_shelf(), StringIO()
    configure(level="error", style="json", stream=stream)
    ring = KeyRing(shelf, "", FakeClock(), get_logger(), get_audit_logger())
    await ring.refresh()
    assert stream.getvalue() == ""  # those that are there at the start are no news
    shelf.keys = {a_key().id: a_key(hubs=("news", "chat")).text}
    await ring.refresh()
    shelf.keys = {}
    await ring.refresh()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    assert [fault_of(line) for line in lines] == ["", "", ""]
    assert [(line["event"], line["hubs"]) for line in lines] == [
        ("audit.key_removed", ",".join(a_key().hubs)),
        ("audit.key_added", "news,chat"),
        ("audit.key_removed", "news,chat"),
    ]
    assert {(line["key"], line["name"], line["source"]) for line in lines} == {(a_key().id, "orders", "redis")}
    assert a_key().sha256 not in stream.getvalue()


def test_a_file_of_keys_is_enough_to_start_and_is_checked_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(a_key().text)
    check_exposure(load({}, api_keys_file=str(path)), "0.0.0.0")
    with pytest.raises(ConfigurationError, match="both set"):
        check_exposure(load({}, api_keys_file=str(path), auth="none"), "127.0.0.1")
    path.write_text("broken")
    with pytest.raises(ConfigurationError, match=r"keys', line 1"):
        check_exposure(load({}, api_keys_file=str(path)), "127.0.0.1")
    path.write_text("")
    with pytest.raises(ConfigurationError, match="No caller could be recognised"):
        check_exposure(load({}, api_keys_file=str(path)), "127.0.0.1")
