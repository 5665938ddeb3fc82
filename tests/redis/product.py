"""The product in this process over any store: ingress, worker and an emulator, judged by the flow tests' oracle.

Rule guarded: what is sent goes through the real front door and what arrived is read from the emulator; nothing in
between is looked at.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx

from emulator.config import connection_string
from fanout.clock import SystemClock
from fanout.environment import load
from service.process import Plan, run
from tests.emulator.running import Service
from tests.emulator.running import running as running_emulator
from tests.flow.oracle import Call, Findings, examine
from tests.flow.traffic import Item, batches, sent_of
from tests.flow.waiting import until
from tests.redis_kinds import Store

HUB = "flow"
PARTITIONS = 8
_BATCH = 20


class Product:
    """`fanout serve --role all` and what it delivers to."""

    def __init__(self, service: Service, base: str) -> None:
        self.refused = 0
        self._service = service
        self._base = base

    async def send(self, items: Sequence[Item], *, pause: float = 0.0, within: float = 30.0) -> None:
        """POST items in order, a batch again and again under the same key until it is answered 202."""
        deadline = asyncio.get_running_loop().time() + within
        for number, body in enumerate(batches(items, _BATCH)):
            while (answer := await self.post(body, f"{id(items)}.{number}")).status_code != 202:
                assert answer.status_code == 503, answer.text
                assert asyncio.get_running_loop().time() < deadline, answer.text
                self.refused += 1
                await asyncio.sleep(0.1)
            await asyncio.sleep(pause)

    async def post(self, body: bytes, key: str = "") -> httpx.Response:
        """POST one batch, under an Idempotency-Key if there is one."""
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        url = f"{self._base}/v1/hubs/{HUB}/messages"
        return await self._service.http.post(url, content=body, headers=headers, timeout=15.0)

    async def delivered(self, count: int, *, within: float = 30.0) -> None:
        """Wait until this many different items have arrived."""

        async def enough() -> bool:
            return len({call.mark for call in self.calls() if call.delivered}) >= count

        await until(enough, within=within, what=f"{count} items arrive")

    def calls(self) -> list[Call]:
        """Return every call to the hub that arrived."""
        journal = self._service.emulator.journal
        return [
            Call(e.sequence, e.monotonic, e.answered, e.method, f"{e.path}?{e.query}", e.body, e.status, e.delivered)
            for e in journal._entries
            if e.hub == HUB
        ]

    def examine(self, items: Sequence[Item]) -> Findings:
        """Judge."""
        return examine(sent_of(items), self.calls())


@asynccontextmanager
async def running_product(store: Store, **settings: object) -> AsyncIterator[Product]:
    """Run it over this store for the block; it has to end cleanly."""
    clock, stopping = SystemClock(), asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with running_emulator() as service, asyncio.TaskGroup() as tasks:
        usual = {
            "connection_string": connection_string(service.port),
            "auth": "none",
            "lease_seconds": 20.0,  # one that runs out on a busy machine repeats what is in flight
            "partitions": PARTITIONS,
        }
        loaded = load({}, **{"redis_url": store.url, "port": 0, **usual, **settings})
        tasks.create_task(run(Plan(loaded, "all", ready=port.set_result), clock, stopping))
        try:
            yield Product(service, f"http://127.0.0.1:{await port}")
        finally:
            stopping.set()
