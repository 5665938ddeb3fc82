"""In headless Chromium: the vendor's client on a page of another origin, the API's page, and the page of `fanout dev`.

The last is the only test of `service/dev/page`. It finds elements as a visitor does, by labels and visible words.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from emulator.config import WELL_KNOWN_KEY
from tests.clients.conftest import RunScript, Stack, running_product
from tests.clients.scenario import TARGETS, Listener, check, expected_count, messages

pytestmark = pytest.mark.browser
# Numbers that do not survive being decoded and encoded again.
PRODUCT_KEY = "the key of this test"
EXACT = '[{"total": 1.10, "account": 12345678901234567890}, "it\'s"]'


@pytest.mark.parametrize("protocol", ["json", "messagepack"])
async def test_the_vendors_client_receives_on_a_page_of_another_origin(
    stack: Stack, listener: Listener, run_script: RunScript, chromium: str, protocol: str
) -> None:
    base = stack.negotiate_base(listener)
    async with run_script("receive_in_page.mjs", chromium, str(stack.page_port), base, protocol, *TARGETS) as page:
        connection_id = (await page.next("connected"))["connectionId"]
        assert await stack.joined(listener) == connection_id
        stack.post(listener.hub, messages(listener, connection_id))
        lines = [await page.next("message") for _ in range(expected_count())]
    check([(line["target"], line["arguments"]) for line in lines])


async def test_the_page_joins_sends_receives_and_reconnects_when_closed(
    stack: Stack, listener: Listener, run_script: RunScript, chromium: str, tmp_path: Path
) -> None:
    visit = (chromium, stack.ingress_url, listener.user, listener.hub, "red team", EXACT, str(tmp_path))
    async with run_script("use_page.mjs", *visit) as page:
        connected = await page.next("connected")
        assert (connected["title"], len(connected["connectionId"]) > 1) == (f"{listener.user} · fanout", True)
        assert await page.next("joined") == {"event": "joined", "scope": "group", "name": "red team"}

        assert await page.next("nameless") == {"event": "nameless", "disabled": True, "curl": ""}

        by_form = await page.next("arrived")
        assert by_form["target"] == "exact"
        assert _words(by_form["arguments"]) == _words(EXACT[1:-1].replace('}, "', '}\n"'))
        assert by_form["latency"].endswith(" ms")

        url, body = _request_of(by_form["curl"])
        assert stack.http.post(url, content=body, headers={"Content-Type": "application/json"}).status_code == 202
        by_curl = await page.next("arrived")
        assert (by_curl["arguments"], by_curl["latency"]) == (by_form["arguments"], "")

        series = await page.next("series")
        assert series["summary"].startswith("100 of 100 arrived, in the order they were sent")
        assert (series["count"], series["depth"]) == ("102", "0")
        assert series["accepted"].endswith(" in total")
        assert all(path.count("L") == 59 for path in series["peaks"])
        assert series["nameless"] == []

        stack.post(listener.hub, {"action": "closeConnection", "userId": listener.user, "reason": "try me"})
        await page.next("returned")

        assert (await page.next("narrow"))["overflow"] <= 0
        assert (await page.next("left"))["complaints"] == []
    assert _pictures(tmp_path) == ["dark.png", "light.png", "narrow.png"]


async def test_the_description_of_the_api_renders_without_a_request_to_another_host(
    stack: Stack, run_script: RunScript, chromium: str
) -> None:
    async with run_script("open_docs.mjs", chromium, stack.ingress_url) as page:
        rendered = await page.next("rendered")
    assert rendered["title"].startswith("signalr-fanout")
    assert rendered["operations"] >= 10
    assert "default-src 'none'" in rendered["policy"]
    assert rendered["complaints"] == []
    assert {url for url in rendered["requested"] if not url.startswith(("data:", f"{stack.ingress_url}/"))} == set()
    assert any(url.endswith("/openapi.json") for url in rendered["requested"])


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The product with an API key: the URLs of ingress and emulator."""
    with running_product(tmp_path_factory.mktemp("keyed"), FANOUT_API_KEY=PRODUCT_KEY) as urls:
        yield urls


