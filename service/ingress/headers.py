"""Reads from the headers of a request how its batch is to be taken. Pure.

Sources: RFC 7240 (`Prefer: handling=lenient|strict`, of which the first mention counts) and the IETF draft of
Idempotency-Key, whose value may be 1 to 255 printable ASCII characters.
"""

import re
from collections.abc import Mapping

from starlette.datastructures import Headers

from fanout.errors import BadRequestError
from service.ingress.intake import BatchOptions, Handling

_HANDLINGS: Mapping[str, Handling] = {"strict": "strict", "lenient": "lenient"}
_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)


def options_of(headers: Headers, request_id: str) -> BatchOptions:
    """Return what a request asks for its batch. Raises BadRequestError for an Idempotency-Key that cannot be used."""
    handling = _handling(headers.getlist("prefer"))
    keys = headers.getlist("idempotency-key")
    if not keys:
        return BatchOptions(request_id, handling)
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise BadRequestError(
            "Send one Idempotency-Key of 1 to 255 printable ASCII characters.", label="invalidIdempotencyKey"
        )
    return BatchOptions(request_id, handling, keys[0])


def _handling(headers: list[str]) -> Handling:
    for preference in ",".join(headers).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "handling":
            return _HANDLINGS.get(value.strip().strip('"').lower(), "")
    return ""
