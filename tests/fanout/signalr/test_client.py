"""One REST call against a real server on loopback: where it goes, whom its token names, what it carries."""

import asyncio

import pytest

from fanout import __version__
from fanout.errors import MaybeSentError, NotSentError
from fanout.signalr.client import CacheStats, ServiceAddress, service_address
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import Authorization, verify
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from tests.builders import a_join, a_message
from tests.fakes import FakeClock
from tests.workers.scripted_service import KEY, Received, calling, scripted_service

SERVICE = f"Endpoint=https://x.service.signalr.net;AccessKey={KEY};Version=1.0;"


def token_of(request: Received) -> str:
    scheme, _space, token = request.fields["authorization"].partition(" ")
    assert scheme == "Bearer"
    return token


async def test_a_message_is_posted_with_its_body_as_it_stands() -> None:
    body = b'{"target":"t","arguments":[1.10,12345678901234567890,"\\u00e9"]}'
    async with scripted_service() as end, calling(end.port) as client:
        response = await client.call("Chat", Message(Scope.USER, "alice", body))
    [request] = end.received
    assert (response.status, request.method, request.body) == (202, "POST", body)
    assert request.target == "/api/hubs/chat/users/alice/:send?api-version=2022-06-01"
    assert request.fields["host"] == f"127.0.0.1:{end.port}"
    assert request.fields["content-type"] == "application/json; charset=utf-8"
    assert request.fields["content-length"] == str(len(body))
    assert request.fields["user-agent"] == f"signalr-fanout/{__version__}"
    assert request.fields["asrs-user-agent"] == f"signalr-fanout/{__version__}"


async def test_a_binary_body_goes_with_its_own_type_beside_json_for_the_same_user() -> None:
    binary, plain = Message(Scope.USER, "alice", b"\x80", binary=True), Message(Scope.USER, "alice", b"{}")
    async with scripted_service() as end, calling(end.port) as client:
        for item in (binary, plain, binary):
            await client.call("chat", item)
    sent = [(request.fields["content-type"], request.body) for request in end.received]
    assert sent[0] == sent[2] == ("application/octet-stream", b"\x80")
    assert sent[1] == ("application/json; charset=utf-8", b"{}")


@pytest.mark.parametrize(
    ("item", "method"), [(a_join(), "PUT"), (CloseConnections(Scope.CONNECTION, "c1", "bye"), "DELETE")]
)
async def test_an_action_has_no_body_and_no_type_of_one(item: CloseConnections, method: str) -> None:
    async with scripted_service() as end, calling(end.port) as client:
        await client.call("chat", item)
    [request] = end.received
    assert (request.method, request.body) == (method, b"")
    assert "content-type" not in request.fields


def to_user(user: str) -> Message:
    return Message(Scope.USER, user, b"{}")


async def test_the_cache_holds_its_bound_whatever_is_sent() -> None:
    """Messages, actions and `:execute` share the one cache."""
    async with scripted_service() as end, calling(end.port, cache_size=50) as client:
        for number in range(60):
            await client.call("chat", to_user(f"u{number}"))
            await client.call("chat", GroupAction(Verb.ADD, Scope.USER, f"u{number}", "g"))
            await client.call("chat", Message(Scope.BROADCAST, "", b"{}", excluded=(f"c{number}",)))
            await client.execute("chat", Scope.USER, f"u{number}", [b"{}"])
            assert client.cache_stats.kept <= 50
        assert client.cache_stats == CacheStats(kept=50, hits=0, misses=240)


async def test_the_least_recently_used_destination_gives_way() -> None:
    async with scripted_service() as end, calling(end.port, cache_size=2) as client:
        for user in ("a", "b", "a", "c"):  # b was used before a
            await client.call("chat", to_user(user))
        assert client.cache_stats == CacheStats(kept=2, hits=1, misses=3)
        await client.call("chat", to_user("a"))
        assert client.cache_stats == CacheStats(kept=2, hits=2, misses=3)
        await client.call("chat", to_user("b"))
        assert client.cache_stats == CacheStats(kept=2, hits=2, misses=4)


