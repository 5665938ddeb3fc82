"""Which identity proves what to whom, and what is refused at start."""

import sys
from pathlib import Path

import pytest

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import ConfigurationError, TokenUnavailableError
from fanout.renewal import Renewed
from fanout.signalr.connection_string import ConnectionString, EntraIdentity
from service.identities import Identities, RedisLogins, check_identity, object_id_of
from service.startup import examine_settings
from tests.authority import CLIENT, OBJECT, SECRET, TENANT, authority, token_number
from tests.fakes import FakeClock
from tests.fanout.test_renewal import Source

NAME = "AzureSignalRConnectionString"
HTTPS = "Endpoint=https://abc.service.signalr.net;AuthType=azure"


def findings(**environ: str) -> list[str]:
    return examine_settings(load({NAME: HTTPS, "FANOUT_AUTH": "none", **environ}), "worker")[1]


def test_an_identity_is_enough_where_the_extra_is_installed() -> None:
    assert findings() == []
    assert findings(FANOUT_REDIS_AUTH="entra", FANOUT_REDIS_URL="rediss://h") == []
    assert findings(FANOUT_REDIS_AUTH="entra", FANOUT_REDIS_URL="redis://localhost") == []


@pytest.mark.parametrize("variable", [NAME, "FANOUT_REDIS_AUTH"])
def test_without_the_extra_the_start_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    monkeypatch.delitem(sys.modules, "service.identity_tokens", raising=False)
    other = {NAME: "Endpoint=https://h;AccessKey=k", "FANOUT_REDIS_AUTH": "entra", "FANOUT_REDIS_URL": "rediss://h"}
    [finding] = findings() if variable == NAME else findings(**other)
    assert "pip install 'signalr-fanout[entra]'" in finding


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({NAME: "Endpoint=http://far.example;AuthType=azure"}, "http://far.example would get identity tokens in clear"),
        (
            {NAME: "Endpoint=https://h;ServerEndpoint=http://far.example;AuthType=azure"},
            "http://far.example would get identity tokens in clear",
        ),
        (
            {"FANOUT_REDIS_AUTH": "entra", "FANOUT_REDIS_URL": "redis://far.example"},
            "write rediss:// in FANOUT_REDIS_URL",
        ),
        (
            {"FANOUT_REDIS_AUTH": "entra", "FANOUT_REDIS_URL": "rediss://u:hush@h"},
            "FANOUT_REDIS_AUTH=entra logs in with a token: remove the password of Redis",
        ),
        (
            {"FANOUT_REDIS_AUTH": "entra", "FANOUT_REDIS_URL": "rediss://h", "FANOUT_REDIS_PASSWORD": "hush"},
            "remove the password of Redis",
        ),
    ],
)
def test_what_would_give_a_token_away_or_not_work_is_refused(environ: dict[str, str], words: str) -> None:
    [finding] = findings(**environ)
    assert words in finding
    assert "hush" not in finding


def test_the_emulator_on_this_machine_may_be_plain() -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        check_identity(ConnectionString.parse(f"Endpoint=http://{host}:8888;AuthType=azure"))
    with pytest.raises(ConfigurationError):
        check_identity(ConnectionString.parse("Endpoint=http://10.0.0.1;AuthType=azure"))


async def test_one_identity_has_one_token_for_a_scope_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = f"AuthType=azure.app;ClientId={CLIENT};TenantId={TENANT};ClientSecret={SECRET}"
    entra = ConnectionString.parse(f"Endpoint=https://h;{app}").entra
    assert entra is not None
    identities = Identities(SystemClock())
    first, second = (identities.tokens(entra, "https://h/.default", "a token") for _ in range(2))
    assert first is second
    assert identities.tokens(entra, "https://other/.default", "a token") is not first
    assert identities.tokens(EntraIdentity(), "https://h/.default", "a token") is not first
    with authority(tmp_path) as found:
        for name, value in found.environ.items():
            monkeypatch.setenv(name, value)
        assert identities.seconds_left() == 0.0
        assert (await first.get()).value == token_number(1, "https://h/.default")
        assert first.seconds_left > 3500
        assert identities.warning() == ""
    assert SECRET not in repr(identities)
    assert Identities(SystemClock()).seconds_left() is None


async def test_redis_is_logged_in_to_as_the_user_of_the_url_or_the_object_id() -> None:
    clock = FakeClock()
    source = Source(clock)
    tokens = Renewed("token", source.fetch, clock, source)
    assert (await RedisLogins(tokens, "chosen").login()).username == "chosen"
    with pytest.raises(TokenUnavailableError, match="put the user name into FANOUT_REDIS_URL"):
        await RedisLogins(tokens, "").login()
    assert object_id_of(token_number(1)) == OBJECT
    assert object_id_of("no token") == ""
