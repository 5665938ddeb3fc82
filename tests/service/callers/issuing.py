"""An issuer of tokens for the tests: keys, tokens, and a real HTTP server that publishes the keys."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "api://fanout"


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key of its own for each name."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """A key of this length."""
    return rsa.generate_private_key(65537, bits)


def published(*names: str) -> list[dict[str, Any]]:
    """The keys of these names as an issuer publishes them; their ids are the names."""
    keys = [json.loads(ECAlgorithm.to_jwk(ec_key(name).public_key())) for name in names]
    return [{**key, "kid": name, "use": "sig"} for key, name in zip(keys, names, strict=True)]


def published_rsa(kid: str, bits: int = 2048, **more: Any) -> dict[str, Any]:
    """An RSA key as an issuer publishes it."""
    return {**json.loads(RSAAlgorithm.to_jwk(rsa_key(bits).public_key())), "kid": kid, **more}


@dataclass
class IssuerServer:
    """What the server publishes and how it behaves; `asked` are the paths of its requests."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=lambda: published("one"))
    status: int = 200
    body: bytes | None = None  # instead of the keys
    named: str | None = None  # the issuer that its configuration names, instead of itself
    held: asyncio.Event | None = None  # answers wait for it
    asked: list[str] = field(default_factory=list)

    def token(self, now: float, *, kid: str = "one", **claims: Any) -> str:
        """A token signed with the key of this id; a claim that is None is left out."""
        whole = {"iss": self.url, "aud": AUDIENCE, "exp": now + 3600, "azp": "orders-app", "roles": [], **claims}
        told = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(told, ec_key(kid), algorithm="ES256", headers={"kid": kid})

    def _content(self, path: str) -> bytes:
        if path == "/keys":
            return self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        return json.dumps({"issuer": self.named or self.url, "jwks_uri": f"{self.url}/keys"}).encode()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.asked.append(path)
        if self.held is not None:
            await self.held.wait()
        content = self._content(path)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (self.status, len(content)))
        writer.write(content)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def an_issuer() -> AsyncIterator[IssuerServer]:
    """An issuer on a port of this machine."""
    issuer = IssuerServer()
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield issuer
