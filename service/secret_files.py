"""Reads secrets again that come from files (`FANOUT_..._FILE`), so that keys are rotated without a restart.

Rules guarded: a file that cannot be read, is empty or holds what cannot be used leaves the secret that is in force. A
new one is told of by the name of its variable, never by its value. Files are read beside the event loop, because a
volume may hang.
"""

import asyncio
from collections.abc import Callable, Mapping

from fanout.clock import Clock
from fanout.environment import FILE_SUFFIX, read_secret, variable_of
from fanout.errors import ConfigurationError
from fanout.log import Logger

_INTERVAL = 5.0  # seconds between two looks; a volume of Kubernetes follows its Secret within a minute
_PAUSE = 1.0  # seconds between two looks that were asked for

# Puts the new content of a file in force; ConfigurationError says why it cannot be used.
Take = Callable[[str], None]


class SecretFiles:
    """The files that secrets of this process came from. `paths` are by the name of the setting."""

    def __init__(self, paths: Mapping[str, str], clock: Clock, log: Logger) -> None:
        self._paths = paths
        self._clock = clock
        self._log = log
        self._known: dict[str, str] = {}
        self._refusals: dict[str, str] = {}  # told once each
        self._takes: dict[str, Take] = {}
        self._asked = asyncio.Event()

    def __repr__(self) -> str:
        return f"<SecretFiles {', '.join(self._takes)}>"

    def watch(self, name: str, value: str, take: Take) -> None:
        """Have `take` called when the file of this setting holds something else than `value`."""
        if name in self._paths:
            self._known[name] = value
            self._takes[name] = take

    def look(self) -> None:
        """Look at the files soon: a secret was refused."""
        self._asked.set()

    async def run(self) -> None:
        """Look at the files every few seconds, and when asked to, until cancelled."""
        while self._takes:
            try:
                async with self._clock.timeout(_INTERVAL):
                    await self._asked.wait()
            except TimeoutError:
                pass
            else:
                await self._clock.sleep(_PAUSE)
            self._asked.clear()
            for name, take in self._takes.items():
                await self._read(name, take)

    async def _read(self, name: str, take: Take) -> None:
        variable = variable_of(name) + FILE_SUFFIX
        try:
            value = await asyncio.to_thread(read_secret, variable, self._paths[name])
            if value == self._known[name]:
                return
            take(value)
        except ConfigurationError as error:
            reason = str(error)
            if self._refusals.get(name) != reason:
                self._refusals[name] = reason
                self._log.warning("secrets.refused", setting=variable, reason=reason)
        else:
            self._known[name] = value
            self._refusals.pop(name, None)
            self._log.info("secrets.changed", setting=variable)
