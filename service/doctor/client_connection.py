"""A real client of the service: negotiates, connects by WebSocket, and tells what it hears.

Source: contract 3.4 and 8.2 (negotiate version 1, connection token in `id`), the hub protocol's JSON form (records end
with 0x1E; 1 is an invocation, 6 a ping, 7 a close). Rules guarded: the token travels in the header, never in a URL;
what other applications or another doctor send to the same hub is not heard, for it does not carry this run's nonce.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx
import msgspec
from msgspec import Raw
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from fanout.clock import Clock
from service.doctor.failure import DisprovedError, shown

TARGET: Final = "fanoutDoctor"
_END: Final = "\x1e"
_HANDSHAKE: Final = '{"protocol":"json","version":1}' + _END
_INVOCATION, _CLOSE = 1, 7
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Invitation:
    """What negotiate gives a client, whose it is, and for how many seconds the client waits for anything."""

    url: str
    token: str = field(repr=False)
    user: str
    nonce: str
    timeout: float


class _Negotiated(msgspec.Struct, rename="camel"):
    connection_id: str
    connection_token: str = ""


class _Record(msgspec.Struct):
    type: int = 0
    target: str = ""
    arguments: Raw = Raw(b"[]")
    error: str = ""


_negotiated = msgspec.json.Decoder(_Negotiated)
_record = msgspec.json.Decoder(_Record)
_strings = msgspec.json.Decoder(list[Raw])
_text = msgspec.json.Decoder(str)


def body_of(nonce: str, marker: str, more: bytes = b"") -> bytes:
    """Give the REST body of a message that an ear of this run hears as `marker`; `more` are further arguments."""
    head = msgspec.json.encode([nonce, marker])[:-1]
    return b'{"target":"%b","arguments":%b%b]}' % (TARGET.encode(), head, b"," + more if more else b"")


class Ear:
    """One connected client after its handshake."""

    def __init__(self, socket: ClientConnection, connection_id: str, invitation: Invitation, clock: Clock) -> None:
        self._socket = socket
        self._invitation = invitation
        self._clock = clock
        self._records: deque[str] = deque()
        self.connection_id = connection_id
        self.user = invitation.user

    def __repr__(self) -> str:
        return f"<Ear of {self.user}>"

    async def hears(self, *markers: str) -> bytes:
        """Take the next messages, which have to be these in this order; gives the arguments of the last one as sent.

        Raises DisprovedError that tells what came instead.
        """
        heard: list[str] = []
        arguments = b""
        try:
            async with self._clock.timeout(self._invitation.timeout):
                for marker in markers:
                    found, arguments = await self._next()
                    heard.append(found)
                    if found != marker:
                        break
        except TimeoutError:
            missing = markers[len(heard)]
            raise DisprovedError(f"{shown(missing)!r} did not arrive in {self._invitation.timeout:g} s.") from None
        if heard != list(markers):
            expected = markers[len(heard) - 1]
            raise DisprovedError(f"{shown(heard[-1])!r} arrived where {shown(expected)!r} was expected.")
        return arguments

    async def collects(self, count: int) -> list[str]:
        """Take the next `count` messages whatever they are."""
        markers: list[str] = []
        try:
            async with self._clock.timeout(self._invitation.timeout):
                while len(markers) < count:
                    markers.append((await self._next())[0])
        except TimeoutError:
            raise DisprovedError(f"{len(markers)} of {count} messages arrived.") from None
        return markers

    async def stays_silent(self, seconds: float) -> None:
        """Wait; DisprovedError when a message arrives."""
        try:
            async with self._clock.timeout(seconds):
                marker, _ = await self._next()
        except TimeoutError:
            return
        raise DisprovedError(f"{shown(marker)!r} arrived, which was not for this client.")

    async def is_closed(self) -> None:
        """Wait until the service ends the connection."""
        try:
            async with self._clock.timeout(self._invitation.timeout):
                while (await self._take()).type != _CLOSE:
                    pass
        except TimeoutError:
            raise DisprovedError("The client's connection stayed open.") from None
        except ConnectionClosed:
            return

    async def shake_hands(self) -> None:
        """Agree on the JSON protocol."""
        await self._socket.send(_HANDSHAKE)
        answer = await self._take()
        if answer.error:
            raise DisprovedError(f"The handshake was refused: {shown(answer.error)}")

    async def _next(self) -> tuple[str, bytes]:
        """Give marker and raw arguments of this run's next message."""
        while True:
            try:
                record = await self._take()
            except ConnectionClosed as closed:
                raise DisprovedError(f"The client's connection ended: {shown(str(closed))}.") from None
            if record.type == _CLOSE:
                raise DisprovedError("The service closed the client's connection.")
            marker = self._marker_of(record)
            if marker is not None:
                return marker, bytes(record.arguments)

    def _marker_of(self, record: _Record) -> str | None:
        if record.type != _INVOCATION or record.target != TARGET:
            return None
        try:
            nonce, marker = [_text.decode(raw) for raw in _strings.decode(record.arguments)[:2]]
        except (msgspec.DecodeError, ValueError):
            return None
        return marker if nonce == self._invitation.nonce else None

    async def _take(self) -> _Record:
        while not self._records:
            frame = await self._socket.recv(decode=True)
            self._records.extend(part for part in str(frame).split(_END) if part)
        text = self._records.popleft()
        try:
            return _record.decode(text)
        except msgspec.DecodeError:
            raise DisprovedError(f"The client heard no hub protocol: {shown(text)}") from None


