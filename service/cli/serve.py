"""`fanout serve`: one process of the service.

Rule guarded: it runs until SIGTERM or SIGINT, then drains.
"""

from typing import Any

import click

from fanout.environment import load
from service.cli.options import PORT, ROLES
from service.cli.running import or_exit, run_until_stopped
from service.process import Plan, run


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
