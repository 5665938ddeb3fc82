"""Reads the property `endpoints` of an item: which of the endpoints that are delivered to it selects.

Source: docs/sources.md, binding-items. Null or a missing property selects every endpoint, a list selects its
intersection with what is configured. Where the binding silently sends to nobody (an empty list, a list of unknown
endpoints) the item is refused. An element with a URL is compared by that, without trailing slash, default port and case
of the host: its name and type are labels of a configuration that this service does not share. An element that is a
name, or has nothing but a name, is meant for this configuration, so a name that is not configured is a mistake.
"""

from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from fanout.binding.parsed import ItemWarning
from fanout.binding.properties import Properties
from fanout.binding.refusals import refuse
from fanout.errors import BadRequestError
from fanout.signalr.message import label_of

_elements = msgspec.json.Decoder(list[dict[str, Raw] | str])
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_TYPES: Final = frozenset({"", "primary", "secondary", "0", "1"})


class Selected(NamedTuple):
    """What an item selects: names of endpoints, None for all that are configured; and warnings for its sender."""

    names: tuple[str, ...] | None = None
    warnings: tuple[ItemWarning, ...] = ()


def select_endpoints(properties: Properties, urls: tuple[str, ...], names: tuple[str, ...] = ()) -> Selected:
    """Return what `endpoints` selects, or raise BadRequestError when it is malformed or selects nothing.

    `urls` are those of the configured endpoints and `names` what these are called.
    """
    if not properties.given("endpoints"):
        return Selected()
    place = properties.pointer("endpoints")
    try:
        elements = _elements.decode(properties.values["endpoints"])
    except msgspec.ValidationError:
        raise refuse("invalidEndpoints", "endpoints must be an array of objects or names.", place) from None
    ours = _normalized(urls)
    chosen = [_place_of(element, f"{place}/{index}", ours, names) for index, element in enumerate(elements)]
    found = sorted({position for position in chosen if position is not None})
    if not found:
        problem = "names no endpoint that is configured here" if chosen else "is an empty list"
        raise refuse("noEndpointSelected", f"endpoints {problem}, so nothing would be sent.", place)
    unknown = chosen.count(None)
    detail = f"{unknown} of the endpoints are not configured here and get nothing."
    warnings = (ItemWarning("unknownEndpoint", detail, place),) if unknown else ()
    return Selected(None if len(found) == len(ours) or not names else tuple(names[k] for k in found), warnings)


def _place_of(element: dict[str, Raw] | str, pointer: str, ours: tuple[str, ...], names: tuple[str, ...]) -> int | None:
    """Return which of the configured endpoints an element names, None for another one."""
    if isinstance(element, str):
        return _place_of_name(element, pointer, names)
    sent = {name.lower(): name for name in element}
    values = Properties({known: element[name] for known, name in sent.items()}, sent, ())
    try:
        endpoint_type = (values.text("endpointtype") or "").strip().lower()
        written, name = values.text("endpoint") or "", values.text("name") or ""
        url = _normal(written)
    except BadRequestError as error:
        raise refuse("invalidEndpoints", str(error), pointer + error.pointer) from None
    except ValueError:
        url = ""
    if endpoint_type not in _TYPES:
        raise refuse(
            "invalidEndpoints", "endpointType is Primary or Secondary.", pointer + values.pointer("endpointtype")
        )
    if not url and not written and name:
        return _place_of_name(name, pointer, names)
    if not url:
        raise refuse("invalidEndpoints", "Each element of endpoints needs an endpoint, the URL, or a name.", pointer)
    return ours.index(url) if url in ours else None


def _place_of_name(name: str, pointer: str, names: tuple[str, ...]) -> int:
    known = [label_of(each) for each in names]
    if name.lower() not in known:
        there_are = f"there are {', '.join(known)}" if known else "the only one has no name"
        raise refuse("invalidEndpoints", f"No endpoint {name!r:.60} is configured here; {there_are}.", pointer)
    return known.index(name.lower())


@lru_cache(maxsize=8)
def _normalized(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_normal, urls))


def _normal(url: str) -> str:
    parts = urlsplit(url.strip())
    if not parts.hostname:
        return ""
    scheme = parts.scheme.lower()
    port = None if parts.port == _DEFAULT_PORTS.get(scheme) else parts.port
    return f"{scheme}://{parts.hostname}:{port or ''}{parts.path.rstrip('/')}"
