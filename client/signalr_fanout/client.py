"""The two clients, for threads and for asyncio. Both keep their connections and may be used by many callers at once.

A client is made once, for example as a global of a Functions app, and used for every request. Whether a request is
repeated is decided in `calls`; here it is sent and waited for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, Union

import httpx

from signalr_fanout.calls import Attempts, Call, JsonDefault, batch_call, negotiate_call
from signalr_fanout.items import CloseConnections, GroupAction, Item, Message
from signalr_fanout.results import Negotiation, SendResult

__version__ = "0.2.0"
Handling = Literal["", "strict", "lenient"]
Items = Union[Item, Sequence[Item]]
_USER_AGENT = f"signalr-fanout-client/{__version__}"
_NOTHING = SendResult(0, 0, 0, ())
_Client = TypeVar("_Client", bound="_Base[Any]")
_Http = TypeVar("_Http", httpx.Client, httpx.AsyncClient)
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60.0)


class _Base(Generic[_Http]):
    """What both clients have in common: how they are made, and which calls they send."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        deadline: float = 30.0,
        timeout: float = 10.0,
        json_default: JsonDefault = None,
    ) -> None:
        parsed = httpx.URL(url)
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ValueError(f"The URL of signalr-fanout must begin with http:// or https://, not {url!r}.")
        self._url = str(parsed).rstrip("/") + "/"
        self._has_key = bool(api_key)
        self._deadline = deadline
        self._timeout = timeout
        self._json_default = json_default
        self._http: _Http = self._open({"User-Agent": _USER_AGENT, **({"X-API-Key": api_key} if api_key else {})})

    @classmethod
    def from_environment(cls: type[_Client], **options: Any) -> _Client:  # noqa: PYI019 - Python 3.9 has no Self
        """Return a client for FANOUT_URL and FANOUT_API_KEY; `options` are those of the constructor."""
        return cls(os.environ["FANOUT_URL"], api_key=os.environ.get("FANOUT_API_KEY", ""), **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url}>"

    def _open(self, headers: dict[str, str]) -> _Http:
        raise NotImplementedError

    def _batch(self, hub: str, items: Items, idempotency_key: str, handling: Handling) -> Call | None:
        # The call for a batch, None when there is nothing to send.
        several = [items] if isinstance(items, (Message, GroupAction, CloseConnections)) else list(items)
        if not several:
            return None
        return batch_call(
            hub, several, idempotency_key=idempotency_key, handling=handling, json_default=self._json_default
        )

    def _attempts(self, call: Call, deadline: float | None) -> Attempts:
        chosen = self._deadline if deadline is None else deadline
        return Attempts(call, deadline=chosen, timeout=self._timeout, now=time.monotonic())


class Client(_Base[httpx.Client]):
    """A client for threads.

    `url` is the address of the ingress. `deadline` is the time in seconds that a call may take with all its attempts,
    `timeout` that of one attempt. `json_default` is called for arguments that `json` cannot write, as in `json.dumps`.
    """

    def _open(self, headers: dict[str, str]) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=headers, limits=_LIMITS)

    def send(
        self,
        hub: str,
        items: Items,
        *,
        idempotency_key: str = "",
        handling: Handling = "",
        deadline: float | None = None,
    ) -> SendResult:
        """Send items in order and return what became of them, once they are stored, or raise a FanoutError.

        One wrong item refuses all of them, unless `handling` is "lenient": then the others are queued, and the result
        names the rejected ones. "strict" refuses items that are only doubtful, too. `idempotency_key` makes this call
        a repeat of an earlier one with the same items.
        """
        call = self._batch(hub, items, idempotency_key, handling)
        return _NOTHING if call is None else SendResult.of(self._run(call, deadline))

    def negotiate(
        self,
        hub: str,
        *,
        user_id: str | None = None,
        claims: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Negotiation:
        """Return the URL and the token with which a SignalR client connects as `user_id`, or raise a FanoutError."""
        call = negotiate_call(hub, user_id, claims, has_key=self._has_key)
        document = self._run(call, deadline)
        return Negotiation(document["url"], document["accessToken"])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call, deadline: float | None) -> dict[str, Any]:
        attempts = self._attempts(call, deadline)
        while True:
            try:
                response = self._http.post(
                    call.path,
                    params=call.query,
                    headers=call.headers,
                    content=call.content,
                    timeout=attempts.timeout(time.monotonic()),
                )
            except httpx.HTTPError as error:
                wait = attempts.after_error(error, time.monotonic())
            else:
                outcome = attempts.after_response(response, time.monotonic())
                if isinstance(outcome, dict):
                    return outcome
                wait = outcome
            time.sleep(wait)


class AsyncClient(_Base[httpx.AsyncClient]):
    """A client for asyncio. Its methods and options are those of `Client`, awaited."""

    def _open(self, headers: dict[str, str]) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self._url, headers=headers, limits=_LIMITS)

    async def send(
        self,
        hub: str,
        items: Items,
        *,
        idempotency_key: str = "",
        handling: Handling = "",
        deadline: float | None = None,
    ) -> SendResult:
        """Send items in order and return what became of them, as `Client.send` does."""
        call = self._batch(hub, items, idempotency_key, handling)
        return _NOTHING if call is None else SendResult.of(await self._run(call, deadline))

    async def negotiate(
        self,
        hub: str,
        *,
        user_id: str | None = None,
        claims: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Negotiation:
        """Return the URL and the token with which a SignalR client connects, as `Client.negotiate` does."""
        call = negotiate_call(hub, user_id, claims, has_key=self._has_key)
        document = await self._run(call, deadline)
        return Negotiation(document["url"], document["accessToken"])

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call, deadline: float | None) -> dict[str, Any]:
        attempts = self._attempts(call, deadline)
        while True:
            try:
                response = await self._http.post(
                    call.path,
                    params=call.query,
                    headers=call.headers,
                    content=call.content,
                    timeout=attempts.timeout(time.monotonic()),
                )
            except httpx.HTTPError as error:
                wait = attempts.after_error(error, time.monotonic())
            else:
                outcome = attempts.after_response(response, time.monotonic())
                if isinstance(outcome, dict):
                    return outcome
                wait = outcome
            await asyncio.sleep(wait)
