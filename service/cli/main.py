"""The command line: `fanout serve | dev | emulate | send | trace | dead-letters | config | doctor`.

Rule guarded: a wrong configuration is one clear line on standard error and exit code 2, never a traceback; an error
while running is a traceback and exit code 1.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import uvloop

from emulator.app import create_emulator
from emulator.config import WELL_KNOWN_PORT, EmulatorConfig, connection_string
from emulator.server import serve as serve_emulator
from fanout import __version__
from fanout.clock import Clock, SystemClock
from fanout.environment import load, text_of, variable_of
from fanout.errors import ConfigurationError
from fanout.log import MASK, configure
from fanout.redis.address import parse
from fanout.settings import Settings
from service.cli.dead_letters.commands import dead_letters
from service.cli.doctor import doctor
from service.cli.send import Sending, send
from service.cli.trace import Asking, trace
from service.dev.parent import end_with_parent
from service.dev.run import DevPlan, run_dev
from service.process import Plan, run, stop_on_signals

T = TypeVar("T")
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_ROLES = click.Choice(["all", "ingress", "worker"])


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="fanout")
def main() -> None:
    """Durable, ordered fan-out of SignalR messages to Azure SignalR Service.

    Backends POST batches of messages and group actions; they are queued in Redis streams and delivered to the service
    in order, with retries. Settings come from the environment: `fanout config` lists them all.
    """


@main.command()
@click.option("--role", type=_ROLES, default="all", show_default=True, help="What this process does.")
@click.option("--host", help="Address to listen on [FANOUT_HOST, default 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on [FANOUT_PORT, default 8080].")
def serve(role: Any, host: str | None, port: int | None) -> None:
    """Run one process: the ingress, a worker, or both.

    Either way it serves /livez, /readyz and /metrics on its port. SIGTERM drains: readiness fails, calls in flight
    finish and are settled, leases are handed back.
    """
    settings = _settings(host=host, port=port)
    _run(settings, lambda clock, stopping: run(Plan(settings, role), clock, stopping))


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port of page and ingress."
)
@click.option(
    "--emulator-port", type=click.IntRange(0, 65535), default=WELL_KNOWN_PORT, show_default=True, help="Its port."
)
@click.option("--no-emulator", is_flag=True, help="Deliver to AzureSignalRConnectionString instead.")
@click.option("--redis-url", default="", envvar="FANOUT_REDIS_URL", help="Use this Redis instead of a private one.")
@click.option("--die-with-parent", is_flag=True, help="End when the process that started this one is killed.")
def dev(port: int, emulator_port: int, *, no_emulator: bool, redis_url: str, die_with_parent: bool) -> None:
    """Run everything on this machine: Redis, emulator, ingress, worker and a live page. For development.

    The Redis is private and empty and goes away at the end, unless --redis-url names one.
    """
    if die_with_parent:
        end_with_parent()
    settings = _settings(host="127.0.0.1", port=port, **_conveniences())
    plan = DevPlan(settings, redis_url, None if no_emulator else emulator_port)
    _run(settings, lambda clock, stopping: run_dev(plan, clock, stopping))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=WELL_KNOWN_PORT, show_default=True, help="Its port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def emulate(port: int, host: str) -> None:
    """Run the SignalR emulator alone and print the connection string for it.

    It is strict: it checks the audience, expiry and signature of tokens, names, sizes and api-versions. /emulator/
    shows what arrived and injects faults.
    """

    def greet(real_port: int) -> None:
        click.echo(f"The emulator listens. AzureSignalRConnectionString='{connection_string(real_port)}'")

    async def work(clock: Clock, stopping: asyncio.Event) -> None:
        emulator = create_emulator(EmulatorConfig(), clock)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(serve_emulator(emulator, host=host, port=port, ready=greet))
            await stopping.wait()
            serving.cancel()

    _run(load({}), work)


@main.command(name="send")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="The ingress.")
@click.option("--hub", required=True, help="The hub to send to.")
@click.option("--target", default="newMessage", show_default=True, help="The client method to call.")
@click.option("--user", default="", help="Send to this user.")
@click.option("--group", default="", help="Send to this group.")
@click.option("--connection", default="", help="Send to this connection.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Send this JSON batch instead; - reads stdin.")
@click.argument("arguments", nargs=-1)
def send_command(url: str, file: Path | None, arguments: Sequence[str], **message: str) -> None:
    """Send a message to everybody, a user, a group or a connection.

    ARGUMENTS are JSON values; what is not JSON is taken as text. The API key is read from FANOUT_API_KEY.

    \b
    fanout send --hub chat hello '{"n": 1}'
    fanout send --hub chat --user alice hello
    fanout send --hub chat --file batch.json
    """  # noqa: D301 - click reads the backspace character as "do not re-wrap"
    sys.exit(_settled(lambda: send(Sending(url, load().api_key.get_secret_value(), message, tuple(arguments), file))))


@main.command(name="trace")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="The ingress.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as it came.")
@click.argument("message_id", metavar="ID")
def trace_command(url: str, message_id: str, *, as_json: bool) -> None:
    """Tell the life of a message: accepted, read, each attempt, settled.

    ID is the messageId that the ingress answered. Kept as long as FANOUT_TRACE_KEEP says, on the ingress and the
    workers. The API key is read from FANOUT_API_KEY.
    """
    sys.exit(_settled(lambda: trace(Asking(url, load().api_key.get_secret_value(), message_id, as_json=as_json))))


@main.command()
def config() -> None:
    """Print every setting with its effective value and what it means; secrets are masked."""
    settings = _settings()
    defaults = load({})
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        mark = "" if value == getattr(defaults, name) else click.style("  (set)", fg="green")
        click.echo(f"{click.style(variable_of(name), bold=True)}={_shown(name, value)}{mark}")
        click.echo(f"    {field.description}")


main.add_command(dead_letters)
main.add_command(doctor)


def _conveniences() -> dict[str, Any]:
    chosen = _settings()
    wanted: dict[str, Any] = {"negotiate_user": ("query",), "negotiate_anonymous": True, "log_format": "console"}
    wanted["log_level"] = "warning"
    return {name: value for name, value in wanted.items() if name not in chosen.model_fields_set}


def _settings(**overrides: Any) -> Settings:
    return _settled(lambda: load(**{name: value for name, value in overrides.items() if value is not None}))


def _run(settings: Settings, work: Callable[[Clock, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    configure(level=settings.log_level, style=settings.log_format)

    async def main_task() -> None:
        stopping = asyncio.Event()
        stop_on_signals(stopping)
        await work(SystemClock(), stopping)

    # Entries live from their reading to their settlement, a few thousand at a time: the default threshold would have
    # the collector walk over them again and again, and find nothing.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

    def run_loop() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main_task())

    _settled(run_loop)


def _settled(call: Callable[[], T]) -> T:
    try:
        return call()
    except ConfigurationError as error:
        _refuse(error)
    except BaseExceptionGroup as group:
        wrong, _rest = group.split(ConfigurationError)
        if wrong is None:
            raise
        _refuse(_first(wrong))


def _refuse(error: BaseException) -> NoReturn:
    click.echo(f"fanout: {error}", err=True)
    sys.exit(2)


def _first(group: BaseExceptionGroup[ConfigurationError]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _without_secrets(url: str) -> str:
    try:
        return str(parse(url))
    except ConfigurationError:
        return MASK  # it cannot be read, so nobody knows where its password ends


def _shown(name: str, value: Any) -> str:
    if hasattr(value, "get_secret_value"):
        secret = value.get_secret_value()
        return _without_secrets(secret) if name == "redis_url" else (MASK if secret else "")
    return text_of(name, value)


if __name__ == "__main__":
    sys.exit(main())
