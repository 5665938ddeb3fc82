"""Callers at work while something goes wrong: several producers, each posting numbered items at a steady rate.

Rule guarded: a producer behaves as the documentation tells callers to. It posts a batch under an Idempotency-Key, again
and again until it is answered 202, and only then the next one, so that the order it meant is the order it can expect.
Each producer has a hub of its own, hence lanes of its own. Nothing but a 202, a 503 with Retry-After, or no answer at
all is a proper end of a request.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx

from tests.flow.traffic import Item, batches, message, mixed
from tests.flow.waiting import until

BATCH = 10
EVERY = 0.1  # seconds from one batch of a producer to its next
NO_ANSWER = 0  # in `answers`, besides the status codes
_AGAIN_AFTER = 0.05
_ENDS_WITHIN = 40.0
_MOST = 6000
_HASTY = 17  # every 17th item may expire

Front = Callable[[], str]  # the URL of the ingress, which may move


def traffic_of(hub: str, seed: int, *, ttl: float = 0.0) -> list[Item]:
    """Make what one producer may send: messages of every kind and group actions; with `ttl` some may expire."""
    items = mixed(hub, _MOST, seed=seed, lanes=12)
    if ttl:
        hasty = f',"ttlSeconds":{ttl}'
        for number in range(0, _MOST, _HASTY):
            items[number] = message(hub, number, "users", f"hasty {number % 3}", extra=hasty)
    return items


class Producer:
    """One caller. `accepted` are the items that were answered 202, in order; `marks` finds them by their message ids.

    `answers` counts what came back by status.
    """

    def __init__(self, hub: str, items: Sequence[Item], http: httpx.AsyncClient, front: Front) -> None:
        self.hub = hub
        self.accepted: list[Item] = []
        self.marks: dict[str, str] = {}
        self.answers: Counter[int] = Counter()
        self._items = items
        self._http = http
        self._front = front

    async def run(self, stopping: asyncio.Event) -> None:
        """Post batch after batch until stopped; a batch that was begun is posted until it is accepted."""
        for number, body in enumerate(batches(self._items, BATCH)):
            if stopping.is_set():
                return
            due = time.monotonic() + EVERY
            items = self._items[number * BATCH : (number + 1) * BATCH]
            results = await self._post_until_accepted(body, f"{self.hub}-{number}")
            for item, result in zip(items, results, strict=True):
                self.accepted.append(item)
                self.marks[result["messageId"]] = item.sent.mark
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        raise AssertionError(f"{self.hub} has nothing left to send after {len(self._items)} items")

    async def _post_until_accepted(self, body: bytes, key: str) -> list[dict[str, str]]:
        while True:
            answer = await self._post(body, key)
            self.answers[NO_ANSWER if answer is None else answer.status_code] += 1
            if answer is not None and answer.status_code == 202:
                results: list[dict[str, str]] = answer.json()["results"]
                assert {result["status"] for result in results} <= {"accepted", "duplicate"}, answer.text
                return results
            if answer is not None:
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"], answer.headers
            await asyncio.sleep(_AGAIN_AFTER)

    async def _post(self, body: bytes, key: str) -> httpx.Response | None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        try:
            return await self._http.post(f"{self._front()}/v1/hubs/{self.hub}/messages", content=body, headers=headers)
        except httpx.TransportError:
            return None


class Flow:
    """All producers of one test."""

    def __init__(self, producers: Sequence[Producer]) -> None:
        self.producers = producers

    def __repr__(self) -> str:
        return f"<Flow {self.accepted} accepted, {dict(self.answers)}>"

    @property
    def accepted(self) -> int:
        """How many items were answered 202."""
        return sum(len(producer.accepted) for producer in self.producers)

    @property
    def answers(self) -> Counter[int]:
        """How often each status was answered; NO_ANSWER counts requests that broke."""
        return sum((producer.answers for producer in self.producers), Counter())

    async def goes_on(self, count: int, *, within: float = 20.0) -> None:
        """Wait until this many more items were accepted."""
        wanted = self.accepted + count

        async def enough() -> bool:
            return self.accepted >= wanted

        await until(enough, within=within, what=f"{count} more items are accepted; {self!r}")

    async def answered(self, status: int, *, times: int = 1, within: float = 20.0) -> None:
        """Wait until this many more requests were answered with this status."""
        wanted = self.answers[status] + times

        async def enough() -> bool:
            return self.answers[status] >= wanted

        await until(enough, within=within, what=f"{times} more answers {status}; {self!r}")

    async def all_answered(self, status: int, *, within: float = 20.0) -> None:
        """Wait until each producer was answered so once more."""
        before = [producer.answers[status] for producer in self.producers]

        async def all_were() -> bool:
            return all(each.answers[status] > count for each, count in zip(self.producers, before, strict=True))

        await until(all_were, within=within, what=f"each producer is answered {status}; {self!r}")


@asynccontextmanager
async def flowing(producers: Sequence[Producer]) -> AsyncIterator[Flow]:
    """Run producers for the time of the block, and after it until what they began is accepted."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(producer.run(stopping)) for producer in producers]
        try:
            yield Flow(producers)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        stopping.set()
        _done, late = await asyncio.wait(tasks, timeout=_ENDS_WITHIN)
        for task in late:
            task.cancel()
        assert not late, f"{len(late)} producers were not answered 202 within {_ENDS_WITHIN:g} s"
