"""Connections as the address says, over TLS verified unless it says otherwise."""

from collections.abc import Iterator

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError, QueueError
from fanout.queue.store import open_wire
from fanout.redis.address import parse
from fanout.redis.dial import Dialler
from tests.redis_kinds import Store, borrowed, name_of, opened


@pytest.fixture(scope="module")
def secured() -> Iterator[Store]:
    with borrowed(name_of("tls")) as store:
        yield store


async def test_an_authority_nobody_knows_is_refused(secured: Store) -> None:
    async with opened(secured.url.partition("?")[0]) as wire:
        with pytest.raises(QueueError, match="CERTIFICATE_VERIFY_FAILED"):
            await wire.ask("PING")


async def test_a_name_that_is_not_the_servers_is_refused_unless_told_otherwise(secured: Store) -> None:
    other = secured.url.replace("127.0.0.1", "127.0.0.2")
    async with opened(other) as wire:
        with pytest.raises(QueueError, match="CERTIFICATE_VERIFY_FAILED"):
            await wire.ask("PING")
    async with opened(f"{other}&ssl_check_hostname=false") as wire:
        assert await wire.ask("PING") == b"PONG"


async def test_verification_can_be_given_up_in_words(secured: Store) -> None:
    async with opened(f"{secured.url.partition('?')[0]}?ssl_cert_reqs=none") as wire:
        assert await wire.ask("PING") == b"PONG"


async def test_the_authority_may_come_from_the_settings(secured: Store) -> None:
    ca = str(secured.servers[0].directory / "ca.pem")
    wire = open_wire(secured.url.partition("?")[0], SystemClock(), ca=ca)
    assert await wire.ask("PING") == b"PONG"
    await wire.aclose()


async def test_the_user_and_the_database_of_the_url_are_used(secured: Store) -> None:
    async with opened(secured.url) as wire:
        assert await wire.ask("ACL", "WHOAMI") == b"fanout"
        assert b" db=3 " in await wire.ask("CLIENT", "INFO")


async def test_a_wrong_password_is_told_without_it(secured: Store) -> None:
    async with opened(secured.url.replace("p%40", "hunter2")) as wire:
        with pytest.raises(QueueError, match="cannot be reached") as caught:
            await wire.ask("PING")
    assert "hunter2" not in str(caught.value)


def test_a_certificate_file_that_is_not_there_refuses_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"/no/such\.pem.*cannot be used"):
        open_wire("rediss://u:hunter2@h?ssl_ca_certs=/no/such.pem", SystemClock())


def test_no_repr_shows_a_password() -> None:
    dialler = Dialler(parse("redis://u:hunter2@h:1"))
    assert repr(dialler) == "<Dialler of redis://h:1/0>"
