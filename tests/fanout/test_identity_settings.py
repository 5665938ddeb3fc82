"""A service by identity, as Functions apps name it, becomes the connection string that means the same."""

import pytest

from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.signalr.connection_string import ConnectionString, EntraIdentity

NAME = "AzureSignalRConnectionString"
URI = {f"{NAME}__serviceUri": "https://abc.service.signalr.net"}


def read(**companions: str) -> ConnectionString:
    more = {f"{NAME}__{name}": value for name, value in companions.items()}
    return ConnectionString.parse(load(URI | more).connection_string.get_secret_value())


def identity(**companions: str) -> EntraIdentity:
    entra = read(**companions).entra
    assert entra is not None
    return entra


@pytest.mark.parametrize(
    ("companions", "kind", "text"),
    [
        ({}, "default", "the default chain of identities"),
        ({"clientId": "i"}, "default", "the default chain of identities, client i"),
        ({"credential": "managedidentity"}, "managed", "the system-assigned managed identity"),
        ({"credential": "ManagedIdentity", "clientId": "i"}, "managed", "the managed identity i"),
        ({"credential": "workloadidentity", "clientId": "i"}, "workload", "the workload identity i"),
        (
            {"clientId": "i", "tenantId": "t", "clientSecret": "hush"},
            "secret",
            "the app registration i of tenant t, by its secret",
        ),
    ],
)
def test_companions_choose_the_identity(companions: dict[str, str], kind: str, text: str) -> None:
    found = identity(**companions)
    assert (found.kind, found.text) == (kind, text)
    assert "hush" not in repr(found)


def test_names_have_no_case_and_hosts_may_be_named() -> None:
    settings = load({f"{NAME}__SERVICEURI": "https://abc.service.signalr.net", f"{NAME}__serverendpoint": "https://s"})
    service = ConnectionString.parse(settings.connection_string.get_secret_value())
    assert (service.endpoint, service.server_endpoint) == ("https://abc.service.signalr.net", "https://s")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({f"{NAME}__clientId": "i"}, f"{NAME}__serviceUri is not set, and {NAME}__clientId does nothing without it"),
        (URI | {NAME: "Endpoint=https://h;AccessKey=hush"}, f"{NAME} and {NAME}__serviceUri: set one of the two"),
        (URI | {f"{NAME}__credential": "hush"}, "must be managedidentity or workloadidentity, or left out"),
        (URI | {f"{NAME}__clientSecret": "hush;AuthType=x"}, "clientSecret has a semicolon in it"),
        (
            URI | {f"{NAME}__credential": "managedidentity", f"{NAME}__clientSecret": "hush"},
            "clientSecret belongs to an app registration",
        ),
        (
            URI | {f"{NAME}__credential": "workloadidentity", f"{NAME}__clientSecret": "hush"},
            "credential=workloadidentity uses none",
        ),
        (URI | {f"{NAME}__managedIdentityResourceId": "hush"}, "managedIdentityResourceId is not a setting"),
    ],
)
def test_what_would_do_nothing_or_something_else_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environ)
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)


def test_empty_companions_are_none() -> None:
    text = "Endpoint=https://h;AccessKey=k"
    assert load({f"{NAME}__serviceUri": "", NAME: text}).connection_string.get_secret_value() == text
    assert load({f"{NAME}__serviceUri": " "}).connection_string.get_secret_value() == ""


def test_an_app_registration_needs_all_of_it() -> None:
    with pytest.raises(ConfigurationError, match=r"AuthType=azure\.app needs ClientId, TenantId"):
        read(clientSecret="s")
