"""A client that a standard generator makes of the OpenAPI document: it compiles, its types hold, and it sends."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fanout.signalr.message import Message, Scope
from tests.service.apps import KEY, an_app, served
from tests.service.memory_queue import MemoryQueue

pytestmark = pytest.mark.process

NAME = "generated_client"
_SENDS = """
import sys
from generated_client import AuthenticatedClient
from generated_client.api.messages import send_messages
from generated_client.models import Item, ProblemDocument, Receipt

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
item = Item(user_id="alice", target="newMessage", arguments=["hi", 1, {"a": None}], message_id="m-1")
sent = send_messages.sync(hub="chat", client=client, body=[item, Item(group_name="g", target="t", arguments=[])])
assert isinstance(sent, Receipt), sent
print(sent.accepted, [result.message_id for result in sent.results])
refused = send_messages.sync(hub="chat", client=client, body=Item(action="add"))
assert isinstance(refused, ProblemDocument), refused
print(refused.status, refused.code)
stranger = AuthenticatedClient(base_url=sys.argv[1], token="not the key")
unknown = send_messages.sync_detailed(hub="chat", client=stranger, body=item)
assert isinstance(unknown.parsed, ProblemDocument), unknown
print(unknown.status_code.value, unknown.parsed.code)
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with the package, made by the generator without a warning."""
    directory = tmp_path_factory.mktemp("generated")
    (directory / "openapi.json").write_text(json.dumps(an_app().build().main.openapi()))
    # Nothing runs over the result, so that it is what the generator makes and no formatter is looked for.
    (directory / "config.yaml").write_text("post_hooks: []\n")
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "openapi-python-client"),
            *("generate", "--path", "openapi.json", "--config", "config.yaml", "--fail-on-warning"),
            *("--meta", "none", "--output-path", NAME),
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_every_module_of_it_compiles_and_its_types_hold(generated: Path) -> None:
    modules = [path.relative_to(generated) for path in (generated / NAME).rglob("*.py")]
    assert len(modules) > 60
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "/dev/null", "--cache-dir", "/dev/null", NAME],
        cwd=generated,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout[-2000:] + checked.stderr


async def test_it_sends_a_message_and_understands_refusals(generated: Path) -> None:
    queue = MemoryQueue()
    async with served(an_app(queue, api_key=KEY)) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SENDS, url, KEY,
            cwd=generated, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _none = await process.communicate()
    first, *rest = output.decode().splitlines()
    assert first.startswith("2 ['m-1', '"), output.decode()
    assert rest == ["400 invalidItems", "401 wrongKey"], output.decode()
    first_item, second_item = (each.entry.item for each in queue.stored)
    assert first_item == Message(Scope.USER, "alice", b'{"target":"newMessage","arguments":["hi",1,{"a":null}]}')
    assert second_item == Message(Scope.GROUP, "g", b'{"target":"t","arguments":[]}')
