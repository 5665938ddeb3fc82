"""An authority of identities, for tests: real HTTPS, as much of Microsoft Entra ID as a client asks of it.

Rule guarded: what asks it is azure-identity as it is shipped, over its own way to the network. Only the two variables
that name the authority and the certificates to trust are set. It is also the endpoint that App Service gives to an app
with a managed identity.
"""

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import trustme

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
SECRET = "client-secret-of-the-test"
OBJECT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SCOPE = "https://signalr.azure.com/.default"
_KEY = "the key of the authority, which nobody else has"


def token_number(number: int, scope: str = SCOPE) -> str:
    """Return the token that the authority gives out as its `number`th for a scope, from 1."""
    return jwt.encode({"aud": scope.removesuffix("/.default"), "oid": OBJECT, "jti": str(number)}, _KEY)


@dataclass
class Authority:
    """What it was asked, and how it answers.

    `refusal` is its answer to who asks for a token for SignalR, "" for a token. `lifetime` is that of a token.
    """

    port: int
    ca: Path
    asked: list[dict[str, str]] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    refusal: str = ""
    lifetime: int = 3600
    refresh_in: int | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://localhost:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which a process asks it."""
        return {"AZURE_AUTHORITY_HOST": self.url, "REQUESTS_CA_BUNDLE": str(self.ca)}

    @property
    def managed(self) -> dict[str, str]:
        """The variables with which App Service gives a process a managed identity."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi", "IDENTITY_HEADER": "h", "REQUESTS_CA_BUNDLE": str(self.ca)}

    def answer(self, path: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Return status and document for one request."""
        if path.endswith("/openid-configuration"):
            base = f"{self.url}/{TENANT}"
            return 200, {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
        self.asked.append(dict(form))
        scope = form.get("scope") or form["resource"]
        if self.refusal and "signalr" in scope:
            return 401, {"error": "invalid_client", "error_description": self.refusal}
        count = self.counts[scope] = self.counts.get(scope, 0) + 1
        token = token_number(count, scope)
        self.given.append(token)
        answer: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        if path == "/msi":
            answer |= {"expires_on": str(int(time.time()) + self.lifetime), "resource": form["resource"]}
        if self.refresh_in is not None:
            answer["refresh_in"] = self.refresh_in
        return 200, answer


@contextmanager
def authority(directory: Path) -> Iterator[Authority]:
    """Run an authority on a free port; its certificates are in `directory`."""
    ca = trustme.CA()
    path = directory / "authority-ca.pem"
    ca.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(_fields(self.rfile.read(int(self.headers["content-length"])).decode()))

        def _answer(self, form: Mapping[str, str]) -> None:
            parts = urlsplit(self.path)
            status, document = found.answer(parts.path, {**_fields(parts.query), **form})
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Authority(server.server_port, path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}
