"""Whom an item is for: the binding's precedence, and this service's lists.

Rules guarded. Without a list the binding's precedence holds: connectionId, userId, groupName, else everybody; the
losers are named in a warning (functions-binding-contract 1.7). With any list (`connectionIds`, `userIds`, `groupNames`)
everything the item names is meant: singular and list of one kind are joined, different kinds are all served,
connections first, then users, then groups, each in the order sent and once. An empty list is refused, because it would
otherwise read as "nobody named" and become a broadcast. A client reached twice (as user and as group member) gets two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from fanout.binding.names import check_id, problem_of
from fanout.binding.properties import Properties
from fanout.binding.refusals import refuse
from fanout.errors import BadRequestError
from fanout.signalr.message import Scope


@dataclass(frozen=True, slots=True)
class DestinationField:
    """A scope and the two properties that can name it."""

    scope: Scope
    singular: str
    plural: str


CONNECTIONS: Final = DestinationField(Scope.CONNECTION, "connectionId", "connectionIds")
USERS: Final = DestinationField(Scope.USER, "userId", "userIds")
GROUPS: Final = DestinationField(Scope.GROUP, "groupName", "groupNames")
DESTINATION_FIELDS: Final = (CONNECTIONS, USERS, GROUPS)  # in order of precedence
MEMBER_FIELDS: Final = (CONNECTIONS, USERS)

_PLURALS: Final = frozenset(kind.plural for kind in DESTINATION_FIELDS)

Destination = tuple[Scope, str]


class Destinations(msgspec.Struct, frozen=True, gc=False):
    """Who is named, without repeats; empty when nobody is. `ignored` are the properties that lost the precedence."""

    named: tuple[Destination, ...]
    ignored: tuple[str, ...] = ()


def destinations_of(properties: Properties, fields: Sequence[DestinationField], limit: int) -> Destinations:
    """Read who is addressed among `kinds`; raises BadRequestError for a bad name, an empty list or over `limit`."""
    values = properties.values
    if not _PLURALS.isdisjoint(values) and any(properties.given(kind.plural) for kind in fields):
        return _union(properties, fields, limit)
    named: list[Destination] = []
    ignored: list[str] = []
    for kind in fields:
        if kind.singular not in values or not (name := properties.name(kind.singular)):
            continue
        if named:
            ignored.append(kind.singular)
            continue
        if problem_of(kind.scope, name):
            check_id(kind.scope, name, properties.pointer(kind.singular))
        named.append((kind.scope, name))
    return Destinations(tuple(named), tuple(ignored))


def names_of(properties: Properties, kind: DestinationField) -> tuple[str, ...]:
    """Give every name of one kind, singular first, each once; () when none is given."""
    one = properties.name(kind.singular)
    many = properties.texts(kind.plural)
    if many is None:
        many = ()
    elif not many:
        raise refuse("emptyList", f"{kind.plural} is an empty list: nobody is named.", properties.pointer(kind.plural))
    if one is not None:
        check_id(kind.scope, one, properties.pointer(kind.singular))
    for index, name in enumerate(many):
        if problem_of(kind.scope, name):
            check_id(kind.scope, name, f"{properties.pointer(kind.plural)}/{index}")
    return tuple(dict.fromkeys(many if one is None else (one, *many)))


def too_many(count: int, limit: int, pointer: str = "") -> BadRequestError:
    """Make the refusal of an expansion that is over the limit."""
    return refuse("tooManyTargets", f"{count} destinations are named; one batch may have {limit}.", pointer)


def _union(properties: Properties, fields: Sequence[DestinationField], limit: int) -> Destinations:
    named = tuple((kind.scope, name) for kind in fields for name in names_of(properties, kind))
    if len(named) > limit:
        raise too_many(len(named), limit)
    return Destinations(named)
