"""The hubs: who is connected, as which user, in which groups, and what the REST calls change about that.

A hub exists as soon as it is named. Hub names are compared without case and kept in lower case; users, groups and
connections are compared with case. A membership of a user decides whether its FUTURE connections join a group; when it
expires, connections that are in the group stay. No method waits, so a REST call takes effect as a whole before the
next one begins. Source: docs/sources.md, emulator and limits.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from emulator.client import Client
from emulator.protocols.hub import HubMessage
from fanout.clock import Clock

YEAR = 365 * 24 * 3600.0
MAX_WITHOUT_TTL = 100
_NO_CLIENTS: dict[str, Client] = {}


@dataclass(frozen=True, slots=True)
class Membership:
    """A user belongs to a group until `expires`, a time on the clock that `now` is read from."""

    expires: float
    has_ttl: bool


class UserGroups:
    """Which users of one hub belong to which groups, and until when.

    A membership without a TTL lasts a year, and only the latest 100 of a user are kept. Each `add` replaces the TTL.
    """

    def __init__(self) -> None:
        self._by_user: dict[str, dict[str, Membership]] = {}

    def __repr__(self) -> str:
        return f"<UserGroups of {len(self._by_user)} users>"

    def add(self, user: str, group: str, ttl: int | None, now: float) -> None:
        """Store a membership for `ttl` seconds, None for the default. A `ttl` of 0 stores nothing."""
        groups = self._by_user.setdefault(user, {})
        groups.pop(group, None)
        if ttl != 0:
            groups[group] = Membership(now + (YEAR if ttl is None else ttl), has_ttl=ttl is not None)
        if ttl is None:
            _keep_newest(groups)
        if not groups:
            del self._by_user[user]

    def remove(self, user: str, group: str) -> None:
        """Remove one membership."""
        groups = self._by_user.get(user)
        if groups is None:
            return
        groups.pop(group, None)
        if not groups:
            del self._by_user[user]

    def remove_all(self, user: str) -> None:
        """Remove all memberships of a user."""
        self._by_user.pop(user, None)

    def contains(self, user: str, group: str, now: float) -> bool:
        """Return whether a connection that opens at `now` would join the group."""
        membership = self._by_user.get(user, {}).get(group)
        return membership is not None and now < membership.expires

    def groups_of(self, user: str, now: float) -> list[str]:
        """Return the groups that a connection joins when it opens at `now`. Expired memberships are removed."""
        groups = self._by_user.get(user)
        if groups is None:
            return []
        for group in [name for name, membership in groups.items() if membership.expires <= now]:
            del groups[group]
        if not groups:
            del self._by_user[user]
        return list(groups)


class Hub:
    """One hub. Its dictionaries map connection ids to clients, in the order in which they connected."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self.connections: dict[str, Client] = {}
        self.users: dict[str, dict[str, Client]] = {}
        self.groups: dict[str, dict[str, Client]] = {}
        self.memberships = UserGroups()

    def __repr__(self) -> str:
        return f"<Hub {self.name} {len(self.connections)} clients, {len(self.groups)} groups>"

    def connect(self, client: Client) -> None:
        """Add a client. It joins the groups that its user belongs to."""
        self.connections[client.connection_id] = client
        if client.user_id is None:
            return
        self.users.setdefault(client.user_id, {})[client.connection_id] = client
        for group in self.memberships.groups_of(client.user_id, self._clock.monotonic()):
            self._join(client, group)

    def disconnect(self, client: Client) -> None:
        """Remove a client and its own memberships."""
        if self.connections.pop(client.connection_id, None) is None:
            return
        if client.user_id is not None:
            _remove(self.users, client.user_id, client)
        for group in tuple(client.groups):
            self._leave(client, group)

    def everyone(self, excluded: Collection[str] = ()) -> list[Client]:
        """Return all clients except the excluded connection ids."""
        return _excluding(self.connections, excluded)

    def user(self, user: str, excluded: Collection[str] = ()) -> list[Client]:
        """Return a user's clients."""
        return _excluding(self.users.get(user, _NO_CLIENTS), excluded)

    def group(self, group: str, excluded: Collection[str] = ()) -> list[Client]:
        """Return a group's clients."""
        return _excluding(self.groups.get(group, _NO_CLIENTS), excluded)

    def send(self, clients: Iterable[Client], message: HubMessage) -> None:
        """Append `message` to the outbox of each client, or to none of them when it cannot be encoded for one."""
        now = self._clock.monotonic()
        frames = [(client, message.frame(client.protocol)) for client in clients if client.protocol is not None]
        for client, frame in frames:
            if frame is not None:
                client.write(frame, now)

    def close(self, clients: Iterable[Client], reason: str) -> None:
        """Close connections. Their clients may reconnect."""
        for client in list(clients):
            self.disconnect(client)
            client.close(reason or None, allow_reconnect=True)

    def join(self, connection_id: str, group: str) -> bool:
        """Add one connection to a group. Return False when the connection does not exist."""
        client = self.connections.get(connection_id)
        if client is not None:
            self._join(client, group)
        return client is not None

    def leave(self, connection_id: str, group: str) -> bool:
        """Remove one connection from a group. Return False when the connection does not exist."""
        client = self.connections.get(connection_id)
        if client is not None:
            self._leave(client, group)
        return client is not None

    def leave_all(self, connection_id: str) -> None:
        """Remove one connection from all groups."""
        client = self.connections.get(connection_id)
        for group in tuple(client.groups) if client is not None else ():
            self.leave(connection_id, group)

    def add_user(self, user: str, group: str, ttl: int | None) -> None:
        """Add a user's clients to a group, and those that connect in the next `ttl` seconds."""
        self.memberships.add(user, group, ttl, self._clock.monotonic())
        for client in self.user(user):
            self._join(client, group)

    def remove_user(self, user: str, group: str) -> None:
        """Remove a user's clients from a group, and end the membership."""
        self.memberships.remove(user, group)
        for client in self.user(user):
            self._leave(client, group)

    def remove_user_everywhere(self, user: str) -> None:
        """Remove a user's clients from all groups, and end all memberships."""
        self.memberships.remove_all(user)
        for client in self.user(user):
            self.leave_all(client.connection_id)

    def knows(self, user: str) -> bool:
        """Return whether a user has a connection or belongs to a group."""
        return user in self.users or bool(self.memberships.groups_of(user, self._clock.monotonic()))

    def is_member(self, user: str, group: str) -> bool:
        """Return whether a client of the user is in the group, or the next one would join it."""
        connected = any(group in client.groups for client in self.users.get(user, _NO_CLIENTS).values())
        return connected or self.memberships.contains(user, group, self._clock.monotonic())

    def _join(self, client: Client, group: str) -> None:
        client.groups.add(group)
        self.groups.setdefault(group, {})[client.connection_id] = client

    def _leave(self, client: Client, group: str) -> None:
        client.groups.discard(group)
        _remove(self.groups, group, client)