async def test_calls_that_differ_in_more_than_their_body_share_nothing() -> None:
    items: list[Item] = [
        to_user("a"),
        Message(Scope.GROUP, "a", b"{}"),
        Message(Scope.GROUP, "a", b"{}", excluded=("c",)),
        GroupAction(Verb.ADD, Scope.USER, "a", "g"),
        GroupAction(Verb.REMOVE, Scope.USER, "a", "g"),
        GroupAction(Verb.ADD, Scope.USER, "a", "g", ttl=5),
        CloseConnections(Scope.USER, "a"),
        CloseConnections(Scope.USER, "a", "why"),
    ]
    async with scripted_service() as end, calling(end.port) as client:
        for _ in range(2):
            for hub in ("chat", "news"):
                for item in items:
                    await client.call(hub, item)
                await client.execute(hub, Scope.USER, "a", [b"{}"])
    called = [(request.method, request.target) for request in end.received]
    half = len(called) // 2
    assert called[:half] == called[half:]
    assert len(set(called[:half])) == half


async def test_a_token_is_replaced_before_it_expires() -> None:
    clock = FakeClock()
    async with scripted_service() as end, calling(end.port, clock=clock) as client:
        for seconds in (0, 3239, 1):  # of 3600, a tenth is left for the way
            clock.jump(seconds)
            await client.call("chat", to_user("a"))
    first, second, third = [token_of(request) for request in end.received]
    assert first == second
    assert third != first


