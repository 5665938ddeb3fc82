"""What options of several commands take.

Rule guarded: a command that shares an option with another one does not load what the other one runs.
"""

import click

PORT = click.IntRange(0, 65_535)
ROLES = click.Choice(["all", "ingress", "worker"])
