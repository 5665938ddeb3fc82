"""Sends a message through a release and waits until a worker has delivered it to a client of the service.

`helm test` runs this in a pod of the release's own image. TEST_URL is the ingress. Where it is empty an ingress is
started here, because a release of workers alone has none. The credentials are those of the release. Where the service
is called by identity there is no key to sign the client's token with, and the client negotiates.
"""

import asyncio
import json
import os
import sys
import time
import uuid

import httpx
from websockets.asyncio.client import ClientConnection, connect

from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import client_token, client_url

HUB = os.environ.get("FANOUT_HUBS", "").split(",")[0].strip().lower() or "fanouttest"  # one that is served
END = "\x1e"
READY_WITHIN = 120.0  # seconds
PATIENCE = 60.0  # seconds for the message, a first lease included


async def main() -> None:
    """Exit with 0 when the message has come."""
    url = os.environ.get("TEST_URL", "")
    if url:
        await deliver(url)
        return
    command = (sys.executable, "-m", "service.cli", "serve", "--role", "ingress", "--port", "8099")
    ingress = await asyncio.create_subprocess_exec(*command)
    try:
        await deliver("http://127.0.0.1:8099")
    finally:
        ingress.terminate()
        await ingress.wait()


async def deliver(url: str) -> None:
    """Send one message to a client that has connected, and wait for it."""
    user, mark = f"helm-test-{uuid.uuid4().hex}", uuid.uuid4().hex
    key = os.environ.get("FANOUT_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=10, trust_env=False) as http,
        asyncio.timeout(READY_WITHIN + PATIENCE),
    ):
        address, token = await negotiated(http, url, user)
        bearer = {"Authorization": f"Bearer {token}"}
        async with connect(address.replace("http", "ws", 1), additional_headers=bearer) as client:
            await client.send(json.dumps({"protocol": "json", "version": 1}) + END)
            await send(http, url, {"userId": user, "target": "helmTest", "arguments": [mark], "messageId": mark})
            await received(client, mark)


async def negotiated(http: httpx.AsyncClient, url: str, user: str) -> tuple[str, str]:
    """Return where the client connects, and its token."""
    settings = load()
    service = ConnectionString.parse(settings.connection_string.get_secret_value())
    if service.entra is None:
        hub = f"{settings.application.lower()}_{HUB}" if settings.application else HUB
        token = client_token(service, hub, user_id=user, claims={}, now=time.time(), lifetime=300)
        return client_url(service, hub), token
    while True:
        try:
            answer = await http.post(f"{url}/{HUB}/negotiate", json={"userId": user})
        except httpx.TransportError as error:
            print("not reached:", error, flush=True)
        else:
            print("negotiated:", answer.status_code, "" if answer.is_success else answer.text[:500], flush=True)
            if answer.is_success:
                found = answer.json()
                return found["url"], found["accessToken"]
        await asyncio.sleep(2)


async def send(http: httpx.AsyncClient, url: str, message: dict[str, object]) -> None:
    """Post the message until it is accepted. Repeats carry the same id, so it is stored once."""
    while True:
        try:
            answer = await http.post(f"{url}/v1/hubs/{HUB}/messages", json=message)
        except httpx.TransportError as error:
            print("not reached:", error, flush=True)
        else:
            print("sent:", answer.status_code, answer.text[:500], flush=True)
            if answer.is_success:
                return
            if answer.is_client_error:
                sys.exit("The ingress refuses the message.")
        await asyncio.sleep(2)


async def received(client: ClientConnection, mark: str) -> None:
    """Read until the message comes; no worker delivers where it does not."""
    try:
        async with asyncio.timeout(PATIENCE):
            async for frame in client:
                if mark in str(frame):
                    print("delivered", flush=True)
                    return
    except TimeoutError:
        sys.exit(f"The message was accepted and not delivered within {PATIENCE:g} s: look at the logs of the workers.")
    sys.exit("The service closed the connection of the client.")


if __name__ == "__main__":
    asyncio.run(main())
