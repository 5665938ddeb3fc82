"""What an ingress does about traces besides the spans, which tests/flow/test_spans.py sees in a real collector."""

import subprocess
import sys

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.metrics import Metrics
from service.tracing import open_tracing

_LIBRARY = "import sys, service.cli.main, service.process; print(sorted(n for n in sys.modules if n in {!r}))"


async def test_without_the_setting_there_is_none() -> None:
    async with open_tracing(SystemClock(), Metrics(), enabled=False) as tracing:
        assert tracing is None


async def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fanout.spans", None)
    with pytest.raises(ConfigurationError, match=r"FANOUT_OTEL: .*pip install 'signalr-fanout\[otel\]'"):
        async with open_tracing(SystemClock(), Metrics(), enabled=True):
            pass


@pytest.mark.process
def test_a_process_imports_the_library_only_when_it_is_asked_for() -> None:
    # The client library of Redis imports another part of it by itself where it is installed.
    code = _LIBRARY.format(("fanout.spans", "opentelemetry.sdk.trace", "opentelemetry.exporter.otlp", "requests"))
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
