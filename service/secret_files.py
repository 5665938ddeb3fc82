"""Reads secrets again that come from files (`FANOUT_..._FILE`), so that keys are rotated without a restart.

Rules guarded: a file that cannot be read, is empty or holds what cannot be used leaves the secret that is in force. A
new one is told of by the name of its variable, never by its value. Each file is followed by itself and read beside the
event loop, because a volume may hang.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from fanout.clock import Clock
from fanout.environment import FILE_SUFFIX, read_secret, variable_of
from fanout.errors import ConfigurationError
from fanout.log import Logger
from service.aside import Aside

_INTERVAL = 5.0  # seconds between two looks; a volume of Kubernetes follows its Secret within a minute
_PAUSE = 1.0  # seconds between two looks that were asked for
_PATIENCE = 10.0  # seconds after which a file that is being read is told of

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
        self._asked: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        return f"<SecretFiles {', '.join(self._takes)}>"

    def watch(self, name: str, value: str, take: Take) -> None:
        """Have `take` called when the file of this setting holds something else than `value`."""
        if name in self._paths:
            self._known[name] = value
            self._takes[name] = take
            self._asked[name] = asyncio.Event()

    def look(self) -> None:
        """Look at the files soon: a secret was refused."""
        for asked in self._asked.values():
            asked.set()

    async def run(self) -> None:
        """Look at the files every few seconds, and when asked to, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, take in self._takes.items():
                group.create_task(self._follow(name, take))

    async def _follow(self, name: str, take: Take) -> None:
        variable, asked = variable_of(name) + FILE_SUFFIX, self._asked[name]
        reading = Aside(partial(read_secret, variable, self._paths[name]), self._clock, within=_PATIENCE)
        while True:
            try:
                async with self._clock.timeout(_INTERVAL):
                    await asked.wait()
            except TimeoutError:
                pass
            else:
                await self._clock.sleep(_PAUSE)
            asked.clear()
            try:
                self._compare(name, variable, await reading.result(), take)
            except TimeoutError:
                self._refuse(name, variable, f"{variable}: it is being read for more than {_PATIENCE:g} s.")
            except ConfigurationError as error:
                self._refuse(name, variable, str(error))

    def _compare(self, name: str, variable: str, value: str, take: Take) -> None:
        if value != self._known[name]:
            take(value)
            self._known[name] = value
            self._log.info("secrets.changed", setting=variable)
        self._refusals.pop(name, None)

    def _refuse(self, name: str, variable: str, reason: str) -> None:
        if self._refusals.get(name) != reason:
            self._refusals[name] = reason
            self._log.warning("secrets.refused", setting=variable, reason=reason)
