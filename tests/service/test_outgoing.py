"""The way to the service: what the settings say of proxy and authorities, checked at start."""

import ssl
from pathlib import Path

import pytest
import trustme

from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.outgoing import check_way, origin_of, proxy_to, trusted
from service.startup import check_settings


def service(endpoint: str = "https://abc.service.signalr.net") -> ConnectionString:
    return ConnectionString.parse(f"Endpoint={endpoint};AccessKey={'k' * 44};Version=1.0;")


def settings(**environ: str) -> Settings:
    text = f"Endpoint=https://abc.service.signalr.net;AccessKey={'k' * 44};Version=1.0;"
    return load({"AzureSignalRConnectionString": text, **environ})


def test_without_settings_the_service_is_called_directly_and_the_system_is_trusted() -> None:
    check_way(settings(), service())
    assert proxy_to(settings(), origin_of(service())) is None
    assert trusted(settings()).verify_mode is ssl.CERT_REQUIRED


def test_calls_go_where_server_endpoint_says_without_its_path() -> None:
    behind = ConnectionString.parse(
        f"Endpoint=https://abc.service.signalr.net;AccessKey={'k' * 44};ServerEndpoint=https://gate.example:444/signalr;"
    )
    assert str(origin_of(behind)) == "https://gate.example:444"


def test_the_proxy_is_that_of_the_environment() -> None:
    chosen = settings(HTTPS_PROXY="http://user:secret@proxy:3128", NO_PROXY="other.example")
    assert str(proxy_to(chosen, origin_of(service()))) == "http://proxy:3128"
    assert proxy_to(chosen, origin_of(service("https://a.other.example"))) is None
    assert proxy_to(chosen, origin_of(service("http://localhost:8888"))) is None


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("HTTPS_PROXY", "socks5://user:secret@proxy:1080", "HTTPS_PROXY: a proxy is reached over http://"),
        ("https_proxy", "http://user:secret@", "HTTPS_PROXY: a proxy is http://"),
        ("FANOUT_SERVICE_CA", "/nowhere/ca.pem", "FANOUT_SERVICE_CA: '/nowhere/ca.pem' cannot be used: No such file"),
        ("FANOUT_SERVICE_CA", __file__, "it holds no certificate in PEM form"),
    ],
)
def test_what_cannot_work_is_reported_at_start_without_secrets(variable: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_settings(settings(**{variable: value}), "worker")
    [finding] = caught.value.findings
    assert problem in finding
    assert "secret" not in finding


def test_a_proxy_that_is_not_used_is_not_judged() -> None:
    check_way(settings(HTTPS_PROXY="socks5://proxy", NO_PROXY="*"), service())


def test_authorities_of_a_file_are_trusted_beside_those_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    system = trusted(settings()).cert_store_stats()["x509_ca"]
    assert trusted(settings(FANOUT_SERVICE_CA=str(path))).cert_store_stats()["x509_ca"] == system + 1
