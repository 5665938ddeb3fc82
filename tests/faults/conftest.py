"""One standing set of processes for all fault tests; each test finds it healed and empty.

Rule guarded: nothing outlives the run, and a failing test shows the logs of every process it ran against. Faults that
need other stores than one server stand in tests/redis/test_failover.py: a master killed under Sentinel, a primary of a
Cluster killed, and slots that move, each under the same flow and the same oracle.
"""

import itertools
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
import pytest_asyncio

from tests.faults.standing import Standing, standing
from tests.flow.stack import logs_of

_live: list[Standing] = []
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standing]:
    """Run Redis, emulator, ingress and two workers for the whole session."""
    async with standing(tmp_path_factory.mktemp("faults")) as stack:
        _live.append(stack)
        yield stack
        _live.clear()


@pytest_asyncio.fixture(loop_scope="session")
async def stack(whole_stack: Standing) -> Standing:
    """Return the stack, well and empty."""
    await whole_stack.heal()
    return whole_stack


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> str:
    """Return the beginning of the names of the test's own hubs; a test that runs again has others."""
    return f"h{next(_numbers)}" + "".join(letter for letter in request.node.name.lower() if letter.isalnum())[:80]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the logs to the report of a failure, without the lines of what went well."""
    report = yield
    if report.failed:
        logs = [log for stack in _live for log in logs_of(stack, most=1_000_000)]
        report.sections += [(f"log of {name}", _telling(text)) for name, text in logs]
    return report


def _telling(text: str) -> str:
    lines = [line for line in text.splitlines() if '"end":"delivered",' not in line and "ingress.accepted" not in line]
    return "\n".join(lines)[-8000:]
