"""One request to the service: what is sent, what an answer means, and whether to try again. Nothing here does I/O.

Rule guarded: only what cannot store an item twice is repeated. Every batch has an Idempotency-Key, and all attempts of
one call send the same key and the same bytes, so a lost answer, a time-out and a 503 can be repeated.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Optional
from urllib.parse import quote

import httpx

from signalr_fanout.errors import FailedItem, FanoutError, RefusedError, UnauthorizedError, UnavailableError
from signalr_fanout.items import Item

JsonDefault = Optional[Callable[[Any], Any]]
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_UNAUTHORIZED = frozenset({401, 403})
_OK = range(200, 300)
_CLIENT_ERRORS = range(400, 500)
_STORED = frozenset({"accepted", "duplicate"})
# What may have happened to a request without an answer. Other errors of httpx are mistakes in the request.
_NO_ANSWER = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
_FIRST_WAIT = 0.2
_MAX_WAIT = 5.0
_SPREAD = 0.1  # seconds, so that callers told the same Retry-After do not come back together
_LISTED = 3


@dataclass(frozen=True)
class Call:
    """One request, the same for every attempt. `items` are the ones in the body, for errors to name."""

    path: str
    headers: Mapping[str, str]
    content: bytes
    query: Mapping[str, str]
    items: tuple[Item, ...] = ()
    idempotency_key: str = ""


def batch_call(
    hub: str, items: Sequence[Item], *, idempotency_key: str, handling: str, json_default: JsonDefault
) -> Call:
    """Return the call that sends a batch; a key is made unless one is given."""
    key = idempotency_key or uuid.uuid4().hex
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if handling:
        headers["Prefer"] = f"handling={handling}"
    content = b"[" + b",".join(_encoded(index, item, json_default) for index, item in enumerate(items)) + b"]"
    return Call(f"v1/hubs/{quote(hub, safe='')}/messages", headers, content, {}, tuple(items), key)


def negotiate_call(hub: str, user_id: str | None, claims: Mapping[str, Any] | None, *, has_key: bool) -> Call:
    """Return the call that asks for a client's URL and token.

    Without an API key only the query can name the user: it is how `fanout dev` is asked.
    """
    if user_id == "":
        raise ValueError("user_id must not be empty. Leave it out for a client without a user.")
    document: dict[str, Any] = {} if claims is None else {"claims": dict(claims)}
    query = {"userId": user_id} if user_id is not None and not has_key else {}
    if user_id is not None and has_key:
        document["userId"] = user_id
    content = json.dumps(document, allow_nan=False).encode() if document else b""
    headers = {"Content-Type": "application/json"} if document else {}
    return Call(f"{quote(hub, safe='')}/negotiate", headers, content, query)


class Attempts:
    """The attempts of one call until its deadline. Times are those of a monotonic clock, in seconds."""

    def __init__(self, call: Call, *, deadline: float, timeout: float, now: float) -> None:
        self._call = call
        self._deadline = deadline
        self._ends = now + deadline
        self._timeout = timeout
        self._count = 0

    def timeout(self, now: float) -> float:
        """Return how long the next attempt may wait for the service."""
        return max(0.001, min(self._timeout, self._ends - now))

    def after_response(self, response: httpx.Response, now: float) -> dict[str, Any] | float:
        """Return the document of a success, or the seconds until the next attempt, or raise a FanoutError."""
        if response.status_code in _OK:
            return self._document(response)
        error = self._error(response)
        if response.status_code not in _TRY_AGAIN:
            raise error
        return self._wait(retry_after_of(response.headers.get("retry-after"), datetime.now(timezone.utc)), now, error)

    def after_error(self, error: httpx.HTTPError, now: float) -> float:
        """Return the seconds until the next attempt after a request without an answer, or raise a FanoutError."""
        text = f"No answer from {error.request.url.netloc.decode()}: {str(error) or type(error).__name__}"
        if not isinstance(error, _NO_ANSWER):
            raise FanoutError(text, idempotency_key=self._call.idempotency_key) from error
        return self._wait(None, now, UnavailableError(text, idempotency_key=self._call.idempotency_key))

    def _wait(self, retry_after: float | None, now: float, error: FanoutError) -> float:
        self._count += 1
        ceiling = min(_MAX_WAIT, _FIRST_WAIT * 2 ** (self._count - 1))
        earliest, spread = (0.0, ceiling) if retry_after is None else (retry_after, _SPREAD)
        wait = earliest + random.uniform(0, spread)  # noqa: S311 - jitter has to differ, not to be secret
        if now + wait >= self._ends:
            tries = f"{self._count} {'attempt' if self._count == 1 else 'attempts'}"
            error.args = (f"Given up after {tries}, the deadline is {self._deadline:g} s. {error}",)
            raise error
        return wait

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        document = _json_object(response)
        if document is None:
            raise FanoutError(f"{response.url} answered {response.status_code} with something that is not JSON.")
        return document

    def _error(self, response: httpx.Response) -> FanoutError:
        status, problem = response.status_code, _json_object(response) or {}
        items = tuple(_failed_items(problem, self._call.items))
        parts = [str(problem[name]) for name in ("title", "detail") if problem.get(name)]
        parts += [f"Item {each.index}: {each.detail}" for each in items[:_LISTED]]
        text = " ".join([f"{status}", *(part.rstrip(".") + "." for part in parts)])
        kind = _error_class(status)
        return kind(text, status=status, problem=problem, items=items, idempotency_key=self._call.idempotency_key)


def retry_after_of(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, None when it is missing or cannot be read."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    return max(0.0, (at - now).total_seconds()) if at.tzinfo else None


def _encoded(index: int, item: Item, json_default: JsonDefault) -> bytes:
    try:
        text = json.dumps(
            item.document(), default=json_default, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return text.encode()
    except (TypeError, ValueError) as error:  # also half a surrogate pair, which UTF-8 cannot carry
        raise ValueError(f"Item {index} cannot be written as JSON: {error}") from error


def _json_object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _error_class(status: int) -> type[FanoutError]:
    if status in _TRY_AGAIN:
        return UnavailableError
    if status in _UNAUTHORIZED:
        return UnauthorizedError
    return RefusedError if status in _CLIENT_ERRORS else FanoutError


def _failed_items(problem: Mapping[str, Any], items: Sequence[Item]) -> list[FailedItem]:
    """Return the items of a problem document: those in `errors`, and those in `results` that are not stored."""
    named = [each for each in problem.get("errors", ()) if "index" in each]
    named += [each for each in problem.get("results", ()) if each.get("status") not in _STORED]
    return [
        FailedItem(
            each["index"],
            items[each["index"]] if each["index"] < len(items) else None,
            each.get("code", ""),
            each.get("detail", ""),
            each.get("pointer", ""),
        )
        for each in named
    ]
