"""Builds the image and runs it: `make image-test`, or `python -m tests.image [BASE]`.

BASE is the base image to build on, which has to be on this machine; without one a stand-in is made from Debian's
packages. Needs root and the programs of _NEEDED, mmdebstrap for the stand-in. See `site` for what it runs.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import httpx

from tests.image import chart, image
from tests.image.base import make_base, take_base
from tests.image.engine import Engine
from tests.image.site import Site

_NEEDED = ("buildah", "podman", "conmon", "runc", "catatonit", "mmdebstrap")
Check = Callable[[Site], Awaitable[None]]
# In this order: a check may leave behind what the next one uses.
CHECKS: tuple[Check, ...] = (
    image.delivers,
    image.holds_nothing_that_is_not_needed,
    image.is_what_the_bill_of_materials_lists,
    image.reports_its_health,
    image.starts_soon,
    image.drains,
    image.fits_its_memory,
    image.fits_its_memory_in_one_pod,
    image.sends_spans_with_the_extra,
    chart.delivers_as_the_chart_renders_it,
)


async def main(base: str | None) -> int:
    """Run every check; the exit code says whether all passed."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing or os.geteuid():
        click.echo(f"This needs root and the programs {', '.join(_NEEDED)}; missing: {', '.join(missing) or 'root'}.")
        return 2
    directory = Path(tempfile.mkdtemp(prefix="fanout-image-", dir="/var/tmp"))
    engine, failed = Engine(directory), 0
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=120.0) as http:
            site = Site.build(engine, http, take_base(engine, base) if base else make_base(engine, directory))
            for check in CHECKS:
                try:
                    await check(site)
                    click.echo(f"ok    {check.__name__.replace('_', ' ')}")
                except Exception as error:  # noqa: BLE001 - each check is reported
                    failed += 1
                    click.echo(f"FAIL  {check.__name__.replace('_', ' ')}: {error!r}")
    finally:
        engine.podman("pod", "rm", "--force", "--all", "--time", "0")
        engine.podman("rm", "--force", "--all", "--time", "0")
        engine.podman("rmi", "--force", "--all")
        engine.podman("network", "rm", "--force", "fanout")
        shutil.rmtree(directory, ignore_errors=True)
    click.echo(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None)))
