"""What a request is asked before it is served: who sends it, for which hub, of which type and size, and its body.

Source: RFC 8259. What a caller may do is decided in `service/callers/caller.py`. Rules guarded, in this order:

1. Keys are compared as digests, in constant time. Without a key nobody is served, unless the settings say `none`: then
   requests of this machine are, addressed to a loopback name, not for a web page of another origin, and without any
   sign of a proxy. A loopback peer alone proves nothing: it may be a proxy, or a browser in which a page has rebound
   its own name to 127.0.0.1. A `Caller` carries rights, so another proof of identity is another way to make one.
2. Where the operator lists the hubs, a misspelt one is refused with the list, because its messages would reach nobody.
   `api` is not taken for a hub when clients negotiate: every client of a Functions app asks for it, because its URL
   ends in /api.
3. Only JSON in UTF-8 is read. text/plain is taken because Functions send strings so, and a body without a type because
   many small clients do; application/octet-stream is not, because at the service itself it means MessagePack. Bodies
   are not decompressed: a few bytes could become gigabytes.
4. No more than the limit is ever held (refused by Content-Length before a byte is read, and while streaming when there
   is none or it lies), nor for longer than the time limit (a byte now and then would hold memory and a socket for
   ever). A `ByteBudget` counts what all requests hold, and refuses what would not fit before the process is killed.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Protocol, Self

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from fanout.binding.names import check_hub
from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import (
    BadRequestError,
    BodyTooLargeError,
    OverloadedError,
    SlowBodyError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
)
from fanout.loopback import is_from_this_machine, is_of_no_other_origin
from fanout.secret import Secret
from fanout.settings import Settings
from service.callers.caller import EVERY_HUB, Caller, Right, digest_of
from service.callers.key_ring import KeyRing
from service.callers.tokens import TokenCallers

REQUEST_ID: Final = "fanout.request_id"
NOTED: Final = "fanout.audit"  # in a scope: what its line in the audit log says
_FUNCTIONS_PATH = "api"
_CHECKED_HUBS = 1000  # names, of at most 128 characters
_JSON = re.compile(r"application/([a-z0-9!#$&^_.\-]+\+)?json|text/json|text/plain", re.ASCII)
_REMEMBERED = 200  # characters; longer ones are looked at each time, so that nobody fills the memory with them
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})


# The request ---------------------------------------------------------------------------------------------------------


def request_id_of(scope: Scope) -> str:
    """Return the id of a request that passed the middleware."""
    return str(scope[REQUEST_ID])


def peer_of(scope: Scope) -> str:
    """Return the address that a request came from, "" where it has none."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else ""


class Deed(StrEnum):
    """What a request was, as the name of its event."""

    ACTED = "audit.acted"
    READ = "audit.read"
    NEGOTIATED = "audit.negotiated"


def note_caller(scope: Scope, deed: Deed, caller: str) -> None:
    """Note that a request is to have a line, and who sent it."""
    scope[NOTED] = deed, {"caller": caller}


def note(scope: Scope, **what: Any) -> None:
    """Note what a request was about; None says nothing."""
    if NOTED in scope:
        scope[NOTED][1].update({name: value for name, value in what.items() if value is not None})


class RequestScope:
    """A request that passed the middleware; `headers` are by lower-case name, with the first value as everywhere."""

    __slots__ = ("headers", "receive", "request_id", "scope")

    headers: Mapping[str, str]
    receive: Receive

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.request_id = request_id_of(scope)
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}

    @property
    def all_headers(self) -> Headers:
        """The headers with every value they were sent with."""
        return Headers(scope=self.scope)

    def path_param(self, name: str) -> str:
        """Return a part of the path, as the route names it."""
        params: Mapping[str, Any] = self.scope["path_params"]
        return str(params[name])


# Who calls -----------------------------------------------------------------------------------------------------------


_SEND_THE_KEY = "Send the API key as Authorization: Bearer <key>, or as X-API-Key."
KEY_HOLDER = Caller("api-key", frozenset(Right))
LOCAL = Caller("local", frozenset(Right))  # whoever can use this machine could as well read the key from it
KEYLESS = Caller("keyless", refusal=f"No API key was sent. {_SEND_THE_KEY}", is_client=True)
WRONG_TOKEN = Caller(
    "wrong-token",
    refusal=f"The token is not an API key of this service. {_SEND_THE_KEY}",
    code="wrongKey",
    is_client=True,  # it may be the application's own token, which a gateway in front has judged
)
LOCAL_PAGE = Caller(
    "local-page",
    refusal="A page of another origin may only negotiate, and only for the users that the settings find.",
    is_client=True,
)
FOREIGN = Caller(
    "foreign",
    refusal=f"{variable_of('auth')} is none, so only this machine is served: directly, under a loopback name, and not "
    "for a web page of another origin.",
)


