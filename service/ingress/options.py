"""What a request's headers say about how its batch is to be taken. Pure.

Sources: RFC 7240 (`Prefer: handling=lenient|strict`, the first mention counts) and the IETF draft of Idempotency-Key,
whose value is taken as it stands, 1 to 255 printable ASCII characters.
"""

import hashlib
import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from fanout.errors import BadRequestError

_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """`origin` starts the message ids that are made here; `key` is the Idempotency-Key, None without one."""

    origin: str
    lenient: bool = False
    key: str | None = None


def options_of(headers: Headers, hub: str, request_id: str) -> BatchOptions:
    """Read the options of a request; BadRequestError when the Idempotency-Key cannot be used.

    With a key the origin is made of it: a repeat is another request, and yet names the messages as they were stored.
    """
    lenient = _handling(headers.getlist("prefer")) == "lenient"
    keys = headers.getlist("idempotency-key")
    if not keys:
        return BatchOptions(request_id, lenient)
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise BadRequestError(
            "Send one Idempotency-Key of 1 to 255 printable ASCII characters.", label="invalidIdempotencyKey"
        )
    origin = hashlib.blake2b(f"{hub}\n{keys[0]}".encode(), digest_size=8).hexdigest()
    return BatchOptions(origin, lenient, keys[0])


def _handling(headers: list[str]) -> str:
    for preference in ",".join(headers).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "handling":
            return value.strip().strip('"').lower()
    return "strict"
