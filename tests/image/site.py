"""What the image is tried in: Redis in a container of its own, the emulator and the service each from the image.

Rule guarded: the service runs as the chart runs it: read-only, without capabilities, within the chart's memory limits.
"""

import asyncio
import json
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from service.dev.private_redis import find_server
from tests.helm.release import ROOT, chart, render
from tests.image.engine import HARDENED, Engine

IMAGE = "localhost/signalr-fanout:test"
WITH_SPANS = "localhost/signalr-fanout:otel"
REDIS = "localhost/redis:test"
API_KEY = "k" * 32
_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
_CONTROL = """
import urllib.request as r
call = r.Request("http://127.0.0.1:8888/emulator/{topic}", {body!r}.encode(), method={method!r},
                 headers={{"Content-Type": "application/json"}})
print(r.urlopen(call, timeout=20).read().decode())
"""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Site:
    """The running containers' addresses, and how to start more of them."""

    engine: Engine
    http: httpx.AsyncClient
    base: str
    redis: str
    emulator: str

    @classmethod
    def build(cls, engine: Engine, http: httpx.AsyncClient, base: str) -> "Site":
        """Build both images, and start Redis and the emulator."""
        engine.build(ROOT, IMAGE, BASE=base, REVISION="test")
        context = engine.directory / "redis"
        context.mkdir()
        shutil.copy(find_server(), context / "redis-server")
        (context / "Dockerfile").write_text(
            f"FROM {base}\nCOPY redis-server /usr/local/bin/redis-server\n"
            "RUN ln -s redis-server /usr/local/bin/valkey-server\n"  # the name that the chart calls it by
        )
        engine.build(context, REDIS)
        engine.podman("network", "create", "--disable-dns", "fanout")
        redis = engine.run(REDIS, "redis", "redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
        emulator = engine.run(IMAGE, "emulator", "emulate", "--host", "0.0.0.0", options=HARDENED)
        return cls(engine, http, base, redis, emulator)

    def build_image(self, name: str, **arguments: str) -> str:
        """Build the Dockerfile once more, with other arguments, and return the name of the image."""
        self.engine.build(ROOT, name, BASE=self.base, REVISION="test", **arguments)
        return name

    def start(self, name: str, role: str, *, image: str = IMAGE, **environ: str) -> str:
        """Start the service in one role as the chart does, and return its URL."""
        limit = limit_of(role)
        self.engine.run(
            image, name, "serve", "--role", role, "--host", "0.0.0.0",
            options=(*HARDENED, "--memory", str(limit), "--memory-swap", str(limit)),
            AzureSignalRConnectionString=f"Endpoint=http://{self.emulator};Port=8888;AccessKey={_KEY};Version=1.0;",
            FANOUT_REDIS_URL=f"redis://{self.redis}:6379/0", FANOUT_API_KEY=API_KEY, **environ,
        )  # fmt: skip
        return self.url(name)

    def url(self, name: str) -> str:
        """Return where a container that runs the service answers."""
        return f"http://{self.engine.address(name)}:8080"

    def gateway(self) -> str:
        """Return the address under which containers reach this machine."""
        return str(self.engine.inspect("redis")["NetworkSettings"]["Networks"]["fanout"]["Gateway"])

    def clear(self) -> None:
        """Remove what runs the service, at once; Redis and the emulator stay."""
        names = self.engine.podman("ps", "--all", "--format", "{{.Names}}").split()
        for name in set(names) - {"redis", "emulator"}:
            self.engine.podman("rm", "--force", "--time", "0", name)

    def limit(self, name: str) -> int:
        """Return the bytes of memory that a container may take, as the engine has set it."""
        return int(self.engine.inspect(name)["HostConfig"]["Memory"])

    async def answers(self, url: str, *, within: float = 30.0) -> None:
        """Wait until a URL answers 200."""
        try:
            async with asyncio.timeout(within):
                while not await self._is_well(url):  # noqa: ASYNC110 - the process is in another container
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{url} is not well within {within:g} s") from None

    async def _is_well(self, url: str) -> bool:
        try:
            return (await self.get(url)).is_success
        except httpx.TransportError:
            return False

    async def get(self, url: str) -> httpx.Response:
        """Get a page of the service."""
        return await self.http.get(url, headers={"X-API-Key": API_KEY})

    async def send(self, url: str, items: object, *, hub: str = "chat", key: str = API_KEY) -> httpx.Response:
        """Post a batch."""
        return await self.http.post(f"{url}/v1/hubs/{hub}/messages", json=items, headers={"X-API-Key": key})

    async def delivered(self, hub: str, count: int, *, by: str = "emulator", within: float = 60.0) -> list[Any]:
        """Wait until an emulator has delivered this many calls to a hub, and return all of them."""
        async with asyncio.timeout(within):
            while len(calls := self._calls(hub, by)) < count:  # noqa: ASYNC110 - the emulator is in another process
                await asyncio.sleep(0.05)
        return calls

    def _calls(self, hub: str, emulator: str) -> list[Any]:
        entries = self._control("GET", "journal?tail=10000", emulator=emulator)["entries"]
        return [entry for entry in entries if entry["hub"] == hub and entry["delivered"]]

    def faults(self, *rules: object) -> None:
        """Make the emulator misbehave."""
        self._control("PUT", "faults", rules)

    def _control(self, method: str, topic: str, document: object = None, *, emulator: str = "emulator") -> Any:
        # From inside: the control API serves the machine it runs on.
        printed = self.run_python(emulator, _CONTROL.format(method=method, topic=topic, body=json.dumps(document)))
        return json.loads(printed or "null")

    def run_python(self, name: str, code: str) -> str:
        """Run Python inside a container."""
        return self.engine.podman("exec", name, "python", "-c", code).strip()

    def health_command(self) -> list[str]:
        """Return the command of the image's HEALTHCHECK."""
        found = json.loads(self.engine.podman("image", "inspect", IMAGE))[0]
        kind, *command = found["Healthcheck"]["Test"]
        assert kind == "CMD", kind
        return [str(word) for word in command]

    def started(self, name: str) -> float:
        """Return when the process of a container started, in unix seconds."""
        text = str(self.engine.inspect(name)["State"]["StartedAt"])
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text)).timestamp()

    def ended(self, name: str) -> tuple[int, bool]:
        """Return the exit code of a container and whether the kernel killed it for its memory."""
        state = self.engine.inspect(name)["State"]
        return int(state["ExitCode"]), bool(state["OOMKilled"])


def limit_of(role: str) -> int:
    """Return the bytes of memory that the chart gives a pod of a role without being told."""
    release = render({"demo": True, "mode": "all" if role == "all" else "split"}, of=chart())
    text = str(release.container("ingress" if role == "all" else role)["resources"]["limits"]["memory"])
    return int(text.removesuffix("Mi")) * _MIB
