"""Ports for servers that tests start, and that others connect to by number.

Rule guarded: a port that is found free stays free until its server listens, also while the server is restarted. The
system takes the ports of outgoing connections from its own range, so ports are drawn from below that.
"""

import socket
from errno import EADDRINUSE
from random import SystemRandom

_PORTS = range(12_000, 32_000)  # Linux begins its own range at 32768, others later
_TRIES = 100
_random = SystemRandom()  # the shared generator is seeded alike in all test processes


def free_port() -> int:
    """Return a port that is free now on every address of this machine."""
    for _ in range(_TRIES):
        port = _random.choice(_PORTS)
        with socket.socket() as listener:
            try:
                listener.bind(("", port))
            except OSError as error:
                if error.errno != EADDRINUSE:
                    raise
            else:
                return port
    raise AssertionError(f"none of {_TRIES} ports was free")
