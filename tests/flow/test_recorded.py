"""Recorded outputs of Functions apps, sent to /v1: the service sees the calls that the vendor's extension made of them.

Rule guarded: names and arguments are compared too, digit by digit. Where the extension changes what the function
returned, what the function returned has to arrive.
"""

import json
from typing import Any

import pytest

from tests.flow.child import Child
from tests.flow.stack import Stack
from tests.recorded.functions import CHANGED_THERE, ROWS, calls_of, refusal_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

DONE = [row for row in ROWS if row["outcome"] == "done"]


def body_of(text: str) -> Any:
    """Read a body: members by lower-case name, numbers as they are written."""
    return {name.lower(): value for name, value in json.loads(text, parse_float=str, parse_int=str).items()}


def bodies_of(row: dict[str, Any]) -> list[Any]:
    """Return the bodies that an output becomes here, in the order of its items."""
    if row["id"] in CHANGED_THERE:
        return [body_of(row["output"])]
    return [body_of(call["body"]) for call in row["calls"] if call.get("body")]


async def test_outputs_become_the_calls_of_the_vendors_extension(stack: Stack, worker: Child) -> None:
    for number, row in enumerate(DONE):
        answer = await stack.try_post(f"recorded{number}", row["output"].encode())
        refusal = refusal_of(row)
        assert answer.status_code == (400 if refusal else 202), (row["id"], answer.text)
        assert refusal in answer.text
    await stack.drained()
    for number, row in enumerate(DONE):
        calls = await stack.journal(f"recorded{number}")
        prefix, version = f"/api/hubs/recorded{number}", "?api-version=2022-06-01"
        found = [(call.method, call.target.removeprefix(prefix)) for call in calls]
        promised = [] if refusal_of(row) else calls_of(row)
        assert sorted(found) == sorted((method, path + version) for method, path in promised), row["id"]
        bodies = [body_of(call.body.decode()) for call in calls if call.body]
        for body in bodies_of(row) if promised else []:
            assert body in bodies, row["id"]
            bodies.remove(body)
        assert bodies == [], row["id"]
