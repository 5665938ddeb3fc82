"""Checks the property `endpoints` of an item: whether it selects the service this process delivers to.

Source: docs/sources.md, binding-items. Null or a missing property selects every endpoint, a list selects its
intersection with what is configured. Where the binding silently sends to nobody (an empty list, a list of unknown
endpoints) the item is refused. Endpoints are compared by URL, without trailing slash, default port and case of the
host. The names and types in the list are labels of a configuration that this service does not share.
"""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from fanout.binding.parsed import ItemWarning
from fanout.binding.properties import Properties
from fanout.binding.refusals import refuse
from fanout.errors import BadRequestError

_elements = msgspec.json.Decoder(list[dict[str, Raw]])
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_TYPES: Final = frozenset({"", "primary", "secondary", "0", "1"})


def check_endpoints(properties: Properties, configured: tuple[str, ...]) -> tuple[ItemWarning, ...]:
    """Return warnings, or raise BadRequestError when `endpoints` is malformed or selects nothing."""
    if not properties.given("endpoints"):
        return ()
    place = properties.pointer("endpoints")
    try:
        elements = _elements.decode(properties.values["endpoints"])
    except msgspec.ValidationError:
        raise refuse("invalidEndpoints", "endpoints must be an array of objects.", place) from None
    ours = _normalized(configured)
    chosen = [_url_of(element, f"{place}/{index}") for index, element in enumerate(elements)]
    unknown = sum(url not in ours for url in chosen)
    if unknown == len(chosen):
        problem = "names no endpoint that is configured here" if chosen else "is an empty list"
        raise refuse("noEndpointSelected", f"endpoints {problem}, so nothing would be sent.", place)
    if not unknown:
        return ()
    return (
        ItemWarning("unknownEndpoint", f"{unknown} of the endpoints are not configured here and get nothing.", place),
    )


def _url_of(element: dict[str, Raw], place: str) -> str:
    sent = {name.lower(): name for name in element}
    values = Properties({known: element[name] for known, name in sent.items()}, sent, ())
    try:
        endpoint_type = (values.text("endpointtype") or "").strip().lower()
        url = _normal(values.text("endpoint") or "")
    except BadRequestError as error:
        raise refuse("invalidEndpoints", str(error), place + error.pointer) from None
    except ValueError:
        url = ""
    if not url:
        raise refuse("invalidEndpoints", "Each element of endpoints needs an endpoint, the URL.", place)
    if endpoint_type not in _TYPES:
        raise refuse(
            "invalidEndpoints", "endpointType is Primary or Secondary.", place + values.pointer("endpointtype")
        )
    return url


@lru_cache(maxsize=8)
def _normalized(urls: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(_normal, urls))


def _normal(url: str) -> str:
    parts = urlsplit(url.strip())
    if not parts.hostname:
        return ""
    scheme = parts.scheme.lower()
    port = None if parts.port == _DEFAULT_PORTS.get(scheme) else parts.port
    return f"{scheme}://{parts.hostname}:{port or ''}{parts.path.rstrip('/')}"
