"""Processes of the program, forked from one that has imported it, because its imports take longer than most tests.

Rules guarded: each is a process of its own, with its own environment, arguments, output, signals and exit code, and
none outlives the tests. What a library reads while it is imported cannot be given to a fork, so a process with such
variables, or of another program, is started anew by `Child`, and so is one whose memory is measured. The command line
as its users start it is tried by tests/service/test_process.py.
"""

import asyncio
import atexit
import gc
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO

import orjson

from service.dev.parent import dying_with

ROOT = Path(__file__).parents[2]
_READ_EARLY = ("LD_", "OTEL_", "PYTHON")  # begin the variables that are read before or while modules are imported
_LARGEST = 65_536  # bytes of a request


def can_be_forked(environment: Mapping[str, str]) -> bool:
    """Return whether a fork with these variables behaves as a process that was started with them."""
    return not any(name.startswith(_READ_EARLY) for name in environment)


class Forked:
    """A forked process, with the part of asyncio.subprocess.Process that tests use."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._over = asyncio.Event()
        asyncio.get_running_loop().add_reader(status, self._ended)

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait until it has ended and return its exit code, negative for a signal."""
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._status)
        with self._status:
            self.returncode = int(self._status.recv(_LARGEST) or -signal.SIGKILL)  # none is told by a server that died
        self._over.set()


async def fork(
    arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes], errors: IO[bytes]
) -> Forked:
    """Run `fanout` with these arguments and this environment alone; what it writes goes to `output` and `errors`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        request = orjson.dumps([list(arguments), dict(environment)])
        socket.send_fds(_server(), [request], [output.fileno(), errors.fileno(), theirs.fileno()])
    pid = await asyncio.get_running_loop().sock_recv(ours, _LARGEST)
    return Forked(int(pid), ours)


@cache
def _server() -> socket.socket:
    """Start the process that forks, once for all tests of this one, and return the way to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen([sys.executable, "-m", "tests.flow.forking"], cwd=ROOT, stdin=theirs.fileno())

    def end() -> None:
        ours.close()  # which ends it, and would if this process were killed
        process.wait()

    atexit.register(end)
    return ours


# In the process that forks -------------------------------------------------------------------------------------------


class Server:
    """Forks for each request and tells how what it forked has ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)

    def run(self) -> list[str] | None:
        """Serve until the tests have ended and return None; in a forked process, return its arguments."""
        while True:
            for key, _events in self._selector.select():
                if key.fileobj is not self._requests:
                    self._tell(*key.data, pid_file=key.fd)
                    continue
                data, files, _flags, _address = socket.recv_fds(self._requests, _LARGEST, 3)
                if not data:
                    return None
                arguments, environment = orjson.loads(data)
                if self._forks(*files):
                    _become(environment, *files[:2])
                    return [sys.argv[0], *arguments]

    def _forks(self, output: int, errors: int, status: int) -> bool:
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            request_signal = dying_with(server)
            if request_signal is not None:
                request_signal()
            return True
        os.close(output)
        os.close(errors)
        told = socket.socket(fileno=status)
        told.send(b"%d" % pid)
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))
        return False

    def _tell(self, pid: int, told: socket.socket, *, pid_file: int) -> None:
        self._selector.unregister(pid_file)
        os.close(pid_file)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with told:
            told.send(b"%d" % code)


def _become(environment: Mapping[str, str], output: int, errors: int) -> None:
    """Take on an environment and outputs, and leave everything that belongs to the server."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(environment)


def main() -> None:
    """Import what takes long, serve, and run the program in what was forked."""
    gc.disable()
    for name in ("service.cli.serve", "service.cli.emulate"):
        import_module(name)
    run = import_module("service.cli.main").main
    gc.collect()
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end it, and what it forks handles signals itself
    arguments = Server(socket.socket(fileno=os.dup(0))).run()
    if arguments is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = arguments
        run()


if __name__ == "__main__":
    main()
