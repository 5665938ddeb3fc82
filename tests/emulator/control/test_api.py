"""The control API gives other processes access to journal, statistics, clients, faults and quota."""

import re
from typing import Any

import pytest

from emulator.config import EmulatorConfig, connection_string
from tests.emulator.running import Service, running


async def ask(service: Service, method: str, path: str, **options: Any) -> Any:
    answer = await service.http.request(method, f"{service.base}/emulator/{path}", **options)
    assert answer.status_code in {200, 204}
    return answer.json() if answer.content else None


async def test_the_journal_is_read_in_pages_and_cleared(service: Service) -> None:
    for number in range(3):
        await service.send(body=f'{{"target":"m{number}"}}')
    page = await ask(service, "GET", "journal?since=1&limit=1")
    assert page["last"] == 2
    (entry,) = page["entries"]
    assert {name: entry[name] for name in ("sequence", "method", "status", "fault", "delivered", "hub", "body")} == {
        "sequence": 2,
        "method": "POST",
        "status": 202,
        "fault": None,
        "delivered": True,
        "hub": "chat",
        "body": '{"target":"m1"}',
    }
    assert len(entry["token"]) == 64
    await ask(service, "DELETE", "journal")
    assert (await ask(service, "GET", "journal?since=3"))["entries"] == []


async def test_statistics_sum_up(service: Service) -> None:
    async with service.client("ann"):
        await service.send()
        await service.send()
        await service.call("HEAD", "groups/none")
        stats = await ask(service, "GET", "stats")
    # A token names its expiry in whole seconds, so two calls to one address carry two tokens when a second passes.
    assert stats.pop("distinctTokens") in {2, 3}
    assert stats == {
        "calls": 3,
        "statuses": {"202": 2, "404": 1},
        "inFlight": 0,
        "maxInFlight": 1,
        "maxInFlightPerPath": 1,
        "connections": 1,
        "duplicates": {"/api/hubs/chat/:send": 1},
        "clients": {"chat": 1},
    }


async def test_clients_are_listed(service: Service) -> None:
    async with service.client("ann", protocol="messagepack"):
        await service.call("PUT", "users/ann/groups/g")
        (client,) = await ask(service, "GET", "clients")
    assert client.pop("connectionId")
    assert client == {
        "hub": "chat",
        "userId": "ann",
        "transport": "webSockets",
        "protocol": "messagepack",
        "groups": ["g"],
        "unread": 0,
    }


async def test_faults_are_set_shown_and_cleared(service: Service) -> None:
    rules = [{"kind": "status", "status": 429, "retryAfter": 3, "match": {"path": ":send"}, "times": 1}]
    await ask(service, "PUT", "faults", json=rules)
    assert (await service.send()).headers["retry-after"] == "3"
    assert await ask(service, "GET", "faults") == [{**rules[0], "seen": 1, "hits": 1}]
    assert await ask(service, "DELETE", "faults") == []
    assert (await service.send()).status_code == 202


async def test_a_quota_is_set_shown_and_removed(service: Service) -> None:
    await ask(service, "PUT", "quota", json={"perSecond": 1, "retryAfter": 7})
    assert await ask(service, "GET", "quota") == {"perSecond": 1, "retryAfter": 7}
    answers = [await service.send() for _ in range(4)]
    assert "7" in [answer.headers.get("retry-after") for answer in answers]
    assert await ask(service, "DELETE", "quota") == {"perSecond": 0, "retryAfter": None}


async def test_bad_requests_are_400_and_say_why(service: Service) -> None:
    url = f"{service.base}/emulator"
    answer = await service.http.put(f"{url}/faults", content=b'[{"kind":"status"}]')
    assert (answer.status_code, "status" in answer.json()["message"]) == (400, True)
    answer = await service.http.put(f"{url}/quota", content=b'{"perSecnd":1}')
    assert (answer.status_code, "perSecnd" in answer.json()["message"]) == (400, True)
    assert (await service.http.get(f"{url}/journal?since=x")).status_code == 400
    assert (await service.http.get(f"{url}/nothing")).status_code == 404
    assert (await service.http.post(f"{url}/stats")).status_code == 404


async def test_control_calls_are_not_in_the_journal(service: Service) -> None:
    await ask(service, "GET", "stats")
    assert len(service.emulator.journal) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example.com"},
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-client-ip": "127.0.0.1"},
    ],
)
@pytest.mark.parametrize(("method", "topic"), [("GET", "journal"), ("DELETE", "journal"), ("PUT", "faults")])
async def test_other_pages_and_machines_neither_read_nor_change(
    service: Service, headers: dict[str, str], method: str, topic: str
) -> None:
    await service.call("HEAD", "groups/g")
    answer = await service.http.request(
        method, f"{service.base}/emulator/{topic}", headers=headers, content=b'[{"kind":"status","status":503}]'
    )
    assert (answer.status_code, "this machine" in answer.text) == (403, True)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert len(service.emulator.journal.entries()) == 1
    assert service.emulator.faults.rules == ()


async def test_a_page_of_another_origin_is_not_allowed_by_a_preflight(service: Service) -> None:
    headers = {"origin": "https://evil.example.com", "access-control-request-method": "DELETE"}
    answer = await service.http.options(f"{service.base}/emulator/journal", headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_page_of_the_emulator_itself_is_served(service: Service) -> None:
    headers = {"origin": service.base, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert (await service.http.delete(f"{service.base}/emulator/journal", headers=headers)).status_code == 204


async def test_the_index_lists_the_operations_and_the_connection_string(service: Service) -> None:
    index = await ask(service, "GET", "")
    assert index["connectionString"] == connection_string(service.port)
    for operation in index["operations"]:
        method, path = operation.split()
        if method == "GET":
            await ask(service, method, path)


async def test_a_key_that_not_everybody_knows_is_not_shown() -> None:
    async with running(EmulatorConfig(keys=("a key of one's own",))) as service:
        answer = await service.http.get(f"{service.base}/emulator/")
    assert "connectionString" not in answer.json()
    assert "a key of one" not in answer.text


async def test_a_browser_gets_the_page_under_a_content_security_policy(service: Service) -> None:
    answer = await service.http.get(f"{service.base}/emulator", headers={"accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["location"]) == (308, "/emulator/")
    page = await service.http.get(f"{service.base}/emulator/", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert (await service.http.get(f"{service.base}/emulator/{path}")).status_code == 200, path


@pytest.mark.parametrize("path", ["page/../index.py", "page/%2e%2e/index.py", "page/index.html", "nothing"])
async def test_no_other_file_is_served(service: Service, path: str) -> None:
    assert (await service.http.get(f"{service.base}/emulator/{path}")).status_code == 404


async def test_the_last_calls_are_read_with_shortened_bodies(service: Service) -> None:
    for number in range(3):
        await service.send(body=f'{{"target":"number{number}"}}')
    entries = (await ask(service, "GET", "journal?tail=2&maxbody=18"))["entries"]
    assert [entry["body"] for entry in entries] == ['{"target":"number1', '{"target":"number2']
