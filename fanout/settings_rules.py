"""What the values of some settings may be. Pure.

Rule guarded: a value that can never match anything is refused at start, with the value that was probably meant; what is
only written differently is normalised. Each function raises ValueError, whose text follows the name of the setting.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

from fanout.errors import BadRequestError

MIN_KEY: Final = 16  # characters of an API key
MAX_CALLER: Final = 100  # characters of a caller's name
MAX_WEIGHT: Final = 1000  # of an endpoint
_WEIGHT: Final = re.compile(r"\d{1,4}(\.\d{1,3})?", re.ASCII)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~\-]+)+", re.ASCII)
_HOST: Final = re.compile(r"[a-z0-9.\-]+|[0-9a-f:.]+", re.ASCII)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_QUOTES: Final = ("'", '"')
_PLAIN_SOURCES: Final = ("principal-id", "principal-name", "query")
_NAMED_SOURCES: Final = ("token", "principal", "header", "query")
_CLOSE: Final = 0.65  # how much of two words is the same where one is a misspelling of the other: `uri` and `url`


def trim_key(text: str) -> str:
    """Return an API key without the white space and the pair of quotes around it."""
    key = text.strip()
    if len(key) > 1 and key[0] == key[-1] and key[0] in _QUOTES:
        key = key[1:-1].strip()
    return key


def check_key(text: str) -> str:
    """Return the trimmed key, "" for none."""
    key = trim_key(text)
    if key and len(key) < MIN_KEY:
        raise ValueError(f"must have at least {MIN_KEY} characters")
    if not key.isprintable():
        raise ValueError("must not contain control characters")
    return key


def normalize_origin(text: str) -> str:
    """Return an origin as browsers send it: lower case, without a default port and without a slash at the end."""
    origin = text.strip().lower()
    if origin == "*":
        raise ValueError("* is not supported, because clients send credentials: list each origin")
    if origin == "null":
        raise ValueError("null is the origin of many pages that have nothing in common, and cannot be listed")
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not an origin") from None
    if parts.scheme not in _DEFAULT_PORTS or "@" in parts.netloc or not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} is not an origin like https://app.example.com")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r} has a path; the origin is {parts.scheme}://{parts.netloc}")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}")


def check_header_name(name: str) -> str:
    """Return the name of a header in lower case."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    return name.lower()


def check_user_source(text: str) -> str:
    """Return a place where the user id of a client may come from, the name of a header in lower case."""
    kind, colon, name = text.partition(":")
    if kind == "header" and name:
        return f"{kind}:{check_header_name(name)}"
    if (not colon and kind in _PLAIN_SOURCES) or (name and kind in _NAMED_SOURCES):
        return text
    known = ", ".join([*_PLAIN_SOURCES, *(f"{kind}:<name>" for kind in _NAMED_SOURCES)])
    raise ValueError(f"{text!r} is none of {known}")


def check_peers(peers: Iterable[str], sources: Iterable[str]) -> tuple[str, ...]:
    """Return addresses as networks; sources that are headers need some, because anybody can send a header."""
    networks = tuple(each if each == "*" else _network(each) for each in peers)
    believed = [source for source in sources if not source.startswith(("query", "token:"))]
    if believed and not networks:
        raise ValueError(
            f"name the addresses of the gateways whose headers are believed, because {believed[0]} is a header and "
            "anybody can send one; * believes everybody"
        )
    return networks


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text!r} is not an address or a network like 10.0.0.0/8") from None


def check_claim(name: str) -> str:
    """Return the name of a claim that may go into the token of a client."""
    if name.lower().startswith("asrs.s."):
        raise ValueError(f"{name!r} steers the service and cannot come from a client")
    return name


def weights_of(texts: Iterable[str]) -> dict[str, float]:
    """Return the weights of endpoints by name in lower case, from texts like `east=3`."""
    weights: dict[str, float] = {}
    for place, text in enumerate(texts, start=1):
        name, _equals, number = (part.strip() for part in text.partition("="))
        if not name or not _WEIGHT.fullmatch(number) or float(number) > MAX_WEIGHT:
            # It may be a connection string, and is not repeated.
            raise ValueError(f"number {place} is not a name and a weight from 0 to {MAX_WEIGHT} like east=3")
        if name.lower() in weights:
            raise ValueError(f"number {place} is a second weight of one endpoint; names count in any case")
        weights[name.lower()] = float(number)
    return weights


def check_prefix(text: str) -> str:
    """Return a path without a slash at the end, "" for none."""
    path = text.rstrip("/")
    if path and not _PATH.fullmatch(path):
        raise ValueError("must be a path like /signalr")
    return path


def check_caller(name: str) -> str:
    """Return the name of a caller."""
    if not 1 <= len(name) <= MAX_CALLER or not name.isprintable():
        raise ValueError(f"{name[:MAX_CALLER]!r} is not the name of a caller: 1 to {MAX_CALLER} printable characters")
    return name


def check_name(check: Callable[[str], str], name: str) -> str:
    """Return what a check of the binding returns; its refusal becomes that of the setting."""
    try:
        return check(name)
    except BadRequestError as error:
        raise ValueError(str(error)) from None


def setting_meant(name: str, known: Iterable[str]) -> str:
    """Return the setting of which `name` is a misspelling or a part, "" where none is or several could be.

    Word by word, because most names share a word with others that have nothing to do with them: `send_timeout` is not
    `body_timeout`.
    """
    words = [word for word in name.lower().split("_") if word]
    spelled = {each: each.split("_") for each in known}
    for fits in (_same_letters, _is_misspelt, _is_part):
        found = [each for each, parts in spelled.items() if fits(words, parts)]
        if found:
            return found[0] if len(found) == 1 else ""
    return ""


def _same_letters(words: list[str], known: list[str]) -> bool:
    return "".join(words) == "".join(known)


def _is_misspelt(words: list[str], known: list[str]) -> bool:
    return len(words) == len(known) and all(
        difflib.SequenceMatcher(None, *pair).ratio() >= _CLOSE for pair in zip(words, known, strict=True)
    )


def _is_part(words: list[str], known: list[str]) -> bool:
    return bool(words) and any(known[at : at + len(words)] == words for at in range(len(known)))
