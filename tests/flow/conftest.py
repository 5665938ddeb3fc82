"""One stack for all flow tests, because starting one takes seconds; each test gets it empty and with its own workers.

Rule guarded: a failing test shows the logs of every process it ran against.
"""

from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
import pytest_asyncio

from tests.flow.child import Child
from tests.flow.stack import Stack, logs_of, running_stack

_live: list[Stack] = []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Run Redis, emulator and ingress for the whole session."""
    async with running_stack(tmp_path_factory.mktemp("flow")) as stack:
        _live.append(stack)
        yield stack
        _live.clear()


@pytest_asyncio.fixture(loop_scope="session")
async def stack(whole_stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """Return the stack, empty; its workers end after the test and have to leave with 0."""
    if "worker" not in request.fixturenames:
        await whole_stack.retire_common_worker()
    yield whole_stack
    await whole_stack.reset()


@pytest_asyncio.fixture(loop_scope="session")
async def worker(stack: Stack) -> Child:
    """Return one worker with the common settings, which lives on from test to test to save the time to start it."""
    return await stack.common_worker()


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> str:
    """Return a hub of the test's own."""
    return "H" + "".join(letter for letter in request.node.name if letter.isalnum())[:100]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the logs to the report of a failure."""
    report = yield
    if report.failed:
        report.sections += [(f"log of {name}", text) for stack in _live for name, text in logs_of(stack)]
    return report
