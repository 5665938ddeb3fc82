"""`fanout emulate` as a process: it prints the connection string, serves, and ends cleanly on Ctrl-C."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("options", "status"), [((), 200), (("--like-asrs-emulator",), 401)])
def test_it_serves_like_the_service_or_like_the_vendors_emulator(options: tuple[str, ...], status: int) -> None:
    command = [sys.executable, "-m", "service.cli", "emulate", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            (port,) = re.findall(r"Endpoint=http://localhost;Port=(\d+);", line)
            assert httpx.head(f"http://127.0.0.1:{port}/api/health", trust_env=False).status_code == status
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
