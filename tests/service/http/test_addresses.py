"""A slip in an address is told from an address that is nowhere near one of ours."""

import pytest

from service.http.addresses import meant_address
from tests.service.apps import ITEM, an_app, client_of

MESSAGES = "/v1/hubs/{hub}/messages"
TEMPLATES = (
    MESSAGES,
    "/{hub}/negotiate",
    "/livez",
    "/metrics",
    "/v1/admin/dead-letters",
    "/v1/admin/dead-letters/purge",
)
CHAT = "/v1/hubs/chat/messages"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/hubs/chat/messages/", CHAT),
        ("/v1/hubs/chat/message", CHAT),
        ("/V1/Hubs/Chat/Messages", "/v1/hubs/Chat/messages"),
        ("//v1/hubs/chat/messages", CHAT),
        ("/v1//hubs/chat//messages", CHAT),
        ("/v1/hub/chat/messages", CHAT),
        ("/v1/hubs/chat", CHAT),
        ("/hubs/chat/messages", CHAT),
        ("/api/hubs/chat/messages", CHAT),
        ("/gateway/v1/hubs/chat/messages", CHAT),
        ("/v1/hubs/a b/message", "/v1/hubs/a%20b/messages"),
        ("/chat/negotiate/", "/chat/negotiate"),
        ("/chat/Negotiate", "/chat/negotiate"),
        ("/chat/negociate", "/chat/negotiate"),
        ("/v1/hubs/chat/negotiate", "/chat/negotiate"),
        ("/v1/chat/negotiate", "/chat/negotiate"),
        ("/metric", "/metrics"),
        ("/livez/", "/livez"),
        ("/v1/admin/deadletters", "/v1/admin/dead-letters"),
    ],
)
def test_a_slip_has_an_address_that_was_meant(path: str, meant: str) -> None:
    assert meant_address(path, TEMPLATES) == meant


@pytest.mark.parametrize("path", ["/", "", "/foo", "/foo/bar", "/favicon.ico", "/wp.php", "/a" * 5000, CHAT, "/v2"])
def test_an_address_that_is_near_none_of_ours_has_none(path: str) -> None:
    assert meant_address(path, TEMPLATES) == ""


@pytest.mark.parametrize(
    "path", ["/v1/hubs/chat/messages/", "/v1/hubs/chat/message", "/V1/Hubs/chat/messages", "//v1/hubs/chat/messages"]
)
async def test_the_404_names_it(path: str) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(f"http://127.0.0.1:8080{path}", json=ITEM)
        nowhere = await client.get("/favicon.ico")
    assert (answer.status_code, answer.json()["code"]) == (404, "notFound")
    assert f"Did you mean {CHAT}?" in answer.json()["detail"]
    assert "/openapi.json" in nowhere.json()["detail"]
