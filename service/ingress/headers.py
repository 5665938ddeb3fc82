"""Reads from the headers of a request how its batch is to be taken. Pure.

Sources: RFC 7240 (`Prefer: handling=lenient|strict`, where the first mention of a preference counts) and the IETF draft
of Idempotency-Key. There the key is a string of RFC 9651, in quotation marks. Many callers send it without; both mean
the same key.
"""

import re
from collections.abc import Mapping

from starlette.datastructures import Headers

from fanout.errors import BadRequestError
from service.ingress.outcome import BatchOptions, Handling

_HANDLINGS: Mapping[str, Handling] = {"strict": "strict", "lenient": "lenient"}
_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_STRING = re.compile(r'"((?:[^"\\]|\\["\\])*+)"(?: *;.*)?')  # of RFC 9651, perhaps with parameters
_ESCAPED = re.compile(r'\\(["\\])')


def options_of(headers: Headers, request_id: str, caller: str) -> BatchOptions:
    """Return what a request asks for its batch. Raises BadRequestError for an Idempotency-Key that cannot be used."""
    preferences = _preferences(headers.getlist("prefer"))
    return BatchOptions(
        request_id,
        _HANDLINGS.get(preferences.get("handling", ""), ""),
        _key(headers.getlist("idempotency-key")),
        replace_surrogates=preferences.get("surrogates") == "replace",
        caller=caller,
    )


def _key(values: list[str]) -> str | None:
    if not values:
        return None
    quoted = _STRING.fullmatch(values[0])
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else values[0]
    if len(values) > 1 or not _KEY.fullmatch(key) or (key.startswith('"') and not quoted):
        raise BadRequestError(
            "Send one Idempotency-Key of 1 to 255 printable ASCII characters, best in quotation marks.",
            label="invalidIdempotencyKey",
        )
    return key


def _preferences(headers: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for preference in ",".join(headers).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    return found
