"""What readers of items share: the limits they obey, what they give, and the optional properties several kinds have.

Rule guarded: a property of ours that cannot be honoured on an item (`excluded` on a user message, a TTL on a
connection) is refused instead of dropped, because dropping it would change who gets what (functions-binding-contract
1.9); one that changes nothing is named in a warning.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from fanout.binding.names import check_id, problem_of
from fanout.binding.properties import Properties
from fanout.binding.refusals import refuse
from fanout.signalr.message import Item, Scope

MAX_MESSAGE_ID: Final = 128  # characters
_SHOWN: Final = 10  # unknown names a warning lists
_SHOWN_LENGTH: Final = 64  # and how much of each


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much one batch may hold; `max_message` is bytes, `endpoints` are the URLs this process delivers to."""

    max_items: int
    max_targets: int
    max_message: int
    endpoints: tuple[str, ...] = ()


class ItemContent(msgspec.Struct, frozen=True, gc=False):
    """The REST calls one item becomes, in order, and what its sender should know."""

    calls: tuple[Item, ...]
    warnings: tuple[str, ...] = ()


class ParsedItem(msgspec.Struct, frozen=True, gc=False):
    """An item that can be delivered: its calls in order, `fingerprint` of 16 bytes (b"" without a message id)."""

    index: int
    calls: tuple[Item, ...]
    message_id: str | None = None
    fingerprint: bytes = b""
    warnings: tuple[str, ...] = ()


def excluded_of(properties: Properties, scopes: Iterable[Scope], allowed: Iterable[Scope]) -> tuple[str, ...]:
    """Give the excluded connection ids; `notAllowedHere` when some of `scopes` cannot exclude anybody."""
    ids = properties.texts("excluded") or ()
    place = properties.pointer("excluded")
    for index, name in enumerate(ids):
        if problem_of(Scope.CONNECTION, name):
            check_id(Scope.CONNECTION, name, f"{place}/{index}")
    misfit = set(scopes).difference(allowed) if ids else ()
    if misfit:
        scope = min(misfit)
        raise refuse("notAllowedHere", f"Nobody can be excluded from what goes to a {scope.value}.", place)
    return tuple(dict.fromkeys(ids))


def forbid(properties: Properties, name: str, why: str) -> None:
    """Raise BadRequestError `notAllowedHere` when the property is given."""
    if name in properties.values and properties.given(name):
        raise refuse("notAllowedHere", why, properties.pointer(name))


def ignored(properties: Properties, *meaningless: str) -> tuple[str, ...]:
    """Give one warning that names the unknown properties, and those of `meaningless` that are given; () for none."""
    names = [properties.spelling.get(name, name) for name in meaningless if properties.given(name)]
    names.extend(name if len(name) <= _SHOWN_LENGTH else name[:_SHOWN_LENGTH] + "..." for name in properties.unknown)
    if not names:
        return ()
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (f"Properties that mean nothing here are ignored: {', '.join(names[:_SHOWN])}{more}.",)


def precedence(losers: tuple[str, ...], winner: Scope) -> tuple[str, ...]:
    """Give one warning that names the scopes the binding's precedence passes over; () for none."""
    if not losers:
        return ()
    return (f"More than one scope is set: the {winner.value} is addressed, {' and '.join(losers)} ignored.",)
