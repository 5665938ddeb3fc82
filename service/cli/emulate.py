"""`fanout emulate`: a service to try it with.

Rule guarded: it runs until SIGTERM or SIGINT, and is no part of what `fanout serve` loads.
"""

import asyncio

import click

from emulator.app import create_emulator
from emulator.config import LIKE_ASRS_EMULATOR, WELL_KNOWN_PORT, EmulatorConfig, connection_string
from emulator.server import serve as serve_emulator
from fanout.clock import Clock
from fanout.environment import load
from service.cli.options import PORT
from service.cli.running import run_until_stopped


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
