"""Commands run in the process of the tests: their logs are apart, and what they configure does not outlive them."""

from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from fanout.log import configure


@pytest.fixture(autouse=True)
def _logs_apart() -> Iterator[None]:
    """Ingress and command run in one process here; what the one logs is no output of the other."""
    configure(level="info", style="json", stream=StringIO())
    yield
    structlog.reset_defaults()
