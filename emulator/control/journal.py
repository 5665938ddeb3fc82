"""The journal of REST calls in order of arrival, for tests and for people to look at.

Rules guarded: the journal is bounded in entries and in bytes, and removes the oldest first. It holds a token's SHA-256,
never the token. Sequence numbers continue after `clear`, so a reader that asks for entries `since` a number never
takes old ones for new ones.
"""

import hashlib
from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice

from emulator.http import Request
from fanout.clock import Clock


@dataclass(slots=True)
class JournalEntry:
    """One REST call.

    `monotonic`, `wall` and `answered` are seconds, `answered` on the monotonic clock. `connection` is the number of the
    TCP connection, 0 without a socket. `token` is the SHA-256 of the bearer token in hex, "" without one. `status` is
    None while the call is in flight, and stays None when its connection was reset. `delivered` is true when the call
    took effect, whatever the response was. `traceparent` is that header, "" without one.
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
    traceparent: str = ""
    body: bytes = b""
    status: int | None = None
    fault: str | None = None
    delivered: bool = False
    answered: float | None = None
    in_flight: int = 0


class Journal:
    """A bounded list of entries, with counts of what passed."""

    def __init__(self, clock: Clock, *, max_entries: int, max_bytes: int) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[JournalEntry] = deque()
        self._bytes = 0
        self._sequence = 0
        self._tokens: set[str] = set()
        self._connections: set[int] = set()
        self._statuses: Counter[str] = Counter()
        self._in_flight_by_path: Counter[str] = Counter()
        self.in_flight = 0
        self.max_in_flight = 0
        self.max_in_flight_per_path = 0

    def __repr__(self) -> str:
        return f"<Journal {len(self._entries)} of {self._sequence} calls, {self.in_flight} in flight>"

    def __len__(self) -> int:
        return len(self._entries)

    def start(self, request: Request, *, hub: str, connection: int, token: str) -> JournalEntry:
        """Record a call whose head has been read."""
        self._sequence += 1
        digest = hashlib.sha256(token.encode("latin-1")).hexdigest() if token else ""
        entry = JournalEntry(
            self._sequence,
            self._clock.monotonic(),
            self._clock.wall(),
            request.method,
            request.raw_path,
            request.raw_query,
            hub,
            connection,
            digest,
            request.header(b"traceparent"),
        )
        self._count(entry)
        self._entries.append(entry)
        self._trim()
        return entry

    def add_body(self, entry: JournalEntry, body: bytes) -> None:
        """Record the body of a call."""
        entry.body = body
        # While its body was read the entry may have been removed.
        if self._entries and entry.sequence >= self._entries[0].sequence:
            self._bytes += len(body)
            self._trim()

    def finish(self, entry: JournalEntry, status: int | None) -> None:
        """Record the status of a call, None when its connection was reset."""
        entry.status = status
        entry.answered = self._clock.monotonic()
        self._statuses["reset" if status is None else str(status)] += 1
        self.in_flight -= 1
        self._in_flight_by_path[entry.path] -= 1
        if not self._in_flight_by_path[entry.path]:
            del self._in_flight_by_path[entry.path]

    def entries(self, since: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """Return the entries after sequence number `since`, at most `limit` of them."""
        if not self._entries:
            return []
        start = max(0, since + 1 - self._entries[0].sequence)
        return list(islice(self._entries, start, None if limit is None else start + limit))

    def latest(self, count: int) -> list[JournalEntry]:
        """Return the last `count` entries, oldest first."""
        return list(islice(reversed(self._entries), count))[::-1]

    def clear(self) -> None:
        """Remove all entries and counts. Calls in flight stay counted."""
        self._entries.clear()
        self._bytes = 0
        self._tokens.clear()
        self._connections.clear()
        self._statuses.clear()
        self.max_in_flight = self.in_flight
        self.max_in_flight_per_path = max(self._in_flight_by_path.values(), default=0)

    def statuses(self) -> dict[str, int]:
        """Return the number of calls by status. Calls whose connection was reset count as `reset`."""
        return dict(self._statuses)

    @property
    def distinct_tokens(self) -> int:
        """The number of different tokens."""
        return len(self._tokens)

    @property
    def connections_used(self) -> int:
        """The number of TCP connections that carried calls."""
        return len(self._connections)

    def duplicates(self) -> dict[str, int]:
        """Return, by path, how many POSTs took effect again with the same query and body."""
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

    def _count(self, entry: JournalEntry) -> None:
        if entry.token:
            self._tokens.add(entry.token)
        if entry.connection:
            self._connections.add(entry.connection)
        self.in_flight += 1
        self._in_flight_by_path[entry.path] += 1
        entry.in_flight = self.in_flight
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.max_in_flight_per_path = max(self.max_in_flight_per_path, self._in_flight_by_path[entry.path])

    def _trim(self) -> None:
        while len(self._entries) > self._max_entries or (self._bytes > self._max_bytes and len(self._entries) > 1):
            self._bytes -= len(self._entries.popleft().body)
