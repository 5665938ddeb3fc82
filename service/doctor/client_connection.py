"""A real client of the service: negotiates, connects by WebSocket and returns the messages it receives.

Source: docs/sources.md, client-tokens: negotiate version 1, with the connection token in `id`. In the JSON hub protocol
records end with 0x1E; type 1 is an invocation, 6 a ping, 7 a close. Rules guarded: the token travels in a header, never
in a URL. Messages of other applications or of another doctor on the same hub are ignored, because they do not carry the
nonce of this run.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx
import msgspec
from msgspec import Raw
from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from fanout.clock import Clock
from service.doctor.findings import CheckFailedError, printable

METHOD: Final = "fanoutDoctor"
_END: Final = "\x1e"
_HANDSHAKE: Final = '{"protocol":"json","version":1}' + _END
_INVOCATION, _CLOSE = 1, 7
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Negotiation:
    """What negotiate returns to a client, its user, and how many seconds the client waits for anything."""

    url: str
    token: str = field(repr=False)
    user: str
    nonce: str
    timeout: float


class _NegotiateAnswer(msgspec.Struct, rename="camel"):
    connection_id: str
    connection_token: str = ""


class _Record(msgspec.Struct):
    type: int = 0
    target: str = ""
    arguments: Raw = Raw(b"[]")
    error: str = ""


_negotiate_answer = msgspec.json.Decoder(_NegotiateAnswer)
_record = msgspec.json.Decoder(_Record)
_strings = msgspec.json.Decoder(list[Raw])
_text = msgspec.json.Decoder(str)


def body_of(nonce: str, marker: str, more: bytes = b"") -> bytes:
    """Return the REST body of a message that clients of this run receive as `marker`; `more` are further arguments."""
    head = msgspec.json.encode([nonce, marker])[:-1]
    return b'{"target":"%b","arguments":%b%b]}' % (METHOD.encode(), head, b"," + more if more else b"")


class ClientConnection:
    """One connected client after its handshake."""

    def __init__(self, socket: WebSocket, connection_id: str, negotiation: Negotiation, clock: Clock) -> None:
        self._socket = socket
        self._negotiation = negotiation
        self._clock = clock
        self._records: deque[str] = deque()
        self.connection_id = connection_id
        self.user = negotiation.user

    def __repr__(self) -> str:
        return f"<ClientConnection of {self.user}>"

    async def receive(self, *markers: str) -> bytes:
        """Receive messages, which must be these in this order, and return the arguments of the last one as sent.

        Raises CheckFailedError that says what arrived instead.
        """
        received: list[str] = []
        arguments = b""
        try:
            async with self._clock.timeout(self._negotiation.timeout):
                for marker in markers:
                    found, arguments = await self._next()
                    received.append(found)
                    if found != marker:
                        break
        except TimeoutError:
            missing = markers[len(received)]
            raise CheckFailedError(
                f"{printable(missing)!r} did not arrive in {self._negotiation.timeout:g} s."
            ) from None
        if received != list(markers):
            expected = markers[len(received) - 1]
            raise CheckFailedError(f"{printable(received[-1])!r} arrived where {printable(expected)!r} was expected.")
        return arguments

    async def receive_any(self, count: int) -> list[str]:
        """Receive `count` messages, whatever they are, and return their markers."""
        markers: list[str] = []
        try:
            async with self._clock.timeout(self._negotiation.timeout):
                while len(markers) < count:
                    markers.append((await self._next())[0])
        except TimeoutError:
            raise CheckFailedError(f"{len(markers)} of {count} messages arrived.") from None
        return markers

    async def receive_nothing(self, seconds: float) -> None:
        """Wait that long; CheckFailedError when a message arrives."""
        try:
            async with self._clock.timeout(seconds):
                marker, _ = await self._next()
        except TimeoutError:
            return
        raise CheckFailedError(f"{printable(marker)!r} arrived, though it was not for this client.")

    async def wait_closed(self) -> None:
        """Wait until the service closes the connection."""
        try:
            async with self._clock.timeout(self._negotiation.timeout):
                while (await self._next_record()).type != _CLOSE:
                    pass
        except TimeoutError:
            raise CheckFailedError("The client's connection stayed open.") from None
        except ConnectionClosed:
            return

    async def handshake(self) -> None:
        """Agree on the JSON protocol."""
        await self._socket.send(_HANDSHAKE)
        answer = await self._next_record()
        if answer.error:
            raise CheckFailedError(f"The handshake was refused: {printable(answer.error)}")

    async def _next(self) -> tuple[str, bytes]:
        # The marker and the raw arguments of this run's next message.
        while True:
            try:
                record = await self._next_record()
            except ConnectionClosed as closed:
                raise CheckFailedError(f"The client's connection ended: {printable(str(closed))}.") from None
            if record.type == _CLOSE:
                raise CheckFailedError("The service closed the client's connection.")
            marker = self._marker_of(record)
            if marker is not None:
                return marker, bytes(record.arguments)

    def _marker_of(self, record: _Record) -> str | None:
        if record.type != _INVOCATION or record.target != METHOD:
            return None
        try:
            nonce, marker = [_text.decode(raw) for raw in _strings.decode(record.arguments)[:2]]
        except (msgspec.DecodeError, ValueError):
            return None
        return marker if nonce == self._negotiation.nonce else None

    async def _next_record(self) -> _Record:
        while not self._records:
            frame = await self._socket.recv(decode=True)
            self._records.extend(part for part in str(frame).split(_END) if part)
        text = self._records.popleft()
        try:
            return _record.decode(text)
        except msgspec.DecodeError:
            raise CheckFailedError(f"This is not the hub protocol: {printable(text)}") from None


@asynccontextmanager
async def connect_client(
    negotiation: Negotiation, http: httpx.AsyncClient, clock: Clock
) -> AsyncIterator[ClientConnection]:
    """Connect for the duration of the block; CheckFailedError says which step failed."""
    try:
        async with clock.timeout(negotiation.timeout):
            negotiated = await _negotiate(negotiation, http)
            socket = await _connect(negotiation, negotiated)
    except TimeoutError:
        raise CheckFailedError(f"No connection within {negotiation.timeout:g} s.") from None
    try:
        client = ClientConnection(socket, negotiated.connection_id, negotiation, clock)
        try:
            async with clock.timeout(negotiation.timeout):
                await client.handshake()
        except (TimeoutError, ConnectionClosed) as error:
            raise CheckFailedError(f"No answer to the handshake: {printable(str(error) or 'timed out')}.") from None
        yield client
    finally:
        await socket.close()


async def _negotiate(negotiation: Negotiation, http: httpx.AsyncClient) -> _NegotiateAnswer:
    place, _, query = negotiation.url.partition("?")
    url = f"{place.rstrip('/')}/negotiate?{query}&negotiateVersion=1"
    try:
        answer = await http.post(url, headers={"authorization": f"Bearer {negotiation.token}"})
    except httpx.HTTPError as error:
        raise CheckFailedError(f"Negotiate got no answer: {printable(str(error) or type(error).__name__)}.") from None
    if answer.status_code != _OK:
        reason = answer.headers.get("www-authenticate") or answer.text
        raise CheckFailedError(printable(f"Negotiate answered {answer.status_code}: {reason}"))
    try:
        return _negotiate_answer.decode(answer.content)
    except msgspec.DecodeError:
        raise CheckFailedError("The answer of negotiate has no connectionId.") from None


async def _connect(negotiation: Negotiation, negotiated: _NegotiateAnswer) -> WebSocket:
    identity = negotiated.connection_token or negotiated.connection_id
    url = f"ws{negotiation.url.removeprefix('http')}&id={identity}"
    headers = {"authorization": f"Bearer {negotiation.token}"}
    try:
        return await connect(
            url, additional_headers=headers, proxy=None, open_timeout=None, ping_interval=None, close_timeout=1
        )
    except InvalidStatus as error:
        raise CheckFailedError(f"The WebSocket was refused with {error.response.status_code}.") from None
    except (OSError, WebSocketException) as error:
        raise CheckFailedError(f"The WebSocket failed: {printable(str(error))}.") from None
