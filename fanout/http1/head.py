"""Reads the head of an answer: its status, where its body ends, whether the connection may serve again. Pure.

Source: RFC 9112, sections 2.2, 4, 5, 6.3 (message body length) and 9.3 (persistence). Rule guarded: an answer whose
end two readers could place differently is refused, because what follows it would be taken for the next answer. One
expression is the whole grammar: no folded lines, no bare CR or LF, no space before a colon, no control characters.
Content-Length is one plain number. Transfer-Encoding is exactly `chunked`, never beside a length, never in HTTP/1.0.
One match costs less than a callback for each header.
"""

import re
from typing import Final, NamedTuple

UNTIL_CLOSE: Final = -1  # the end of the connection is the end of the body
CHUNKED: Final = -2  # chunks carry their own ends

_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*+)?\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_FRAMING_HEADERS: Final = re.compile(rb"\n(content-length|transfer-encoding|connection|keep-alive):[\t ]*([^\r]*)")
_IDLE_PROMISE: Final = re.compile(rb"(?:^|,)[\t ]*timeout=([0-9]{1,9})[\t ]*(?:,|$)")
_BODILESS: Final = frozenset({204, 304})
FIRST_FINAL_STATUS: Final = 200  # statuses below are interim: another head follows
_SWITCHING: Final = 101
_KEEP_ALIVE: Final = (b"connection", b"keep-alive")
_MAX_DIGITS: Final = 18  # fits a signed 64-bit number; longer is an attack or a bug

Fields = list[tuple[bytes, bytes]]


class FramingError(ValueError):
    """The framing of an answer is refused. The text is the reason, without any value the server chose."""


class Head(NamedTuple):
    """A head, read. `length` is that of the body in bytes, or CHUNKED or UNTIL_CLOSE. `lines` are the header lines.

    `idle_timeout` is how many seconds the server promises to keep the idle connection open, None without a promise.
    """

    status: int
    length: int
    keep_alive: bool
    idle_timeout: float | None
    lines: bytes


def read_head(text: bytes, method: str) -> Head:
    """Read a whole head, from the status line to the empty line; raises FramingError.

    `method` is that of the request: the answer to HEAD has no body, whatever its head says.
    """
    match = _HEAD.fullmatch(text)
    if match is None:
        raise FramingError("the head is not an HTTP/1.0 or HTTP/1.1 head")
    return _interpret(match, method)


def find_head(data: bytes, method: str) -> tuple[Head, int] | None:
    """Return the head that `data` starts with and its size, None when it is incomplete or is no head.

    Raises FramingError as `read_head`.
    """
    match = _HEAD.match(data)
    return None if match is None else (_interpret(match, method), match.end())


def _interpret(match: re.Match[bytes], method: str) -> Head:
    minor, digits, lines = match.groups()
    status = int(digits)
    framing: Fields = _FRAMING_HEADERS.findall(match[0].lower())
    modern = minor == b"1"
    if modern and status >= FIRST_FINAL_STATUS and status not in _BODILESS and method != "HEAD":  # nearly every answer
        if _KEEP_ALIVE in framing:
            framing.remove(_KEEP_ALIVE)  # the default
        if len(framing) == 1 and framing[0][0] == b"content-length":
            value = framing[0][1]
            length = int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else _content_length(value)
            return Head(status, length, True, None, lines)
    if status == _SWITCHING:
        raise FramingError("a switch of protocols that was not requested")
    stated, options = _body_length(framing, modern=modern), _options(framing)
    length = 0 if method == "HEAD" or status in _BODILESS or status < FIRST_FINAL_STATUS else stated
    keep_alive = length != UNTIL_CLOSE and b"close" not in options and (modern or b"keep-alive" in options)
    return Head(status, length, keep_alive, _idle_timeout(framing), lines)


def _body_length(framing: Fields, *, modern: bool) -> int:
    lengths = [value for name, value in framing if name == b"content-length"]
    encodings = [value for name, value in framing if name == b"transfer-encoding"]
    if len(lengths) > 1:
        raise FramingError("more than one Content-Length")
    if not encodings:
        return _content_length(lengths[0]) if lengths else UNTIL_CLOSE
    if lengths:
        raise FramingError("Transfer-Encoding beside Content-Length")
    if len(encodings) > 1 or encodings[0].strip() != b"chunked":
        raise FramingError("a Transfer-Encoding other than chunked")
    if not modern:
        raise FramingError("Transfer-Encoding in HTTP/1.0")
    return CHUNKED


def _content_length(value: bytes) -> int:
    digits = value.rstrip()
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise FramingError("a Content-Length that is not a plain number")
    return int(digits)


def _options(framing: Fields) -> frozenset[bytes]:
    return frozenset(option.strip() for name, value in framing if name == b"connection" for option in value.split(b","))


def _idle_timeout(framing: Fields) -> float | None:
    for name, value in framing:
        if name == b"keep-alive" and (match := _IDLE_PROMISE.search(value)):
            return float(match[1])
    return None
