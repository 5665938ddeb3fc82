"""Prometheus and Alertmanager around a running stack, with the chart's own rules and a webhook that is told.

Rule guarded: they are the real programs with the rules as the chart renders them; only how long things have to last is
shorter, by the chart's own values.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from service.dev.parent import dying_with
from tests.flow.child import Child
from tests.flow.waiting import until
from tests.free_ports import free_port
from tests.helm.release import chart, install

PROGRAMS = {name: shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")}
_LABELS = {"namespace": "prod", "service": "demo-signalr-fanout-metrics"}


class Watch:
    """What is scraped, and which alerts Alertmanager reported as firing: names, those that ended left out."""

    def __init__(self, directory: Path, http: httpx.AsyncClient) -> None:
        self.firing: set[str] = set()
        self.ever: set[str] = set()
        self._targets = directory / "targets.json"
        self._http = http
        self.prometheus = free_port()
        self.alertmanager = free_port()

    def scrape(self, children: Iterable[Child]) -> None:
        """Scrape these processes from now on, and no others."""
        targets = [
            {"targets": [f"127.0.0.1:{child.port}"], "labels": {**_LABELS, "pod": child.name}} for child in children
        ]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(targets))
        new.replace(self._targets)

    async def told(self, alert: str, *, within: float = 40.0) -> None:
        """Wait until an alert was reported as firing."""

        async def so() -> bool:
            return alert in self.firing

        await until(so, within=within, what=f"{alert} is told")

    async def over(self, *, within: float = 60.0) -> None:
        """Wait until every alert was reported as ended."""

        async def so() -> bool:
            return not self.firing

        await until(so, within=within, what="every alert has ended")

    async def scraped(self, pods: int) -> None:
        """Wait until so many pods answer their scrapes."""

        async def so() -> bool:
            url = f"http://127.0.0.1:{self.prometheus}/api/v1/query"
            try:
                answer = await self._http.get(url, params={"query": "sum(up)"})
            except httpx.TransportError:
                return False  # it starts
            result = answer.json()["data"]["result"] if answer.is_success else []
            return bool(result) and float(result[0]["value"][1]) == pods

        await until(so, within=30.0, what=f"{pods} pods are scraped")

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one report of Alertmanager."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ", 1)[1].split("\r\n", 1)[0])
        report: dict[str, Any] = json.loads(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        for alert in report["alerts"]:
            name = alert["labels"]["alertname"]
            assert alert["annotations"]["runbook_url"].endswith(name.lower())
            (self.firing.add if alert["status"] == "firing" else self.firing.discard)(name)
            self.ever |= self.firing


@asynccontextmanager
async def watching(directory: Path, durations: dict[str, str]) -> AsyncIterator[Watch]:
    """Run both for the time of the block; `durations` are the `for` of alerts, all others last an hour."""
    async with httpx.AsyncClient(trust_env=False) as http:
        watch = Watch(directory, http)
        watch.scrape([])
        server = await asyncio.start_server(watch.hear, "127.0.0.1", 0)
        async with server:
            _configure(directory, watch, server.sockets[0].getsockname()[1], durations)
            running = [
                await _run(
                    directory, "prometheus-alertmanager", f"--config.file={directory / 'alertmanager.yaml'}",
                    f"--storage.path={directory / 'am'}", f"--web.listen-address=127.0.0.1:{watch.alertmanager}",
                    "--cluster.listen-address=",
                ),
                await _run(
                    directory, "prometheus", f"--config.file={directory / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{watch.prometheus}",
                ),
            ]  # fmt: skip
            try:
                yield watch
            finally:
                for process in running:
                    process.kill()
                    await process.wait()


def _configure(directory: Path, watch: Watch, webhook: int, durations: dict[str, str]) -> None:
    names: Sequence[str] = list(chart().values["metrics"]["prometheusRule"]["alerts"])
    alerts = {name: {"for": durations.get(name, "1h")} for name in names}
    rules = install({"metrics": {"prometheusRule": {"enabled": True, "interval": "1s", "alerts": alerts}}})
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules.one("PrometheusRule")["spec"]))
    prometheus = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{watch.alertmanager}"]}]}]},
        "scrape_configs": [
            {"job_name": "fanout", "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}]}
        ],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(prometheus))
    route = {"receiver": "test", "group_by": ["alertname"], "group_wait": "1s", "group_interval": "1s"}
    hook = {"name": "test", "webhook_configs": [{"url": f"http://127.0.0.1:{webhook}/", "send_resolved": True}]}
    (directory / "alertmanager.yaml").write_text(yaml.safe_dump({"route": route, "receivers": [hook]}))


async def _run(directory: Path, program: str, *arguments: str) -> asyncio.subprocess.Process:
    path = PROGRAMS[program]
    assert path is not None
    with (directory / f"{program}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdout=log,
            stderr=log,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=dying_with(os.getpid()),
        )
