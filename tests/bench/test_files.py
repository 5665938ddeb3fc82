"""Which files a warm message runs through is found by running one."""

import subprocess
import sys

import pytest

from bench.rig import ROOT
from tests.documents import files_not_to_open, files_to_read

pytestmark = pytest.mark.process
MOST_FILES = 25  # a newcomer has to open them; lower it whenever there are fewer
BESIDE = {"fanout/queue/scripts.py", "fanout/signalr/routes.py"}  # read to follow a message: Lua, and its first call


def test_the_files_of_a_warm_message_are_named_in_their_order_and_counted() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "bench.files"), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    files = [line for line in done.stdout.splitlines() if line.endswith(".py")]
    assert done.stdout.splitlines()[-1] == f"{len(files)} files"
    assert len(files) <= MOST_FILES
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert f"the number of files: {len(files)}." in page
    on_path, _, _ = page.partition("\n## The path of a token\n")
    assert {*files_to_read(on_path), *files_not_to_open(page)} - BESIDE == set(files)
    path = [
        name for name in files if name in {"service/ingress/route.py", "fanout/queue/stream.py", "workers/settler.py"}
    ]
    assert path == ["service/ingress/route.py", "fanout/queue/stream.py", "workers/settler.py"]
