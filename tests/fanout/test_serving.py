"""An HTTP server inside somebody's task group."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import pytest
import uvicorn

from fanout.errors import ConfigurationError
from fanout.serving import listen, port_of, serve

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def hello(_scope: Any, _receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def config(application: Any = hello, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(application, lifespan="off", log_config=None, **options)


def can_connect(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_port_zero_takes_a_free_one() -> None:
    with listen("127.0.0.1", 0, option="--port") as one, listen("127.0.0.1", 0, option="--port") as two:
        assert port_of(one) > 0
        assert port_of(one) != port_of(two)


def test_a_taken_port_says_what_to_do() -> None:
    with listen("127.0.0.1", 0, option="--port") as taken:
        port = port_of(taken)
        with pytest.raises(ConfigurationError) as caught:
            listen("127.0.0.1", port, option="--port")
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1 is not available (Address already in use). Stop what listens there, or choose "
        "another port with --port."
    )


def test_a_host_that_cannot_be_found_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^Cannot listen on nowhere\.invalid: "):
        listen("nowhere.invalid", 0, option="--port")


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"on 192\.0\.2\.1 is not available"):
        listen("192.0.2.1", 0, option="--port")


async def test_it_says_when_requests_are_taken_and_cancelling_closes_everything() -> None:
    listener = listen("127.0.0.1", 0, option="--port")
    port, ready, told = port_of(listener), asyncio.Event(), list[bool]()

    async def closing() -> None:
        told.append(can_connect(port))

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(config(), listener, ready=ready.set, closing=closing))
        await asyncio.wait_for(ready.wait(), 5)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hello"
        assert told == []
        serving.cancel()
    assert told == [True]  # before connections end
    assert listener.fileno() == -1
    assert not can_connect(port)


async def test_an_answer_in_the_making_is_given_before_it_closes() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_scope: Any, _receive: Any, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await hello(_scope, _receive, send)

    listener = listen("127.0.0.1", 0, option="--port")
    port = port_of(listener)
    async with asyncio.TaskGroup() as group, httpx.AsyncClient() as client:
        serving = group.create_task(serve(config(slow, timeout_graceful_shutdown=5), listener))
        asking = group.create_task(client.get(f"http://127.0.0.1:{port}/"))
        await asyncio.wait_for(begun.wait(), 5)
        serving.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert (await asyncio.wait_for(asking, 5)).text == "hello"


async def test_cancelling_before_it_began_closes_the_port() -> None:
    listener = listen("127.0.0.1", 0, option="--port")
    port = port_of(listener)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(config(), listener))
        await asyncio.sleep(0)
        serving.cancel()
    assert not can_connect(port)


async def test_signals_are_left_to_whoever_runs_the_process() -> None:
    before = signal.getsignal(signal.SIGTERM)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(config(), listen("127.0.0.1", 0, option="--port"), ready=ready.set))
        await asyncio.wait_for(ready.wait(), 5)
        assert signal.getsignal(signal.SIGTERM) is before
        serving.cancel()
