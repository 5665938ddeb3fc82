"""The commands in docs/emulator.md do what the page says they do."""

import re
import shlex
from pathlib import Path

import pytest

from tests.emulator.running import Service

TEXT = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.startswith("curl")]


@pytest.mark.parametrize("command", COMMANDS)
async def test_each_request_of_the_page_succeeds(service: Service, command: str) -> None:
    words = shlex.split(command, comments=True)
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    body = words[words.index("-d") + 1] if "-d" in words else None
    (url,) = [word for word in words if word.startswith("http")]
    answer = await service.http.request(
        method, url.replace("http://127.0.0.1:8888", service.base), content=body, headers={"accept": "*/*"}
    )
    assert answer.status_code in {200, 204}, answer.text


async def test_the_dead_letter_is_the_next_send_and_no_other(service: Service) -> None:
    rules = next(command for command in COMMANDS if '"status": 400' in command)
    await service.http.put(f"{service.base}/emulator/faults", content=shlex.split(rules)[-1])
    assert await service.status("HEAD", "users/alice") == 404
    assert (await service.send("users/alice/:send")).status_code == 400
    assert (await service.send("users/alice/:send")).status_code == 202
