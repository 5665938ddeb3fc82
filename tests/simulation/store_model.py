"""What a Redis server does with what the product sends, and no more; test_conformance.py checks it against real ones.

Rule guarded: the model is at the level of commands. Everything above (connections, scripts by hash, time-outs, what a
missing reply means) is the product's real code. Lost writes are modelled as Redis loses them: a prefix of all writes
survives, the rest was never replicated.
"""

from collections.abc import Callable
from typing import Any, Protocol

Id = tuple[int, int]
Fields = list[bytes]
_KEPT = 4.0  # seconds of writes that can still be lost


class StoreListener(Protocol):
    """Takes note of what the store does."""

    def added(self, key: bytes, entry_id: bytes, fields: Fields) -> None: ...
    def deleted(self, key: bytes, entry_id: bytes, fields: Fields, by: str) -> None: ...
    def spared(self, key: bytes, entry_id: bytes) -> None: ...
    def fenced(self, key: bytes, by: str) -> None: ...
    def changed(self, key: bytes, old: bytes | None, new: bytes | None, by: str) -> None: ...


class Silence:
    """Ignores everything."""

    def added(self, key: bytes, entry_id: bytes, fields: Fields) -> None: ...
    def deleted(self, key: bytes, entry_id: bytes, fields: Fields, by: str) -> None: ...
    def spared(self, key: bytes, entry_id: bytes) -> None: ...
    def fenced(self, key: bytes, by: str) -> None: ...
    def changed(self, key: bytes, old: bytes | None, new: bytes | None, by: str) -> None: ...


class StreamState:
    """One stream: entries in the order of their ids, and the greatest id it ever gave out."""

    __slots__ = ("entries", "last")

    def __init__(self, entries: dict[Id, Fields], last: Id) -> None:
        self.entries = entries
        self.last = last

    def copy(self) -> "StreamState":
        return StreamState(dict(self.entries), self.last)


class StoreModel:
    """The data of one server; `now` is its own clock in unix seconds, `ticks` a clock that never jumps."""

    def __init__(self, now: Callable[[], float], ticks: Callable[[], float], listener: StoreListener) -> None:
        self.now = now
        self.listener = listener
        self.full = False
        self.tick = 0.001  # seconds; a coarser one makes the ids of entries alike, as a busy server's are
        self.by = ""  # the script or command that runs now
        self.caller = ""  # the process it runs for
        self.loaded: set[str] = set()  # scripts it knows, by hash
        self.streams: dict[bytes, StreamState] = {}
        self.strings: dict[bytes, tuple[bytes, int | None]] = {}
        self.sets: dict[bytes, dict[bytes, float]] = {}
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.history = 0  # which server this is, and which history of its data
        self._ticks = ticks
        self._undo: list[tuple[float, dict[bytes, Any], bytes, Any]] = []

    def forget_scripts(self) -> None:
        """Lose the scripts, as a restart does."""
        self.loaded.clear()

    def flush(self) -> None:
        """FLUSHALL."""
        self.by = "FLUSHALL"
        for key in list(self.strings):
            self.write_string(key, None)
        for table in (self.streams, self.sets, self.hashes):
            for key in list(table):
                self._note(table, key)
                del table[key]

    def lose_tail(self, seconds: float) -> None:
        """Take back all writes of the last `seconds`, as a failover to another server does."""
        self.history += 1
        horizon = self._ticks() - seconds
        while self._undo and self._undo[-1][0] > horizon:
            _when, table, key, old = self._undo.pop()
            if old is None:
                table.pop(key, None)
            else:
                table[key] = old

    def milliseconds(self) -> int:
        """The server's clock."""
        return int(self.now() * 1000)

    def stream(self, key: bytes) -> StreamState:
        """A stream as it is, for reading."""
        return self.streams.get(key) or StreamState({}, (0, 0))

    def add(self, key: bytes, fields: Fields, fresh: int | None = None, *, since: int = 0) -> bytes:
        """XADD key *, or with an id whose second half starts at, or jumps by, `fresh`, not before `since` (APPEND)."""
        self._note(self.streams, key)
        stream = self.streams.setdefault(key, StreamState({}, (0, 0)))
        now = max(since, int(self.now() // self.tick * self.tick * 1000))
        entry_id = (now, fresh or 0)
        if entry_id <= stream.last or (fresh is None and now == stream.last[0]):
            entry_id = (stream.last[0], stream.last[1] + (fresh or 0) + 1)
        stream.entries[entry_id] = fields
        stream.last = entry_id
        self.listener.added(key, text_of(entry_id), fields)
        return text_of(entry_id)

    def wake(self, key: bytes, flow: bytes, *, since: int = 0) -> None:
        """XADD key MAXLEN 1 * f flow."""
        self.add(key, [b"f", flow], since=since)
        entries = self.streams[key].entries
        for entry_id in list(entries)[:-1]:
            del entries[entry_id]

    def forget_stream(self, key: bytes) -> None:
        """DEL of a stream."""
        self._note(self.streams, key)
        self.streams.pop(key, None)

    def delete_entry(self, key: bytes, entry_id: Id) -> int:
        """XDEL of one id."""
        if entry_id not in self.stream(key).entries:
            return 0
        self._note(self.streams, key)
        fields = self.streams[key].entries.pop(entry_id)
        self.listener.deleted(key, text_of(entry_id), fields, self.by)
        return 1

    def string(self, key: bytes) -> bytes | None:
        """GET; a key past its time is gone."""
        held = self.strings.get(key)
        if held is None:
            return None
        value, expires = held
        if expires is not None and expires <= self.milliseconds():
            by, self.by = self.by, "expiry"
            self.write_string(key, None)
            self.by = by
            return None
        return value

    def write_string(self, key: bytes, value: bytes | None, lifetime_ms: int | None = None) -> None:
        """SET or DEL; without a lifetime the key never expires."""
        old = self.strings.get(key)
        self._note(self.strings, key)
        if value is None:
            self.strings.pop(key, None)
        else:
            self.strings[key] = (value, None if lifetime_ms is None else self.milliseconds() + lifetime_ms)
        if (old[0] if old else None) != value:
            self.listener.changed(key, old[0] if old else None, value, self.by)

    def sorted_set(self, key: bytes) -> dict[bytes, float]:
        """A sorted set, for writing."""
        self._note(self.sets, key)
        return self.sets.setdefault(key, {})

    def hash_of(self, key: bytes) -> dict[bytes, bytes]:
        """A hash, for writing."""
        self._note(self.hashes, key)
        return self.hashes.setdefault(key, {})

    def _note(self, table: dict[bytes, Any], key: bytes) -> None:
        old = table.get(key)
        now = self._ticks()
        self._undo.append((now, table, key, old.copy() if isinstance(old, StreamState | dict) else old))
        if len(self._undo) > 2000:
            self._undo = [change for change in self._undo if change[0] > now - _KEPT]


def as_bytes(part: Any) -> bytes:
    """Return an argument as redis-py would write it."""
    return part if isinstance(part, bytes) else str(part).encode()


def text_of(entry_id: Id) -> bytes:
    """Return an id as Redis writes it."""
    return b"%d-%d" % entry_id


def id_of(text: bytes, *, missing: int = 0) -> Id:
    """Parse an id; `missing` replaces an absent counter."""
    milliseconds, _dash, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence) if sequence else missing
