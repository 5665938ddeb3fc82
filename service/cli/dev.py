"""`fanout dev`: everything on this machine, with one command.

Rule guarded: Redis and the service are never taken from the environment, so a shell that has production's settings
cannot deliver production's queue to the emulator, or test messages to production's clients. What is left out is told by
the names of its variables.
"""

from collections.abc import Collection
from typing import Any

import click

from emulator.config import WELL_KNOWN_PORT
from fanout.environment import load_some, variables_that_set
from fanout.settings import Settings
from service.cli.options import PORT
from service.cli.running import or_exit, run_until_stopped
from service.dev.parent import end_with_parent
from service.dev.run import DevPlan, run_dev

# What belongs to another Redis, another service or another process than the one that is started here.
_ELSEWHERE = {name for name in Settings.model_fields if name.startswith("redis_")} | {
    "connection_string", "connection_string_settings", "second_access_key", "negotiate_weights", "host", "port",
    "admin_port",
}  # fmt: skip
# What a private Redis, empty and without a replica, could not keep.
_NOT_PRIVATE = {"api_keys", "durability", "durability_replicas", "durability_timeout"}
_CALLERS = {"auth", "api_key", "api_keys", "api_keys_file", "jwt_issuers"}


@click.command()
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port of the page and the ingress.")
@click.option("--emulator-port", type=PORT, default=WELL_KNOWN_PORT, show_default=True, help="Port of the emulator.")
@click.option("--redis-url", default="", help="Use this Redis instead of a private one that is deleted at the end.")
@click.option("--connection-string", default="", help="Deliver to this service instead of the emulator.")
@click.option("--die-with-parent", is_flag=True, help="End when the process that started this one ends.")
def dev(port: int, *, die_with_parent: bool, **options: Any) -> None:
    """Run everything on this machine: Redis, emulator, ingress, worker and a live page. For development.

    Redis and the service come from the options and never from the environment: it says which variables of the shell it
    leaves out. Other settings may be set there. The private Redis starts empty and is deleted at the end.
    """
    if die_with_parent:
        end_with_parent()
    ignored = _ELSEWHERE if options["redis_url"] else _ELSEWHERE | _NOT_PRIVATE
    settings = or_exit(lambda: _settings(port, ignored))
    if left_out := variables_that_set(ignored):
        click.echo(f"fanout: `fanout dev` leaves out {', '.join(left_out)}; see its --help.", err=True)
    plan = DevPlan(settings, **options)
    run_until_stopped(settings, lambda clock, stopping: run_dev(plan, clock, stopping))


def _settings(port: int, ignored: Collection[str]) -> Settings:
    names = Settings.model_fields.keys() - set(ignored)
    chosen = load_some(names).model_fields_set
    defaults: dict[str, Any] = {
        "negotiate_user": ("query",),
        "negotiate_anonymous": True,
        "log_format": "console",
        "log_level": "warning",
        "trace_keep": 3600.0,
        "lame_duck": 0.0,
        **({} if chosen & _CALLERS else {"auth": "none"}),
    }
    conveniences = {name: value for name, value in defaults.items() if name not in chosen}
    return load_some(names, **conveniences, host="127.0.0.1", port=port)
