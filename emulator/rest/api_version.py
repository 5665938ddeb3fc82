"""Which api-versions exist, and which status each operation answers under them. Pure.

Source: contract 2.2: the same operation answered 202, 200 and 204 over the years, and callers that compared with one
exact code broke. Versions are dates, so they compare as text; v1 has no api-version and counts as `1.0`.
"""

import re

from emulator.refusal import V1, invalid

OLDEST = "2020-10-01"
NEWEST = "2024-12-01"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SETTLED = "2022-06-01"  # since this one statuses have not changed
_RELAXED = "2023-07-01"  # removing a missing connection from a group stopped being an error


def check_api_version(text: str, *, strict: bool) -> str:
    """Give the version to answer as; without `strict` a missing or odd one counts as the settled one."""
    if _DATE.fullmatch(text) and OLDEST <= text <= NEWEST:
        return text
    if not strict:
        return _SETTLED
    if not text:
        raise invalid("The query parameter 'api-version' is required.", "api-version")
    raise invalid(f"The api-version '{text}' is not supported: {OLDEST} to {NEWEST} are.", "api-version")


def added_user(version: str) -> int:
    """Status of adding a user to a group."""
    return 200 if version >= _SETTLED and version != V1 else 202


def removed_user(version: str) -> int:
    """Status of removing a user from a group."""
    if version == V1:
        return 202
    return 204 if version >= _SETTLED else 200


def removed_user_everywhere(version: str) -> int:
    """Status of removing a user from all groups."""
    return 204 if version >= _SETTLED and version != V1 else 200


def closed_connection(version: str) -> int:
    """Status of closing one connection."""
    return 202 if version == V1 else 200


def missing_member_is_error(version: str) -> bool:
    """Tell whether removing a connection that does not exist from a group answers 404."""
    return version == V1 or version < _RELAXED
