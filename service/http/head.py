"""Reads the head of a request. Pure: bytes in, a head or a refusal out.

Source: RFC 9112, sections 3 (request line), 5 (fields) and 6 (message body). Rule guarded: a request whose end two
readers could place differently is refused, because what follows it would be taken for another request. One expression
is the whole grammar: no folded lines, no bare CR or LF, no space before a colon, no control characters. An `Upgrade` is
ignored, as RFC 9110 allows, and the body is read as usual.
"""

import re
import string
from typing import Final, NamedTuple
from urllib.parse import unquote

CHUNKED: Final = -1  # as a length: chunks carry their own ends
MAX_HEAD: Final = 64 * 1024  # bytes
MAX_FIELDS: Final = 200

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_HEAD: Final = re.compile(
    rb"(" + _TOKEN + rb") ([!-~]++) HTTP/1\.([01])\r\n"
    rb"((?:" + _TOKEN + rb":[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_FIELD: Final = re.compile(rb"([^:\r\n]++):[\t ]*+([^\r]*+)\r\n")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*+", re.IGNORECASE)
# The fields that decide where a message ends, whether another may follow, and that must not be there twice.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"expect", b"host"})
_LETTERS: Final = frozenset(string.ascii_letters.encode())
_MAX_DIGITS: Final = 18  # fits a signed 64-bit number

Fields = list[tuple[bytes, bytes]]


class HeadError(ValueError):
    """The head is refused; the text says why, without any value of the sender."""


class Head(NamedTuple):
    """A head. `length` is the size of the body in bytes, or CHUNKED. Names of `fields` are in lower case."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    fields: Fields
    length: int
    keep_alive: bool
    expects_continue: bool


def read_head(text: bytes) -> Head:
    """Read a whole head, from the request line to the empty line; raises HeadError."""
    match = _HEAD.fullmatch(text)
    if match is None:
        raise HeadError("The head is not a valid HTTP/1.1 or HTTP/1.0 request.")
    method, target, minor, lines = match.groups()
    if lines.count(b"\n") > MAX_FIELDS:
        raise HeadError(f"The head has more than {MAX_FIELDS} header fields.")
    fields: Fields = [(name.lower(), value.rstrip(b"\t ")) for name, value in _FIELD.findall(lines)]
    modern = minor == b"1"
    framing = [field for field in fields if field[0] in _FRAMING]
    raw_path, _, query = _origin_form(target).partition(b"?")
    path = raw_path.decode("ascii")
    return Head(
        method=method.decode("ascii"),
        path=unquote(path) if "%" in path else path,
        raw_path=raw_path,
        query=query,
        version="1.1" if modern else "1.0",
        fields=fields,
        length=_length(framing, modern=modern),
        keep_alive=modern and b"close" not in _options(framing, b"connection"),
        expects_continue=modern and b"100-continue" in _options(framing, b"expect"),
    )


def cannot_become_head(text: bytes | bytearray) -> bool:
    """Return whether bytes without an empty line belong to another protocol, or have a line that ends without CR."""
    if not text or text == b"\r":
        return False
    if text[0] not in _LETTERS:
        return True
    end = text.find(b"\n")
    return end >= 0 and text[end - 1 : end] != b"\r"


def _options(framing: Fields, wanted: bytes) -> set[bytes]:
    return {option.strip() for name, value in framing if name == wanted for option in value.lower().split(b",")}


def _length(framing: Fields, *, modern: bool) -> int:
    names = [name for name, _ in framing]
    lengths = [value for name, value in framing if name == b"content-length"]
    encodings = [value for name, value in framing if name == b"transfer-encoding"]
    if names.count(b"host") > 1:
        raise HeadError("The head has more than one Host.")
    if not encodings:
        return _content_length(lengths) if lengths else 0
    if lengths:
        raise HeadError("The head has Transfer-Encoding and Content-Length.")
    if len(encodings) > 1 or encodings[0].lower() != b"chunked":
        raise HeadError("The only Transfer-Encoding that is read is chunked.")
    if not modern:
        raise HeadError("HTTP/1.0 has no Transfer-Encoding.")
    return CHUNKED


def _content_length(lengths: list[bytes]) -> int:
    value = lengths[0]
    if len(lengths) > 1 or not value.isdigit() or len(value) > _MAX_DIGITS:
        raise HeadError("Content-Length must be one plain number.")
    return int(value)


def _origin_form(target: bytes) -> bytes:
    if target.startswith(b"/") or target == b"*":
        return target
    match = _ABSOLUTE.match(target)
    if match is None:
        return b"/" + target  # CONNECT and other targets without a path: no route has such an address
    rest = target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest
