"""What arrived at the REST side, in order of arrival, for tests to assert on.

Source: contract 8.1 point 11: order, duplicates, the in-flight maximum, sockets, distinct tokens. Rule guarded: the
journal is bounded in entries and in bytes, oldest out first, and holds a token's SHA-256, never the token. Sequence
numbers go on after a clear, so a reader that asks for what came `since` a number never mistakes old for new.
"""

import hashlib
from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice

from emulator.exchange import Call
from fanout.clock import Clock


@dataclass(slots=True)
class Entry:
    """One call. `status` stays None while it is in flight, and for good when its connection was reset.

    `monotonic`, `wall` and `answered` are seconds (`answered` monotonic); `connection` counts the HTTP connections that
    carried calls from 1, 0 when there was no socket; `token` is the SHA-256 of the bearer token in hex, "" without one.
    `delivered` tells whether the call took effect, whatever it was answered.
    """

    sequence: int
    monotonic: float
    wall: float
    method: str
    path: str
    query: str
    hub: str
    connection: int
    token: str
    body: bytes = b""
    status: int | None = None
    fault: str | None = None
    delivered: bool = False
    answered: float | None = None
    in_flight: int = 0


class Journal:
    """A bounded record and the gauges around it."""

    def __init__(self, clock: Clock, *, most_entries: int, most_bytes: int) -> None:
        self._clock = clock
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._sequence = 0
        self._tokens: set[str] = set()
        self._connections: set[int] = set()
        self._statuses: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.most_in_flight_per_path = 0

    def __repr__(self) -> str:
        return f"<Journal {len(self._entries)} of {self._sequence} calls, {self.in_flight} in flight>"

    def __len__(self) -> int:
        return len(self._entries)

    def arrive(self, call: Call, *, hub: str, connection: int, token: str) -> Entry:
        """Record a call whose head has been read."""
        self._sequence += 1
        digest = hashlib.sha256(token.encode("latin-1")).hexdigest() if token else ""
        entry = Entry(
            self._sequence,
            self._clock.monotonic(),
            self._clock.wall(),
            call.method,
            call.raw_path,
            call.raw_query,
            hub,
            connection,
            digest,
        )
        self._count_in(entry)
        self._entries.append(entry)
        self._shorten()
        return entry

    def body(self, entry: Entry, body: bytes) -> None:
        """Record the body once it has been read."""
        entry.body = body
        if self._entries and entry.sequence >= self._entries[0].sequence:  # it may have gone while it was read
            self._bytes += len(body)
            self._shorten()

    def leave(self, entry: Entry, status: int | None) -> None:
        """Record how a call ended; None when its connection was reset."""
        entry.status = status
        entry.answered = self._clock.monotonic()
        self._statuses["reset" if status is None else str(status)] += 1
        self.in_flight -= 1
        self._busy[entry.path] -= 1
        if not self._busy[entry.path]:
            del self._busy[entry.path]

    def entries(self, since: int = 0, limit: int | None = None) -> list[Entry]:
        """List what came after sequence number `since`, at most `limit` entries."""
        if not self._entries:
            return []
        start = max(0, since + 1 - self._entries[0].sequence)
        return list(islice(self._entries, start, None if limit is None else start + limit))

    def clear(self) -> None:
        """Forget all entries and counts; what is in flight stays counted."""
        self._entries.clear()
        self._bytes = 0
        self._tokens.clear()
        self._connections.clear()
        self._statuses.clear()
        self.most_in_flight = self.in_flight
        self.most_in_flight_per_path = max(self._busy.values(), default=0)

    def statuses(self) -> dict[str, int]:
        """Count calls by status answered; `reset` counts the ones that got none."""
        return dict(self._statuses)

    @property
    def distinct_tokens(self) -> int:
        """How many different tokens were presented."""
        return len(self._tokens)

    @property
    def connections_used(self) -> int:
        """How many HTTP connections carried calls."""
        return len(self._connections)

    def duplicates(self) -> dict[str, int]:
        """Count, per path, the messages that took effect again with the same query and body."""
        seen: Counter[tuple[str, str, bytes]] = Counter(
            (entry.path, entry.query, entry.body)
            for entry in self._entries
            if entry.delivered and entry.method == "POST"
        )
        repeats: Counter[str] = Counter()
        for (path, _, _), times in seen.items():
            if times > 1:
                repeats[path] += times - 1
        return dict(repeats)

    def _count_in(self, entry: Entry) -> None:
        if entry.token:
            self._tokens.add(entry.token)
        if entry.connection:
            self._connections.add(entry.connection)
        self.in_flight += 1
        self._busy[entry.path] += 1
        entry.in_flight = self.in_flight
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.most_in_flight_per_path = max(self.most_in_flight_per_path, self._busy[entry.path])

    def _shorten(self) -> None:
        while len(self._entries) > self._most_entries or (self._bytes > self._most_bytes and len(self._entries) > 1):
            self._bytes -= len(self._entries.popleft().body)
