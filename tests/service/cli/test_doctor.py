"""`fanout doctor` on the command line: exit codes, table, JSON; the table says what is wrong and whether it matters."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from click.testing import CliRunner, Result

from emulator.config import WELL_KNOWN_KEY, EmulatorConfig, connection_string
from fanout.clock import SystemClock
from fanout.environment import load
from fanout.queue.evidence import Evidence
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import ServiceEndpoint
from service.cli.doctor import Examination, conclusion, document, documents, heading, row, summary
from service.cli.main import main
from service.doctor import executing
from service.doctor.findings import Finding, Outcome
from tests.emulator.running import Service, running
from tests.service.doctor.examining import options

pytestmark = pytest.mark.slow

NAME = "AzureSignalRConnectionString"
SERVICE = ConnectionString.parse(f"Endpoint=https://a.example;AccessKey={'k' * 44}")
ENDPOINT = ServiceEndpoint("", SERVICE)
P, F, S = Outcome.PROVED, Outcome.FAILED, Outcome.SKIPPED


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A running emulator."""
    async with running() as started:
        yield started


async def doctor(text: str, *arguments: str, **environ: str) -> Result:
    """Run the command as a shell would, in a thread of its own beside the emulator's loop."""
    environment = {NAME: text, **environ}
    return await asyncio.to_thread(CliRunner().invoke, main, ["doctor", *arguments], env=environment)


async def test_a_healthy_service_is_0_and_a_table_with_settings(service: Service) -> None:
    result = await doctor(connection_string(service.port), FANOUT_EXECUTE="true")
    assert result.exit_code == 0, result.output
    assert "Everything that the configuration relies on was proved." in result.output
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
    ("text", "arguments", "words"),
    [
        ("", (), f"{NAME} is not set"),
        ("Endpoint=http://x;AuthType=azure;", (), "clear text"),
        ("Endpoint=http://x;AccessKey=k;", ("--hub", "1bad"), "hub name"),
    ],
)
async def test_nothing_to_examine_is_2_and_one_line(text: str, arguments: tuple[str, ...], words: str) -> None:
    result = await doctor(text, *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.count("\n") == 1


async def test_every_endpoint_is_examined_and_recorded_and_one_that_is_bad_is_1(
    service: Service, redis_url: str
) -> None:
    redis_client: RedisClient = open_redis(redis_url, SystemClock())
    async with running(EmulatorConfig(execute=False)) as east, aclosing(redis_client):
        more = {"Azure__SignalR__Endpoints__East": connection_string(east.port), "FANOUT_REDIS_URL": redis_url}
        result = await doctor(connection_string(service.port), "--record", FANOUT_EXECUTE="true", **more)
        assert result.exit_code == 1, result.output
        assert result.output.startswith(f"Endpoint default: {service.base}, hub fanoutdoctor")
        assert f"\nEndpoint east: {east.base}, hub fanoutdoctor" in result.output
        assert result.output.splitlines()[-4:] == [
            "2 endpoints examined. Not as needed: east.",
            "FANOUT_EXECUTE counts for every endpoint, and they differ: true fits default, false fits east.",
            f"Recorded: {service.base} runs `:execute`.",
            f"Recorded: {east.base} runs no `:execute`.",
        ]
        assert await Evidence(redis_client).proved_at(service.base)
        assert await Evidence(redis_client).proved_at(east.base) is None


async def test_one_endpoint_of_several_is_examined_by_its_name() -> None:
    dead = "Endpoint=http://127.0.0.1:{};AccessKey=abc;"
    named = {"Azure__SignalR__Endpoints__East": dead.format(2)}
    alone = await doctor(dead.format(1), "--endpoint", "EAST", "--json", **named)
    assert (alone.exit_code, json.loads(alone.output)["name"]) == (1, "east")
    unknown = await doctor(dead.format(1), "--endpoint", "west", **named)
    assert (unknown.exit_code, "known: default, east." in unknown.output) == (2, True)


def finding(outcome: Outcome, *, relied_on: bool) -> Finding:
    return Finding("routes", "send to a user", outcome, relied_on, "detail", 0.12345)


def test_a_failure_that_matters_stands_out() -> None:
    marks = [row(finding(s, relied_on=r)).split()[1] for s, r in ((P, True), (F, True), (F, False), (S, True))]
    assert marks == ["ok", "FAIL", "no", "-"]


def test_the_summary_names_what_is_missing() -> None:
    text = summary([finding(P, relied_on=True), finding(F, relied_on=True)], load({}))
    assert "1 proved, 1 failed, 0 skipped." in text
    assert "Not proved, though the configuration relies on it: routes: send to a user." in text
    text = summary(
        [finding(F, relied_on=True), *[finding(S, relied_on=True)] * 7, finding(S, relied_on=False)], load({})
    )
    assert "relies on it: routes: send to a user; 7 more that could not be tried." in text
    assert "was proved" in summary([finding(F, relied_on=False)], load({}))


def test_the_document_holds_the_same_for_programs() -> None:
    given = document(Examination(ENDPOINT, [finding(F, relied_on=True)]), load({}), options())
    assert given == {
        "ok": False,
        "name": "default",
        "service": "https://a.example",
        "hub": "fanoutdoctor",
        "apiVersion": "2022-06-01",
        "findings": [
            {
                "family": "routes",
                "check": "send to a user",
                "outcome": "failed",
                "reliedOn": True,
                "detail": "detail",
                "seconds": 0.123,
            }
        ],
        "settings": {},
    }


def test_no_secret_is_in_the_heading() -> None:
    assert "k" * 44 not in heading(ENDPOINT, load({}), options())


def test_settings_that_fit_not_every_endpoint_are_named() -> None:
    east = ServiceEndpoint("East", ConnectionString.parse(f"Endpoint=https://b.example;AccessKey={'k' * 44}"))

    def examination(endpoint: ServiceEndpoint, outcome: Outcome) -> Examination:
        checks = [check for check in executing.checks(relied_on=True) if check.relied_on]
        return Examination(
            endpoint, [Finding(executing.FAMILY, each.name, outcome, relied_on=False, detail="") for each in checks]
        )

    done = [examination(ENDPOINT, P), examination(east, F)]
    assert list(conclusion(done, load({}))) == [
        "2 endpoints examined. All are as needed.",
        "FANOUT_EXECUTE counts for every endpoint, and they differ: true fits default, false fits east.",
    ]
    given = documents(done, load({}), options())
    assert (given["ok"], [each["name"] for each in given["endpoints"]]) == (True, ["default", "east"])
