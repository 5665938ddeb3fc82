"""A gateway between client and service that refuses, or loses answers, as gateways do; all else it passes on.

It records every attempt, so a test can compare what was sent, and the connections it was sent over.
"""

import socketserver
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

_HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding", "keep-alive", "date", "server"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer with `status` and `headers` instead of passing the request on."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class LostAnswer:
    """Pass the request on, and close the connection instead of answering."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that arrived, and the TCP connection it arrived over, counted from 1."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


class Gateway:
    """What the next requests meet, in order, and what has arrived."""

    def __init__(self, service: str, url: str) -> None:
        self.url = url
        self.service = service
        self.script: deque[Refusal | LostAnswer] = deque()
        self.attempts: list[Attempt] = []
        self.connections = 0


@contextmanager
def running_gateway(service: str) -> Iterator[Gateway]:
    """Run a gateway in front of `service` for the duration of the block."""
    with (
        httpx.Client(trust_env=False, timeout=30) as forward,
        ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server,
    ):
        gateway = Gateway(service, f"http://127.0.0.1:{server.server_address[1]}")
        _Handler.gateway, _Handler.forward = gateway, forward
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            serving.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    gateway: Gateway
    forward: httpx.Client

    def __init__(self, request: Any, client_address: Any, server: socketserver.BaseServer) -> None:
        self.gateway.connections += 1
        self._number = self.gateway.connections
        super().__init__(request, client_address, server)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.gateway.attempts.append(Attempt(self.path, headers, body, self._number))
        what = self.gateway.script.popleft() if self.gateway.script else None
        if isinstance(what, Refusal):
            self._answer(what.status, what.headers, what.body)
            return
        passed = {name: text for name, text in headers.items() if name not in _HOP_BY_HOP}
        answer = self.forward.post(self.gateway.service + self.path, headers=passed, content=body)
        if isinstance(what, LostAnswer):
            self.close_connection = True
            return
        kept = {name: text for name, text in answer.headers.items() if name not in _HOP_BY_HOP}
        self._answer(answer.status_code, kept, answer.content)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Log nothing."""
