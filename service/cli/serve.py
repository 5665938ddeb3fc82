"""`fanout serve`, and `fanout emulate` for a service to try it with.

Rule guarded: each of them runs until SIGTERM or SIGINT, then drains.
"""

import asyncio
from typing import Any

import click

from emulator.app import create_emulator
from emulator.config import LIKE_ASRS_EMULATOR, WELL_KNOWN_PORT, EmulatorConfig, connection_string
from emulator.server import serve as serve_emulator
from fanout.clock import Clock
from fanout.environment import load
from service.cli.running import or_exit, run_until_stopped
from service.process import Plan, run

PORT = click.IntRange(0, 65_535)
ROLES = click.Choice(["all", "ingress", "worker"])


@click.command()
@click.option("--role", type=ROLES, default="all", show_default=True, help="What this process does.")
@click.option("--host", help="Address to listen on [FANOUT_HOST; default 127.0.0.1].")
@click.option("--port", type=PORT, help="Port to listen on, 0 for a free one [FANOUT_PORT; default 8080].")
def serve(role: Any, **options: Any) -> None:
    """Run one process: the ingress, a worker, or both.

    The environment says what it needs: Redis (FANOUT_REDIS_URL), the service to deliver to
    (AzureSignalRConnectionString) and, for an ingress, what callers prove themselves with (FANOUT_API_KEY).
    `fanout config --check` says what is missing.

    It serves /livez, /readyz and /metrics on its port, or on that of FANOUT_ADMIN_PORT, whatever its role. SIGTERM
    drains it: readiness fails, calls in flight finish and are settled, leases are released.
    """
    given = {name: value for name, value in options.items() if value is not None}
    settings = or_exit(lambda: load(**given))
    run_until_stopped(settings, lambda clock, stopping: run(Plan(settings, role), clock, stopping))


@click.command()
@click.option("--port", type=PORT, default=WELL_KNOWN_PORT, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--like-asrs-emulator", is_flag=True, help="Behave like the vendor's own emulator where that one differs."
)
def emulate(port: int, host: str, *, like_asrs_emulator: bool) -> None:
    """Run the emulator of Azure SignalR Service alone and print its connection string.

    It checks the audience, expiry and signature of tokens, names, sizes and API versions. Open /emulator/ in a browser
    to see the calls that arrived and to inject faults.
    """

    def announce(real_port: int) -> None:
        click.echo(f"The emulator is running. AzureSignalRConnectionString='{connection_string(real_port)}'")

    async def work(clock: Clock, stopping: asyncio.Event) -> None:
        emulator = create_emulator(LIKE_ASRS_EMULATOR if like_asrs_emulator else EmulatorConfig(), clock)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(serve_emulator(emulator, host=host, port=port, ready=announce))
            await stopping.wait()
            serving.cancel()

    run_until_stopped(load({}), work)