async def test_the_page_asks_for_the_key_where_one_is_set(
    keyed: tuple[str, str], run_script: RunScript, chromium: str
) -> None:
    async with run_script("use_page_with_key.mjs", chromium, keyed[0], PRODUCT_KEY) as page:
        assert await page.next("refused") == {"event": "refused", "overflow": 0}
        assert await page.next("received") == {"event": "received", "complaints": []}


async def test_the_console_shows_a_dead_letter_pauses_a_hub_and_replays(
    keyed: tuple[str, str], listener: Listener, run_script: RunScript, chromium: str, tmp_path: Path
) -> None:
    ingress_url, emulator_url = keyed
    visit = (chromium, f"{ingress_url}/console", PRODUCT_KEY, listener.hub, str(tmp_path))
    async with (
        httpx.AsyncClient(trust_env=False, headers={"X-API-Key": PRODUCT_KEY}) as http,
        run_script("use_console.mjs", *visit) as page,
    ):
        opened = await page.next("open")
        assert (opened["kept"], opened["partitions"]) == ([["apiKey"], 0, ""], 16)
        await http.put(f"{emulator_url}/emulator/faults", json=[{"kind": "status", "status": 400, "times": 1}])
        body = f'{{"userId":"{listener.user}","target":"refused","arguments":{EXACT}}}'
        headers = {"Content-Type": "application/json"}
        sent = await http.post(f"{ingress_url}/v1/hubs/{listener.hub}/messages", content=body, headers=headers)
        assert sent.status_code == 202, sent.text
        dead = await page.next("dead")
        assert _words(EXACT[1:-1]) in _words(dead["message"])
        assert dead["trace"] == ["accepted", "read by a worker", "attempt 1", "settled"]
        await page.next("paused")
        await page.next("replayed")
        assert (await http.get(f"{ingress_url}/v1/admin/dead-letters")).json()["items"] == []
        assert "No endpoint 'west' is configured here" in (await page.next("endpoint"))["refused"]
        narrow = await page.next("narrow")
        assert (max(narrow["overflow"]), narrow["nameless"]) == (0, [])
        left = await page.next("left")
        assert (left["complaints"], left["foreign"], left["kept"]) == ([], [], 0)
    assert len(_pictures(tmp_path)) == 8


async def test_the_page_of_the_emulator_causes_a_dead_letter_and_shows_the_call(
    stack: Stack, listener: Listener, run_script: RunScript, chromium: str, tmp_path: Path
) -> None:
    visit = (chromium, f"{stack.emulator_url}/emulator/", str(tmp_path))
    async with run_script("use_emulator_page.mjs", *visit) as page:
        opened = await page.next("opened")
        assert (opened["title"], WELL_KNOWN_KEY in opened["connectionString"]) == ("SignalR emulator", True)

        url, rules = _request_of((await page.next("armed"))["curl"])
        assert (url, json.loads(rules)[0]["status"]) == (f"{stack.emulator_url}/emulator/faults", 400)
        message = {"userId": listener.user, "target": "refused", "arguments": ["by the page"]}
        (result,) = stack.post(listener.hub, message)
        refused = await page.next("refused")
        assert (refused["status"], refused["fault"], "by the page" in refused["body"]) == ("400", "status", True)
        await stack.until_dead(result["messageId"])

        await page.next("limited")
        assert await page.next("narrow") == {"event": "narrow", "overflow": 0, "nameless": []}
        assert (await page.next("cleared"))["complaints"] == []
    assert _pictures(tmp_path) == ["dark.png", "light.png", "narrow.png"]


def _pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png") if path.stat().st_size)


def _words(text: str) -> str:
    return "".join(text.split())


def _request_of(curl: str) -> tuple[str, str]:
    words = shlex.split(curl.replace("\\\n", ""))  # a shell joins the lines, shlex does not
    assert words[0] == "curl"
    body = words[words.index("-d") + 1]
    json.loads(body)
    return next(word for word in words if word.startswith("http")), body
