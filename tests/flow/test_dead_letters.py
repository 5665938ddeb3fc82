"""From refused to delivered: a message the service refuses is parked, seen, sent again by an operator, and arrives.

Rule guarded: a replay delivers once, after what its lane holds already, and leaves no dead letter behind.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flow.child import Child
from tests.flow.oracle import mark
from tests.flow.stack import Stack
from tests.flow.traffic import batches, message

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = Path(__file__).parents[2]
REASONS = {400: "refused", 413: "tooLarge", 431: "tooLarge"}


async def fanout(stack: Stack, *arguments: str) -> tuple[int | None, Any]:
    """Run `fanout dead-letters ... --json` as an operator would; gives the exit code and the document."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", "dead-letters", *arguments, "--json", "--url", stack.ingress.url,
        cwd=ROOT, env={}, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, json.loads(output)


async def test_what_was_refused_is_seen_sent_again_and_delivered_once(stack: Stack, worker: Child, hub: str) -> None:
    rules = [{"kind": "status", "status": status, "match": {"path": f"user-{status}/"}} for status in REASONS]
    await stack.faults(*rules)
    items = [message(hub, n, "users", f"user-{status}") for n, status in enumerate([*REASONS] * 2)]
    await stack.post(hub, batches(items, 6)[0])
    await stack.drained()
    code, listed = await fanout(stack, "list", "--hub", hub)
    assert code == 0
    assert {item["status"]: item["reason"] for item in listed["items"]} == REASONS
    assert {item["to"] for item in listed["items"]} == {f"user-{status}" for status in REASONS}
    assert [item["operation"] for item in listed["items"]] == ["sendToUser"] * 6
    _, shown = await fanout(stack, "show", listed["items"][0]["id"])
    assert shown["message"]["userId"] == listed["items"][0]["to"]

    await stack.faults()
    assert await fanout(stack, "replay", "--hub", hub, "--yes") == (0, {"matched": 6, "replayed": 6})
    await stack.drained()
    delivered = [call.mark for call in await stack.journal(hub) if call.delivered]
    assert len(delivered) == 6
    assert {*delivered} == {mark(number) for number in range(6)}
    for status in range(3):  # the two of one user in the order in which they were accepted
        assert delivered.index(mark(status)) < delivered.index(mark(status + 3))
    assert await stack.dead_letters() == []
    assert await fanout(stack, "count") == (0, {"total": 0, "groups": []})


async def test_what_is_refused_again_is_parked_again_and_the_order_ends(stack: Stack, worker: Child, hub: str) -> None:
    await stack.faults({"kind": "status", "status": 400})
    items = [message(hub, number, "users", f"user {number}") for number in range(20)]
    await stack.post(hub, batches(items, 20)[0])
    await stack.drained()
    before = {letter.id for letter in await stack.dead_letters()}
    assert await fanout(stack, "replay", "--all", "--yes") == (0, {"matched": 20, "replayed": 20})
    await stack.drained()
    after = await stack.dead_letters()
    assert len(after) == 20
    assert not before & {letter.id for letter in after}
    assert len(await stack.journal(hub)) == 40
    assert await fanout(stack, "purge", "--reason", "refused", "--yes") == (0, {"matched": 20, "purged": 20})


async def test_a_replayed_message_joins_the_end_of_its_lane_and_its_time_begins_anew(
    stack: Stack, worker: Child, hub: str
) -> None:
    """Behind what was accepted meanwhile; and not expired, although more than its ttlSeconds went by."""
    await stack.faults({"kind": "status", "status": 400, "times": 1})
    first = message(hub, 0, "users", "alice", extra=',"ttlSeconds":1')
    await stack.post(hub, batches([first], 1)[0])
    await stack.drained()
    (letter,) = await stack.dead_letters()
    await stack.faults({"kind": "status", "status": 503, "times": 3})
    await asyncio.sleep(1.1)  # its time runs out, by the store's clock
    later = [message(hub, number, "users", "alice") for number in range(1, 4)]
    await stack.post(hub, batches(later, 3)[0])
    code, answer = await fanout(stack, "replay", "--message-id", await _message_id(stack), "--yes")
    assert (code, answer) == (0, {"matched": 1, "replayed": 1})
    await stack.drained()
    delivered = [call.mark for call in await stack.journal(hub) if call.delivered]
    assert delivered == [mark(1), mark(2), mark(3), mark(0)]
    assert letter.entry.stored_at > 0


async def _message_id(stack: Stack) -> str:
    _, listed = await fanout(stack, "list")
    return str(listed["items"][0]["messageId"])
