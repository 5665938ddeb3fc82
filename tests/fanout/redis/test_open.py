"""Connections as the address says, over TLS verified unless it says otherwise."""

from collections.abc import Iterator

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError, QueueError
from fanout.redis.address import parse
from fanout.redis.open import ConnectionFactory, open_redis
from fanout.secret import Secret
from tests.redis_kinds import Store, borrowed, name_of, opened


@pytest.fixture(scope="module")
def secured() -> Iterator[Store]:
    with borrowed(name_of("tls")) as store:
        yield store


async def test_an_authority_nobody_knows_is_refused(secured: Store) -> None:
    async with opened(secured.url.partition("?")[0]) as redis_client:
        with pytest.raises(QueueError, match="CERTIFICATE_VERIFY_FAILED"):
            await redis_client.ask("PING")


async def test_a_name_that_is_not_the_servers_is_refused_unless_told_otherwise(secured: Store) -> None:
    other = secured.url.replace("127.0.0.1", "127.0.0.2")
    async with opened(other) as redis_client:
        with pytest.raises(QueueError, match="CERTIFICATE_VERIFY_FAILED"):
            await redis_client.ask("PING")
    async with opened(f"{other}&ssl_check_hostname=false") as redis_client:
        assert await redis_client.ask("PING") == b"PONG"


async def test_verification_can_be_given_up_in_words(secured: Store) -> None:
    async with opened(f"{secured.url.partition('?')[0]}?ssl_cert_reqs=none") as redis_client:
        assert await redis_client.ask("PING") == b"PONG"


async def test_the_authority_may_come_from_the_settings(secured: Store) -> None:
    ca = str(secured.servers[0].directory / "ca.pem")
    redis_client = open_redis(secured.url.partition("?")[0], SystemClock(), ca=ca)
    assert await redis_client.ask("PING") == b"PONG"
    await redis_client.aclose()


async def test_the_user_and_the_database_of_the_url_are_used(secured: Store) -> None:
    async with opened(secured.url) as redis_client:
        assert await redis_client.ask("ACL", "WHOAMI") == b"fanout"
        assert b" db=3 " in await redis_client.ask("CLIENT", "INFO")


async def test_a_wrong_password_is_told_without_it(secured: Store) -> None:
    async with opened(secured.url.replace("p%40", "hunter2")) as redis_client:
        with pytest.raises(QueueError, match="cannot be reached") as caught:
            await redis_client.ask("PING")
    assert "hunter2" not in str(caught.value)


def test_a_certificate_file_that_is_not_there_refuses_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"/no/such\.pem.*cannot be used"):
        open_redis("rediss://u:hunter2@h?ssl_ca_certs=/no/such.pem", SystemClock())


def test_no_repr_shows_a_password() -> None:
    factory = ConnectionFactory(parse("redis://u:hunter2@h:1"), Secret("hunter2"))
    assert repr(factory) == "<ConnectionFactory of redis://h:1/0>"
