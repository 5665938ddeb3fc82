"""Makes docs/dashboard.png: `python -m tests.helm.picture`, in about three minutes.

The dashboard's JSON, as the chart ships it, is drawn with the answers of a real Prometheus that scraped a real run:
Redis, the emulator, two ingresses and two workers, under load, with a limit of the service, a pause, messages that are
refused, and a worker that is killed. It is not Grafana that draws. Needs prometheus and chromium on PATH.
"""

import asyncio
import json
import math
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from time import time
from typing import Any

import httpx
import yaml

from service.dev.parent import dying_with
from tests.free_ports import free_port
from tests.helm.drawing import Series, page_of, series_of, size_of
from tests.helm.palette import with_palette
from tests.helm.release import CHART
from tests.soak.plant import LASTING, MORTAL, Plant, running_plant

TARGET = CHART.parent / "docs" / "dashboard.png"
SECONDS = 150
_SCRAPE = 2  # seconds
_RATE_INTERVAL = f"{4 * _SCRAPE}s"
_SERVICE = {"namespace": "prod", "service": "fanout-metrics"}
_ITEMS = 50  # a second, on average, of each producer
_HUBS = ("chat", "orders", "prices")


async def run(directory: Path) -> tuple[dict[int, list[Series]], float, float]:
    """Run everything and return the lines of each panel by its id, with the time they cover."""
    async with running_plant(directory) as plant:
        prometheus = await _prometheus(directory, plant)
        try:
            began = time()
            async with asyncio.TaskGroup() as group:
                producers = [group.create_task(_produce(plant, hub)) for hub in _HUBS]
                await _troubles(plant)
                for producer in producers:
                    producer.cancel()
            return await _answers(plant.http, prometheus), began, time()
        finally:
            for process in _RUNNING:
                process.kill()
                await process.wait()


_RUNNING: list[asyncio.subprocess.Process] = []


async def _prometheus(directory: Path, plant: Plant) -> str:
    targets = [
        {"targets": [f"127.0.0.1:{child.port}"], "labels": {**_SERVICE, "pod": name.replace(" ", "-")}}
        for name, child in plant.children.items()
    ]
    config = {
        "global": {"scrape_interval": f"{_SCRAPE}s", "scrape_timeout": "2s"},
        "scrape_configs": [{"job_name": "fanout", "static_configs": targets}],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        _needed("prometheus"), f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=dying_with(os.getpid()),
    )  # fmt: skip
    _RUNNING.append(process)
    return f"http://127.0.0.1:{port}"


def _needed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        sys.exit(f"{program} is not on PATH")
    return path


async def _produce(plant: Plant, hub: str) -> None:
    dice = random.Random(hub)
    for number in range(10**6):
        wave = 1 + 0.6 * math.sin(number / 20 + len(hub))
        items = [_item(dice) for _ in range(max(1, int(_ITEMS / 2 * wave)))]
        await plant.post(dice.choice((MORTAL, LASTING)), hub, json.dumps(items).encode(), f"{hub}-{number}")
        await asyncio.sleep(0.5)


def _item(dice: random.Random) -> dict[str, Any]:
    text: dict[str, Any] = {"target": "newMessage", "arguments": [dice.random()]}
    kind = dice.random()
    if kind < 0.7:
        return {"userId": f"user-{dice.randrange(200)}", **text}
    if kind < 0.9:
        return {"groupName": f"group-{dice.randrange(20)}", **text}
    if kind < 0.97:
        return {"action": "add", "userId": f"user-{dice.randrange(200)}", "groupName": f"group-{dice.randrange(20)}"}
    return text


async def _troubles(plant: Plant) -> None:
    url = plant.children[f"ingress {LASTING}"].url
    await asyncio.sleep(30)
    await plant.control("PUT", "quota", {"perSecond": 60, "retryAfter": 1})
    await asyncio.sleep(15)
    await plant.control("PUT", "quota", {"perSecond": 0, "retryAfter": None})
    await asyncio.sleep(15)
    pause = {"hub": "orders", "seconds": 20, "reason": "the clients are updated"}
    answer = await plant.http.post(f"{url}/v1/admin/pauses/set", json=pause)
    assert answer.is_success, answer.text
    await asyncio.sleep(30)
    await plant.control("PUT", "faults", [{"kind": "status", "status": 400, "times": 20}])
    await asyncio.sleep(15)
    await plant.children[f"worker {MORTAL}"].kill()
    await asyncio.sleep(SECONDS - 105)


async def _answers(http: httpx.AsyncClient, prometheus: str) -> dict[int, list[Series]]:
    lines: dict[int, list[Series]] = {}
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", _RATE_INTERVAL)
            for name, value in _SERVICE.items():
                expression = expression.replace(f"${name}", value)
            now = time()
            query = {"query": expression, "start": now - SECONDS, "end": now, "step": _SCRAPE}
            answer = await http.get(f"{prometheus}/api/v1/query_range", params=query)
            assert answer.is_success, answer.text
            lines.setdefault(panel["id"], []).extend(series_of(answer.json(), target["legendFormat"]))
    return lines


def _dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((CHART / "files" / "dashboard.json").read_text())
    return document


async def _photograph(page: Path, picture: Path, size: tuple[int, int]) -> None:
    process = await asyncio.create_subprocess_exec(
        _needed("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--force-device-scale-factor=1", f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}",
        page.as_uri(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await process.wait():
        sys.exit("chromium made no picture")


async def make() -> None:
    """Run, draw and write the picture."""
    with tempfile.TemporaryDirectory(prefix="p-", dir="/tmp") as folder:
        directory = Path(folder)
        lines, began, ended = await run(directory)
        dashboard = _dashboard()
        (directory / "page.html").write_text(page_of(dashboard, lines, began, ended))
        await _photograph(directory / "page.html", directory / "picture.png", size_of(dashboard))
        TARGET.write_bytes(with_palette((directory / "picture.png").read_bytes()))


if __name__ == "__main__":
    asyncio.run(make())
