"""The hubs: who is connected, as which user, in which groups; and what the REST verbs do to that.

Source: contract 8.1 points 2, 3, 6, 7: hubs appear with their first client and compare without case (they are kept in
lower case); users, groups and connections compare with case; `excluded` counts everywhere. Nothing here waits: a REST
call takes effect whole before the next one starts.
"""

from collections.abc import Collection, Iterable

from emulator.client import Client
from emulator.outgoing import Outgoing
from emulator.user_groups import UserGroups
from fanout.clock import Clock

_NOBODY: dict[str, Client] = {}


class Hub:
    """One hub. Dictionaries go from connection id to client, in the order of connecting."""

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
        """Take a client in; it joins the groups its user belongs to by now."""
        self.connections[client.connection_id] = client
        if client.user_id is None:
            return
        self.users.setdefault(client.user_id, {})[client.connection_id] = client
        for group in self.memberships.groups_of(client.user_id, self._clock.monotonic()):
            self._join(client, group)

    def disconnect(self, client: Client) -> None:
        """Let a client go; its own memberships die with it."""
        if self.connections.pop(client.connection_id, None) is None:
            return
        if client.user_id is not None:
            _drop(self.users, client.user_id, client)
        for group in tuple(client.groups):
            self._leave(client, group)

    def everyone(self, excluded: Collection[str] = ()) -> list[Client]:
        """List all clients but the excluded connection ids."""
        return _without(self.connections, excluded)

    def user(self, user: str, excluded: Collection[str] = ()) -> list[Client]:
        """List a user's clients."""
        return _without(self.users.get(user, _NOBODY), excluded)

    def group(self, group: str, excluded: Collection[str] = ()) -> list[Client]:
        """List a group's clients."""
        return _without(self.groups.get(group, _NOBODY), excluded)

    def send(self, audience: Iterable[Client], message: Outgoing) -> None:
        """Hand `message` to every client of `audience`."""
        now = self._clock.monotonic()
        for client in audience:
            client.deliver(message, now)

    def close(self, audience: Iterable[Client], reason: str) -> None:
        """Close connections; they may reconnect."""
        for client in list(audience):
            self.disconnect(client)
            client.end(reason or None, allow_reconnect=True)

    def join(self, connection_id: str, group: str) -> bool:
        """Put one connection into a group; False when it does not exist."""
        client = self.connections.get(connection_id)
        if client is not None:
            self._join(client, group)
        return client is not None

    def leave(self, connection_id: str, group: str) -> bool:
        """Take one connection out of a group; False when the connection does not exist."""
        client = self.connections.get(connection_id)
        if client is not None:
            self._leave(client, group)
        return client is not None

    def leave_all(self, connection_id: str) -> None:
        """Take one connection out of all groups."""
        client = self.connections.get(connection_id)
        for group in tuple(client.groups) if client is not None else ():
            self.leave(connection_id, group)

    def add_user(self, user: str, group: str, ttl: int | None) -> None:
        """Put a user's clients of now and of the next `ttl` seconds into a group."""
        self.memberships.add(user, group, ttl, self._clock.monotonic())
        for client in self.user(user):
            self._join(client, group)

    def remove_user(self, user: str, group: str) -> None:
        """Take a user's clients out of a group, now and later."""
        self.memberships.remove(user, group)
        for client in self.user(user):
            self._leave(client, group)

    def remove_user_everywhere(self, user: str) -> None:
        """Take a user's clients out of all groups, now and later."""
        self.memberships.remove_all(user)
        for client in self.user(user):
            self.leave_all(client.connection_id)

    def is_member(self, user: str, group: str) -> bool:
        """Tell whether a client of the user is in the group, or the next one would be."""
        live = any(group in client.groups for client in self.users.get(user, _NOBODY).values())
        return live or self.memberships.contains(user, group, self._clock.monotonic())

    def _join(self, client: Client, group: str) -> None:
        client.groups.add(group)
        self.groups.setdefault(group, {})[client.connection_id] = client

    def _leave(self, client: Client, group: str) -> None:
        client.groups.discard(group)
        _drop(self.groups, group, client)


class Hubs:
    """All hubs by name, which is lower case and carries the application prefix."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hubs: dict[str, Hub] = {}

    def __repr__(self) -> str:
        return f"<Hubs {', '.join(self._hubs) or 'none'}>"

    def __getitem__(self, name: str) -> Hub:
        """Give a hub; one that nobody has connected to yet answers as an empty one."""
        hub = self._hubs.get(name)
        if hub is None:
            hub = self._hubs[name] = Hub(name, self._clock)
        return hub

    def all(self) -> list[Hub]:
        """List the hubs."""
        return list(self._hubs.values())

    def clients(self) -> list[Client]:
        """List the clients of all hubs."""
        return [client for hub in self._hubs.values() for client in hub.connections.values()]


def _without(clients: dict[str, Client], excluded: Collection[str]) -> list[Client]:
    if not excluded:
        return list(clients.values())
    return [client for connection_id, client in clients.items() if connection_id not in excluded]


def _drop(index: dict[str, dict[str, Client]], key: str, client: Client) -> None:
    clients = index.get(key, _NOBODY)
    clients.pop(client.connection_id, None)
    if not clients:
        index.pop(key, None)
