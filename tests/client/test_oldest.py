"""The client in the oldest Python that Functions still run, with the oldest httpx that it allows.

`make lowest` prepares such an environment where the machine has Python 3.9, and names it in TEST_CLIENT_PYTHON.
"""

import json
import os
import subprocess

import pytest

from tests.client.conftest import KEY, Service

PYTHON = os.environ.get("TEST_CLIENT_PYTHON", "")
SCRIPT = """
import asyncio, json, sys
import httpx
from signalr_fanout import AsyncClient, Client, CloseConnections, GroupAction, Message, UnauthorizedError

URL, KEY, HUB = sys.argv[1:]
ITEMS = [
    GroupAction.add("red", user_id="alice", ttl=3600),
    Message.to_group("red", "newMessage", {"text": "hello"}, excluded=["c1"]),
    CloseConnections.of_user("bob", reason="bye"),
]

async def by_async_client():
    async with AsyncClient(URL, api_key=KEY) as fanout:
        return len((await fanout.send(HUB, ITEMS)).results)

with Client(URL, api_key=KEY) as fanout:
    sent = len(fanout.send(HUB, ITEMS).results)
    token = fanout.negotiate(HUB, user_id="alice").access_token
with Client(URL, api_key="another key") as stranger:
    try:
        stranger.send(HUB, ITEMS)
    except UnauthorizedError as error:
        refused = error.status
print(json.dumps([sys.version_info[:2], httpx.__version__, sent, asyncio.run(by_async_client()), bool(token), refused]))
"""


@pytest.mark.skipif(not PYTHON, reason="TEST_CLIENT_PYTHON names no Python to try; see `make lowest`")
def test_python_3_9_sends_negotiates_and_is_refused(service: Service, hub: str) -> None:
    command = [PYTHON, "-W", "error", "-c", SCRIPT, service.url, KEY, hub]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    version, httpx_version, *rest = json.loads(ended.stdout)
    assert version == [3, 9]
    assert httpx_version.startswith("0.27.")
    assert rest == [3, 3, True, 401]
    assert len(service.calls(hub, 6)) == 6
