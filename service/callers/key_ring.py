"""The API keys that a process knows, from Redis and from a file, read again every two seconds.

Rules guarded: a request never waits for the store, and never opens a door because the store is away. What was read last
counts for five minutes when it cannot be read again; after that nobody is recognised by it, and the answer says that
the keys are not known (503) rather than that the key is wrong. An entry that cannot be read is left out and logged; one
that has expired or was revoked counts for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from fanout.clock import Clock
from fanout.errors import CallersUnavailableError, ConfigurationError, QueueError
from fanout.log import Logger
from service.aside import Aside
from service.callers.caller import MAX_TEXT, ApiKey, Caller, id_in, parse_key, parse_keys

INTERVAL: Final = 2.0  # seconds between two readings
GOOD_FOR: Final = 300.0  # seconds that what was read last counts
_MAX_FILE: Final = 1024 * 1024
_TIMEOUT: Final = 2.0


class Store(Protocol):
    """Where keys are kept; a call raises QueueError when it does not answer."""

    async def all(self) -> Mapping[str, bytes]:
        """Return every key as it is written down, by id."""


@dataclass(frozen=True, slots=True)
class Known:
    """Keys by id, each with its caller, and the monotonic time at which they were read."""

    keys: Mapping[str, tuple[ApiKey, Caller]]
    read_at: float

    @classmethod
    def of(cls, keys: Mapping[str, ApiKey], now: float) -> "Known":
        """Return keys that were read at this time."""
        return cls({name: (key, key.caller) for name, key in keys.items()}, now)

    def counts(self, now: float) -> bool:
        """Return whether they count at this time."""
        return now - self.read_at < GOOD_FOR


class KeyRing:
    """The keys of a process. `path` is "" without a file; `store` is None where keys are not kept in Redis."""

    def __init__(self, store: Store | None, path: str, clock: Clock, log: Logger, audit: Logger | None = None) -> None:
        self._store = store
        self._path = path
        self._file = Aside(partial(read_file, path), clock, within=_TIMEOUT)
        self._clock = clock
        self._log = log
        self._audit = audit
        self._sources: dict[str, Known] = {}
        self._failing: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<KeyRing of {sum(len(known.keys) for known in self._sources.values())} keys>"

    def find(self, presented: str, digest: bytes) -> Caller | None:
        """Return the caller who holds a key, None for a key that does not count or is of another kind.

        Raise CallersUnavailableError where the keys cannot be read, and have not been for a while.
        """
        key_id = id_in(presented)
        if not key_id:
            return None
        now, is_known = self._clock.monotonic(), True
        for name in self._names:
            source = self._sources.get(name)
            if source is None or not source.counts(now):
                is_known = False
            elif key_id in source.keys:
                key, caller = source.keys[key_id]
                return caller if key.is_of(digest) and not key.has_expired(self._clock.wall()) else None
        if not is_known:
            raise CallersUnavailableError("The API keys cannot be read at the moment, so no key can be judged.")
        return None

    def warning(self) -> str:
        """Return what is wrong with the reading of keys, "" for nothing."""
        return " ".join(self._failing.values())

    @property
    def is_empty(self) -> bool:
        """Whether everything was read, and there is no key that could count."""
        return all(name in self._sources and not self._sources[name].keys for name in self._names)

    def age(self) -> float | None:
        """Return how many seconds ago the keys were read that were read first; None while some were never read."""
        if not self._names or not all(name in self._sources for name in self._names):
            return None
        return self._clock.monotonic() - min(known.read_at for known in self._sources.values())

    async def run(self) -> None:
        """Read again and again."""
        while True:
            await self.refresh()
            await self._clock.sleep(INTERVAL)

    async def refresh(self) -> None:
        """Read all keys once; what cannot be read stays as it was."""
        if self._path:
            try:
                self._know("file", Known.of(await self._file.result(), self._clock.monotonic()))
            except ConfigurationError as error:
                self._fail("file", str(error))
            except TimeoutError:
                self._fail("file", f"The file of API keys {self._path!r} is being read for more than {_TIMEOUT:g} s.")
        if self._store is not None:
            try:
                async with self._clock.timeout(_TIMEOUT):
                    texts = await self._store.all()
            except (QueueError, TimeoutError) as error:
                self._fail("redis", f"The API keys cannot be read from Redis: {str(error) or 'it does not answer'}")
            else:
                self._know("redis", Known.of(self._readable(texts), self._clock.monotonic()))

    @property
    def _names(self) -> tuple[str, ...]:
        return (*(("file",) if self._path else ()), *(("redis",) if self._store is not None else ()))

    def _readable(self, texts: Mapping[str, bytes]) -> dict[str, ApiKey]:
        found: dict[str, ApiKey] = {}
        unreadable = 0
        for key_id, text in texts.items():
            try:
                key = parse_key(text[:MAX_TEXT])
            except ValueError:
                unreadable += 1
                continue
            if key.id == key_id:
                found[key_id] = key
        known = self._sources.get("redis")
        if unreadable and (known is None or len(known.keys) != len(found)):
            self._log.warning("callers.unreadable_keys", count=unreadable)
        return found

    def _know(self, name: str, known: Known) -> None:
        former, self._sources[name] = self._sources.get(name), known
        if former is not None and self._audit is not None:
            for event, key in changes_of(former, known):
                self._audit.info(
                    event, source=name, key=key.id, name=key.name, rights=",".join(key.rights), hubs=",".join(key.hubs)
                )
        if self._failing.pop(name, None):
            self._log.info("callers.readable_again", source=name, keys=len(known.keys))

    def _fail(self, name: str, reason: str) -> None:
        if name not in self._failing:
            self._log.warning("callers.unreadable", source=name, reason=reason)
        self._failing[name] = reason


def changes_of(former: Known, known: Known) -> list[tuple[str, ApiKey]]:
    """Return the keys that are gone and those that are new, each with its event; a changed key is both."""
    gone = [key for name, (key, _) in former.keys.items() if name not in known.keys or known.keys[name][0] != key]
    new = [key for name, (key, _) in known.keys.items() if name not in former.keys or former.keys[name][0] != key]
    return [*(("audit.key_removed", key) for key in gone), *(("audit.key_added", key) for key in new)]


def read_file(path: str) -> dict[str, ApiKey]:
    """Read the keys of a file; ConfigurationError when it cannot be used."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"The file of API keys {path!r} cannot be read: {reason}.") from None
    if len(content) > _MAX_FILE:
        raise ConfigurationError(f"The file of API keys {path!r} has more than {_MAX_FILE} bytes.")
    try:
        return parse_keys(content)
    except ValueError as error:
        raise ConfigurationError(f"The file of API keys {path!r}, {error}.") from None
