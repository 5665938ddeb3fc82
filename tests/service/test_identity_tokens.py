"""Identities by azure-identity as it is shipped, against an authority over real HTTPS."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from fanout.clock import SystemClock
from fanout.errors import TokenUnavailableError
from fanout.secret import Secret
from fanout.signalr.connection_string import EntraIdentity
from fanout.signalr.entra import SCOPE
from service.identity_tokens import IdentityTokens
from tests.authority import CLIENT, SECRET, TENANT, Authority, authority, token_number

pytestmark = pytest.mark.lengthy

APP = EntraIdentity("azure.app", CLIENT, TENANT, Secret(SECRET))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with authority(tmp_path_factory.mktemp("authority")) as found:
        yield found


@pytest.fixture(name="entra")
def _entra(running: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    running.asked.clear()
    running.counts.clear()
    running.refusal, running.refresh_in = "", None
    for name, value in running.environ.items():
        monkeypatch.setenv(name, value)
    return running


def tokens_of(identity: EntraIdentity) -> IdentityTokens:
    return IdentityTokens(identity, SCOPE, SystemClock())


async def test_an_app_registration_shows_its_secret(entra: Authority) -> None:
    term = await tokens_of(APP).fetch()
    assert term.value == token_number(1)
    assert term.ends_at == pytest.approx(time.time() + 3600, abs=60)
    [asked] = entra.asked
    assert (asked["client_id"], asked["client_secret"], asked["scope"]) == (CLIENT, SECRET, SCOPE)


async def test_each_request_brings_another_token_and_the_authority_may_say_when(entra: Authority) -> None:
    entra.refresh_in = 1200
    tokens = tokens_of(APP)
    first, second = await tokens.fetch(), await tokens.fetch()
    assert (first.value, second.value) == (token_number(1), token_number(2))
    assert first.renew_at == pytest.approx(time.time() + 1200, abs=60)


async def test_a_rotated_secret_is_shown_from_the_next_request_on(entra: Authority) -> None:
    secret = Secret("old")
    tokens = tokens_of(EntraIdentity("azure.app", CLIENT, TENANT, secret))
    await tokens.fetch()
    secret.replace("new")
    await tokens.fetch()
    assert [asked["client_secret"] for asked in entra.asked] == ["old", "new"]


async def test_an_app_registration_may_have_a_certificate(entra: Authority, tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    trustme.CA().issue_cert("app", key_type=trustme.KeyType.RSA).private_key_and_cert_chain_pem.write_to_path(str(path))
    term = await tokens_of(EntraIdentity("azure.app", CLIENT, TENANT, client_cert=str(path))).fetch()
    assert term.value == token_number(1)
    assert "client_assertion" in entra.asked[0]


@pytest.mark.parametrize("auth_type", ["azure.workload", "azure", "azure.msi"])
async def test_a_workload_shows_the_token_that_kubernetes_gave_it(
    entra: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth_type: str
) -> None:
    path = tmp_path / "token"
    path.write_text("of the service account")
    given = {"AZURE_FEDERATED_TOKEN_FILE": str(path), "AZURE_CLIENT_ID": CLIENT, "AZURE_TENANT_ID": TENANT}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (await tokens_of(EntraIdentity(auth_type)).fetch()).value == token_number(1)
    [asked] = entra.asked
    assert (asked["client_id"], asked["client_assertion"]) == (CLIENT, "of the service account")


@pytest.mark.parametrize("client", ["", CLIENT])
async def test_a_managed_identity_is_asked_for_where_the_platform_says(
    entra: Authority, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    for name, value in entra.managed.items():
        monkeypatch.setenv(name, value)
    term = await tokens_of(EntraIdentity("azure.msi", client)).fetch()
    assert term.value == token_number(1)
    [asked] = entra.asked
    assert (asked["resource"], asked.get("client_id", "")) == ("https://signalr.azure.com", client)


async def test_a_refusal_is_its_reason_without_a_secret(entra: Authority) -> None:
    entra.refusal = "AADSTS7000222: The client secret has expired.\r\nTrace ID: 1"
    with pytest.raises(TokenUnavailableError, match=r"AADSTS7000222: The client secret has expired\. Trace") as caught:
        await tokens_of(APP).fetch()
    assert SECRET not in str(caught.value)


async def test_a_mistake_of_the_library_is_no_token_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(identity: EntraIdentity) -> None:
        raise KeyError("expires_in")

    monkeypatch.setattr("service.identity_tokens.credential_of", broken)
    with pytest.raises(TokenUnavailableError, match="expires_in"):
        await tokens_of(APP).fetch()


async def test_an_authority_that_is_away_or_not_trusted_is_a_reason(
    entra: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(TokenUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        await tokens_of(APP).fetch()
    missing = EntraIdentity("azure.app", CLIENT, TENANT, client_cert="/nowhere.pem")
    with pytest.raises(TokenUnavailableError, match="No such file"):
        await tokens_of(missing).fetch()
