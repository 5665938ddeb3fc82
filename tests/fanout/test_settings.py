"""Settings: documented, checked at start, and silent about secrets."""

import pytest
from pydantic import SecretStr

from fanout.errors import ConfigurationError
from fanout.settings import CONNECTION_STRING, Settings, load, variable_of

SECRET = "hushhush-0123456789"


def test_without_an_environment_everything_has_its_default() -> None:
    settings = load({})
    assert (settings.host, settings.port, settings.partitions) == ("127.0.0.1", 8080, 16)
    assert settings.redis_url.get_secret_value() == "redis://localhost:6379/0"


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_every_setting_is_documented_in_a_sentence(name: str, field: object) -> None:
    description = getattr(field, "description", None)
    assert description, f"{name} has no description"
    assert description.endswith((".", ")")), f"the description of {name} does not end"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_default_of_every_setting_is_one_that_could_be_set(name: str) -> None:
    value = getattr(load({}), name)
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
    elif isinstance(value, tuple):
        text = ",".join(value)
    else:
        text = str(value)
    assert getattr(load({variable_of(name): text}), name) == value


def test_the_service_is_named_by_the_variable_functions_apps_have_in_any_case() -> None:
    for name in (CONNECTION_STRING, CONNECTION_STRING.upper(), CONNECTION_STRING.lower()):
        assert load({name: "Endpoint=x"}).connection_string.get_secret_value() == "Endpoint=x"
    assert variable_of("connection_string") == "AzureSignalRConnectionString"


def test_names_are_read_in_any_case() -> None:
    assert load({"fanout_port": "1234"}).port == 1234


def test_other_programs_variables_are_none_of_our_business() -> None:
    assert load({"PATH": "/bin", "FANOUTX": "1", "REDIS_URL": "x"}) == load({})


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("FANOUT_PROT", "Did you mean FANOUT_PORT?"),
        ("FANOUT_PARTITION", "Did you mean FANOUT_PARTITIONS?"),
        ("fanout_redis_uri", "Did you mean FANOUT_REDIS_URL?"),
        ("FANOUT_ZZZZZZZZ", "`fanout config` lists the known ones."),
        ("FANOUT_CONNECTION_STRING", "is not a setting of this version"),
    ],
)
def test_an_unknown_name_refuses_to_start_and_says_what_was_meant(variable: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({variable: SECRET})
    assert variable in str(caught.value)
    assert hint in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FANOUT_PORT", "many"),
        ("FANOUT_PORT", "65536"),
        ("FANOUT_PORT", ""),
        ("FANOUT_PARTITIONS", "0"),
        ("FANOUT_ALLOW_ANONYMOUS", "perhaps"),
        ("FANOUT_AUDIENCE", "client"),
        ("FANOUT_LOG_LEVEL", "loud"),
        ("FANOUT_LEASE_SECONDS", "0"),
        ("FANOUT_NEGOTIATE_USER", "query,cookie"),
        ("FANOUT_RETRY_BASE", "0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_variable(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        load({variable: text})


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(
        ConfigurationError, match=r"FANOUT_PORT: .*; FANOUT_PARTITIONS: |FANOUT_PARTITIONS: .*; FANOUT_P"
    ):
        load({"FANOUT_PORT": "x", "FANOUT_PARTITIONS": "x"})


def test_types_are_read_from_text() -> None:
    settings = load(
        {
            "FANOUT_ALLOW_ANONYMOUS": "true",
            "FANOUT_LEASE_SECONDS": "2.5",
            "FANOUT_NEGOTIATE_USER": " principal-id, query ,",
            "FANOUT_CORS_ORIGINS": "https://a.example,https://b.example",
        }
    )
    assert settings.allow_anonymous is True
    assert settings.lease_seconds == 2.5
    assert settings.negotiate_user == ("principal-id", "query")
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert load({"FANOUT_CORS_ORIGINS": " "}).cors_origins == ()


def test_what_the_command_line_says_wins() -> None:
    assert load({"FANOUT_PORT": "1"}, port=2).port == 2


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    settings = load({variable_of(name): SECRET for name in ("connection_string", "api_key", "redis_url")})
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
    assert settings.api_key.get_secret_value() == SECRET


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).port = 1


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANOUT_PORT", "4321")
    assert load().port == 4321