class Guard:
    """Recognises callers by the digests of their keys."""

    def __init__(
        self,
        settings: Settings,
        ring: KeyRing | None = None,
        api_key: Secret | None = None,
        tokens: TokenCallers | None = None,
    ) -> None:
        """`ring` has the keys besides that of the settings; None where there are no others.

        `api_key` is that of the settings as it is now, which may be replaced. `tokens` is None where none are taken.
        """
        self._key = api_key or Secret(settings.api_key.get_secret_value())
        self._take_key()
        self._key.when_replaced(self._take_key)
        self._local = settings.auth == "none"
        self._ring = None if self._local else ring
        self._tokens = tokens
        others = bool(settings.api_keys_file or settings.api_keys or settings.jwt_issuers)
        self._takes_keys = self._digest is not None or (others and not self._local)

    def __repr__(self) -> str:
        return f"<Guard {'with a key' if self._digest else 'for this machine' if self._local else 'closed'}>"

    def warning(self) -> str:
        """Return why nobody can call, or what is wrong with the reading of keys; "" for nothing."""
        if self._ring is not None and self._digest is None and self._tokens is None and self._ring.is_empty:
            return "There is no API key, so nobody can call. Make one with `fanout keys create`."
        sources = (self._ring, self._tokens)
        return " ".join(text for source in sources if source is not None and (text := source.warning()))

    def _take_key(self) -> None:
        self._digest = digest_of(self._key.value.encode()) if self._key.value else None

    def caller_of(self, scope: Scope, headers: Mapping[str, str], origins: Collection[str] = ()) -> Caller:
        """Recognise the caller of a request; a wrong X-API-Key is refused at once.

        `origins` are those whose pages may negotiate, where that is asked for.
        """
        if self._takes_keys:
            return self._keyed(headers)
        if not (self._local and is_from_this_machine(scope, headers)):
            return FOREIGN
        if is_of_no_other_origin(headers):
            return LOCAL
        return LOCAL_PAGE if headers.get("origin") in origins else FOREIGN

    def _keyed(self, headers: Mapping[str, str]) -> Caller:
        presented = headers.get("x-api-key")
        if presented is not None:
            holder = self._holder(presented)
            if holder is None:
                raise UnauthorizedError("The X-API-Key is not an API key of this service.", label="wrongKey")
            return holder
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if not token or scheme.lower() != "bearer":
            return KEYLESS
        holder = self._holder(token)
        if holder is None and self._tokens is not None:
            holder = self._tokens.find(token)
        return holder or WRONG_TOKEN

    def _holder(self, presented: str) -> Caller | None:
        # Who holds a key. That of the settings comes first, because nothing else has to be asked then.
        # As `digest_of` makes it; ASGI decoded the key, so these are the caller's bytes.
        digest = hashlib.sha256(presented.encode("latin-1")).digest()
        if self._digest is not None and hmac.compare_digest(digest, self._digest):
            return KEY_HOLDER
        return None if self._ring is None else self._ring.find(presented, digest)

    def admit(self, request: Request, right: Right, hub: str = "") -> Caller:
        """Return the caller of a request when it has `right`, otherwise raise as `Caller.require`."""
        caller = self.caller_of(request.scope, request.headers)
        note_caller(request.scope, Deed.ACTED if right is Right.ADMIN else Deed.READ, caller.name)
        caller.require(right, hub)
        return caller

    async def admit_reader(self, request: Request) -> None:
        """Return when the caller may read of all hubs; for routes that take it as a dependency."""
        self.caller_of(request.scope, request.headers).require(Right.READ, EVERY_HUB)  # figures; who reads is not noted


# The hub -------------------------------------------------------------------------------------------------------------


class Hubs:
    """The hubs of this service; `hubs` "" in the settings means that any may be named."""

    def __init__(self, settings: Settings) -> None:
        self._known = settings.hubs
        self._default = settings.default_hub
        self._checked: dict[str, str] = {}  # names that may be used, in lower case; the first that were asked for

    def check(self, name: str) -> str:
        """Return the name of a hub in lower case; BadRequestError when it is not valid or not one of the list."""
        if name in self._checked:
            return self._checked[name]
        hub = check_hub(name)
        if self._known and hub not in self._known:
            raise BadRequestError(f"There is no hub {hub} here, only {', '.join(self._known)}.", label="unknownHub")
        if len(self._checked) < _CHECKED_HUBS:
            self._checked[name] = hub
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
    def headers(self) -> Mapping[str, str]: ...
    @property
    def receive(self) -> Receive: ...


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
