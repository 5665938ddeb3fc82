"""The `endpoints` property of an item: whether it selects the service this process delivers to.

Source: functions-binding-contract 1.4 and contract section 5. Null or missing selects every endpoint; a list selects
its intersection with what is configured. Where the binding sends to nobody in silence (an empty list, a list of
strangers) the item is refused. Endpoints are compared by URL alone, without trailing slash, default port and case of
the host; the binding's names and types are labels of a configuration that this service does not share.
"""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from fanout.binding.properties import Properties
from fanout.binding.refusals import refuse
from fanout.errors import BadRequestError

_elements = msgspec.json.Decoder(list[dict[str, Raw]])
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_TYPES: Final = frozenset({"", "primary", "secondary", "0", "1"})


def check_endpoints(properties: Properties, configured: tuple[str, ...]) -> tuple[str, ...]:
    """Give warnings, or raise BadRequestError when the item's `endpoints` are malformed or select nothing."""
    if not properties.given("endpoints"):
        return ()
    place = properties.pointer("endpoints")
    try:
        elements = _elements.decode(properties.values["endpoints"])
    except msgspec.ValidationError:
        raise refuse("invalidEndpoints", "endpoints must be an array of objects.", place) from None
    ours = _normalized(configured)
    chosen = [_url_of(element, f"{place}/{index}") for index, element in enumerate(elements)]
    strangers = sum(url not in ours for url in chosen)
    if strangers == len(chosen):
        problem = "names no endpoint that is configured here" if chosen else "is an empty list"
        raise refuse("noEndpointSelected", f"endpoints {problem}, so nothing would be sent.", place)
    return (f"{strangers} of the endpoints are not configured here and get nothing.",) if strangers else ()


def _url_of(element: dict[str, Raw], place: str) -> str:
    sent = {name.lower(): name for name in element}
    values = Properties({known: element[name] for known, name in sent.items()}, sent, ())
    try:
        kind = (values.text("endpointtype") or "").strip().lower()
        url = _normal(values.text("endpoint") or "")
    except BadRequestError as error:
        raise refuse("invalidEndpoints", str(error), place + error.pointer) from None
    except ValueError:
        url = ""
    if not url:
        raise refuse("invalidEndpoints", "Each of the endpoints needs an endpoint, its URL.", place)
    if kind not in _TYPES:
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
