"""`FANOUT_EXECUTE=auto` with real processes: calls are shared on evidence, for a backlog, until one is refused."""

import asyncio
import os
import re
import sys
from collections.abc import Sequence

import pytest

from tests.flow.child import ROOT, is_setting
from tests.flow.oracle import Call
from tests.flow.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = 150
SLOW = {"kind": "latency", "seconds": 0.01}


async def recorded(stack: Stack) -> str:
    """Run `fanout doctor --record` as an operator would, and return what it printed."""
    own = {name: value for name, value in os.environ.items() if not is_setting(name)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", "doctor", "--record", cwd=ROOT, env={**own, **stack.environment({})},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _none = await process.communicate()
    return output.decode()


async def delivered(stack: Stack, hub: str, first: int = 0) -> list[Call]:
    """Post a backlog for one user, wait until it is delivered, and return the calls that were made for it."""
    before = len(await stack.journal(hub))
    await stack.post(hub, [{"userId": "one", "target": "t", "arguments": [first + n]} for n in range(COUNT)])
    await stack.drained()
    return (await stack.journal(hub))[before:]


def joined(calls: Sequence[Call]) -> list[Call]:
    return [call for call in calls if ":execute" in call.target]


def numbers(calls: Sequence[Call]) -> list[int]:
    """Return the messages that the service took, in order."""
    taken = [call for call in calls if call.status == 202]
    return [int(found) for call in taken for found in re.findall(rb'"arguments":\[(\d+)\]', call.body)]


async def test_without_evidence_no_call_is_shared(stack: Stack, hub: str) -> None:
    await stack.faults(SLOW)
    await stack.add_worker()
    calls = await delivered(stack, hub)
    assert joined(calls) == []
    assert numbers(calls) == list(range(COUNT))


async def test_on_evidence_a_backlog_shares_calls_until_one_is_refused(stack: Stack, hub: str) -> None:
    assert "runs `:execute`" in await recorded(stack)
    await stack.faults(SLOW)
    await stack.add_worker()
    calls = await delivered(stack, hub)
    assert len(calls) <= COUNT / 10
    assert joined(calls)
    assert numbers(calls) == list(range(COUNT))
    await stack.faults({"kind": "status", "status": 404, "match": {"path": ":execute$"}}, SLOW)
    calls = await delivered(stack, hub, COUNT)
    assert [call.status for call in joined(calls)] == [404]
    assert numbers(calls) == list(range(COUNT, 2 * COUNT))


async def test_what_is_disproved_is_forgotten(stack: Stack, hub: str) -> None:
    await recorded(stack)
    await stack.faults({"kind": "status", "status": 404, "match": {"path": ":execute$"}})
    assert "runs no `:execute`" in await recorded(stack)
    await stack.faults(SLOW)
    await stack.add_worker()
    assert joined(await delivered(stack, hub)) == []
