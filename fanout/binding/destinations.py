"""Whom an item is for: the precedence of the binding, and the lists of this service.

Source: docs/sources.md, binding-precedence. Rules guarded:

1. Without a list the precedence of the binding holds: connectionId, userId, groupName, else everybody. A warning names
   what it passes over.
2. With any list (`connectionIds`, `userIds`, `groupNames`) everything that the item names is meant. The singular and
   the list of one kind are joined. Connections come first, then users, then groups, each in the order sent and once.
   A client that is reached twice, as a user and as a member of a group, gets the message twice.
3. An empty list is refused. Read as "nobody is named" it would become a broadcast.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from fanout.binding.names import check_id, problem_of
from fanout.binding.parsed import ItemWarning
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

_PLURALS: Final = frozenset(field.plural for field in DESTINATION_FIELDS)

Destination = tuple[Scope, str]


class Destinations(msgspec.Struct, frozen=True, gc=False):
    """Who is named, each once; empty when nobody is. `ignored` are the properties that the precedence passed over."""

    named: tuple[Destination, ...]
    ignored: tuple[str, ...] = ()

    def warnings(self, properties: Properties) -> tuple[ItemWarning, ...]:
        """Return one warning that names what the precedence passed over, () for nothing."""
        if not self.ignored:
            return ()
        names = " and ".join(self.ignored)
        detail = f"More than one scope is set: the {self.named[0][0].value} is addressed, {names} ignored."
        return (ItemWarning("severalScopes", detail, properties.pointer(self.ignored[0])),)


def destinations_of(properties: Properties, fields: Sequence[DestinationField], limit: int) -> Destinations:
    """Read who is addressed by `fields`. Raises BadRequestError for a bad name, an empty list, or more than `limit`."""
    values = properties.values
    if not _PLURALS.isdisjoint(values) and any(properties.given(field.plural) for field in fields):
        return _union(properties, fields, limit)
    named: list[Destination] = []
    ignored: list[str] = []
    for field in fields:
        if field.singular not in values or not (name := properties.name(field.singular)):
            continue
        if named:
            ignored.append(field.singular)
            continue
        if problem_of(field.scope, name):
            check_id(field.scope, name, properties.pointer(field.singular))
        named.append((field.scope, name))
    return Destinations(tuple(named), tuple(ignored))


def empty_address(properties: Properties) -> tuple[ItemWarning, ...]:
    """Return one warning when an item that names nobody has a property for a destination; () when it has none."""
    values = properties.values
    present = [name for field in DESTINATION_FIELDS for name in (field.singular, field.plural) if name in values]
    if not present:
        return ()
    verb = "is" if len(present) == 1 else "are"
    detail = f"{' and '.join(present)} {verb} empty, so the message goes to everybody."
    return (ItemWarning("emptyAddress", detail, properties.pointer(present[0])),)


def names_of(properties: Properties, field: DestinationField) -> tuple[str, ...]:
    """Return every name of one field, the singular first, each once; () when none is given."""
    one = properties.name(field.singular)
    many = properties.texts(field.plural)
    if many is None:
        many = ()
    elif not many:
        place = properties.pointer(field.plural)
        raise refuse("emptyList", f"{field.plural} is an empty list, so nobody is named.", place)
    if one is not None:
        check_id(field.scope, one, properties.pointer(field.singular))
    for index, name in enumerate(many):
        if problem_of(field.scope, name):
            check_id(field.scope, name, f"{properties.pointer(field.plural)}/{index}")
    return tuple(dict.fromkeys(many if one is None else (one, *many)))


def excluded_of(properties: Properties, scopes: Iterable[Scope], allowed: Iterable[Scope]) -> tuple[str, ...]:
    """Return the excluded connection ids. Raises `notAllowedHere` when one of `scopes` is not in `allowed`."""
    ids = properties.texts("excluded") or ()
    place = properties.pointer("excluded")
    for index, name in enumerate(ids):
        if problem_of(Scope.CONNECTION, name):
            check_id(Scope.CONNECTION, name, f"{place}/{index}")
    unfit = set(scopes).difference(allowed) if ids else ()
    if unfit:
        scope = min(unfit)
        raise refuse("notAllowedHere", f"Nobody can be excluded from what goes to a {scope.value}.", place)
    return tuple(dict.fromkeys(ids))


def too_many(count: int, limit: int, pointer: str = "") -> BadRequestError:
    """Build the refusal of more destinations than allowed."""
    return refuse("tooManyTargets", f"{count} destinations are named; one batch may have {limit}.", pointer)


def _union(properties: Properties, fields: Sequence[DestinationField], limit: int) -> Destinations:
    named = tuple((field.scope, name) for field in fields for name in names_of(properties, field))
    if len(named) > limit:
        raise too_many(len(named), limit)
    return Destinations(named)
