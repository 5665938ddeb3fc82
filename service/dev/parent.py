"""Processes that end with their parent, so that a killed parent leaves none behind.

Rule guarded: nothing of `fanout dev` survives whoever started it. The kernel sends the signal (PR_SET_PDEATHSIG), so no
watcher can be killed first. Linux only; elsewhere nothing is arranged.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def dying_with(parent: int, number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """Give what a child runs before it becomes another program: it gets signal `number` when `parent` dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the arrangement was made
            os.kill(os.getpid(), number)

    return arrange


def end_with_parent() -> None:
    """Have this process told to end (SIGTERM) when its parent dies."""
    arrange = dying_with(os.getppid(), signal.SIGTERM)
    if arrange is not None:
        arrange()