class Hubs:
    """All hubs by name: lower case, with the application as prefix."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hubs: dict[str, Hub] = {}

    def __repr__(self) -> str:
        return f"<Hubs {', '.join(self._hubs) or 'none'}>"

    def __getitem__(self, name: str) -> Hub:
        """Return a hub. One that was never named before is an empty hub."""
        hub = self._hubs.get(name)
        if hub is None:
            hub = self._hubs[name] = Hub(name, self._clock)
        return hub

    def all(self) -> list[Hub]:
        """Return all hubs."""
        return list(self._hubs.values())

    def clients(self) -> list[Client]:
        """Return the clients of all hubs."""
        return [client for hub in self._hubs.values() for client in hub.connections.values()]


def _excluding(clients: dict[str, Client], excluded: Collection[str]) -> list[Client]:
    if not excluded:
        return list(clients.values())
    return [client for connection_id, client in clients.items() if connection_id not in excluded]


def _remove(index: dict[str, dict[str, Client]], key: str, client: Client) -> None:
    clients = index.get(key, _NO_CLIENTS)
    clients.pop(client.connection_id, None)
    if not clients:
        index.pop(key, None)


def _keep_newest(groups: dict[str, Membership]) -> None:
    without_ttl = [name for name, membership in groups.items() if not membership.has_ttl]
    for name in without_ttl[:-MAX_WITHOUT_TTL]:
        del groups[name]
