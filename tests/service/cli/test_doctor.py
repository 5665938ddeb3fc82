"""`fanout doctor` on the command line: exit codes, table, JSON."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner, Result

from emulator.config import WELL_KNOWN_KEY, EmulatorConfig, connection_string
from service.cli.main import main
from tests.emulator.running import Service, running

NAME = "AzureSignalRConnectionString"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A running emulator."""
    async with running() as started:
        yield started


async def doctor(text: str, *options: str, **environ: str) -> Result:
    """Run the command as a shell would, in a thread of its own beside the emulator's loop."""
    environment = {NAME: text, **environ}
    return await asyncio.to_thread(CliRunner().invoke, main, ["doctor", *options], env=environment)


async def test_a_healthy_service_is_0_and_a_table_with_settings(service: Service) -> None:
    result = await doctor(connection_string(service.port), FANOUT_EXECUTE="true")
    assert result.exit_code == 0, result.output
    assert "What the configuration relies on holds." in result.output
    assert "0 failed, 1 skipped" in result.output
    assert result.output.rstrip().endswith("FANOUT_EXECUTE=true")
    assert WELL_KNOWN_KEY not in result.output
    assert "eyJ" not in result.output


@pytest.mark.parametrize(("configured", "code"), [("false", 0), ("true", 1)])
async def test_a_service_without_execute_is_1_where_it_is_configured(configured: str, code: int) -> None:
    async with running(EmulatorConfig(execute=False)) as service:
        result = await doctor(connection_string(service.port), "--json", FANOUT_EXECUTE=configured)
    assert result.exit_code == code, result.output
    answered = json.loads(result.output)
    assert answered["ok"] is (code == 0)
    assert answered["settings"]["FANOUT_EXECUTE"] == "false"


async def test_a_wrong_key_is_1_and_the_key_is_not_shown(service: Service) -> None:
    wrong = "w" * 44
    result = await doctor(connection_string(service.port, wrong))
    assert result.exit_code == 1
    assert "FAIL  the token is accepted" in result.output
    assert wrong not in result.output


async def test_a_dead_port_is_1_and_a_table_without_a_traceback() -> None:
    result = await doctor("Endpoint=http://127.0.0.1:1;AccessKey=abc;")
    assert result.exit_code == 1
    assert "FAIL  the service answers" in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


async def test_the_audience_that_is_taken_is_proposed(service: Service) -> None:
    text = (
        f"Endpoint=http://elsewhere.example;ServerEndpoint={service.base};ClientEndpoint={service.base};"
        f"AccessKey={WELL_KNOWN_KEY};"
    )
    result = await doctor(text)
    assert result.exit_code == 1
    assert "FANOUT_AUDIENCE=server" in result.output


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", (), f"{NAME} is not set"),
        ("Endpoint=http://x;AuthType=azure;", (), "Entra"),
        ("Endpoint=http://x;AccessKey=k;", ("--hub", "1bad"), "hub name"),
    ],
)
async def test_nothing_to_examine_is_2_and_one_line(text: str, options: tuple[str, ...], words: str) -> None:
    result = await doctor(text, *options)
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.count("\n") == 1
