"""Sends a message through a release and waits until a worker has delivered it to a client of the service.

`helm test` runs this in a pod of the release's own image. TEST_URL is the ingress. Where it is empty an ingress is
started here, because a release of workers alone has none. The credentials are those of the release.
"""

import asyncio
import json
import os
import sys
import time
import uuid

import httpx
from websockets.asyncio.client import ClientConnection, connect

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
    service = ConnectionString.parse(os.environ["AzureSignalRConnectionString"])
    application = os.environ.get("FANOUT_APPLICATION", "").lower()
    hub = f"{application}_{HUB}" if application else HUB
    user, mark = f"helm-test-{uuid.uuid4().hex}", uuid.uuid4().hex
    token = client_token(service, hub, user_id=user, claims={}, now=time.time(), lifetime=300)
    key = os.environ.get("FANOUT_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=10, trust_env=False) as http,
        asyncio.timeout(READY_WITHIN + PATIENCE),
    ):
        address = client_url(service, hub).replace("http", "ws", 1)
        async with connect(address, additional_headers={"Authorization": f"Bearer {token}"}) as client:
            await client.send(json.dumps({"protocol": "json", "version": 1}) + END)
            await send(http, url, {"userId": user, "target": "helmTest", "arguments": [mark], "messageId": mark})
            await received(client, mark)


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
