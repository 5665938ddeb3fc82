"""What the roles in a token allow: `fanout.send:orders_*`, or a role of any name that a setting gives a meaning. Pure.

A grant is a right and the hubs it holds for, as `send:orders_*`. A role `fanout.<grant>` is that grant. Any other role
means what FANOUT_JWT_ROLES says, `Orders.Writer=send:orders_* negotiate:orders_*`, and nothing where it says nothing.

Rules guarded: nobody gets a right or a hub by accident: both have to be named. A role that cannot be read gives
nothing, and takes nothing away.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fanout.quota import Limits, limits_of, parse_bytes, parse_rate
from service.callers.caller import ALL_HUBS, Caller, Right, check_pattern, hubs_of

PREFIX: Final = "fanout."
_MAX_ROLES: Final = 256  # roles of one token that are looked at
_LIMITS: Final = frozenset({"rate", "bytes"})
_EXPECTED: Final = "a grant is a right and a hub, as send:orders_* or read:*"

Grant = tuple[Right, str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a role means: what it allows, and how much its callers may send; "" for no limit of their own."""

    grants: Sequence[Grant]
    rate: str = ""
    size: str = ""


def parse_grant(text: str) -> Grant:
    """Read a grant; ValueError says what is wrong."""
    name, colon, pattern = text.partition(":")
    if not colon or name not in tuple(Right):
        raise ValueError(f"{text[:80]!r}: {_EXPECTED}; rights are {', '.join(Right)}")
    [hub] = hubs_of([pattern])
    return Right(name), hub


def parse_roles(entries: Iterable[str]) -> Mapping[str, Meaning]:
    """Read what roles mean, each as `ROLE=GRANT GRANT`, also `rate:100/s bytes:1MiB/s`; ValueError names a mistake."""
    roles: dict[str, Meaning] = {}
    for entry in entries:
        role, equals, text = entry.partition("=")
        role, words = role.strip(), text.split()
        if not equals or not role or not words:
            raise ValueError(f"{entry[:80]!r} is not ROLE=GRANT, where {_EXPECTED}")
        if role in roles:
            raise ValueError(f"the role {role[:80]!r} stands twice")
        roles[role] = _meaning(words)
    return MappingProxyType(roles)


def _meaning(words: Sequence[str]) -> Meaning:
    stated = {name: text for name, _, text in (word.partition(":") for word in words) if name in _LIMITS}
    grants = [parse_grant(word) for word in words if word.partition(":")[0] not in _LIMITS]
    for _right, hub in grants:
        check_pattern(hub)
    meaning = Meaning(grants, stated.get("rate", ""), stated.get("bytes", ""))
    limits_of(meaning.rate, meaning.size)
    return meaning


def roles_in(claims: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """Return the roles that stand in the named claims: a list of texts, or one text with spaces in between."""
    found: list[str] = []
    for name in names:
        value = claims.get(name)
        if isinstance(value, str):
            found += value.split()
        elif isinstance(value, list):
            found += [each for each in value if isinstance(each, str)]
    return found[:_MAX_ROLES]


def caller_with(name: str, roles: Iterable[str], meanings: Mapping[str, Meaning]) -> Caller:
    """Return the caller of this name with what its roles allow; of several limits the largest counts."""
    hubs: dict[Right, list[str]] = {}
    found = [meaning for role in roles if (meaning := _meaning_of(role, meanings))]
    for meaning in found:
        for right, hub in meaning.grants:
            hubs.setdefault(right, []).append(hub)
            if right is Right.ADMIN:
                hubs.setdefault(Right.READ, []).append(hub)
    grants = {right: _together(patterns) for right, patterns in hubs.items()}
    is_client = Right.NEGOTIATE not in grants  # then it is whoever the settings find in its request
    if all(patterns is ALL_HUBS for patterns in grants.values()):
        return Caller(name, frozenset(grants), is_client=is_client, limits=_limits_of(found))
    return Caller(name, frozenset(grants), (), is_client=is_client, grants=grants, limits=_limits_of(found))


def _meaning_of(role: str, meanings: Mapping[str, Meaning]) -> Meaning | None:
    if role in meanings:
        return meanings[role]
    if not role.startswith(PREFIX):
        return None
    try:
        return Meaning((parse_grant(role.removeprefix(PREFIX)),))
    except ValueError:
        return None


def _limits_of(meanings: Sequence[Meaning]) -> Limits | None:
    requests = [quota for meaning in meanings if (quota := parse_rate(meaning.rate))]
    sizes = [quota for meaning in meanings if (quota := parse_bytes(meaning.size))]
    limits = Limits(*(max(quotas, key=lambda each: each.rate, default=None) for quotas in (requests, sizes)))
    return None if limits == Limits() else limits


def _together(patterns: Sequence[str]) -> tuple[str, ...]:
    return ALL_HUBS if "*" in patterns else tuple(dict.fromkeys(patterns))
