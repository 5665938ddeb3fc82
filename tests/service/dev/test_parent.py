"""A killed parent leaves no child behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.process

CHILD = "import time; time.sleep(60)"
PARENT = f"""
import os, subprocess, sys, time
from service.dev.parent import dying_with
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], preexec_fn=dying_with(os.getpid()))
print(child.pid, flush=True)
time.sleep(60)
"""
ENDING = (
    "import time; from service.dev.parent import end_with_parent; "
    "end_with_parent(); print(1, flush=True); time.sleep(60)"
)
STARTER = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {ENDING!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")
@pytest.mark.parametrize("script", [PARENT, STARTER], ids=["a child that is killed", "a child that is told to end"])
def test_a_killed_parent_takes_its_child_along(script: str) -> None:
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - a file of the kernel's
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False
    finally:
        os.sched_yield()
