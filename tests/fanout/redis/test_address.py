"""What FANOUT_REDIS_URL may say, and what is never said about it."""

import pytest

from fanout.errors import ConfigurationError
from fanout.redis.address import Login, Node, RedisAddress, Tls, parse


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", RedisAddress("single", (Node("localhost", 6379),))),
        ("redis://h", RedisAddress("single", (Node("h", 6379),))),
        ("redis://h:1/3", RedisAddress("single", (Node("h", 1),), db=3)),
        ("redis://h?db=3", RedisAddress("single", (Node("h", 6379),), db=3)),
        ("redis://[::1]:7", RedisAddress("single", (Node("::1", 7),))),
        ("redis://[::1]", RedisAddress("single", (Node("::1", 6379),))),
        ("redis://:p%40%2F%25@h", RedisAddress("single", (Node("h", 6379),), login=Login("", "p@/%"))),
        ("redis://u:p@h", RedisAddress("single", (Node("h", 6379),), login=Login("u", "p"))),
        ("redis://u:p@q@h", RedisAddress("single", (Node("h", 6379),), login=Login("u", "p@q"))),
        ("unix:///tmp/r.sock?db=2", RedisAddress("single", path="/tmp/r.sock", db=2)),
        ("unix://u:p@/tmp/r.sock", RedisAddress("single", path="/tmp/r.sock", login=Login("u", "p"))),
        ("redis://a,b:2?cluster=true", RedisAddress("cluster", (Node("a", 6379), Node("b", 2)))),
        ("redis://a/0?cluster=1", RedisAddress("cluster", (Node("a", 6379),))),
        ("redis://a?cluster=false", RedisAddress("single", (Node("a", 6379),))),
        (
            "redis+sentinel://u:p@a,b:2/main/4?sentinel_username=s&sentinel_password=w%26",
            RedisAddress(
                "sentinel", (Node("a", 26379), Node("b", 2)), service="main", db=4, login=Login("u", "p"),
                sentinel_login=Login("s", "w&"),
            ),
        ),
        ("rediss://h", RedisAddress("single", (Node("h", 6379),), tls=Tls())),
        (
            "rediss://h?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname=false",
            RedisAddress("single", (Node("h", 6379),), tls=Tls("/ca", "/c", "/k", check_hostname=False)),
        ),
        ("rediss://h?ssl_cert_reqs=none", RedisAddress("single", (Node("h", 6379),), tls=Tls(verify=False))),
        ("rediss+sentinel://a/m", RedisAddress("sentinel", (Node("a", 26379),), service="m", tls=Tls())),
        ("rediss://a?cluster=true", RedisAddress("cluster", (Node("a", 6379),), tls=Tls())),
    ],
)  # fmt: skip
def test_a_url_is_read(url: str, address: RedisAddress) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://u:hunter2@h", "'http' is none of them"),
        ("hunter2", "must start with"),
        ("hunter2://h", "must start with"),
        ("redis://u:hunter2/x@h", "percent-encode"),
        ("redis://h:hunter2", "percent-encode"),
        ("redis://h:0", "port"),
        ("redis://h:70000", "port"),
        ("redis://u:hunter2@[h", "percent-encode"),
        ("redis://u:hunter2@h/x", "database that is not a number"),
        ("redis://u:hunter2@a,b", "cluster=true"),
        ("redis://u:hunter2@a/1?cluster=true", "only 0"),
        ("redis://u:hunter2@a?cluster=maybe", "true or false"),
        ("redis://:57#Whunter2@h", "# as %23"),
        ("redis://:57/hunter2@h", "/ as %2F"),
        ("redis://:57%hunter2@h", "% as %25"),
        ("redis://:hunter2%2@h", "% as %25"),
        ("redis://h?pasword=hunter2", "unknown options"),
        ("redis://h?hunter2", "cannot be read"),
        ("redis://u:hunter2@h?ssl_ca_certs=/ca", "rediss://"),
        ("rediss://u:hunter2@h?ssl_cert_reqs=optional", "required or none"),
        ("redis+sentinel://u:hunter2@h", "names no service"),
        ("redis+sentinel://u:hunter2@h/m?cluster=true", "only one of the two"),
        ("unix://", "names no socket"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="FANOUT_REDIS_URL") as caught:
        parse(url)
    assert reason in str(caught.value)
    assert caught.value.__cause__ is None
    if url != "hunter2://h":  # a scheme is shown
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@h:1/3",
        "rediss://u:hunter2@a:1,b:2/0?cluster=true",
        "redis+sentinel://u:hunter2@a:1,b:2/m/0?sentinel_password=hunter2",
        "unix:///tmp/s?db=0",
    ],
)
def test_no_form_of_an_address_shows_a_password(url: str) -> None:
    address = parse(url)
    assert "hunter2" not in f"{address} {address!r} {address.login} {address.sentinel_login!r}"
    assert parse(str(address)).nodes == address.nodes


def test_a_ca_of_the_settings_is_used_where_the_url_names_none() -> None:
    assert parse("rediss://h", ca="/mine").tls == Tls(ca="/mine")
    assert parse("rediss://h?ssl_ca_certs=/its", ca="/mine").tls == Tls(ca="/its")
    assert parse("redis://h", ca="/mine").tls is None


def test_a_password_beside_the_url_is_taken_as_it_is() -> None:
    assert parse("redis://me@h", password="p%#/@").login == Login("me", "p%#/@")
    assert parse("redis+sentinel://h/m", password="p").sentinel_login == Login()


def test_two_passwords_are_refused_without_showing_either() -> None:
    with pytest.raises(ConfigurationError, match="FANOUT_REDIS_PASSWORD") as caught:
        parse("redis://:hunter2@h", password="hunter3")
    assert "hunter" not in str(caught.value)
