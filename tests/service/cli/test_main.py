"""The command line: what it says, what it shows, and its exit codes."""

import asyncio
from typing import cast

import click
import pytest
from click.testing import CliRunner, Result

from emulator.config import EmulatorConfig, connection_string
from fanout import __version__
from fanout.environment import variable_of
from fanout.errors import ConfigurationError
from fanout.redis.client import RedisClient
from fanout.settings import ESSENTIAL, SUBJECTS, Settings
from service.cli.main import main
from service.cli.running import or_exit
from tests.emulator.running import running
from tests.redis_kinds import Store
from tests.service.apps import an_app, served

CONTEXT = click.Context(main)
COMMANDS = {name: main.get_command(CONTEXT, name) for name in main.list_commands(CONTEXT)}
SECRET = "open-sesame-0123456789"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)


def fanout(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environ)


def test_the_version_is_the_packages() -> None:
    assert fanout("--version").output == f"fanout, version {__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(command: str, option: str) -> None:
    result = fanout(*command.split(), option)
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    for line in result.output.splitlines():
        assert len(line) <= 110


@pytest.mark.parametrize("group", ["", "hub", "keys", "dead-letters"])
def test_a_list_of_commands_has_each_with_a_whole_sentence(group: str) -> None:
    words = " ".join(fanout(*group.split(), "--help").output.split())
    commands = cast("click.Group", COMMANDS[group] if group else main).commands
    for name, command in commands.items():
        sentence = str(command.help).split("\n")[0].split(". ")[0]
        assert f" {name} {sentence}" in words


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_every_option_says_what_it_is_for(name: str, command: object) -> None:
    for parameter in getattr(command, "params", []):
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.name}"


def test_config_begins_with_what_is_decided_first_and_goes_on_by_subject() -> None:
    output = fanout("config").output
    places = [output.index(f"\n{variable_of(name)}=") for name in ESSENTIAL]
    assert places == sorted(places)
    others = [output.index(f"\n{variable_of(name)}=") for name in Settings.model_fields if name not in ESSENTIAL]
    assert others == sorted(others)
    assert max(places) < min(others)
    for subject in SUBJECTS:
        assert str(subject.__doc__).rstrip(".") in output


def test_config_may_be_limited_to_what_was_changed() -> None:
    result = fanout("config", "--changed", FANOUT_DEDUP_WINDOW="1h", FANOUT_MAX_BODY="1MiB", FANOUT_PORT="8080")
    lines = [line for line in result.output.splitlines() if "=" in line and not line.startswith(" ")]
    assert lines == ["FANOUT_DEDUP_WINDOW=1h  (set)", "FANOUT_MAX_BODY=1MiB  (set)"]
    unchanged = fanout("config", "--changed")
    assert (unchanged.stdout, unchanged.stderr) == ("", "Every setting has its default.\n")


def test_config_lists_every_setting_with_its_value_and_meaning() -> None:
    result = fanout("config", FANOUT_PORT="1234", FANOUT_CORS_ORIGINS="https://a.example,https://b.example")
    assert result.exit_code == 0
    for name, field in Settings.model_fields.items():
        assert f"{variable_of(name)}=" in result.output
        assert field.description is not None
        assert field.description in result.output
    assert "FANOUT_PORT=1234  (set)\n" in result.output
    assert "FANOUT_CORS_ORIGINS=https://a.example,https://b.example  (set)\n" in result.output
    assert "FANOUT_PARTITIONS=16\n" in result.output
    assert "FANOUT_AUTH=key\n" in result.output
    assert "FANOUT_API_KEY=\n" in result.output


async def checked(*options: str, **environ: str) -> Result:
    return await asyncio.to_thread(fanout, "config", "--check", *options, **{"FANOUT_AUTH": "none"} | environ)


async def test_an_ingress_without_any_source_of_callers_is_a_finding() -> None:
    result = await checked("--role", "ingress", FANOUT_AUTH="key")
    assert result.exit_code == 2
    assert "set FANOUT_API_KEY to a long random text" in result.stderr


async def test_a_check_of_good_settings_is_0_and_one_line() -> None:
    result = await checked(AzureSignalRConnectionString="Endpoint=https://a.example;AccessKey=k;")
    assert (result.exit_code, result.output) == (0, "The settings can work.\n")


