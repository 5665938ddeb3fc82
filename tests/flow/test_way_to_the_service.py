"""Between a worker and the service: a proxy, an authority of one's own, and what can go wrong there, in words.

Rule guarded: whatever keeps a message from being sent is named in the log, in the trace and in the dead letter, without
any secret. The service is a scripted TLS server of the test.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import trustme

from fanout.clock import SystemClock
from fanout.queue.entry import decode
from fanout.queue.keys import KEYS
from fanout.queue.traces import TraceEvent, Traces
from tests.fanout.http1.connect_proxy import connect_proxy
from tests.fanout.http1.scripted import ACCEPTED, Script, Visit, served
from tests.flow.child import Child
from tests.flow.stack import Stack
from tests.flow.traffic import batches, message
from tests.flow.waiting import until
from tests.free_ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")
KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
IMPATIENT = {"retry_base": 0.05, "retry_cap": 0.1, "retry_max_age": 0.3, "log_level": "info", "trace_keep": 60}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def answering(answer: bytes) -> Script:
    async def script(visit: Visit) -> None:
        while True:
            await visit.answer(answer)

    return script


@asynccontextmanager
async def worker_for(stack: Stack, endpoint: str, **settings: object) -> AsyncIterator[Child]:
    """Run a worker that delivers to `endpoint`; names in capitals are variables as they are."""
    # Endpoint stays what the queue belongs to.
    text = f"Endpoint=http://localhost;AccessKey={KEY};ServerEndpoint={endpoint};Version=1.0;"
    worker = await stack.add_worker(**IMPATIENT, AzureSignalRConnectionString=text, **settings)
    yield worker


async def traced(stack: Stack, message_id: str) -> set[object]:
    """Return the causes of failed attempts in the trace of a message, once it has its end."""
    traces = Traces(stack.redis_client, SystemClock(), KEYS, keep=60, max_per_second=100)
    found: list[TraceEvent] = []

    async def ended() -> bool:
        found[:] = await traces.events_of(message_id)
        return any(event.what == "settled" for event in found)

    await until(ended, within=10, what="the trace has its end")
    return {event.detail["detail"] for event in found if event.what == "attempt"}


async def cause(stack: Stack, hub: str, endpoint: str, **settings: object) -> str:
    """Send a message that cannot reach `endpoint`, and return the cause; it has to be the same in all three places."""
    async with worker_for(stack, endpoint, **settings) as worker:
        await stack.post(hub, batches([message(hub, 0, "users", "alice")], 1)[0])
        await stack.drained(within=10)
        (letter,) = await stack.dead_letters()
        assert (letter.cause.reason, letter.cause.status) == ("tooOld", 0)
        detail = letter.cause.detail.partition("last: ")[2]
        lines = [orjson.loads(line) for line in worker.log.read_bytes().splitlines() if line.startswith(b"{")]
        attempts = [line for line in lines if line["event"] == "delivery.attempt"]
        assert attempts
        assert {(line["failure"], line["detail"]) for line in attempts} == {("notSent", detail)}
        assert await traced(stack, decode(letter.entry.data, letter.flow[1:]).message_id) == {detail[:200]}
        assert b"hushhush" not in worker.log.read_bytes()
    return detail


async def test_delivery_goes_through_a_proxy_to_a_service_with_an_authority_of_its_own(
    stack: Stack, hub: str, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with (
        served(answering(ACCEPTED), tls=certified(authority, "abc.service.invalid")) as service,
        connect_proxy({"abc.service.invalid": service.origin.port}, user="user:hushhush") as proxy,
        worker_for(
            stack,
            "https://abc.service.invalid",
            HTTPS_PROXY=f"http://user:hushhush@127.0.0.1:{proxy.port}",
            service_ca=tmp_path / "ca.pem",
        ) as worker,
    ):
        items = [message(hub, number, "users", f"user {number}") for number in range(20)]
        await stack.post(hub, batches(items, 20)[0])
        await stack.drained()
        requests = [request for visit in service.visits for request in visit.requests if b"/users/" in request]
        assert len([request for request in requests if request.startswith(b"POST ")]) == 20
        # What a process asks at its start goes the same way.
        assert any(b"/api/health" in request for visit in service.visits for request in visit.requests)
        assert b"service.access_granted" in worker.log.read_bytes()
        assert set(proxy.asked) == {"CONNECT abc.service.invalid:443"}
        assert b"service.proxy" in worker.log.read_bytes()
        log = worker.log.read_bytes()
        assert f'"proxy":"http://127.0.0.1:{proxy.port}"'.encode() in log
        assert b"hushhush" not in log
    assert await stack.dead_letters() == []


async def test_a_name_that_does_not_exist_is_the_cause(stack: Stack, hub: str) -> None:
    detail = await cause(stack, hub, "https://no-such-host.invalid")
    assert detail.startswith("No connection to https://no-such-host.invalid: the name cannot be resolved (")


async def test_a_refused_connection_is_the_cause(stack: Stack, hub: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    assert await cause(stack, hub, endpoint) == f"No connection to {endpoint}: connection refused."


async def test_a_certificate_that_nobody_trusts_is_the_cause(stack: Stack, hub: str, authority: trustme.CA) -> None:
    async with served(answering(ACCEPTED), tls=certified(authority, "127.0.0.1")) as service:
        detail = await cause(stack, hub, str(service.origin))
    assert detail.startswith(f"No connection to {service.origin}: the certificate was refused (unable to get local ")


async def test_plain_text_where_tls_was_expected_is_the_cause(stack: Stack, hub: str) -> None:
    async with served(answering(ACCEPTED)) as service:
        endpoint = f"https://127.0.0.1:{service.origin.port}"
        assert await cause(stack, hub, endpoint, connect_timeout=0.2) == f"No connection to {endpoint} within 0.2 s."


async def test_a_proxy_that_refuses_is_the_cause(stack: Stack, hub: str) -> None:
    async with connect_proxy({}, user="user:other") as proxy:
        variable = f"http://user:hushhush@127.0.0.1:{proxy.port}"
        detail = await cause(stack, hub, "https://abc.service.invalid", HTTPS_PROXY=variable)
    assert detail == (
        f"No connection to https://abc.service.invalid through the proxy http://127.0.0.1:{proxy.port}: the proxy "
        "answered 407: it asks for a user and a password, or refuses those it was given."
    )


async def test_a_proxy_that_is_not_there_is_the_cause(stack: Stack, hub: str) -> None:
    port = free_port()
    detail = await cause(stack, hub, "https://abc.service.invalid", HTTPS_PROXY=f"http://127.0.0.1:{port}")
    assert detail.endswith(f"the proxy http://127.0.0.1:{port}: the proxy cannot be reached: connection refused.")


async def test_a_dead_letter_keeps_what_the_service_answered_without_secrets(stack: Stack, hub: str) -> None:
    body = b'{"code":"BadRequest","message":"no", "token":"eyJhbGciOi.eyJhdWQi.c2ln"}' + b"." * 1000
    answer = (
        b"HTTP/1.1 400 Bad Request\r\nx-ms-error-code: Error.Message.Odd\r\nx-ms-request-id: r-17\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    async with served(answering(answer)) as service, worker_for(stack, str(service.origin)):
        await stack.post(hub, batches([message(hub, 0, "users", "alice")], 1)[0])
        await stack.drained(within=10)
        (letter,) = await stack.dead_letters()
    expected = 'status 400 Error.Message.Odd (request r-17): {"code":"BadRequest","message":"no", "token":"***"}'
    assert (letter.cause.reason, letter.cause.status) == ("refused", 400)
    assert letter.cause.detail == expected + "." * (500 + len(expected.partition(": ")[0]) + 2 - len(expected))
