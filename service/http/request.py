"""A request, read without trusting it: its head, the hub it names, its type, its size and its body.

Source: RFC 9112, sections 3 (request line), 5 (fields) and 6 (message body); RFC 8259. Rules guarded, in this order:

1. A request whose end two readers could place differently is refused, because what follows it would be taken for
   another request. One expression is the whole grammar of a head: no folded lines, no bare CR or LF, no space before a
   colon, no control characters. An `Upgrade` is ignored, as RFC 9110 allows, and the body is read as usual.
2. Where the operator lists the hubs, a misspelt one is refused with the list, because its messages would reach nobody.
   `api` is not taken for a hub when clients negotiate: every client of a Functions app asks for it, because its URL
   ends in /api.
3. Only JSON in UTF-8 is read. text/plain is taken because Functions send strings so, and a body without a type because
   many small clients do; application/octet-stream is not, because at the service itself it means MessagePack. Bodies
   are not decompressed: a few bytes could become gigabytes.
4. No more than the limit is ever held (refused by Content-Length before a byte is read, and while streaming when there
   is none or it lies), nor for longer than the time limit (a byte now and then would hold memory and a socket for
   ever). What all requests hold at the same time is counted in a `ByteBudget`, which refuses what would not fit instead
   of having the process killed.
"""

import re
import string
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol, Self
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from fanout.binding.names import check_hub
from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import BadRequestError, BodyTooLargeError, OverloadedError, SlowBodyError, UnsupportedMediaTypeError
from fanout.settings import Settings

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
_FUNCTIONS_PATH = "api"
_JSON = re.compile(r"application/([a-z0-9!#$&^_.\-]+\+)?json|text/json|text/plain", re.ASCII)
_REMEMBERED = 200  # characters; longer ones are looked at each time, so that nobody fills the memory with them
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})
Fields = list[tuple[bytes, bytes]]


# The head ------------------------------------------------------------------------------------------------------------


class HeadError(ValueError):
    """The head is refused; the text says why, without any value of the sender."""


class Head(msgspec.Struct, frozen=True, gc=False):
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


# The hub -------------------------------------------------------------------------------------------------------------


class Hubs:
    """The hubs of this service; `hubs` "" in the settings means that any may be named."""

    def __init__(self, settings: Settings) -> None:
        self._known = settings.hubs
        self._default = settings.default_hub

    def check(self, name: str) -> str:
        """Return the name of a hub in lower case; BadRequestError when it is not valid or not one of the list."""
        hub = check_hub(name)
        if self._known and hub not in self._known:
            raise BadRequestError(f"There is no hub {hub} here, only {', '.join(self._known)}.", label="unknownHub")
        return hub

    def negotiated(self, name: str) -> str:
        """Return the hub that a client means; "" and `api` stand for the default one."""
        hub = check_hub(name) if name else ""
        if hub not in ("", _FUNCTIONS_PATH) or hub in self._known:
            return self.check(hub)
        if self._default:
            return self._default
        raise BadRequestError(
            "The address names no hub. A client whose URL ends in /api, as for Functions apps, means the default hub: "
            f"set {variable_of('default_hub')} to it, or list {_FUNCTIONS_PATH} in {variable_of('hubs')} if that is "
            "the name of a hub.",
            label="unknownHub",
        )


# The body ------------------------------------------------------------------------------------------------------------


def check_media_type(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedMediaTypeError unless the headers announce JSON in UTF-8, not compressed."""
    encoding, announced = headers.get("content-encoding", "identity"), headers.get("content-type", "")
    known = len(encoding) + len(announced) <= _REMEMBERED
    problem = (_media_problem if known else _media_problem.__wrapped__)(encoding, announced)
    if problem:
        raise UnsupportedMediaTypeError(problem)


class Sent(Protocol):
    """A request, as far as its body is concerned."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, by name in lower case."""

    @property
    def receive(self) -> Receive:
        """Where its body comes from."""


def announced_size(headers: Mapping[str, str], limit: int) -> int:
    """Return how many bytes a body may have: what its Content-Length says, or `limit` where it says nothing.

    Raises BodyTooLargeError when it is more than `limit`.
    """
    announced = headers.get("content-length", "")
    if not (announced.isascii() and announced.isdigit()):
        return 0 if "transfer-encoding" not in headers and not announced else limit
    if int(announced) > limit:
        raise _too_large(limit)
    return int(announced)


async def read_body(request: Sent, limit: int, *, clock: Clock | None = None, within: float | None = None) -> bytes:
    """Read a body of at most `limit` bytes that comes `within` seconds by `clock`; without a clock it has all time.

    Raises BodyTooLargeError past the limit, SlowBodyError past the time, ClientDisconnect when the client went away.
    """
    announced_size(request.headers, limit)
    if clock is None:
        return await _read(request.receive, limit)
    try:
        async with clock.timeout(within):
            return await _read(request.receive, limit)
    except TimeoutError:
        raise SlowBodyError(f"The body did not come within {within:g} seconds.") from None


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if chunk:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


@lru_cache(maxsize=256)
def _media_problem(encoding: str, announced: str) -> str:
    if encoding.strip().lower() != "identity":
        return "Send the body without Content-Encoding."
    media_type, _, parameters = announced.partition(";")
    if announced and not _JSON.fullmatch(media_type.strip().lower()):
        return "Send the body with Content-Type: application/json."
    return "" if _charset(parameters) in _CHARSETS else "Send the body in UTF-8."


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than {limit} bytes.")


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


# What all bodies take ------------------------------------------------------------------------------------------------


class ByteBudget:
    """Bytes that may be held at the same time. One holder alone may take more: else it could never be served."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def __repr__(self) -> str:
        return f"<ByteBudget {self.held} of {self.limit}>"

    def hold(self, size: int) -> "Holding":
        """Hold `size` bytes for as long as the `with` block of the result lasts, or raise OverloadedError."""
        holding = Holding(self)
        holding.resize(size)
        return holding


class Holding:
    """What one holder holds of a budget."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resize(0)

    def resize(self, size: int) -> None:
        """Hold `size` bytes from now on. Raise OverloadedError when that is more than before and does not fit."""
        budget = self._budget
        others = budget.held - self.size
        if size > self.size and others and others + size > budget.limit:
            raise OverloadedError(
                f"Requests of {others} bytes are being handled, and this one takes {size} of the {budget.limit} there "
                "are for all. Repeat it after Retry-After, or send smaller batches."
            )
        budget.held = others + size
        self.size = size
