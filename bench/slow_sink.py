"""The far side in Python: where there is no C compiler, and where TLS is wanted.

Same paths under /bench/ as the C program (see sink.c). It costs several times as much CPU per request, so with it the
rates seen are lower bounds; CPU per message of what is measured stays what it is. `--tls DIRECTORY` serves https with a
certificate for 127.0.0.1 and leaves the CA there as ca.pem. Prints its port.
"""

import argparse
import asyncio
import re
import ssl
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

_ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: sink\r\nContent-Length: 0\r\n"
    b"Connection: keep-alive\r\nStrict-Transport-Security: max-age=15724800; includeSubDomains\r\n"
    b"Api-Supported-Versions: 2022-06-01\r\n\r\n"
)
_REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
_STEERING = b"GET /bench/"
_SEQ, _PROBE = re.compile(rb'"seq":(\d+)'), re.compile(rb"probe-(\d+)")


class Counter:
    """What all connections share."""

    def __init__(self) -> None:
        self.answered = 0
        self.latency = 0.0
        self.recording = False
        self.refusing = False
        self.refused_path = b""
        self.notes: list[tuple[int, int]] = []
        self._waiting: tuple[int, asyncio.Transport] | None = None

    def count(self) -> None:
        """Count one answer and wake those who wait for it."""
        self.answered += 1
        if self._waiting is not None and self.answered >= self._waiting[0]:
            _say(self._waiting[1], str(time.monotonic_ns()))
            self._waiting = None

    def note(self, request: bytes, body: int) -> None:
        """Remember when a message arrived."""
        found = _SEQ.search(request, body) or _PROBE.search(request)
        if found is not None:
            self.notes.append((int(found[1]), time.monotonic_ns()))

    def is_refused(self, request: bytes) -> bool:
        """Return whether a request is to be answered with 503 for its path."""
        path = self.refused_path
        return path != b"" and request.startswith(path, request.find(b" ") + 1)

    def steer(self, command: str, transport: asyncio.Transport) -> None:
        """Obey one /bench/ path."""
        name, _, argument = command.partition("/")
        if name == "wait":
            self._waiting = (int(argument), transport)
            self.answered -= 1
            self.count()
            return
        if name == "latency":
            self.latency = int(argument) / 1e6
        elif name == "refuse":
            self.refusing = bool(int(argument))
        elif name == "refuse-in":
            self.refused_path = f"/{argument}".encode()
        elif name == "record":
            self.recording, self.notes = bool(int(argument)), []
        _say(transport, self._text(name))

    def _text(self, name: str) -> str:
        if name != "arrivals":
            return str(self.answered)
        notes, self.notes = self.notes, []
        return "".join(f"{seq} {at}\n" for seq, at in notes)


class Connection(asyncio.Protocol):
    """One caller."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            size = end + 4 + (int(rest.split(b"\r\n")[0]) if found else 0)
            if len(self._buffer) < size:
                return
            whole, self._buffer = self._buffer[:size], self._buffer[size:]
            self._take(whole, end + 4)

    def _take(self, whole: bytes, body: int) -> None:
        if whole.startswith(_STEERING):
            self._counter.steer(whole[len(_STEERING) :].split()[0].decode(), self._transport)
            return
        if whole.startswith(b"HEAD "):  # a process asks at its start whether its key is accepted
            self._transport.write(_ACCEPTED)
            return
        if self._counter.recording:
            self._counter.note(whole, body)
        is_refused = self._counter.is_refused(whole)
        if self._counter.latency:
            asyncio.get_running_loop().call_later(self._counter.latency, self._answer, is_refused)
        else:
            self._answer(is_refused)

    def _answer(self, is_refused: bool) -> None:
        if is_refused or self._counter.refusing:
            self._transport.write(_REFUSED)
            return
        self._transport.write(_ACCEPTED)
        self._counter.count()


def _say(transport: asyncio.Transport, text: str) -> None:
    transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())


def _tls(directory: Path) -> ssl.SSLContext:
    import trustme  # noqa: PLC0415 - only where TLS is wanted

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def serve(tls: Path | None) -> None:
    """Answer forever."""
    counter = Counter()
    context = None if tls is None else _tls(tls)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(counter), "127.0.0.1", 0, ssl=context, backlog=4096
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", type=Path)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().tls))


if __name__ == "__main__":
    main()
