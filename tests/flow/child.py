"""The processes of the product as tests handle them: started as an operator would, ended gently or not at all gently.

Rule guarded: each is the real command line in a process of its own, with an environment of its own; one that is told to
end (SIGTERM) has to leave with 0, and none outlives the test run.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from service.dev.parent import dying_with
from tests.flow.forking import Forked, can_be_forked, fork
from tests.flow.waiting import until

ROOT = Path(__file__).parents[2]
_OTHER_SETTINGS = ("azuresignalrconnectionstring", "https_proxy", "http_proxy", "no_proxy")
_READY_WITHIN = 30.0
_ENDS_WITHIN = 30.0


class Child:
    """One process that serves HTTP on `port` of this machine; its output is in the file `log`."""

    def __init__(self, name: str, port: int, log: Path, http: httpx.AsyncClient) -> None:
        self.name = name
        self.port = port
        self.log = log
        self._http = http
        self._process: asyncio.subprocess.Process | Forked | None = None
        self._counted: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<{self.name} on {self.port}>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> asyncio.subprocess.Process | Forked:
        """The process, for tests that signal it themselves."""
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], module: str = "service.cli"
    ) -> None:
        """Run `fanout` with `arguments`; only `environment` configures it, nothing of this process's own.

        It is forked where that makes no difference, see forking.py.
        """
        own = {name: value for name, value in os.environ.items() if not is_setting(name)}
        with self.log.open("ab") as log:
            if module == "service.cli" and can_be_forked(environment):
                self._process = await fork(arguments, {**own, **environment}, log, log)
                return
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *arguments, cwd=ROOT, env={**own, **environment},
                stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, preexec_fn=dying_with(os.getpid()),
            )  # fmt: skip

    async def ready(self, path: str = "/readyz") -> None:
        """Wait until GET `path` answers 200."""

        async def answers() -> bool:
            assert self.running, f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()}"
            try:
                return (await self._http.get(self.url + path)).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers, within=_READY_WITHIN, what=f"{self.name} is ready")

    async def kill(self) -> None:
        """End it at once: SIGKILL."""
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP), as a paused virtual machine does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    def tell_to_end(self) -> None:
        """Send SIGTERM and do not wait."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, within: float = _ENDS_WITHIN) -> int:
        """Wait until it has ended and give its exit code."""
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def terminate(self, within: float = _ENDS_WITHIN) -> None:
        """End it as an orchestrator does, SIGTERM, and expect it to leave with 0."""
        self.tell_to_end()
        code = await self.ended(within)
        assert code == 0, f"{self.name} ended with {code}:\n{self.log.read_text()}"

    async def metrics(self) -> dict[str, float]:
        """Read /metrics: value by sample as it is written, for example `fanout_delivered_total{operation="..."}`.

        Counters (`..._total`) count from the last `count_anew`.
        """
        samples = await self._samples()
        return {name: value - self._counted.get(name, 0.0) for name, value in samples.items()}

    async def count_anew(self) -> None:
        """Let `metrics` count from now on."""
        samples = await self._samples()
        self._counted = {name: value for name, value in samples.items() if "_total" in name}

    async def _samples(self) -> dict[str, float]:
        answer = await self._http.get(self.url + "/metrics")
        assert answer.status_code == 200
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def is_setting(name: str) -> bool:
    return name.upper().startswith("FANOUT_") or name.lower() in _OTHER_SETTINGS
