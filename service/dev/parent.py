"""Child processes that end when their parent does.

Rule guarded: a killed `fanout dev` leaves no process behind. The kernel sends the signal (PR_SET_PDEATHSIG), so it
works even when the parent is killed. Linux only; on other systems nothing happens.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def dying_with(parent: int, number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """Return a `preexec_fn` for a child: it receives signal `number` when `parent` ends."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def request_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent has already ended
            os.kill(os.getpid(), number)

    return request_signal


def end_with_parent() -> None:
    """Send this process SIGTERM when its parent ends."""
    request_signal = dying_with(os.getppid(), signal.SIGTERM)
    if request_signal is not None:
        request_signal()
