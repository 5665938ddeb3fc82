"""Connection strings are read as the vendor's parser reads them, and the key stays inside."""

import pytest

from fanout.errors import ConfigurationError
from fanout.signalr.connection_string import ConnectionString

KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
parse = ConnectionString.parse


def test_the_form_the_portal_gives_is_read() -> None:
    service = parse(f"Endpoint=https://example.service.signalr.net;AccessKey={KEY};Version=1.0;")
    assert service.endpoint == service.server_endpoint == service.client_endpoint
    assert service.endpoint == service.audience_base == "https://example.service.signalr.net"
    assert service.access_key == KEY
    assert service.entra is None


def test_the_emulator_s_well_known_form_is_read() -> None:
    service = parse(f"Endpoint=http://localhost;Port=8888;AccessKey={KEY};Version=1.0;")
    assert service.endpoint == "http://localhost:8888"
    assert service.audience_base == "http://localhost"


def test_keys_have_no_case_values_are_trimmed_and_the_first_equals_sign_splits() -> None:
    service = parse(" ENDPOINT = https://h.example/ ; accesskey = a=b== ; unknown=1; ;")
    assert (service.endpoint, service.access_key) == ("https://h.example", "a=b==")


def test_port_replaces_the_endpoint_s_port() -> None:
    assert parse("Endpoint=http://h:1;Port=2;AccessKey=k").endpoint == "http://h:2"
    assert parse("Endpoint=http://[::1];Port=2;AccessKey=k").endpoint == "http://[::1]:2"
    assert parse("Endpoint=http://[::1];Port=2;AccessKey=k").audience_base == "http://[::1]"


def test_server_and_client_endpoints_leave_the_audience_with_the_endpoint() -> None:
    service = parse("Endpoint=https://a;ServerEndpoint=https://b:1/;ClientEndpoint=https://c/p/;AccessKey=k")
    assert service.server_endpoint == "https://b:1"
    assert service.client_endpoint == "https://c/p"
    assert service.audience_base == "https://a"


