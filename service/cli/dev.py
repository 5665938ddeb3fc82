"""`fanout dev`: everything on this machine, with one command.

Rule guarded: Redis and the service are never taken from the environment, so a shell that has production's settings
cannot deliver production's queue to the emulator, or test messages to production's clients.
"""

from typing import Any

import click

from emulator.config import WELL_KNOWN_PORT
from fanout.environment import load_some
from fanout.settings import Settings
from service.cli.running import or_exit, run_until_stopped
from service.cli.serve import PORT
from service.dev.parent import end_with_parent
from service.dev.run import DevPlan, run_dev

_FROM_OPTIONS = {name for name in Settings.model_fields if name.startswith("redis_")} | {"connection_string"}


@click.command()
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port of the page and the ingress.")
@click.option("--emulator-port", type=PORT, default=WELL_KNOWN_PORT, show_default=True, help="Port of the emulator.")
@click.option("--redis-url", default="", help="Use this Redis instead of a private one that is deleted at the end.")
@click.option("--connection-string", default="", help="Deliver to this service instead of the emulator.")
@click.option("--die-with-parent", is_flag=True, help="End when the process that started this one ends.")
def dev(port: int, *, die_with_parent: bool, **options: Any) -> None:
    """Run everything on this machine: Redis, emulator, ingress, worker and a live page. For development.

    Redis and the service come from the options only, never from the environment; other settings may be set there. The
    private Redis starts empty and is deleted at the end.
    """
    if die_with_parent:
        end_with_parent()
    settings = or_exit(lambda: _settings(port))
    plan = DevPlan(settings, **options)
    run_until_stopped(settings, lambda clock, stopping: run_dev(plan, clock, stopping))


def _settings(port: int) -> Settings:
    names = Settings.model_fields.keys() - _FROM_OPTIONS
    chosen = load_some(names).model_fields_set
    defaults: dict[str, Any] = {
        "negotiate_user": ("query",),
        "negotiate_anonymous": True,
        "log_format": "console",
        "log_level": "warning",
        "trace_keep": 3600.0,
        "lame_duck": 0.0,
        **({} if "api_key" in chosen else {"auth": "none"}),
    }
    conveniences = {name: value for name, value in defaults.items() if name not in chosen}
    return load_some(names, **conveniences, host="127.0.0.1", port=port)
