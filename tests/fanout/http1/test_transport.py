"""Sockets read and written directly: each cut of the bytes, each way to end, plain and TLS; the peer is real TLS."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import cache

import pytest
import trustme

from fanout.http1.connection import TlsTransport, Transport
from fanout.http1.dial import default_tls

AUTHORITY = trustme.CA()
MEGABYTES = os.urandom(3_000_000)


@dataclass
class Recorder:
    """What a transport reported. `silent` is what it said of itself at each piece."""

    transport: Transport
    pieces: list[bytes] = field(default_factory=list)
    silent: list[bool] = field(default_factory=list)
    ends: list[str | None] = field(default_factory=list)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.silent.append(self.transport.is_silent())

    def ended(self, reason: str | None) -> None:
        self.ends.append(reason)

    async def until(self, *, size: int = 0, ends: int = 0) -> None:
        """Wait until so much was reported; fails when it does not come."""
        async with asyncio.timeout(10):
            while sum(map(len, self.pieces)) < size or len(self.ends) < ends:  # noqa: ASYNC110 - what a test sees
                await asyncio.sleep(0.001)


class Peer:
    """The other end of a plain connection."""

    def __init__(self, own: socket.socket) -> None:
        self.socket = own

    def sealed(self, data: bytes) -> bytes:
        """Return `data` as it is sent."""
        return data

    def opened(self, data: bytes) -> bytes:
        """Return the plain text of what was received."""
        return data

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    async def read(self, size: int) -> bytes:
        """Read until `size` bytes of plain text or the end came."""
        found = bytearray()
        while len(found) < size:
            try:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
            except ConnectionResetError:
                break
            if not data:
                break
            found += self.opened(data)
        return bytes(found)


class TlsPeer(Peer):
    """The server's end of a TLS connection."""

    def __init__(self, own: socket.socket, tls: ssl.SSLObject, bios: tuple[ssl.MemoryBIO, ssl.MemoryBIO]) -> None:
        super().__init__(own)
        self.tls = tls
        self.incoming, self.outgoing = bios

    def sealed(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    def opened(self, data: bytes) -> bytes:
        self.incoming.write(data)
        found = bytearray()
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := self.tls.read(65536):
                found += piece
        return bytes(found)

    def close_notify(self) -> bytes:
        """Return the orderly end of TLS."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


@dataclass
class Pair:
    """A transport and its peer."""

    recorder: Recorder
    peer: Peer

    @property
    def transport(self) -> Transport:
        return self.recorder.transport


def plain_pair() -> Pair:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return Pair(Recorder(Transport(ours)), Peer(theirs))


@cache
def contexts(version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), default_tls()
    AUTHORITY.issue_cert("h").configure_cert(server)
    AUTHORITY.configure_trust(client)
    server.maximum_version = version
    return server, client


def tls_pair(version: ssl.TLSVersion) -> Pair:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    server, client = contexts(version)
    to_server, to_client, from_server, from_client = (ssl.MemoryBIO() for _ in range(4))
    one = client.wrap_bio(to_client, from_client, server_hostname="h")
    other = server.wrap_bio(to_server, from_server, server_side=True)
    _step(one)
    to_server.write(from_client.read())
    _step(other)
    to_client.write(from_server.read())
    _step(one)
    to_server.write(from_client.read())
    _step(other)
    if version is ssl.TLSVersion.TLSv1_2:  # in TLS 1.3 the tickets are left, and go out with the first data
        to_client.write(from_server.read())
        _step(one)
    assert one.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    return Pair(
        Recorder(TlsTransport(ours, one, to_client, from_client)), TlsPeer(theirs, other, (to_server, from_server))
    )


def _step(side: ssl.SSLObject) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        side.do_handshake()


@pytest.fixture(params=["plain", "TLSv1_2", "TLSv1_3"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    pair = plain_pair() if request.param == "plain" else tls_pair(ssl.TLSVersion[request.param])
    pair.transport.start(pair.recorder)
    yield pair
    pair.transport.abort()
    pair.peer.socket.close()


@pytest.fixture
async def tls() -> AsyncIterator[Pair]:
    pair = tls_pair(ssl.TLSVersion.TLSv1_3)
    pair.transport.start(pair.recorder)
    yield pair
    pair.transport.abort()
    pair.peer.socket.close()


def cuts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for place in {1, 3, 5, 6, len(data) // 2, len(data) - 1}:
        if 0 < place < len(data):
            yield data[:place], data[place:]


async def test_bytes_go_both_ways(pair: Pair) -> None:
    pair.transport.write(b"question")
    assert await pair.peer.read(8) == b"question"
    pair.peer.send(pair.peer.sealed(b"answer"))
    await pair.recorder.until(size=6)
    assert (b"".join(pair.recorder.pieces), pair.recorder.ends) == (b"answer", [])
    assert pair.transport.is_silent()


async def test_a_record_that_comes_in_two_cuts_is_read_whole(tls: Pair) -> None:
    for count, _ in enumerate(range(6), 1):
        sealed = tls.peer.sealed(b"answer")
        first, second = list(cuts(sealed))[count % 4]
        tls.peer.send(first)
        await asyncio.sleep(0.005)
        assert len(tls.recorder.pieces) == count - 1
        tls.peer.send(second)
        await tls.recorder.until(size=6 * count)
    assert tls.recorder.pieces == [b"answer"] * 6


async def test_records_that_come_together_are_one_piece(tls: Pair) -> None:
    tls.peer.send(b"".join(tls.peer.sealed(b"%d" % number) for number in range(10)))
    await tls.recorder.until(size=10)
    assert tls.recorder.pieces == [b"0123456789"]


async def test_megabytes_arrive_as_they_were_sent(pair: Pair) -> None:
    async def answer() -> None:
        for start in range(0, len(MEGABYTES), 100_000):
            data = pair.peer.sealed(MEGABYTES[start : start + 100_000])
            await asyncio.get_running_loop().sock_sendall(pair.peer.socket, data)

    await asyncio.gather(answer(), pair.recorder.until(size=len(MEGABYTES)))
    assert b"".join(pair.recorder.pieces) == MEGABYTES


async def test_what_the_socket_does_not_take_is_sent_as_it_takes_more(pair: Pair) -> None:
    pair.transport.write(MEGABYTES)
    unsent = [pair.transport.has_unsent]
    assert await asyncio.wait_for(pair.peer.read(len(MEGABYTES)), 10) == MEGABYTES
    unsent.append(pair.transport.has_unsent)
    assert unsent == [True, False]
    pair.transport.write(b"more")
    assert await pair.peer.read(4) == b"more"


async def test_a_second_write_waits_behind_the_first(pair: Pair) -> None:
    pair.transport.write(MEGABYTES)
    pair.transport.write(b"more")
    assert await asyncio.wait_for(pair.peer.read(len(MEGABYTES) + 4), 10) == MEGABYTES + b"more"


async def test_reading_goes_on_while_a_write_waits(pair: Pair) -> None:
    pair.transport.write(MEGABYTES)
    pair.peer.send(pair.peer.sealed(b"too large"))
    await pair.recorder.until(size=9)
    assert pair.transport.has_unsent


async def test_an_end_that_comes_with_an_answer_is_known_when_the_answer_is_reported(tls: Pair) -> None:
    """So that the next request is not written to a connection that has ended."""
    assert isinstance(tls.peer, TlsPeer)
    tls.peer.send(tls.peer.sealed(b"answer") + tls.peer.close_notify())
    await tls.recorder.until(ends=1)
    assert (tls.recorder.pieces, tls.recorder.silent, tls.recorder.ends) == ([b"answer"], [False], [None])


async def test_an_orderly_end_has_no_reason(pair: Pair) -> None:
    if isinstance(pair.peer, TlsPeer):
        pair.peer.send(pair.peer.close_notify())
    pair.peer.socket.close()
    await pair.recorder.until(ends=1)
    assert pair.recorder.ends == [None]
    assert not pair.transport.is_silent()


async def test_an_end_of_the_stream_without_an_end_of_tls_is_not_orderly(tls: Pair) -> None:
    tls.peer.send(tls.peer.sealed(b"cut o"))
    tls.peer.socket.close()
    await tls.recorder.until(ends=1)
    assert tls.recorder.ends == ["the stream ended without the end of TLS"]


async def test_a_record_that_was_tampered_with_ends_the_connection(tls: Pair) -> None:
    sealed = bytearray(tls.peer.sealed(b"answer"))
    sealed[-1] ^= 1
    tls.peer.send(bytes(sealed))
    await tls.recorder.until(ends=1)
    assert tls.recorder.pieces == []
    assert tls.recorder.ends == ["TLS failed (decryption failed or bad record mac)"]


async def test_text_where_tls_was_ends_the_connection(tls: Pair) -> None:
    tls.peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await tls.recorder.until(ends=1)
    assert tls.recorder.pieces == []


async def test_session_tickets_are_no_stray_bytes(tls: Pair) -> None:
    assert isinstance(tls.peer, TlsPeer)
    tickets = tls.peer.outgoing.read()
    assert tickets
    tls.peer.send(tickets)
    assert tls.transport.is_silent()  # the loop has not looked at the socket yet
    await asyncio.sleep(0.005)
    assert (tls.recorder.pieces, tls.transport.is_silent()) == ([], True)


async def test_data_that_came_with_the_handshake_is_reported_at_the_start() -> None:
    pair = tls_pair(ssl.TLSVersion.TLSv1_3)
    assert isinstance(pair.transport, TlsTransport)
    pair.transport._incoming.write(pair.peer.sealed(b"stray"))
    pair.transport.start(pair.recorder)
    assert pair.recorder.pieces == [b"stray"]
    pair.transport.abort()
    pair.peer.socket.close()


async def test_stray_bytes_in_the_kernel_are_seen_when_asked(pair: Pair) -> None:
    pair.peer.send(pair.peer.sealed(b"stray"))
    pair.transport.is_silent()
    assert pair.recorder.pieces == [b"stray"]


async def test_a_write_to_a_connection_that_is_gone_is_reported_once_and_not_from_within(pair: Pair) -> None:
    pair.peer.socket.close()
    pair.transport.write(MEGABYTES)
    assert pair.recorder.ends == []
    await pair.recorder.until(ends=1)
    await asyncio.sleep(0.005)
    assert len(pair.recorder.ends) == 1


async def test_a_write_that_fails_later_is_reported_once(pair: Pair) -> None:
    pair.transport.write(MEGABYTES)
    pair.peer.socket.close()
    await pair.recorder.until(ends=1)
    await asyncio.sleep(0.005)
    assert len(pair.recorder.ends) == 1


async def test_nothing_is_reported_after_an_abort(pair: Pair) -> None:
    pair.transport.write(MEGABYTES)
    pair.peer.send(pair.peer.sealed(b"answer"))
    pair.transport.abort()
    pair.transport.abort()
    await asyncio.sleep(0.005)
    assert (pair.recorder.pieces, pair.recorder.ends) == ([], [])
    assert (pair.transport.is_open, pair.transport.is_silent(), pair.transport.has_unsent) == (False, False, False)
    assert await asyncio.wait_for(pair.peer.read(2 * len(MEGABYTES)), 5) != MEGABYTES  # its end has come
