"""An ingress stays within its memory limit whatever comes at once: what does not fit is told to come again.

Rule guarded: it is the kernel that says how large the process was at most.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from fanout.clock import SystemClock
from service.dev.private_redis import private_redis
from tests.hostile.ingress import KEY, Victim, head_of, ingress

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
MIB = 2**20
LIMIT = 256 * MIB


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victim]:
    """An ingress that is told of a limit of 256 MiB and takes bodies of up to 16 MiB."""
    settings = {
        "FANOUT_MEMORY_LIMIT": "256MiB",
        "FANOUT_MAX_BODY": "16MiB",
        "FANOUT_TRACE_KEEP": "0",
    }
    async with (
        private_redis(SystemClock()) as url,
        ingress(tmp_path_factory.mktemp("small"), url, **settings) as victim,
    ):
        yield victim
        assert victim.program.process.returncode is None, victim.program.err
        assert victim.troubles == []


def batch(item: int, size: int = 15_900_000) -> bytes:
    """Messages of about `item` bytes, of `size` bytes together or as many as one batch may have."""
    one = json.dumps({"userId": "user-0000", "target": "t", "arguments": ["x" * item]})
    return f"[{','.join([one] * min(10_000, size // (len(one) + 1)))}]".encode()


def targets(count: int, size: int) -> bytes:
    """One message of `size` bytes to many users."""
    return json.dumps({"userIds": [f"u{n}" for n in range(count)], "target": "t", "arguments": ["x" * size]}).encode()


async def until_taken(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    """Send a batch until there is memory for it, as often as Retry-After says.

    A machine with much to do may also be too late for the store, with nothing stored: that is asked for again too.
    """
    while True:
        answer = await client.post("/v1/hubs/chat/messages", content=body)
        if answer.status_code != 503 or answer.json()["code"] not in {"overloaded", "queueUnavailable"}:
            return answer
        await asyncio.sleep(float(answer.headers["Retry-After"]))


CASES = {
    "six batches of 15.9 MB": (batch(1500), 6),
    "six batches of 15.9 MB in large messages": (batch(900_000), 6),
    "fifty lists of 60 MB": (targets(10_000, 6_000), 50),
    "five lists of a hundred thousand": (targets(100_000, 1_000), 5),
    "five lists of large messages": (targets(100, 990_000), 5),
    "sixty batches of a megabyte": (batch(1000, 1_000_000), 60),
    "twenty batches of ten thousand tiny items": (batch(0), 20),
}


@pytest.mark.parametrize(("body", "count"), CASES.values(), ids=CASES)
async def test_an_ingress_stays_within_its_memory_limit(small: Victim, body: bytes, count: int) -> None:
    small.forget_peak()
    async with httpx.AsyncClient(
        base_url=small.url, headers={"X-API-Key": KEY}, timeout=200, trust_env=False
    ) as client:
        answers = await asyncio.gather(*[until_taken(client, body) for _ in range(count)])
    kinds = {(answer.status_code, answer.json().get("code")) for answer in answers}
    assert kinds <= {(202, None), (503, "queueFull"), (503, "queueSilent")}
    assert small.peak < LIMIT, f"{small.peak / MIB:.0f} MiB"


async def test_past_the_bound_there_is_a_clear_answer_at_once(small: Victim) -> None:
    """Requests whose bodies do not come hold what they announced; the next is told so before it sends anything."""
    held = [asyncio.open_connection("127.0.0.1", small.port) for _ in range(2)]
    writers = [writer for _, writer in await asyncio.gather(*held)]
    try:
        for writer in writers:
            writer.write(head_of("/v1/hubs/chat/messages", "Content-Length: 16000000") + b"[")
            await writer.drain()
        answer = await small.post(batch(1000, 15_000_000))
        while answer.status != 503:  # until both heads have been read
            answer = await small.post(batch(1000, 15_000_000))
        assert (answer.status, answer.document["code"]) == (503, "overloaded")
    finally:
        for writer in writers:
            writer.close()
