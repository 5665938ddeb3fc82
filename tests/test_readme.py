"""Every example of the README runs as it stands beside what `make run` starts."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import pytest
import pytest_asyncio

from tests.documents import README
from tests.service.programs import program, service_at

pytestmark = [
    pytest.mark.process,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are calls of curl"),
]
_BETWEEN = re.compile(r"\}\s*\{")  # curl ends its output without a line break
_WRITTEN = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Running:
    """What `make run` starts, on ports of its own: the ingress and the emulator's control API."""

    url: str
    control: str

    async def run(self, *command: str) -> str:
        """Run a command as a reader would, and return what it printed."""
        process = await asyncio.create_subprocess_exec(*command, cwd=README.parent, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def shell(self, script: str) -> list[dict[str, Any]]:
        """Run lines of shell and return the JSON that they print."""
        printed = await self.run("bash", "-euo", "pipefail", "-c", script.replace(_WRITTEN, self.url))
        return list(msgspec.json.decode(b"[" + _BETWEEN.sub("},{", printed.strip()).encode() + b"]"))

    async def calls(self) -> list[str]:
        """Return method and path of each call that the emulator took."""
        async with httpx.AsyncClient() as http:
            journal = (await http.get(f"{self.control}journal")).json()
        return [f"{entry['method']} {entry['path']}" for entry in journal["entries"]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    directory: Path = tmp_path_factory.mktemp("readme")
    async with program(directory, "dev", "--port", "0", "--emulator-port", "0", TMPDIR=str(directory)) as fanout:
        await fanout.until(lambda: "Ctrl-C stops everything" in fanout.out)
        urls = re.findall(r"http://[^\s/]+/\S*", fanout.out)
        yield Running(urls[0].rstrip("/"), next(url for url in urls if "emulator" in url))


def block(heading: str, language: str = "sh", *, number: int = 0) -> str:
    """Return a code block of the section with this heading."""
    section = README.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return blocks[number]


async def test_each_message_of_the_readme_is_taken_and_its_answer_is_as_described(running: Running) -> None:
    examples = block("What you can send")
    answers = await running.shell(examples)
    assert len(answers) == len(re.findall(r"^send ", examples, re.MULTILINE))
    *good, lenient = answers
    assert [answer for answer in good if answer["rejected"] or not answer["accepted"]] == []
    assert (lenient["accepted"], lenient["rejected"]) == (1, 1)


async def test_what_the_readme_sends_reaches_the_service(running: Running) -> None:
    await running.shell(block("What you can send"))
    async with asyncio.timeout(30):
        while not any("users/alice/groups/red" in call for call in await running.calls()):  # noqa: ASYNC110 - the emulator tells nobody
            await asyncio.sleep(0.05)


async def test_the_python_example_of_the_readme_sends(running: Running) -> None:
    example = block("What you can send", "python").replace(_WRITTEN, running.url)
    await running.run(sys.executable, "-c", f"import sys\nsys.path.insert(0, 'client')\n{example}")


async def test_a_client_negotiates_as_in_the_readme(running: Running) -> None:
    [answer] = await running.shell(f"F={running.url}\n{block('Negotiate')}")
    assert answer["url"].endswith("/client/?hub=chat")
    assert claims_of(answer)["asrs.s.uid"] == "alice"


async def test_a_caller_with_the_key_negotiates_as_in_the_readme(tmp_path: Path, redis_url: str) -> None:
    environ = {"AzureSignalRConnectionString": service_at(1), "FANOUT_REDIS_URL": redis_url, "FANOUT_API_KEY": "k" * 32}
    async with program(tmp_path, "serve", "--role", "ingress", "--port", "0", **environ) as fanout:
        url = f"http://127.0.0.1:{await fanout.port()}"
        script = f"F={url}\nFANOUT_API_KEY={'k' * 32}\n{block('Negotiate', number=1)}"
        [answer] = await Running(url, "").shell(script)
    claims = claims_of(answer)
    assert (claims["asrs.s.uid"], claims["role"]) == ("alice", "admin")


def claims_of(answer: dict[str, Any]) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(answer["accessToken"], options={"verify_signature": False})
    return claims
