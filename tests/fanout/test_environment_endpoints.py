"""Endpoints with names, as Functions apps and ASP.NET Core write them, and what would do nothing."""

from pathlib import Path

import pytest

from fanout.environment import load, load_some, variables_that_set
from fanout.errors import ConfigurationError

SECRET = "hushhush-0123456789"
EAST = f"Endpoint=https://east.example;AccessKey={SECRET};Version=1.0;"


def found(**environ: str) -> list[tuple[str, str, str]]:
    connections = load({name.replace("_C_", ":"): text for name, text in environ.items()}).named_connections
    return [(each.name, each.type, each.text.get_secret_value()) for each in connections]


@pytest.mark.parametrize(
    ("variable", "name", "kind"),
    [
        ("Azure__SignalR__Endpoints__east", "east", "Primary"),
        ("Azure__SignalR__Endpoints__East__primary", "East", "Primary"),
        ("AZURE__SIGNALR__ENDPOINTS__east-1__SECONDARY", "east-1", "Secondary"),
        ("Azure_C_SignalR_C_Endpoints_C_east_C_secondary", "east", "Secondary"),
        ("AzureSignalRConnectionString__east", "east", "Primary"),
        ("AzureSignalRConnectionString_C_east_C_Secondary", "east", "Secondary"),
    ],
)
def test_an_endpoint_is_found_however_its_name_is_written(variable: str, name: str, kind: str) -> None:
    assert found(**{variable: EAST}) == [(name, kind, EAST)]


def test_listed_variables_are_endpoints_of_their_name() -> None:
    listed = {"FANOUT_CONNECTION_STRING_SETTINGS": "Orders, AzureSignalRNews", "Orders": EAST, "AzureSignalRNews": EAST}
    assert found(**listed) == [("Orders", "Primary", EAST), ("AzureSignalRNews", "Primary", EAST)]