class SlowCredential:
    """Has to wait for each token, as a credential with identity tokens does."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusals: list[Authorization] = []
        self.error: Exception | None = None

    def immediate(self, _audience: str, _now: float) -> Authorization | None:
        return None

    async def authorization(self, audience: str) -> Authorization:
        await asyncio.sleep(0)
        self.asked.append(audience)
        if self.error is not None:
            raise self.error
        return Authorization.bearer(f"identity-{len(self.asked)}", renew_at=float("inf"))

    def refused(self, authorization: Authorization) -> None:
        self.refusals.append(authorization)


async def test_another_credential_is_awaited_once_for_a_destination() -> None:
    credential = SlowCredential()
    async with scripted_service() as end, calling(end.port, credential=credential) as client:
        for _ in range(2):
            await client.call("chat", to_user("a"))
            await client.call("chat", a_join())
            await client.execute("chat", Scope.USER, "a", [b"{}"])
        tokens = [token_of(request) for request in end.received]
        assert tokens == ["identity-1", "identity-2", "identity-3"] * 2
        client.renew_token("chat", to_user("a"))
        client.renew_execute_token("chat", Scope.USER, "a")
        await client.call("chat", to_user("a"))
    assert credential.asked[0] == f"http://127.0.0.1:{end.port}/api/hubs/chat/users/a/:send"
    assert [each.lines.text for each in credential.refusals] == [
        b"Authorization: Bearer identity-1\r\n",
        b"Authorization: Bearer identity-3\r\n",
    ]
    assert token_of(end.received[-1]) == "identity-4"


async def test_a_call_starts_at_once_when_the_credential_needs_no_waiting() -> None:
    answers: asyncio.Queue[object] = asyncio.Queue()
    async with scripted_service() as end, calling(end.port, credential=SlowCredential()) as client:
        assert not client.start("chat", to_user("a"), lambda: None, answers.put_nowait)  # no connection is open
        await client.call("chat", to_user("a"))
        assert client.start("chat", to_user("a"), lambda: None, answers.put_nowait)
        await asyncio.wait_for(answers.get(), 5)
        assert not client.start("chat", to_user("b"), lambda: None, answers.put_nowait)  # no authorization is there
    assert len(end.received) == 2


async def test_an_authorization_that_cannot_be_had_goes_up_and_nothing_is_sent() -> None:
    credential = SlowCredential()
    credential.error = NotSentError("The identity endpoint refused the connection.")
    async with scripted_service() as end, calling(end.port, credential=credential) as client:
        with pytest.raises(NotSentError, match="identity endpoint"):
            await client.call("chat", to_user("a"))
        assert client.cache_stats.kept == 0
    assert end.received == []


async def test_the_token_names_the_path_that_was_called_without_its_query() -> None:
    clock = FakeClock()
    async with scripted_service() as end, calling(end.port, clock=clock) as client:
        await client.call("chat", a_message("a b/ü?", scope=Scope.GROUP))
        await client.call("chat", Message(Scope.BROADCAST, "", b"{}", excluded=("c1", "c2")))
    for request in end.received:
        path, _mark, query = request.target.partition("?")
        assert "api-version=2022-06-01" in query
        expires = int(clock.wall()) + 3600
        claims = verify(token_of(request), [KEY], [f"http://127.0.0.1:{end.port}{path}"], leeway=10**9)
        assert claims == {"aud": f"http://127.0.0.1:{end.port}{path}", "exp": expires}
    assert end.received[0].target.startswith("/api/hubs/chat/groups/a%20b%2F%C3%BC%3F/:send?")
    assert "excluded=c1&excluded=c2" in end.received[1].target


async def test_an_address_behind_a_proxy_has_its_prefix_on_the_wire_and_the_endpoint_in_the_token() -> None:
    address = ServiceAddress(prefix="/behind/proxy", audience="https://x.service.signalr.net")
    async with scripted_service() as end, calling(end.port, address=address) as client:
        await client.call("chat", a_message("alice"))
    [request] = end.received
    assert request.target.startswith("/behind/proxy/api/hubs/chat/users/alice/:send?")
    verify(token_of(request), [KEY], ["https://x.service.signalr.net/api/hubs/chat/users/alice/:send"])


def addressed(text: str, audience: str) -> ServiceAddress:
    service = ConnectionString.parse(SERVICE + text)
    return service_address(service, audience=audience, api_version="2023-07-01", application="app")


@pytest.mark.parametrize(
    ("text", "audience", "expected"),
    [
        ("", "endpoint", ("", "https://x.service.signalr.net")),
        ("", "server", ("", "https://x.service.signalr.net")),
        ("ServerEndpoint=https://proxy.example/signalr/;", "endpoint", ("/signalr", "https://x.service.signalr.net")),
        ("ServerEndpoint=https://proxy.example/signalr/;", "server", ("/signalr", "https://proxy.example/signalr")),
        ("ServerEndpoint=https://proxy.example:444;", "server", ("", "https://proxy.example:444")),
    ],
)
def test_the_address_follows_server_endpoint_and_the_audience_setting(
    text: str, audience: str, expected: tuple[str, str]
) -> None:
    address = addressed(text, audience)
    assert (address.prefix, address.audience) == expected
    assert (address.api_version, address.application) == ("2023-07-01", "app")


async def test_application_and_api_version_go_into_the_query() -> None:
    address = ServiceAddress(prefix="", audience="http://x", api_version="2023-07-01", application="App")
    async with scripted_service() as end, calling(end.port, address=address) as client:
        await client.call("chat", a_message("alice"))
    assert end.received[0].target.endswith("?application=app&api-version=2023-07-01")


async def test_a_token_serves_until_it_is_renewed() -> None:
    clock = FakeClock()
    async with scripted_service() as end, calling(end.port, clock=clock) as client:
        for _ in range(2):
            await client.call("chat", a_message("alice"))
        clock.jump(60)
        client.renew_token("chat", a_message("alice", text="the text does not matter"))
        await client.call("chat", a_message("alice"))
    first, second, third = [token_of(request) for request in end.received]
    assert first == second
    assert third != first
    assert client.cache_stats == CacheStats(kept=1, hits=1, misses=2)


async def test_an_answer_comes_up_whatever_its_status() -> None:
    async def refuse(_request: Received) -> bytes:
        return b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 9\r\n\r\nbusy"

    async with scripted_service(refuse) as end, calling(end.port) as client:
        response = await client.call("chat", a_message())
    assert (response.status, response.headers.get("retry-after"), response.body) == (503, "9", b"busy")
    assert len(end.received) == 1  # nothing is repeated here


async def test_a_call_that_brought_no_answer_says_whether_it_was_written() -> None:
    async def hang_up(_request: Received) -> bytes:
        return b""

    async with scripted_service(hang_up) as end, calling(end.port) as client:
        with pytest.raises(MaybeSentError):
            await client.call("chat", a_message())
    async with calling(end.port) as client:
        with pytest.raises(NotSentError):
            await client.call("chat", a_message())


async def test_no_key_and_no_token_is_in_what_is_shown_of_a_client() -> None:
    async with scripted_service() as end, calling(end.port) as client:
        await client.call("chat", a_message())
        assert KEY not in repr(client)
        assert token_of(end.received[0]) not in repr(client)
        assert f"http://127.0.0.1:{end.port}" in repr(client)
