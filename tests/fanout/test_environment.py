"""Settings: documented, checked at start, and silent about secrets."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from fanout.environment import CONNECTION_STRING, load, text_of, unit_of, variable_of
from fanout.errors import ConfigurationError
from fanout.settings import ESSENTIAL, SUBJECTS, Settings
from fanout.units import SIZE, parse_size

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
    assert getattr(load({variable_of(name): text_of(name, value)}), name) == value


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_every_number_but_a_port_has_a_unit(name: str, field: FieldInfo) -> None:
    assert (unit_of(field) is not None) == (field.annotation in (int, float) and "port" not in name)


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if unit_of(field) == SIZE])
def test_every_setting_in_bytes_takes_a_size_with_a_unit(name: str) -> None:
    size = {"max_message": "900KiB"}.get(name, "512MiB")
    assert getattr(load({variable_of(name): size}), name) == parse_size(size)


def test_every_setting_has_one_subject_and_ten_of_them_come_first() -> None:
    assert [name for subject in SUBJECTS for name in subject.model_fields] == list(Settings.model_fields)
    assert len(ESSENTIAL) == 10
    assert set(ESSENTIAL) <= set(Settings.model_fields)


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
        ("FANOUT_REDISURL", "Did you mean FANOUT_REDIS_URL?"),
        ("FANOUT_MAX_ATTEMPTS", "Did you mean FANOUT_RETRY_MAX_ATTEMPTS?"),
        ("FANOUT_ZZZZZZZZ", "`fanout config` lists the known ones."),
        ("FANOUT_", "`fanout config` lists the known ones."),
        # They share a word with other settings, and mean none of them.
        ("FANOUT_SEND_TIMEOUT", "`fanout config` lists the known ones."),
        ("FANOUT_RETRY_MIN", "`fanout config` lists the known ones."),
        ("FANOUT_COLOR", "`fanout config` lists the known ones."),
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
        ("FANOUT_AUTH", "perhaps"),
        ("FANOUT_EXECUTE", "perhaps"),
        ("FANOUT_API_KEY", "fifteen-letters"),
        ("FANOUT_CORS_ORIGINS", "*"),
        ("FANOUT_CORS_ORIGINS", "https://a.example,null"),
        ("FANOUT_CORS_HEADERS", "x-a,x b"),
        ("FANOUT_PATH_PREFIX", "signalr"),
        ("FANOUT_HUBS", "chat,1st"),
        ("FANOUT_DEFAULT_HUB", "1st"),
        ("FANOUT_AUDIENCE", "client"),
        ("FANOUT_LOG_LEVEL", "loud"),
        ("FANOUT_LEASE_SECONDS", "0"),
        ("FANOUT_NEGOTIATE_USER", "query,cookie"),
        ("FANOUT_RETRY_BASE", "0"),
        ("FANOUT_DEDUP_WINDOW", "10 minutes"),
        ("FANOUT_DEDUP_WINDOW", "0m"),
        ("FANOUT_MAX_BODY", "16MB"),
        ("FANOUT_API_VERSION", "v1"),
        ("FANOUT_API_VERSION", "2020-10-01"),
        ("FANOUT_APPLICATION", "1st"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_variable(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        load({variable: text})


def test_every_finding_is_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"FANOUT_PORT": "x", "FANOUT_PROT": "1", "FANOUT_PARTITIONS": "0", "FANOUT_API_KEY_FILE": "/none"})
    assert sorted(finding.split()[0] for finding in caught.value.findings) == [
        "FANOUT_API_KEY_FILE:", "FANOUT_PARTITIONS:", "FANOUT_PORT:", "FANOUT_PROT",
    ]  # fmt: skip
    assert all(finding in str(caught.value) for finding in caught.value.findings)


@pytest.mark.parametrize(
    ("variable", "text", "finding"),
    [
        ("FANOUT_PORT", "70000", "FANOUT_PORT: must be at most 65535 (it is '70000')."),
        ("FANOUT_LEASE_SECONDS", "10ms", "FANOUT_LEASE_SECONDS: must be at least 200ms (it is 0.01)."),
        ("FANOUT_MAX_BODY", "10", "FANOUT_MAX_BODY: must be at least 1KiB (it is 10)."),
        ("FANOUT_LOG_FORMAT", "xml", "FANOUT_LOG_FORMAT: must be 'json' or 'console' (it is 'xml')."),
        ("FANOUT_EXECUTE", "maybe", "FANOUT_EXECUTE: must be 'auto', 'true' or 'false' (it is 'maybe')."),
    ],
)
def test_a_finding_says_what_is_allowed_and_what_was_given(variable: str, text: str, finding: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({variable: text})
    assert caught.value.findings == (finding,)


SECRETS = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    """As Docker and Kubernetes mount them; the newline at the end of a file is no part of the secret."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    settings = load({f"{variable_of(name)}_FILE": str(file)})
    assert getattr(settings, name).get_secret_value() == SECRET


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_given_once(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with pytest.raises(ConfigurationError, match="set one of the two") as caught:
        load({f"{variable_of(name)}_FILE": str(file), variable_of(name): SECRET})
    assert SECRET not in str(caught.value)


def test_only_secrets_come_from_files() -> None:
    with pytest.raises(ConfigurationError, match="FANOUT_PORT_FILE is not a setting"):
        load({"FANOUT_PORT_FILE": "/etc/hostname"})


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text(" \n")
    binary.write_bytes(b"\xff\xfe")
    for path, problem in (("/none", "No such file"), (tmp_path, "directory"), (empty, "is empty"), (binary, "UTF-8")):
        with pytest.raises(ConfigurationError, match=problem) as caught:
            load({"FANOUT_API_KEY_FILE": str(path)})
        assert str(caught.value).startswith(f"FANOUT_API_KEY_FILE: '{path}'")


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"FANOUT_PORT": "x"}, api_key=[SECRET])
    assert SECRET not in str(caught.value)


