"""Everything on one machine with one command: a private Redis, the emulator, ingress, worker and the page.

Rules guarded: nothing is left behind when it ends; what is convenient here (negotiating as anybody, no API key) is only
ever served on loopback; settings the user made in the environment win over the conveniences.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from emulator.app import create_emulator
from emulator.config import EmulatorConfig, connection_string
from emulator.server import serve as serve_emulator
from fanout.clock import Clock
from fanout.settings import Settings
from service.dev.private_redis import private_redis
from service.process import Plan, run

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True, slots=True)
class DevPlan:
    """What to start. `redis_url` "" starts a private server; `emulator_port` None delivers to the real service."""

    settings: Settings
    redis_url: str
    emulator_port: int | None


async def run_dev(plan: DevPlan, clock: Clock, stopping: asyncio.Event) -> None:
    """Run all of it until `stopping` is set."""
    async with _redis(plan, clock) as redis_url, asyncio.TaskGroup() as group:
        settings = plan.settings.model_copy(update={"redis_url": type(plan.settings.redis_url)(redis_url)})
        emulating: asyncio.Task[None] | None = None
        if plan.emulator_port is not None:
            listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            emulator = create_emulator(EmulatorConfig(), clock)
            emulating = group.create_task(
                serve_emulator(
                    emulator,
                    host="127.0.0.1",
                    port=plan.emulator_port,
                    ready=listening.set_result,
                    option="--emulator-port",
                )
            )
            settings = _delivering_to(settings, await listening)
        await run(Plan(settings, "all", PAGE, ready=_greet), clock, stopping)
        if emulating is not None:
            emulating.cancel()


def _delivering_to(settings: Settings, port: int) -> Settings:
    secret = type(settings.connection_string)
    return settings.model_copy(update={"connection_string": secret(connection_string(port))})


@asynccontextmanager
async def _redis(plan: DevPlan, clock: Clock) -> AsyncIterator[str]:
    if plan.redis_url:
        yield plan.redis_url
        return
    async with private_redis(clock) as url:
        yield url


def _greet(port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    body = '{"target":"newMessage","arguments":["hello"]}'
    sys.stdout.write(
        f"\n  signalr-fanout is running. Open the page:\n\n    {base}/\n\n"
        f"  and send to everybody on it:\n\n"
        f"    curl -s {base}/v1/hubs/chat/messages -H 'Content-Type: application/json' -d '{body}'\n\n"
        f"  API: {base}/docs   metrics: {base}/metrics   Ctrl-C stops everything.\n\n"
    )
    sys.stdout.flush()