@asynccontextmanager
async def connected(invitation: Invitation, http: httpx.AsyncClient, clock: Clock) -> AsyncIterator[Ear]:
    """Connect for the time of the block; DisprovedError says which step failed."""
    try:
        async with clock.timeout(invitation.timeout):
            negotiated = await _negotiate(invitation, http)
            socket = await _connect(invitation, negotiated)
    except TimeoutError:
        raise DisprovedError(f"No connection within {invitation.timeout:g} s.") from None
    try:
        ear = Ear(socket, negotiated.connection_id, invitation, clock)
        try:
            async with clock.timeout(invitation.timeout):
                await ear.shake_hands()
        except (TimeoutError, ConnectionClosed) as error:
            raise DisprovedError(f"No answer to the handshake: {shown(str(error) or 'time is up')}.") from None
        yield ear
    finally:
        await socket.close()


async def _negotiate(invitation: Invitation, http: httpx.AsyncClient) -> _Negotiated:
    place, _, query = invitation.url.partition("?")
    url = f"{place.rstrip('/')}/negotiate?{query}&negotiateVersion=1"
    try:
        answer = await http.post(url, headers={"authorization": f"Bearer {invitation.token}"})
    except httpx.HTTPError as error:
        raise DisprovedError(f"Negotiate got no answer: {shown(str(error) or type(error).__name__)}.") from None
    if answer.status_code != _OK:
        told = answer.headers.get("www-authenticate") or answer.text
        raise DisprovedError(shown(f"Negotiate answered {answer.status_code}: {told}"))
    try:
        return _negotiated.decode(answer.content)
    except msgspec.DecodeError:
        raise DisprovedError("Negotiate's answer names no connectionId.") from None


async def _connect(invitation: Invitation, negotiated: _Negotiated) -> ClientConnection:
    identity = negotiated.connection_token or negotiated.connection_id
    url = f"ws{invitation.url.removeprefix('http')}&id={identity}"
    headers = {"authorization": f"Bearer {invitation.token}"}
    try:
        return await connect(
            url, additional_headers=headers, proxy=None, open_timeout=None, ping_interval=None, close_timeout=1
        )
    except InvalidStatus as error:
        raise DisprovedError(f"The WebSocket was refused with {error.response.status_code}.") from None
    except (OSError, WebSocketException) as error:
        raise DisprovedError(f"No WebSocket: {shown(str(error))}.") from None
