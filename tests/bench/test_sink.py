"""The far side, in C and in Python: counts, waits, is late on request and notes arrivals, over real sockets."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from bench import sink as sinks
from bench.load import post_all, post_paced
from bench.messages import batches
from bench.rig import BenchError, Rig, cpu_seconds, resident_bytes
from bench.sink import Sink, compiled


@pytest.fixture(params=["c", "python"])
async def sink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Sink]:
    """Each kind of sink in turn."""
    if request.param == "python":
        monkeypatch.setattr(sinks, "_COMPILERS", ())
    elif await compiled(tmp_path) is None:
        pytest.skip("no C compiler")
    async with Rig.open() as rig:
        yield await Sink.start(rig)


def bodies(count: int) -> Iterator[bytes]:
    return batches(count, 1)


async def test_it_counts_what_it_answers(sink: Sink) -> None:
    await post_all(sink.port, "/any", bodies(50), connections=4)
    assert await sink.answered() == 50
    await sink.reached(50, 1.0)


async def test_waiting_for_more_than_comes_says_how_many_came(sink: Sink) -> None:
    await post_all(sink.port, "/any", bodies(3), connections=1)
    with pytest.raises(BenchError, match="3 of 4"):
        await sink.reached(4, 0.2)


async def test_it_is_as_late_as_it_is_told(sink: Sink) -> None:
    await sink.set_latency(20)
    begin = time.monotonic()
    await post_all(sink.port, "/any", bodies(10), connections=2)
    took = time.monotonic() - begin
    assert took >= 0.1  # five after another on each connection
    assert await sink.reached(10, 1.0) <= time.monotonic()


async def test_what_it_refuses_is_not_counted(sink: Sink) -> None:
    await sink.refuse(on=True)
    with pytest.raises(ExceptionGroup) as refused:
        await post_all(sink.port, "/any", bodies(1), connections=1)
    assert "503" in str(refused.value.exceptions[0])
    await sink.refuse(on=False)
    await post_all(sink.port, "/any", bodies(2), connections=1)
    assert await sink.answered() == 2


async def test_it_refuses_what_goes_to_one_path(sink: Sink) -> None:
    await sink.set_latency(1)
    await sink.refuse_in("/api/hubs/noisy")
    await post_all(sink.port, "/api/hubs/quiet/:send", bodies(2), connections=1)
    with pytest.raises(ExceptionGroup) as refused:
        await post_all(sink.port, "/api/hubs/noisy/:send", bodies(1), connections=1)
    assert "503" in str(refused.value.exceptions[0])
    assert await sink.answered() == 2


async def test_it_notes_calls_without_a_body_by_their_path(sink: Sink) -> None:
    await sink.record(on=True)
    async with httpx.AsyncClient() as http:
        await http.put(f"http://127.0.0.1:{sink.port}/api/hubs/a/groups/g/users/probe-17")
    assert list(await sink.arrivals()) == [17]


async def test_it_notes_when_each_message_arrives(sink: Sink) -> None:
    await sink.record(on=True)
    written = await post_paced(sink.port, "/any", list(bodies(20)), rate=500)
    arrived = await sink.arrivals()
    assert sorted(arrived) == list(range(20))
    assert all(arrived[seq] >= moment for seq, moment in enumerate(written))
    assert await sink.arrivals() == {}


async def test_its_process_can_be_measured_from_outside(sink: Sink) -> None:
    before = cpu_seconds(sink.child.pid)
    await post_all(sink.port, "/any", bodies(500), connections=4)
    assert cpu_seconds(sink.child.pid) > before
    assert resident_bytes(sink.child.pid) > 100_000


async def test_a_process_that_ended_fails_what_measures_it() -> None:
    async with Rig.open() as rig:
        child = await rig.start("broken", ["sh", "-c", "echo why >&2; exit 3"])
        await child.process.wait()
        with pytest.raises(BenchError, match=r"broken ended with 3:\nwhy"):
            child.cpu()


async def test_nothing_is_left_when_the_rig_closes() -> None:
    async with Rig.open() as rig:
        child = await rig.start("long", ["sleep", "60"])
        directory = rig.directory
    assert child.process.returncode is not None
    assert not directory.exists()
