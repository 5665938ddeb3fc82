"""The JSON object of one item as the binding reads it: names without case, numbers as text, null as absent.

Source: docs/sources.md, binding-items. Rules guarded: a property that is repeated, in the same or another case, counts
with its last value, as in the binding's reader (Newtonsoft). A value stays raw bytes until it is asked for, and
`arguments` are never asked for. What is made for each item is a msgspec struct: a frozen dataclass costs six times as
much to make.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Raw

from fanout.binding.parsed import ItemWarning
from fanout.binding.refusals import refuse
from fanout.binding.suggestions import address_meant, property_meant

KNOWN: Final = frozenset(
    {
        "target", "arguments", "action", "connectionId", "userId", "groupName", "endpoints",  # of the binding
        "connectionIds", "userIds", "groupNames", "excluded", "messageId", "ttlSeconds", "reason",  # of this service
        "collapseKey", "delivery", "priority",
    }
)  # fmt: skip
_CANONICAL: Final = {name.lower(): name for name in KNOWN}
_Scalar = str | int | float | bool | None
_object = msgspec.json.Decoder(dict[str, Raw])
_scalar: msgspec.json.Decoder[_Scalar] = msgspec.json.Decoder(str | int | float | bool | None)
_scalars: msgspec.json.Decoder[list[_Scalar] | None] = msgspec.json.Decoder(
    list[str | int | float | bool | None] | None
)
_ELEMENT: Final = re.compile(r"\$\[(\d+)\]")
_FIXED_NOTATION: Final = range(-4, 15)  # decimal exponents that .NET writes without an E
_SHOWN: Final = 10  # names a warning lists
_SHOWN_LENGTH: Final = 64  # and characters of each


class Properties(msgspec.Struct, frozen=True, gc=False):
    """The known properties of an object by canonical name, their names as sent, and the names of unknown ones.

    `spelling` has only the names that were sent in another case.
    """

    values: dict[str, Raw]
    spelling: dict[str, str]
    unknown: tuple[str, ...]

    def pointer(self, name: str) -> str:
        """Return the JSON pointer of a property inside its object, as the sender spelled it."""
        return f"/{self.spelling.get(name, name)}"

    def given(self, name: str) -> bool:
        """Return whether the property is present and not null."""
        raw = self.values.get(name)
        return raw is not None and bytes(raw) != b"null"

    def text(self, name: str) -> str | None:
        """Return a string property, None when missing or null. Numbers and booleans become text as in the binding."""
        raw = self.values.get(name)
        if raw is None:
            return None
        try:
            value = _scalar.decode(raw)
        except msgspec.ValidationError:
            raise refuse("notAString", f"{name} must be a string.", self.pointer(name)) from None
        return value if value is None or type(value) is str else _text_of(value)

    def name(self, name: str) -> str | None:
        """Return an id or a group name. An empty string counts as absent, as in the binding."""
        return self.text(name) or None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return a list of strings, None when missing or null. The elements are converted as by `text`."""
        raw = self.values.get(name)
        if raw is None:
            return None
        try:
            values = _scalars.decode(raw)
        except msgspec.ValidationError as error:
            raise self._bad_list(name, str(error)) from None
        return None if values is None else tuple(map(_text_of, values))

    def forbid(self, name: str, why: str) -> None:
        """Raise BadRequestError `notAllowedHere` when the property is given.

        Dropping a property that cannot be honoured would change who gets what.
        """
        if name in self.values and self.given(name):
            raise refuse("notAllowedHere", why, self.pointer(name))

    def ignored(self, *names: str) -> tuple[ItemWarning, ...]:
        """Return one warning that names those of `names` that are given and change nothing here, () for none."""
        given = [self.spelling.get(name, name) for name in names if self.given(name)]
        if not given:
            return ()
        detail = f"Properties without a meaning on this item are ignored: {', '.join(given)}."
        return (ItemWarning("ignoredProperty", detail, f"/{given[0]}"),)

    def unknown_warning(self) -> ItemWarning:
        """Return the warning that names the unknown properties, of which there are some."""
        shown = [_shown(name) for name in self.unknown[:_SHOWN]]
        more = f" and {len(self.unknown) - _SHOWN} more" if len(self.unknown) > _SHOWN else ""
        detail = f"Unknown properties are ignored: {', '.join(shown)}{more}."
        return ItemWarning("unknownProperty", detail, pointer_to(self.unknown[0]))

    def check_addresses(self) -> None:
        """Raise BadRequestError `misnamedAddress` when an unknown property looks like the name of a destination."""
        for name in self.unknown:
            meant = address_meant(name)
            if meant:
                detail = f"{name} is not a property of an item. Did you mean {meant}?"
                raise refuse("misnamedAddress", detail, pointer_to(name))

    def _bad_list(self, name: str, problem: str) -> Exception:
        element = _ELEMENT.search(problem)
        if element is None:
            return refuse("notAList", f"{name} must be an array of strings.", self.pointer(name))
        place = f"{self.pointer(name)}/{element[1]}"
        return refuse("notAString", f"Each element of {name} must be a string.", place)


def pointer_to(name: str) -> str:
    """Return the JSON pointer of a property inside its object; that of the object for a name too long to repeat."""
    return "" if len(name) > _SHOWN_LENGTH else "/" + name.replace("~", "~0").replace("/", "~1")


def _shown(name: str) -> str:
    meant = property_meant(name)
    short = name if len(name) <= _SHOWN_LENGTH else f"{name[:_SHOWN_LENGTH]}..."
    return f"{short} (did you mean {meant}?)" if meant else short


def properties_of(raw: Raw) -> Properties:
    """Read a JSON object. Raises msgspec.ValidationError for any other JSON value."""
    values = _object.decode(raw)
    return Properties(values, {}, ()) if values.keys() <= KNOWN else _respelled(_in_order(values, raw))


def _in_order(sent: dict[str, Raw], raw: Raw) -> dict[str, Raw]:
    # Where a name comes in several spellings, the order of last places decides; a dict keeps that of first places.
    known = [lower for name in sent if (lower := name.lower()) in _CANONICAL]
    if len(set(known)) == len(known):
        return sent
    pairs: Sequence[tuple[str, object]] = json.loads(bytes(raw), object_pairs_hook=list)
    last = dict.fromkeys(name for name, _ in reversed(pairs))
    return {name: sent[name] for name in reversed(last)}


def _respelled(sent: Mapping[str, Raw]) -> Properties:
    values: dict[str, Raw] = {}
    spelling: dict[str, str] = {}
    unknown: list[str] = []
    for name, raw in sent.items():
        known = _CANONICAL.get(name.lower())
        if known is None:
            unknown.append(name)
        else:
            values[known] = raw
            spelling[known] = name
    return Properties(values, spelling, tuple(unknown))


def _text_of(value: _Scalar) -> str:
    # As .NET writes it with the invariant culture: True, 42, 1.5, 1E+20. Null becomes "", an absent name.
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return _float_text(value) if isinstance(value, float) else str(value)


def _float_text(value: float) -> str:
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    scale = len(digits) - 1 + int(exponent)
    if scale in _FIXED_NOTATION or not value:
        return f"{Decimal(repr(value)).normalize():f}"
    mantissa = "".join(map(str, digits))
    fraction = f".{mantissa[1:]}" if len(mantissa) > 1 else ""
    return f"{'-' if sign else ''}{mantissa[0]}{fraction}E{scale:+03d}"