@pytest.mark.parametrize("version", ["1.0", "1.10", "1.0-preview", "1.0.1"])
def test_versions_1_x_are_read(version: str) -> None:
    parse(f"Endpoint=https://h;AccessKey=k;Version={version}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no Endpoint="),
        ("AccessKey=secret", "no Endpoint="),
        ("Endpoint=https://h", "no AccessKey="),
        ("Endpoint=https://h;AccessKey=", "no AccessKey="),
        ("Endpoint=https://h;AuthType=unheard-of", "no AccessKey="),
        ("Endpoint=https://h;AccessKey=secret;accesskey=secret", "AccessKey occurs twice"),
        ("Endpoint=https://h;AccessKey=secret;Version=2.0", "Version 2.0"),
        ("Endpoint=https://h;AccessKey=secret;Version=1", "Version 1 "),
        ("Endpoint=h;AccessKey=secret", "Endpoint"),
        ("Endpoint=ftp://h;AccessKey=secret", "Endpoint"),
        ("Endpoint=https://[h;AccessKey=secret", "Endpoint"),
        ("Endpoint=https://h;AccessKey=secret;Port=0", "Port"),
        ("Endpoint=https://h;AccessKey=secret;Port=65536", "Port"),
        ("Endpoint=https://h;AccessKey=secret;Port=x", "Port"),
        ("Endpoint=https://h;AccessKey=secret;ServerEndpoint=x", "ServerEndpoint"),
        ("Endpoint=https://h;AccessKey=secret;ClientEndpoint=//x", "ClientEndpoint"),
        ("Endpoint=https://h;AuthType=azure.app;ClientId=i;TenantId=t", "azure.app"),
        ('"Endpoint=https://h;AccessKey=secret;Version=1.0;"', "quotation marks"),
        ("'Endpoint=https://h;AccessKey=secret;Version=1.0;'", "quotation marks"),
        ("\u201cEndpoint=https://h;AccessKey=secret\u201d", "quotation marks"),
        ("@Microsoft.KeyVault(SecretUri=https://secret.vault.azure.net/secrets/s/)", "Key Vault reference"),
        ("AzureSignalRConnectionString=Endpoint=https://h;AccessKey=secret", "a name (AzureSignalRConnectionString)"),
        ("export AzureSignalRConnectionString='Endpoint=https://h;AccessKey=secret;", "begins with a name"),
        ("Azure:SignalR:ConnectionString: Endpoint=https://h;AccessKey=secret", "begins with a name"),
        ("serviceUri=https://h", "serviceUri"),
        ("Endpoint=https://h;AccessKey=s;secret;Version=1.0;", "Part 3 of the connection string has no ="),
        ("secret;Endpoint=https://h;AccessKey=s", "Part 1 of the connection string has no ="),
        (
            "Endpoint=https://<name>.service.signalr.net;AccessKey=secret",
            "Endpoint in the connection string is a",
        ),
        ("Endpoint=https://h;AccessKey=<key>", "AccessKey in the connection string is a placeholder"),
        ("Endpoint=https://h;AccessKey={secret}", "AccessKey in the connection string is a placeholder"),
        ("Endpoint=https://h;AccessKey=***", "AccessKey in the connection string is a placeholder"),
        ("Endpoint=https://user:secret@h;AccessKey=secret", "contains user:password@"),
        ("Endpoint=https://user:secret;AccessKey=k", "not an http or https URL"),
        ("Endpoint=https://h .example;AccessKey=secret", "Endpoint in the connection string contains a space"),
        ("Endpoint=https://h;AccessKey=secr et", "AccessKey in the connection string contains a space"),
        ("Endpoint=https://h;AccessKey=secret\n1", "AccessKey in the connection string contains a space"),
        ("Endpoint=https://h\u00e4;AccessKey=secret", "special character"),
        ("Endpoint=abc.service.signalr.net;AccessKey=secret", "put https:// in front"),
        ("https://abc.service.signalr.net", "no Endpoint="),
        ("EndPont=https://h;AccessKey=secret", "Is EndPont= meant to be it?"),
        ("Endpoint=https://h;AccesKey=secret", "Is AccesKey= meant to be it?"),
        ("Endpoint=https://h;AccessKey secret=", "Copy it from"),
        ("Endpoint=https://h;AccessKeysecret=", "Copy it from"),
        ("Endpoint=https://h?x=secret;AccessKey=secret", "query"),
        ("Endpoint=https://h#x;AccessKey=secret", "fragment"),
        ("Endpoint=https://h^;AccessKey=secret", "not an http or https URL"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("auth_type", ["azure", "azure.msi", "AAD"])
def test_an_auth_type_makes_an_identity_and_takes_no_key(auth_type: str) -> None:
    service = parse(f"Endpoint=https://h;AuthType={auth_type};ClientId=i;AccessKey=ignored")
    assert service.entra is not None
    assert (service.entra.auth_type, service.entra.client_id) == (auth_type.lower(), "i")
    assert service.access_key == ""


@pytest.mark.parametrize("certificate", ["ClientCert=/p.pem", "ClientCertPath=/p.pem", "clientcert=/p.pem"])
def test_an_app_registration_takes_a_certificate_under_either_name(certificate: str) -> None:
    service = parse(f"Endpoint=https://h;AuthType=azure.app;ClientId=i;TenantId=t;{certificate}")
    assert service.entra is not None
    assert service.entra.client_cert == "/p.pem"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("AuthType=azure", "default"),
        ("AuthType=azure.msi", "managed"),
        ("AuthType=aad", "managed"),
        ("AuthType=aad;ClientId=i", "managed"),
        ("AuthType=aad;ClientId=i;TenantId=t;ClientSecret=s", "secret"),
        ("AuthType=azure.app;ClientId=i;TenantId=t;ClientSecret=s", "secret"),
        ("AuthType=azure.app;ClientId=i;TenantId=t;ClientCert=/c.pem", "certificate"),
    ],
)
def test_what_an_auth_type_means(text: str, kind: str) -> None:
    entra = parse(f"Endpoint=https://h;{text}").entra
    assert entra is not None
    assert entra.kind == kind


@pytest.mark.parametrize("text", ["AuthType=azure.app;ClientId=i;TenantId=t", "AuthType=aad;TenantId=t"])
def test_an_app_registration_without_a_proof_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="needs ClientId, TenantId and ClientSecret or ClientCert"):
        parse(f"Endpoint=https://h;{text}")


def test_secrets_are_renewed_where_nothing_else_changes() -> None:
    app = "Endpoint=https://h;AuthType=azure.app;ClientId=i;TenantId=t;ClientSecret="
    service = parse(app + "old")
    assert service.renew(parse(app + "new"))
    assert service.entra is not None
    assert service.entra.client_secret.value == "new"
    for other in ("Endpoint=https://h;AccessKey=k", "Endpoint=https://h;AuthType=azure", app.replace("=t", "=u") + "x"):
        assert not service.renew(parse(other))
    assert service.entra.client_secret.value == "new"
    keyed = parse("Endpoint=https://h;AccessKey=k")
    assert not keyed.renew(parse(app + "old"))
    assert keyed.renew(parse("Endpoint=https://h;AccessKey=l"))
    assert keyed.access_key == "l"


def test_no_repr_shows_a_secret() -> None:
    assert KEY not in repr(parse(f"Endpoint=https://h;AccessKey={KEY}"))
    app = parse("Endpoint=https://h;AuthType=azure.app;ClientId=i;TenantId=t;ClientSecret=hush")
    assert app.entra is not None
    assert "hush" not in repr(app)


def test_a_service_is_known_by_its_host_and_application_and_never_by_its_key() -> None:
    service = parse("Endpoint=https://A.Example:444/;AccessKey=hunter2;ServerEndpoint=https://gate.example;Port=8443;")
    assert service.identity("") == "a.example"
    assert service.identity("shop") == "a.example/shop"
