"""What the head of an answer says: its status, where its body ends, whether the connection may serve again. Pure.

Source: RFC 9112, sections 2.2, 4, 5, 6.3 (message body length) and 9.3 (persistence). Rule guarded: an answer whose
end two readers could place differently is refused, not interpreted, because whatever follows it would be taken for the
answer to the next request. One expression is the whole grammar: no folded lines, no bare CR or LF, no space before a
colon, no control characters. Content-Length is one plain number; Transfer-Encoding is exactly `chunked`, never beside a
length, never in HTTP/1.0. One match costs less than a callback per field, and fields nobody asks for stay unread.
"""

import re
from typing import Final, NamedTuple

UNTIL_CLOSE: Final = -1  # the end of the connection is the end of the body
CHUNKED: Final = -2  # chunks carry their own ends

_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*+)?\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_TELLING: Final = re.compile(rb"\n(content-length|transfer-encoding|connection|keep-alive):[\t ]*([^\r]*)")
_IDLE_PROMISE: Final = re.compile(rb"(?:^|,)[\t ]*timeout=([0-9]{1,9})[\t ]*(?:,|$)")
_BODILESS: Final = frozenset({204, 304})
FINAL: Final = 200  # statuses below are interim: another head follows
_SWITCHING: Final = 101
_STAYS: Final = (b"connection", b"keep-alive")
_MAX_DIGITS: Final = 18  # fits a signed 64-bit number; longer is an attack or a bug

Fields = list[tuple[bytes, bytes]]


class UnacceptableError(ValueError):
    """The head is refused; the text is the reason, without any value the server chose."""


class Head(NamedTuple):
    """What a head says.

    `length` is the body's in bytes, or CHUNKED or UNTIL_CLOSE; `lines` are the field lines as they came.

    `idle` is how many seconds the server promises to keep the connection unused, None for no promise.
    """

    status: int
    length: int
    keep_alive: bool
    idle: float | None
    lines: bytes


def read_head(text: bytes, method: str) -> Head:
    """Judge a whole head, from the status line to the empty line; raises UnacceptableError.

    `method` is the request's, because the answer to HEAD has no body whatever it says.
    """
    match = _HEAD.fullmatch(text)
    if match is None:
        raise UnacceptableError("the head is no HTTP/1.0 or HTTP/1.1 head")
    return _judged(match, method)


def find_head(data: bytes, method: str) -> tuple[Head, int] | None:
    """Give the head `data` starts with and its size, None while it is not whole or when it can never be one.

    Raises UnacceptableError as `read_head` does.
    """
    match = _HEAD.match(data)
    return None if match is None else (_judged(match, method), match.end())


def _judged(match: re.Match[bytes], method: str) -> Head:
    minor, digits, lines = match.groups()
    status = int(digits)
    telling: Fields = _TELLING.findall(match[0].lower())
    modern = minor == b"1"
    if modern and status >= FINAL and status not in _BODILESS and method != "HEAD":  # nearly every answer there is
        if _STAYS in telling:
            telling.remove(_STAYS)  # goes without saying
        if len(telling) == 1 and telling[0][0] == b"content-length":
            value = telling[0][1]
            length = int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else _plain_number(value)
            return Head(status, length, True, None, lines)
    if status == _SWITCHING:
        raise UnacceptableError("a switch of protocols that was not asked for")
    stated, options = _stated_length(telling, modern=modern), _options(telling)
    length = 0 if method == "HEAD" or status in _BODILESS or status < FINAL else stated
    keep_alive = length != UNTIL_CLOSE and b"close" not in options and (modern or b"keep-alive" in options)
    return Head(status, length, keep_alive, _idle(telling), lines)


def _stated_length(telling: Fields, *, modern: bool) -> int:
    lengths = [value for name, value in telling if name == b"content-length"]
    encodings = [value for name, value in telling if name == b"transfer-encoding"]
    if len(lengths) > 1:
        raise UnacceptableError("more than one Content-Length")
    if not encodings:
        return _plain_number(lengths[0]) if lengths else UNTIL_CLOSE
    if lengths:
        raise UnacceptableError("Transfer-Encoding beside Content-Length")
    if len(encodings) > 1 or encodings[0].strip() != b"chunked":
        raise UnacceptableError("a Transfer-Encoding other than chunked")
    if not modern:
        raise UnacceptableError("Transfer-Encoding in HTTP/1.0")
    return CHUNKED


def _plain_number(value: bytes) -> int:
    digits = value.rstrip()
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise UnacceptableError("a Content-Length that is no plain number")
    return int(digits)


def _options(telling: Fields) -> frozenset[bytes]:
    return frozenset(option.strip() for name, value in telling if name == b"connection" for option in value.split(b","))


def _idle(telling: Fields) -> float | None:
    for name, value in telling:
        if name == b"keep-alive" and (match := _IDLE_PROMISE.search(value)):
            return float(match[1])
    return None
