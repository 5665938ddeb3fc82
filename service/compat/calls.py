"""Turns a call to the service's REST API into the entry that is queued for it. Pure.

Rules guarded: a body is checked and never changed, so that what arrives is delivered as it came. What the service
itself does not read of a query is ignored here too. The application that a call names belongs to its destination and
goes with the hub.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from fanout.binding.action_item import MAX_MEMBERSHIP_TTL
from fanout.binding.names import check_application, check_id, check_uri
from fanout.binding.refusals import refuse
from fanout.errors import BadRequestError, BodyTooLargeError, UnsupportedMediaTypeError
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from service.compat.address import Address

BINARY: Final = "application/octet-stream"
_NEWEST: Final = "2024-12-01"
_REMEMBERED: Final = 200  # characters; nearly every call has the same query
_MAX_STREAM: Final = 100  # characters of a stream's id
_ARGUMENTS: Final = (b"[", b"n")  # an array or null; the decoder has judged the rest
_EXCLUDING: Final = frozenset({Scope.BROADCAST, Scope.GROUP})
_MEMBERSHIPS: Final = {
    "add_user": (Verb.ADD, Scope.USER), "remove_user": (Verb.REMOVE, Scope.USER),
    "remove_user_from_all": (Verb.REMOVE_ALL, Scope.USER), "add_connection": (Verb.ADD, Scope.CONNECTION),
    "remove_connection": (Verb.REMOVE, Scope.CONNECTION),
    "remove_connection_from_all": (Verb.REMOVE_ALL, Scope.CONNECTION),
}  # fmt: skip
WITH_BODY: Final = frozenset({"send", "stream_item"})


class _SdkPayload(msgspec.Struct, forbid_unknown_fields=True, rename="pascal", gc=False):
    """A body as the vendor's SDK writes it."""

    target: str
    arguments: msgspec.Raw = msgspec.Raw(b"null")


