"""Real Redis processes and what tests do to them: started on free ports, killed, frozen, started again on their files.

Rules guarded: nothing outlives the test run (the kernel ends them with it), and every wait has a deadline with words. A
server that finds its port taken when it is started for the first time takes another one.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.dev.parent import dying_with
from tests.free_ports import free_port

PORT, BUS_PORT = "{port}", "{bus port}"  # stand for the ports among the options of a RedisProcess
_STARTS_WITHIN = 10.0
_MAX_STARTS = 5
_TAKEN = "Address already in use"
# Replicas load what they are sent as it comes: that makes their first synchronisation a tenth of a second, not one.
USUAL = (
    "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction",
    "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db",
)  # fmt: skip


def eventually(condition: Callable[[], object], *, what: str, within: float = 20.0) -> None:
    """Return once `condition` holds; an error of the server counts as no."""
    deadline = time.monotonic() + within
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.02)


class RedisProcess:
    """One server process in a directory of its own; `login` are redis-py's arguments to talk to it.

    PORT and BUS_PORT among the options are replaced by free ports. They are certain once the server answered. A server
    without PORT listens on the unix socket.
    """

    def __init__(self, binary: str, *options: str, login: Mapping[str, Any] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fanout-kind-"))
        self.port = self.bus_port = 0
        self._binary = binary
        self._options = options
        self._login = dict(login or {})
        self._clients: dict[int, redis.Redis] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._has_answered = False
        self._choose_ports()

    def __repr__(self) -> str:
        return f"<RedisProcess {self.port}>"

    @property
    def socket(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def log(self) -> str:
        return (self.directory / "redis.log").read_text(errors="replace")

    def begin(self) -> None:
        """Start the process without waiting for it."""
        ports = {PORT: str(self.port), BUS_PORT: str(self.bus_port)}
        command = [self._binary, *(ports.get(option, option) for option in self._options)]
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=dying_with(os.getpid()),  # noqa: PLW1509 - no threads here
            )  # fmt: skip

    def answers(self) -> None:
        """Wait until it answers. Begin again with other ports when it ended because one of its own was taken."""
        starts = 1

        def asked() -> bool:
            nonlocal starts
            assert self._process is not None
            if self._process.poll() is None:
                return bool(self.ask("PING"))
            assert _TAKEN in self.log, self.log
            assert not self._has_answered, self.log
            assert starts < _MAX_STARTS, self.log
            starts += 1
            self._choose_ports()
            self.begin()
            return False

        eventually(asked, within=_STARTS_WITHIN, what=f"{self._binary} answers")
        self._has_answered = True

    def start(self) -> "RedisProcess":
        """Start on the files that are there and wait until it answers."""
        self.begin()
        self.answers()
        return self

    @contextmanager
    def client(self) -> Iterator["redis.Redis"]:
        """Return a client of redis-py's for the block; its connections are closed at the end.

        It is the same each time, because redis-py takes longer to make a client than most servers to answer it.
        """
        client = self._clients.get(self.port)
        if client is None:
            where: dict[str, Any] = {"port": self.port} if self.port else {"unix_socket_path": str(self.socket)}
            client = redis.Redis(**where, **self._login, socket_timeout=5, retry=Retry(NoBackoff(), 0), protocol=2)
            self._clients[self.port] = client
        try:
            yield client
        finally:
            client.close()

    def ask(self, *command: str | int) -> Any:
        """Ask one thing as this server's operator."""
        with self.client() as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py has no annotation here

    def info(self, section: str = "") -> Mapping[str, Any]:
        with self.client() as client:
            return client.info(section) if section else client.info()

    def is_primary(self) -> bool:
        return bool(self.info("replication")["role"] == "master")

    def kill(self) -> None:
        """End it at once, as a power cut of its machine would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it in its tracks; it keeps its connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _choose_ports(self) -> None:
        if PORT in self._options:
            self.port = free_port()
        if BUS_PORT in self._options:
            self.bus_port = free_port()

    def stop(self) -> None:
        """End it for good and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def started(processes: Sequence[RedisProcess]) -> None:
    """Start all of them at the same time."""
    for process in processes:
        process.begin()
    for process in processes:
        process.answers()
