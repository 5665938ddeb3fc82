"""Real Redis processes and what tests do to them: started on free ports, killed, frozen, started again on their files.

Rule guarded: nothing outlives the test run (the kernel ends them with it), and every wait has a deadline with words.
"""

import os
import shutil
import signal
import socket
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

_STARTS_WITHIN = 10.0
# Replicas load what they are sent as it comes: that makes their first synchronisation a tenth of a second, not one.
USUAL = (
    "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction",
    "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db",
)  # fmt: skip


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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

    `port` None takes a free one, 0 says that it listens on the unix socket instead.
    """

    def __init__(
        self, binary: str, *options: str, port: int | None = None, login: Mapping[str, Any] | None = None
    ) -> None:
        self.port = free_port() if port is None else port
        self.directory = Path(tempfile.mkdtemp(prefix="fanout-kind-"))
        self._command = [binary, *options]
        self._login = dict(login or {})
        self._process: subprocess.Popen[bytes] | None = None

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
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=dying_with(os.getpid()),  # noqa: PLW1509 - no threads here
            )  # fmt: skip

    def answers(self) -> None:
        """Wait until it answers."""

        def asked() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            return bool(self.ask("PING"))

        eventually(asked, within=_STARTS_WITHIN, what=f"{self._command[0]} answers")

    def start(self) -> "RedisProcess":
        """Start on the files that are there and wait until it answers."""
        self.begin()
        self.answers()
        return self

    @contextmanager
    def client(self) -> Iterator["redis.Redis"]:
        """Return a client of redis-py's for the block."""
        where: dict[str, Any] = {"port": self.port} if self.port else {"unix_socket_path": str(self.socket)}
        client = redis.Redis(**where, **self._login, socket_timeout=5, retry=Retry(NoBackoff(), 0), protocol=2)
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