_sdk = msgspec.json.Decoder(_SdkPayload)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_any = msgspec.json.Decoder(msgspec.Raw)
_frames = msgspec.msgpack.Decoder(dict[str, bytes])


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a call that mean something here; names count in any case, the last value of each."""

    values: Mapping[str, str]
    excluded: tuple[str, ...] = ()

    @classmethod
    def parse(cls, raw: str) -> "Query":
        """Read an escaped query."""
        return _short_query(raw) if len(raw) <= _REMEMBERED else cls.read(raw)

    @classmethod
    def read(cls, raw: str) -> "Query":
        """Read an escaped query anew."""
        pairs = [(name.lower(), value) for name, value in parse_qsl(raw, keep_blank_values=True)]
        return cls(dict(pairs), tuple(value for name, value in pairs if name == "excluded" and value))

    def get(self, name: str) -> str:
        """Return a parameter, "" where it is missing."""
        return self.values.get(name, "")


@lru_cache(maxsize=256)
def _short_query(raw: str) -> Query:
    return Query.read(raw)


def version_of(address: Address, query: Query) -> str:
    """Return the api-version whose statuses a caller expects."""
    return "1.0" if address.v1 else query.get("api-version") or _NEWEST


def hub_with_application(hub: str, query: Query, configured: str) -> str:
    """Return the hub as it is stored: with its application where that is not the one that every call names anyway."""
    named = query.get("application")
    application = check_application(named) if named else ""
    return hub if application == configured else f"{application}/{hub}"


def item_of(address: Address, query: Query, body: bytes, content_type: str) -> Item:
    """Return what is queued for a call; BadRequestError says what is wrong with it in one sentence."""
    _check_names(address)
    item = _message(address, query, body, content_type) if address.operation in WITH_BODY else _action(address, query)
    check_uri(item)
    return item


def check_size(body: bytes, limit: int) -> None:
    """Raise BodyTooLargeError for a body that the service would refuse."""
    if len(body) > limit:
        raise BodyTooLargeError(f"The body has {len(body)} bytes, and the service takes {limit}.")


def destination_of(address: Address) -> tuple[Scope, str]:
    """Return whom a send or a close is for."""
    if address.connection:
        return Scope.CONNECTION, address.connection
    if address.user:
        return Scope.USER, address.user
    return (Scope.GROUP, address.group) if address.group else (Scope.BROADCAST, "")


def _check_names(address: Address) -> None:
    for scope, name in (
        (Scope.USER, address.user), (Scope.GROUP, address.group), (Scope.CONNECTION, address.connection),
    ):  # fmt: skip
        if name:
            check_id(scope, name)
    if len(address.stream) > _MAX_STREAM or address.stream.isspace():
        raise BadRequestError(f"The stream id must have 1 to {_MAX_STREAM} characters, not all white space.")


def _message(address: Address, query: Query, body: bytes, content_type: str) -> Message:
    scope, name = destination_of(address)
    if address.stream:
        _check_item(body, content_type)
        completion = "" if query.get("completed").lower() == "true" else None
        return Message(scope, name, body, stream=address.stream, completion=completion)
    binary = content_type.partition(";")[0].strip().lower() == BINARY
    (_check_frames if binary else _check_payload)(body)
    return Message(scope, name, body, query.excluded if scope in _EXCLUDING else (), binary=binary)


def _action(address: Address, query: Query) -> Item:
    scope, name = destination_of(address)
    if address.operation == "stream_complete":
        reason = query.get("reason") or query.get("error")
        return Message(scope, name, b"", stream=address.stream, completion=reason)
    if address.operation in _MEMBERSHIPS:
        verb, member_scope = _MEMBERSHIPS[address.operation]
        member = address.user if member_scope is Scope.USER else address.connection
        return GroupAction(verb, member_scope, member, address.group, _ttl(query) if address.user else None)
    excluded = () if scope is Scope.CONNECTION else query.excluded
    return CloseConnections(scope, name, query.get("reason"), excluded)


def _ttl(query: Query) -> int | None:
    text = query.get("ttl")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:12]) <= MAX_MEMBERSHIP_TTL):
        raise refuse("invalidTtl", f"ttl must be a whole number of seconds from 0 to {MAX_MEMBERSHIP_TTL}.")
    return int(text)


def _check_payload(body: bytes) -> None:
    """Accept `{"target":...,"arguments":[...]}` with its names in any case, or refuse it as BadRequestError."""
    try:
        payload = _sdk.decode(body)
        target, arguments = payload.target, bytes(payload.arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        target, arguments = _read_slowly(body)
    if not target:
        raise refuse("emptyTarget", "The target, the client method's name, is empty.")
    if not arguments.startswith(_ARGUMENTS):
        raise refuse("argumentsNotAnArray", "The arguments must be an array or null.")


def _read_slowly(body: bytes) -> tuple[str, bytes]:
    try:
        members = {name.lower(): bytes(value) for name, value in _object.decode(body).items()}
        return _text.decode(members.get("target", b'""')), members.get("arguments", b"null")
    except RecursionError:
        raise refuse("tooDeep", "The JSON of the body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = 'The body must be a JSON object with a string "target" and an array "arguments".'
        raise BadRequestError(detail) from None


def _check_item(body: bytes, content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() == BINARY:
        raise UnsupportedMediaTypeError("An item of a stream must be sent as application/json.")
    try:
        _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("The body must be the item of the stream as JSON.") from None


def _check_frames(body: bytes) -> None:
    try:
        frames: Mapping[str, bytes] = _frames.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        frames = {}
    if not frames:
        detail = "An application/octet-stream body must be a MessagePack map from names of hub protocols to messages."
        raise BadRequestError(detail)


def lanes_asked_about(address: Address) -> Sequence[Item]:
    """Return items whose lanes a question about a member or a group has to wait for."""
    items: list[Item] = []
    if address.user:
        items.append(GroupAction(Verb.REMOVE_ALL, Scope.USER, address.user))
    if address.connection:
        items.append(GroupAction(Verb.REMOVE_ALL, Scope.CONNECTION, address.connection))
    if address.group:
        items.append(GroupAction(Verb.ADD, Scope.USER, "", address.group))
    return items
