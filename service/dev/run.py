"""Everything on one machine with one command: a private Redis, the emulator, ingress, worker and the page.

Rules guarded: nothing is left behind when it ends. The conveniences (negotiating as any user, no API key) are served on
loopback only. Redis and the service are those that the plan names, and the banner says which they are.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from emulator.app import create_emulator
from emulator.config import EmulatorConfig, connection_string
from emulator.server import serve as serve_emulator
from fanout.clock import Clock
from fanout.redis.address import parse
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from fanout.units import format_duration
from service.dev.private_redis import private_redis
from service.process import Plan, run

PAGE = Path(__file__).parent / "page"
_DEFAULT_PORT = 8080  # of the commands


@dataclass(frozen=True, slots=True)
class DevPlan:
    """What to start. `redis_url` "" starts a private server, `connection_string` "" starts the emulator."""

    settings: Settings
    emulator_port: int
    redis_url: str = ""
    connection_string: str = ""


async def run_dev(plan: DevPlan, clock: Clock, stopping: asyncio.Event) -> None:
    """Run all of it until `stopping` is set."""
    async with _redis(plan, clock) as redis_url, asyncio.TaskGroup() as group:
        service, emulating = plan.connection_string, None
        if not service:
            listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            emulating = group.create_task(
                serve_emulator(
                    create_emulator(EmulatorConfig(), clock),
                    port=plan.emulator_port,
                    ready=listening.set_result,
                    option="--emulator-port",
                )
            )
            service = connection_string(await listening)
        settings = plan.settings.model_copy(
            update={
                "redis_url": SecretStr(redis_url),
                "redis_password": SecretStr(""),
                "connection_string": SecretStr(service),
            }
        )
        await run(Plan(settings, "all", PAGE, ready=lambda port: _announce(plan, settings, port)), clock, stopping)
        if emulating is not None:
            emulating.cancel()


@asynccontextmanager
async def _redis(plan: DevPlan, clock: Clock) -> AsyncIterator[str]:
    if plan.redis_url:
        yield plan.redis_url
        return
    async with private_redis(clock) as url:
        yield url


def _announce(plan: DevPlan, settings: Settings, port: int) -> None:
    sys.stdout.write(banner(plan, settings, port))
    sys.stdout.flush()


def banner(plan: DevPlan, settings: Settings, port: int) -> str:
    """Return what is printed once requests are accepted: where to look, and what messages are stored in and sent to."""
    base = f"http://127.0.0.1:{port}"
    service = ConnectionString.parse(settings.connection_string.get_secret_value()).server_endpoint
    redis = parse(settings.redis_url.get_secret_value())
    body = '{"target":"newMessage","arguments":["hello"]}'
    traces = format_duration(settings.trace_keep)
    key = "" if settings.auth == "none" else ' -H "Authorization: Bearer $FANOUT_API_KEY"'
    option = "" if port == _DEFAULT_PORT else f" --url {base}"
    emulator = "" if plan.connection_string else f"    emulator      {service}/emulator/ (what arrived there, faults)\n"
    return (
        f"\n  signalr-fanout is running. Open the page:\n\n    {base}/\n\n"
        f"  and send to everybody on it:\n\n"
        f"    curl -s {base}/v1/hubs/chat/messages -H 'Content-Type: application/json'{key} -d '{body}'\n\n"
        f"  Where to look:\n\n"
        f"    console       {base}/console (figures, pauses, dead letters, traces)\n"
        f"    API           {base}/docs\n"
        f"    metrics       {base}/metrics\n"
        f"{emulator}"
        f"    one message   fanout trace ID{option} (the messageId of the answer; kept for {traces})\n"
        f"    dead letters  fanout dead-letters list{option}\n\n"
        f"  Delivers to {service}{'' if plan.connection_string else ' (emulator)'}\n"
        f"  Queue in {redis}{'' if plan.redis_url else ' (private, deleted at the end)'}\n\n"
        f"  Ctrl-C stops everything.\n\n"
    )
