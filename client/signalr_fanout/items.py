"""What can be sent: messages, group actions, and the closing of connections.

Rule guarded: the address is always said. The ingress takes a message without one for a broadcast, so there is no
constructor that leaves it open, and an empty id is an error where it is written and not a message to everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Union

Ids = Union[str, Sequence[str]]
_NAMES = {"user": "userId", "group": "groupName", "connection": "connectionId"}


@dataclass(frozen=True)
class Message:
    """A call of a client method. Made by `to_all`, `to_user`, `to_group` and `to_connection`.

    `arguments` are any JSON values. The options that all of them take:

    * `message_id`: the caller's id; a repeat within the service's window is not sent again
    * `ttl`: seconds after which it is not sent any more
    * `collapse_key`: of those that wait for one destination under one key, only the latest is sent
    * `at_most_once`: after a lost answer, rather not sent than sent twice
    """

    address: dict[str, Any] = field(repr=False)
    target: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def to_all(
        cls,
        target: str,
        *arguments: Any,
        excluded: Sequence[str] = (),
        message_id: str | None = None,
        ttl: float | None = None,
        collapse_key: str | None = None,
        at_most_once: bool = False,
    ) -> Message:
        """Return a message to every connection of the hub except the `excluded` connection ids."""
        options = _options(message_id, ttl, collapse_key, at_most_once, excluded)
        return cls({}, target, arguments, options)

    @classmethod
    def to_user(
        cls,
        user_id: Ids,
        target: str,
        *arguments: Any,
        message_id: str | None = None,
        ttl: float | None = None,
        collapse_key: str | None = None,
        at_most_once: bool = False,
    ) -> Message:
        """Return a message to all connections of a user, or of several users."""
        options = _options(message_id, ttl, collapse_key, at_most_once)
        return cls(_address("user", user_id), target, arguments, options)

    @classmethod
    def to_group(
        cls,
        group: Ids,
        target: str,
        *arguments: Any,
        excluded: Sequence[str] = (),
        message_id: str | None = None,
        ttl: float | None = None,
        collapse_key: str | None = None,
        at_most_once: bool = False,
    ) -> Message:
        """Return a message to the connections of a group, or of several, except the `excluded` connection ids."""
        options = _options(message_id, ttl, collapse_key, at_most_once, excluded)
        return cls(_address("group", group), target, arguments, options)

    @classmethod
    def to_connection(
        cls,
        connection_id: Ids,
        target: str,
        *arguments: Any,
        message_id: str | None = None,
        ttl: float | None = None,
        collapse_key: str | None = None,
        at_most_once: bool = False,
    ) -> Message:
        """Return a message to one connection, or to several."""
        options = _options(message_id, ttl, collapse_key, at_most_once)
        return cls(_address("connection", connection_id), target, arguments, options)

    def __post_init__(self) -> None:
        """Refuse a message without a method name."""
        _check("The target, which is the name of the client method,", self.target)

    def document(self) -> dict[str, Any]:
        """Return the item as it is sent."""
        return {**self.address, "target": self.target, "arguments": list(self.arguments), **self.options}


@dataclass(frozen=True)
class GroupAction:
    """A change of the groups that a user or a connection is in. Made by `add`, `remove` and `remove_all`."""

    action: str
    member: dict[str, Any]
    groups: dict[str, Any] = field(default_factory=dict)
    ttl: int | None = None

    @classmethod
    def add(
        cls,
        group: Ids,
        *,
        user_id: Ids | None = None,
        connection_id: Ids | None = None,
        ttl: int | None = None,
    ) -> GroupAction:
        """Return the action that adds a user or a connection to a group; a user stays in it for `ttl` seconds."""
        return cls("add", _member(user_id, connection_id), _address("group", group), ttl)

    @classmethod
    def remove(cls, group: Ids, *, user_id: Ids | None = None, connection_id: Ids | None = None) -> GroupAction:
        """Return the action that removes a user or a connection from a group."""
        return cls("remove", _member(user_id, connection_id), _address("group", group))

    @classmethod
    def remove_all(cls, *, user_id: Ids | None = None, connection_id: Ids | None = None) -> GroupAction:
        """Return the action that removes a user or a connection from all groups."""
        return cls("removeAll", _member(user_id, connection_id))

    def document(self) -> dict[str, Any]:
        """Return the item as it is sent."""
        ttl = {} if self.ttl is None else {"ttlSeconds": self.ttl}
        return {**self.member, **self.groups, "action": self.action, **ttl}


@dataclass(frozen=True)
class CloseConnections:
    """The closing of connections. Made by `of_user`, `of_group` and `of_connection`."""

    address: dict[str, Any]
    reason: str = ""

    @classmethod
    def of_user(cls, user_id: Ids, *, reason: str = "") -> CloseConnections:
        """Return the item that closes the connections of a user, or of several users."""
        return cls(_address("user", user_id), reason)

    @classmethod
    def of_group(cls, group: Ids, *, reason: str = "") -> CloseConnections:
        """Return the item that closes the connections in a group, or in several."""
        return cls(_address("group", group), reason)

    @classmethod
    def of_connection(cls, connection_id: Ids, *, reason: str = "") -> CloseConnections:
        """Return the item that closes one connection, or several."""
        return cls(_address("connection", connection_id), reason)

    def document(self) -> dict[str, Any]:
        """Return the item as it is sent."""
        return {**self.address, "action": "closeConnection", **({"reason": self.reason} if self.reason else {})}


Item = Union[Message, GroupAction, CloseConnections]


def _address(kind: str, ids: Ids) -> dict[str, Any]:
    name = _NAMES[kind]
    if isinstance(ids, str):
        return {name: _check(name, ids)}
    several = [_check(name, each) for each in ids]
    if not several:
        raise ValueError(f"The list of {name}s is empty: it would address nobody.")
    return {f"{name}s": several}


def _member(user_id: Ids | None, connection_id: Ids | None) -> dict[str, Any]:
    if (user_id is None) == (connection_id is None):
        raise ValueError("Name either a user_id or a connection_id as the member.")
    return _address("user", user_id) if user_id is not None else _address("connection", connection_id or "")


def _check(what: str, text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}.")
    if not text:
        raise ValueError(f"{what} must not be empty.")
    return text


def _options(
    message_id: str | None,
    ttl: float | None,
    collapse_key: str | None,
    at_most_once: bool,
    excluded: Sequence[str] = (),
) -> dict[str, Any]:
    given = {
        "messageId": message_id,
        "ttlSeconds": ttl,
        "collapseKey": collapse_key,
        "delivery": "atMostOnce" if at_most_once else None,
        "excluded": ([excluded] if isinstance(excluded, str) else list(excluded)) or None,
    }
    return {name: value for name, value in given.items() if value is not None}