async def test_a_check_of_wrong_settings_is_2_and_a_line_for_each() -> None:
    wrong = {"AzureSignalRConnectionString": f"AccessKey={SECRET}", "FANOUT_REDIS_URL": "http://x"}
    result = await checked(**wrong, FANOUT_HOST="0.0.0.0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 3
    assert SECRET not in result.output


async def test_wrong_settings_do_not_hide_a_redis_that_is_away() -> None:
    result = await checked("--connect", FANOUT_REDIS_URL="redis://127.0.0.1:1/0")
    assert result.exit_code == 2
    setting, redis = result.stderr.splitlines()
    assert "AzureSignalRConnectionString is not set" in setting
    assert "Redis cannot be reached" in redis


async def test_a_worker_needs_a_service_and_an_ingress_does_not() -> None:
    assert [(await checked("--role", role)).exit_code for role in ("worker", "ingress")] == [2, 0]


async def test_a_check_may_connect_and_changes_nothing(one_redis: RedisClient, one_store: Store) -> None:
    async with running() as service:
        text = connection_string(service.port)
        result = await checked("--connect", FANOUT_REDIS_URL=one_store.url, AzureSignalRConnectionString=text)
        assert (result.exit_code, result.stdout) == (
            0,
            "The settings can work; Redis and the service accept them.\n",
        )
    assert await one_redis.ask("DBSIZE") == 0


async def test_what_refuses_is_1_and_named_at_once() -> None:
    async with running(EmulatorConfig(keys=("another-key-" * 4,))) as service:
        text = connection_string(service.port)
        result = await checked(
            "--connect", FANOUT_REDIS_URL=f"redis://:{SECRET}@127.0.0.1:1/0", AzureSignalRConnectionString=text
        )
    assert (result.exit_code, result.stdout) == (1, "")
    redis, service_line = result.stderr.splitlines()
    assert "Redis cannot be reached" in redis
    assert "refuses the access key" in service_line
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("variable", "text", "shown"),
    [
        ("FANOUT_API_KEY", SECRET, "***"),
        ("AzureSignalRConnectionString", f"Endpoint=http://x;AccessKey={SECRET}", "***"),
        ("FANOUT_REDIS_URL", f"redis://user:{SECRET}@host:6379/0", "redis://host:6379/0"),
    ],
)
def test_config_masks_secrets(variable: str, text: str, shown: str) -> None:
    result = fanout("config", **{variable: text})
    assert f"{variable}={shown}  (set)\n" in result.output
    assert SECRET not in result.output


@pytest.mark.parametrize("password", ["open/sesame+key==", "open@sesame", "open/sesame@key"])
def test_config_masks_a_password_that_should_have_been_escaped(password: str) -> None:
    result = fanout("config", FANOUT_REDIS_URL=f"rediss://:{password}@host:6380/0")
    assert "sesame" not in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize("command", ["config", "serve", "dev"])
def test_a_wrong_setting_is_one_line_and_exit_code_two(command: str) -> None:
    result = fanout(command, FANOUT_PROT="1")
    assert result.exit_code == 2
    assert result.stderr == "fanout: FANOUT_PROT is not a setting of this version. Did you mean FANOUT_PORT?\n"
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["config", "serve", "dev"])
def test_every_wrong_setting_is_a_line(command: str) -> None:
    result = fanout(command, FANOUT_PROT="1", FANOUT_PARTITIONS="0")
    assert result.exit_code == 2
    assert sorted(line.split()[1] for line in result.stderr.splitlines()) == ["FANOUT_PARTITIONS:", "FANOUT_PROT"]


def test_a_command_that_calls_an_ingress_reads_no_other_setting() -> None:
    """Where a shell has settings of a server that are wrong, a message can be sent all the same."""
    result = fanout("send", "--url", "http://127.0.0.1:1", "--hub", "chat", "x", FANOUT_PARTITIONS="0")
    assert result.stderr.startswith("fanout: http://127.0.0.1:1 cannot be reached")


@pytest.mark.parametrize(
    "arguments", [["serve", "--role", "boss"], ["serve", "--port", "65536"], ["send"], ["nothing"]]
)
def test_a_wrong_option_is_explained_with_exit_code_two(arguments: list[str]) -> None:
    result = fanout(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_the_first_wrong_thing_of_a_group_is_told_and_other_errors_are_raised() -> None:
    def wrong() -> None:
        inner = ExceptionGroup("inner", [ConfigurationError("this is wrong"), ValueError("beside")])
        raise ExceptionGroup("outer", [inner])

    def broken() -> None:
        raise ExceptionGroup("outer", [ValueError("a mistake")])

    with pytest.raises(SystemExit) as caught:
        or_exit(wrong)
    assert caught.value.code == 2
    with pytest.raises(ExceptionGroup):
        or_exit(broken)
    assert or_exit(lambda: 7) == 7


async def test_send_ends_with_zero_when_all_is_accepted_one_when_not_and_two_when_it_could_not_be_asked() -> None:
    async with served(an_app(api_key=SECRET)) as url:
        command = ("send", "--url", url, "--hub", "chat", "hi")
        good = await asyncio.to_thread(fanout, *command, FANOUT_API_KEY=SECRET)
        bad = await asyncio.to_thread(fanout, *command, "--target", "", FANOUT_API_KEY=SECRET)
        strange = await asyncio.to_thread(fanout, *command)
    away = await asyncio.to_thread(fanout, "send", "--url", "http://127.0.0.1:1", "--hub", "chat", "hi")
    assert [each.exit_code for each in (good, bad, strange, away)] == [0, 1, 2, 2]
    assert away.stderr.startswith("fanout: http://127.0.0.1:1 cannot be reached")
    assert SECRET not in good.output + bad.output
