"""A small JSON object in a body, read strictly. Pure.

Rule guarded: a member nobody knows is refused with a pointer to it instead of passed over, because it may be one that
was misspelt; the sender is told what there may be.
"""

from collections.abc import Sequence

import orjson

from fanout.errors import BadRequestError


def object_of(body: bytes, members: Sequence[str], expected: str) -> dict[str, object]:
    """Read an object of these members; BadRequestError, with `expected` as what a body must be, for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise BadRequestError(f"The body must be {expected}.")
    for name in document:
        if name not in members:
            escaped = name.replace("~", "~0").replace("/", "~1")
            raise BadRequestError(f"The body may have {enumerated(members)}, nothing else.", pointer=f"/{escaped}")
    return document


def enumerated(names: Sequence[str]) -> str:
    """Name several, with an "and" before the last."""
    return f"{', '.join(names[:-1])} and {names[-1]}"
