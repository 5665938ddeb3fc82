"""An API key: how one is made, written down and recognised. Pure.

Rules guarded: what is kept is the digest of a key that has 256 random bits, so whoever reads it can neither send with
it nor guess it, and a slow hash would add nothing. The id in front of the secret finds the digest, so a key is compared
with one digest, in constant time. A key that cannot be read is never taken for one with more rights.
"""

import hashlib
import hmac
import re
from typing import Final

import msgspec

from service.callers.caller import Caller, Right, hubs_of, rights_of

PREFIX: Final = "fanout"
MAX_TEXT: Final = 16 * 1024  # bytes of one key as it is written down
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{12}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key as it is kept. `sha256` is of the whole key, in hex; times are unix seconds, `expires` None for never."""

    id: str
    name: str
    sha256: str
    rights: tuple[str, ...]
    hubs: tuple[str, ...]
    created: float
    expires: float | None = None

    @property
    def text(self) -> bytes:
        """The key as it is written down: one line of JSON."""
        return msgspec.json.encode(self)

    @property
    def caller(self) -> Caller:
        """Who holds it."""
        return Caller(self.name, rights_of(self.rights), hubs_of(self.hubs))

    def has_expired(self, now: float) -> bool:
        """Return whether it counts no longer, at this unix time."""
        return self.expires is not None and now >= self.expires

    def is_of(self, digest: bytes) -> bool:
        """Return whether this is the digest of the key."""
        return hmac.compare_digest(bytes.fromhex(self.sha256), digest)


def secret_of(key_id: str, random: str) -> str:
    """Return the key that its holder sends, from an id of 12 hex digits and a random text of 256 bits."""
    return f"{PREFIX}_{key_id}_{random}"


def id_in(presented: str) -> str:
    """Return the id of a key of this kind, "" for any other text."""
    prefix, _, rest = presented.partition("_")
    key_id, separator, secret = rest.partition("_")
    return key_id if prefix == PREFIX and separator and secret and _ID.fullmatch(key_id) else ""


def digest_of(key: bytes) -> bytes:
    """Return the digest under which a key is kept."""
    return hashlib.sha256(key).digest()


def parse(text: bytes) -> ApiKey:
    """Read a key as it is written down; ValueError says what is wrong and shows nothing of it."""
    try:
        key = msgspec.json.decode(text, type=ApiKey)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("it is not a key as `fanout keys create --print` writes it") from None
    check(key)
    return key


def check(key: ApiKey) -> None:
    """Raise ValueError when a key cannot be used."""
    if not _NAME.fullmatch(key.name):
        raise ValueError(
            "a name is 1 to 64 letters, digits, dots, dashes or underscores, and begins with none of these"
        )
    if not (_ID.fullmatch(key.id) and _DIGEST.fullmatch(key.sha256)):
        raise ValueError("it is not a key as `fanout keys create --print` writes it")
    try:
        rights_of(key.rights)
    except ValueError:
        raise ValueError(f"rights are {', '.join(Right)}") from None
    hubs_of(key.hubs)


def parse_file(content: bytes) -> dict[str, ApiKey]:
    """Read keys by id, one a line, without empty lines and those that begin with `#`. ValueError names the line."""
    found: dict[str, ApiKey] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            key = parse(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if key.id in found:
            raise ValueError(f"line {number}: the id {key.id} stands twice")
        found[key.id] = key
    return found