@pytest.mark.parametrize("variable", ["Azure__SignalR__Endpoints__east", "Orders"])
def test_an_endpoint_may_come_from_a_file_which_is_noted(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "east"
    file.write_text(f"{EAST}\n")
    listed = {"FANOUT_CONNECTION_STRING_SETTINGS": variable} if variable == "Orders" else {}
    settings = load({f"{variable}_FILE": str(file), **listed})
    [connection] = settings.named_connections
    assert (connection.text.get_secret_value(), connection.path) == (EAST, str(file))
    assert settings.secret_files == {variable: str(file)}
    assert SECRET not in repr(settings.named_connections)


@pytest.mark.parametrize(
    ("variable", "text", "hint"),
    [
        ("Azure__SignalR__Endpoints", EAST, "has no name of an endpoint: write Azure__SignalR__Endpoints__NAME"),
        ("Azure__SignalR__Endpoints__secondary", EAST, "write Azure__SignalR__Endpoints__NAME__secondary"),
        ("Azure__SignalR__Endpoints__east__third", EAST, "write Azure__SignalR__Endpoints__east"),
        ("Azure__SignalR__Endpoints__east__primary__x", EAST, "has more than a name"),
        ("Azure__SignalR__Endpoints__east__clientId", "0123", "Azure__SignalR__Endpoints__east__serviceUri is not set"),
        (
            "Azure__SignalR__Endpoints__serviceUri",
            "https://east.example",
            "write Azure__SignalR__Endpoints__NAME__serviceUri",
        ),
        ("Azure__SignalR__Endpoints__east", "", "is empty"),
        ("Azure__SignalR__Endpoints__default", EAST, "choose another name"),
        ("Azure__SignalR__Endpoints__a b", EAST, "cannot be the name of an endpoint"),
        ("Azure__SignalR__Endpoints__{a}", EAST, "cannot be the name of an endpoint"),
        ("Azure__SignalR__ConnectionString", EAST, "write AzureSignalRConnectionString"),
        ("Azure__SignalR__ConnectionString__east__primary", EAST, "does nothing here"),
        ("AzureSignalRConnectionString2", EAST, "list it in FANOUT_CONNECTION_STRING_SETTINGS"),
        ("AzureSignalRRetry__MaxRetries", "3", "FANOUT_RETRY_BASE"),
        ("AzureSignalRHttpClientTimeout", "00:01:00", "FANOUT_ATTEMPT_TIMEOUT"),
        ("AzureSignalRServiceTransportType", "Persistent", "can only be Transient"),
        ("FANOUT_CONNECTION_STRING_SETTINGS", "Missing", "names Missing, and Missing is not set"),
        ("FANOUT_CONNECTION_STRING_SETTINGS", "One, One", "names One more than once: name it once."),
        ("FANOUT_CONNECTION_STRING_SETTINGS", EAST, "names of variables, separated by commas, and no values"),
    ],
)
def test_what_would_do_nothing_is_refused_with_what_to_write_instead(variable: str, text: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load({variable: text})
    [finding] = raised.value.findings
    assert variable in finding
    assert hint in finding
    assert SECRET not in finding


def test_an_endpoint_by_its_name_is_not_to_be_listed_as_well() -> None:
    name = "Azure__SignalR__Endpoints__east"
    with pytest.raises(ConfigurationError, match=f"names {name}, which is looked at anyway: take it out of the list"):
        found(FANOUT_CONNECTION_STRING_SETTINGS=name, **{name: EAST})


@pytest.mark.parametrize("variable", ["Azure__SignalR__Endpoints__east_FILE", "FANOUT_API_KEY_FILE"])
@pytest.mark.parametrize("text", [EAST, SECRET, f"/{SECRET}=="])
def test_a_secret_in_the_place_of_its_file_is_not_shown(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match="it may be the secret itself") as raised:
        load({variable: text})
    assert SECRET not in str(raised.value)


def test_what_says_nothing_of_endpoints_is_left_alone() -> None:
    assert found(AzureSignalRServiceTransportType="Transient", AzureSignalRHub="chat", Azure="x") == []


@pytest.mark.parametrize(
    ("root", "kind"),
    [("Azure__SignalR__Endpoints__east", "Primary"), ("AzureSignalRConnectionString__east__secondary", "Secondary")],
)
def test_an_endpoint_may_be_called_by_identity(root: str, kind: str) -> None:
    environ = {f"{root}__serviceUri": "https://east.example", f"{root}__clientId": "0123"}
    assert found(**environ) == [("east", kind, "Endpoint=https://east.example;ClientId=0123;AuthType=azure;")]
    with pytest.raises(ConfigurationError, match="set one of the two"):
        found(**environ, **{root: EAST})


def test_who_needs_no_endpoint_is_not_held_up_by_one() -> None:
    """A command of operators asks for its key alone, in a shell with everything that a process needs."""
    environ = {"AzureSignalRConnectionString__east": EAST, "Azure__SignalR__Endpoints__a__b__c": "x"}
    assert load_some(("api_key",), environ | {"FANOUT_API_KEY": "k" * 20}).api_key.get_secret_value() == "k" * 20
    with pytest.raises(ConfigurationError):
        load(environ)


def test_the_variables_that_set_something_are_found_by_their_names() -> None:
    of_service = {
        "AzureSignalRConnectionString_FILE": "/f", "azure__signalr__endpoints__east": EAST, "One": EAST,
        "AzureSignalRConnectionString__serviceUri": "https://x.example",
    }  # fmt: skip
    others = {"FANOUT_REDIS_URL": "", "fanout_port": "1", "FANOUT_CONNECTION_STRING_SETTINGS": "One", "Two": EAST}
    assert set(variables_that_set({"connection_string", "redis_url"}, of_service | others)) == of_service.keys()
    assert variables_that_set({"port", "redis_url"}, of_service | others) == ["fanout_port"]
