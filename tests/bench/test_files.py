"""Which files a warm message runs through is found by running one."""

import subprocess
import sys

import pytest

from bench.rig import ROOT
from tests.documents import files_not_to_open, files_to_read

pytestmark = pytest.mark.process


def test_the_files_of_a_warm_message_are_named_in_their_order_and_counted() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "bench.files"), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    files = [line for line in done.stdout.splitlines() if line.endswith(".py")]
    assert done.stdout.splitlines()[-1] == f"{len(files)} files"
    page = (ROOT / "docs" / "architecture.md").read_text()
    unnamed = set(files).difference(files_to_read(page), files_not_to_open(page))
    assert not unnamed, f"docs/architecture.md does not name {sorted(unnamed)}"
    path = [
        name for name in files if name in {"service/ingress/route.py", "fanout/queue/stream.py", "workers/settler.py"}
    ]
    assert path == ["service/ingress/route.py", "fanout/queue/stream.py", "workers/settler.py"]
