"""A caller: what it may do, for which hubs, and the API key by which it is known. Pure.

Rules guarded:

- This is the one place that decides whether a caller may do something. Who is unknown is told how to become known
  (401); who is known and may not is told which right is missing, and for which hub (403). What concerns no single hub
  needs a caller of all hubs. A pattern has at most one `*`, so that matching a name costs next to nothing and nobody
  has to guess what it matches.
- What is kept of a key is the digest of a text with 256 random bits, so whoever reads it can neither send with it nor
  guess it, and a slow hash would add nothing. The id in front of the secret finds the digest, so a key is compared with
  one digest, in constant time. A key that cannot be read is never taken for one with more rights.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from fanout.errors import FanoutError, ForbiddenError, UnauthorizedError
from fanout.quota import Limits, limits_of

ALL_HUBS: Final = ("*",)
EVERY_HUB: Final = "*"  # in place of the name of a hub: what concerns all of them
MAX_TEXT: Final = 16 * 1024  # bytes of one key as it is written down
_MAX_PATTERNS: Final = 64
_COULD_BE_A_HUB: Final = re.compile(r"[a-z*][a-z0-9_`,.\[\]/*]*")  # `/` stands behind the name of an application
_MAX_LENGTH: Final = 128  # characters of a pattern, and of a hub as a refusal repeats it
_KEY_PREFIX: Final = "fanout"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_KEY_ID: Final = re.compile(r"[0-9a-f]{12}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


# What a caller may do ------------------------------------------------------------------------------------------------


class Right(StrEnum):
    """What a caller may do."""

    SEND = "send"
    NEGOTIATE = "negotiate"  # get a client token for any user it names
    READ = "read"  # look at the queue, the metrics and the description of the API
    ADMIN = "admin"  # act on the queue; whoever may do that may also read


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; `name` is for logs and says how the caller was recognised.

    `hubs` are lower-case patterns. `grants` has them by right, where they differ; `hubs` is empty then. `refusal` is ""
    for known callers, otherwise what to do to become known; `code` is then the code of the refusal. `is_client` says
    whether a client may be negotiated for that the settings find a user for. `limits` are those of its own, if any.
    """

    name: str
    rights: frozenset[Right] = frozenset()
    hubs: tuple[str, ...] = ALL_HUBS
    refusal: str = ""
    code: str = "unauthorized"
    is_client: bool = False
    grants: Mapping[Right, tuple[str, ...]] | None = None
    limits: Limits | None = None
    everywhere: frozenset[Right] = field(init=False, repr=False, compare=False)  # the rights it has on every hub

    def __post_init__(self) -> None:
        object.__setattr__(self, "everywhere", self.rights if self.hubs is ALL_HUBS else frozenset[Right]())

    def require(self, right: Right, hub: str = "") -> None:
        """Return when the caller has `right` on `hub`; otherwise raise what `refusal_of` returns.

        Without a hub it is enough to have the right on some hub; `EVERY_HUB` stands for what concerns all of them.
        """
        if right in self.everywhere or (right in self.rights and not hub):
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
        return ForbiddenError(
            f"The caller {caller.name} has no right to {right.value} here: it needs {right.value} for {where}."
        )
    hubs = caller.hubs if caller.grants is None else caller.grants[right]
    if hub and not any(matches(pattern, hub.lower()) for pattern in hubs):
        return ForbiddenError(
            f"The caller {caller.name} has the right {right.value}, and not for {where}: it has it for "
            f"{', '.join(hubs)}."
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


def check_pattern(pattern: str) -> None:
    """Raise ValueError for a pattern of no hub that could be."""
    if _COULD_BE_A_HUB.fullmatch(pattern) is None:
        raise ValueError(
            f"No hub can be called {pattern!r}: names start with a letter and have letters, digits and _ ` , . [ ]"
        )


# API keys ------------------------------------------------------------------------------------------------------------


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A key as it is kept. `sha256` is of the whole key, in hex; times are unix seconds, `expires` None for never.

    `rate` and `size` are the limits of its holder, as `100/s` and `1MiB/s`, "" for none. An ingress that does not know
    them does not take the key.
    """

    id: str
    name: str
    sha256: str
    rights: tuple[str, ...]
    hubs: tuple[str, ...]
    created: float
    expires: float | None = None
    rate: str = ""
    size: str = ""

    @property
    def text(self) -> bytes:
        """The key as it is written down: one line of JSON."""
        return msgspec.json.encode(self)

    @property
    def caller(self) -> Caller:
        """Who holds it."""
        limits = limits_of(self.rate, self.size)
        return Caller(self.name, rights_of(self.rights), hubs_of(self.hubs), limits=limits)

    def has_expired(self, now: float) -> bool:
        """Return whether it counts no longer, at this unix time."""
        return self.expires is not None and now >= self.expires

    def is_of(self, digest: bytes) -> bool:
        """Return whether this is the digest of the key."""
        return hmac.compare_digest(bytes.fromhex(self.sha256), digest)


def secret_of(key_id: str, random: str) -> str:
    """Return the key that its holder sends, from an id of 12 hex digits and a random text of 256 bits."""
    return f"{_KEY_PREFIX}_{key_id}_{random}"


def id_in(presented: str) -> str:
    """Return the id of a key of this kind, "" for any other text."""
    prefix, _, rest = presented.partition("_")
    key_id, separator, secret = rest.partition("_")
    return key_id if prefix == _KEY_PREFIX and separator and secret and _KEY_ID.fullmatch(key_id) else ""


def digest_of(key: bytes) -> bytes:
    """Return the digest under which a key is kept."""
    return hashlib.sha256(key).digest()


def parse_key(text: bytes) -> ApiKey:
    """Read a key as it is written down; ValueError says what is wrong and shows nothing of it."""
    try:
        key = msgspec.json.decode(text, type=ApiKey)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("it is not a key as `fanout keys create --print` writes it") from None
    check_key(key)
    return key


def check_key(key: ApiKey) -> None:
    """Raise ValueError when a key cannot be used."""
    if not _NAME.fullmatch(key.name):
        raise ValueError(
            "a name is 1 to 64 letters, digits, dots, dashes or underscores, and begins with a letter or digit"
        )
    if not (_KEY_ID.fullmatch(key.id) and _DIGEST.fullmatch(key.sha256)):
        raise ValueError("it is not a key as `fanout keys create --print` writes it")
    try:
        rights_of(key.rights)
    except ValueError:
        raise ValueError(f"rights are {', '.join(Right)}") from None
    for pattern in hubs_of(key.hubs):
        check_pattern(pattern)
    try:
        limits_of(key.rate, key.size)
    except ValueError as error:
        raise ValueError(f"a limit {error}") from None


def parse_keys(content: bytes) -> dict[str, ApiKey]:
    """Read keys by id, one a line, without empty lines and those that begin with `#`. ValueError names the line."""
    found: dict[str, ApiKey] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            key = parse_key(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if key.id in found:
            raise ValueError(f"line {number}: the id {key.id} stands twice")
        found[key.id] = key
    return found
