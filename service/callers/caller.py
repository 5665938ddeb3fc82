"""A caller and what it may do: rights, and the hubs they hold for. Pure.

Rules guarded: this is the one place that decides whether a caller may do something. Who is unknown is told how to
become known (401); who is known and may not is told which right is missing, and for which hub (403). What concerns no
single hub needs a caller of all hubs. A pattern has at most one `*`, so that matching a name costs next to nothing and
nobody has to guess what it matches.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fanout.errors import FanoutError, ForbiddenError, UnauthorizedError

ALL_HUBS: Final = ("*",)
EVERY_HUB: Final = "*"  # in place of the name of a hub: what concerns all of them
_MAX_PATTERNS: Final = 64
_MAX_LENGTH: Final = 128  # characters of a pattern, and of a hub as a refusal repeats it


class Right(StrEnum):
    """What a caller may do."""

    SEND = "send"
    NEGOTIATE = "negotiate"  # get a client token for any user it names
    READ = "read"  # look at the queue, the metrics and the description of the API
    ADMIN = "admin"  # act on the queue; whoever may do that may also read


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; `name` is for logs and says how the caller was recognised.

    `hubs` are lower-case patterns. `refusal` is "" for known callers, otherwise what to do to become known; `code` is
    then the code of the refusal. `is_client` says whether a client may be negotiated for that the settings find a user
    for.
    """

    name: str
    rights: frozenset[Right] = frozenset()
    hubs: tuple[str, ...] = ALL_HUBS
    refusal: str = ""
    code: str = "unauthorized"
    is_client: bool = False

    def require(self, right: Right, hub: str = "") -> None:
        """Return when the caller has `right` on `hub`; otherwise raise what `refusal_of` returns.

        Without a hub it is enough to have the right on some hub; `EVERY_HUB` stands for what concerns all of them.
        """
        if right in self.rights and (self.hubs is ALL_HUBS or not hub):
            return
        refusal = refusal_of(self, right, hub)
        if refusal is not None:
            raise refusal


def refusal_of(caller: Caller, right: Right, hub: str = "") -> FanoutError | None:
    """Return why a caller may not use `right` on `hub`; None when it may."""
    if caller.refusal:
        return UnauthorizedError(caller.refusal, label=caller.code)
    where = "what concerns all hubs" if hub == EVERY_HUB else f"hub {hub[:_MAX_LENGTH].lower()}" if hub else "any hub"
    if right not in caller.rights:
        return ForbiddenError(f"The caller has no right to {right.value} here: it needs {right.value} for {where}.")
    if hub and not any(matches(pattern, hub.lower()) for pattern in caller.hubs):
        return ForbiddenError(
            f"The caller has the right {right.value}, and not for {where}: it has it for {', '.join(caller.hubs)}."
        )
    return None


def matches(pattern: str, hub: str) -> bool:
    """Return whether a pattern stands for a hub; only `*` stands for what concerns all hubs."""
    if hub == EVERY_HUB:
        return pattern == EVERY_HUB
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == hub
    return len(hub) >= len(before) + len(after) and hub.startswith(before) and hub.endswith(after)


def rights_of(names: Iterable[str]) -> frozenset[Right]:
    """Return rights by their names, with those that others include; ValueError for a name that is none."""
    rights = {Right(name) for name in names}
    if not rights:
        raise ValueError("name at least one right")
    return frozenset(rights | {Right.READ} if Right.ADMIN in rights else rights)


def hubs_of(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return patterns in lower case, `ALL_HUBS` where one stands for all; ValueError for one that is none."""
    hubs = tuple(dict.fromkeys(pattern.lower() for pattern in patterns))
    if not 1 <= len(hubs) <= _MAX_PATTERNS:
        raise ValueError(f"name 1 to {_MAX_PATTERNS} hubs")
    for pattern in hubs:
        if pattern.count("*") > 1 or not pattern or len(pattern) > _MAX_LENGTH or not pattern.isprintable():
            raise ValueError(f"{pattern[:_MAX_LENGTH]!r} is not a hub, nor a pattern with one *")
    return ALL_HUBS if EVERY_HUB in hubs else hubs