def test_types_are_read_from_text() -> None:
    settings = load(
        {
            "FANOUT_EXECUTE": "true",
            "FANOUT_LEASE_SECONDS": "2.5",
            "FANOUT_NEGOTIATE_USER": " principal-id, query ,",
            "FANOUT_NEGOTIATE_PEERS": "10.0.0.7, fd00::/8",
            "FANOUT_CORS_ORIGINS": "https://a.example,https://b.example",
        }
    )
    assert settings.execute == "true"
    assert settings.lease_seconds == 2.5
    assert settings.negotiate_user == ("principal-id", "query")
    assert settings.negotiate_peers == ("10.0.0.7/32", "fd00::/8")
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


@pytest.mark.parametrize("name", ["https_proxy", "http_proxy", "no_proxy"])
def test_proxies_are_read_from_the_variables_other_programs_read(name: str) -> None:
    assert text_of(name, getattr(load({name.upper(): "upper"}), name)) == "upper"
    assert text_of(name, getattr(load({name: "lower"}), name)) == "lower"
    for order in ((name, name.upper()), (name.upper(), name)):
        both = {variable: "lower" if variable == name else "upper" for variable in order}
        assert text_of(name, getattr(load(both), name)) == "lower"
    with pytest.raises(ConfigurationError, match="not a setting"):
        load({f"FANOUT_{name.upper()}": "x"})


def test_the_password_of_a_proxy_is_a_secret() -> None:
    assert SECRET not in repr(load({"HTTPS_PROXY": f"http://user:{SECRET}@proxy"}))


@pytest.mark.parametrize("text", [" the-key-of-the-tests\n", '"the-key-of-the-tests"', "' the-key-of-the-tests '"])
def test_a_key_is_trimmed_and_that_is_said_without_the_key(text: str) -> None:
    settings = load({"FANOUT_API_KEY": text})
    assert settings.api_key.get_secret_value() == "the-key-of-the-tests"
    [sentence] = settings.corrections
    assert sentence.startswith("FANOUT_API_KEY has white space or quotes around it")
    assert "the-key" not in sentence
    assert load({"FANOUT_API_KEY": "the-key-of-the-tests"}).corrections == ()
