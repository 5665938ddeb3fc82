"""The line of each settled delivery."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from fanout.instruments import DeliveryLog, open_delivery_log
from tests.fakes import FakeClock


class Sink:
    """What was written, one item a write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.writes.append(data)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for data in self.writes for line in data.splitlines()]


def a_delivery_log(clock: FakeClock | None = None) -> tuple[DeliveryLog, Sink]:
    sink = Sink()
    return DeliveryLog("delivery.settled", clock or FakeClock(), sink), sink


async def test_a_line_has_its_fields_its_event_and_the_time() -> None:
    delivery_log, sink = a_delivery_log()
    delivery_log.write({"id": "m1", "status": 202})
    await asyncio.sleep(0)
    assert sink.lines == [
        {"id": "m1", "status": 202, "event": "delivery.settled", "level": "info", "timestamp": "2027-01-15T08:00:00Z"}
    ]


async def test_lines_of_one_turn_of_the_loop_are_one_write() -> None:
    delivery_log, sink = a_delivery_log()
    for number in range(5):
        delivery_log.write({"number": number})
    assert sink.writes == []
    await asyncio.sleep(0)
    delivery_log.write({"number": 5})
    await asyncio.sleep(0)
    assert len(sink.writes) == 2
    assert [line["number"] for line in sink.lines] == list(range(6))


def test_up_to_a_full_rate_every_line_stands_for_itself() -> None:
    delivery_log, _sink = a_delivery_log()
    assert [delivery_log.sample(important=False) for _ in range(500)] == [1] * 500


def test_past_it_a_sample_stands_for_all() -> None:
    """What the lines of a second stand for adds up to what happened in it."""
    delivery_log, _sink = a_delivery_log()
    wanted = [delivery_log.sample(important=False) for _ in range(10_000)]
    assert sum(wanted) == 10_000
    assert set(wanted[500:]) == {0, 100}


async def test_a_line_of_a_sample_says_so_itself() -> None:
    delivery_log, sink = a_delivery_log()
    delivery_log.write({"id": "m1"}, 100)
    delivery_log.write({"id": "m2"}, 1)
    delivery_log.flush()
    assert [line.get("sampled") for line in sink.lines] == [100, None]


def test_important_lines_are_all_kept() -> None:
    delivery_log, _sink = a_delivery_log()
    for _ in range(10_000):
        delivery_log.sample(important=False)
    assert [delivery_log.sample(important=True) for _ in range(1000)] == [1] * 1000


def test_each_second_begins_anew() -> None:
    clock = FakeClock()
    delivery_log, _sink = a_delivery_log(clock)
    for _ in range(501):
        delivery_log.sample(important=False)
    assert delivery_log.sample(important=False) == 0
    clock.jump(1.0)
    assert delivery_log.sample(important=False) == 1


async def test_above_info_nothing_is_wanted_and_nothing_written() -> None:
    delivery_log = open_delivery_log("delivery.settled", FakeClock(), level="warning", style="json")
    assert delivery_log is not None
    assert delivery_log.sample(important=True) == 0
    delivery_log.flush()


@pytest.mark.parametrize("level", ["debug", "info"])
def test_down_to_info_lines_are_kept(level: str) -> None:
    delivery_log = open_delivery_log("delivery.settled", FakeClock(), level=level, style="json")
    assert delivery_log is not None
    assert delivery_log.sample(important=False) == 1


def test_where_people_read_the_log_there_is_no_delivery_log() -> None:
    assert open_delivery_log("delivery.settled", FakeClock(), level="info", style="console") is None


def test_lines_go_to_the_standard_error_of_the_process() -> None:
    code = """
import asyncio
from fanout.clock import SystemClock
from fanout.instruments import open_delivery_log
async def main():
    open_delivery_log("e", SystemClock(), level="info", style="json").write({"id": "m1"})
    await asyncio.sleep(0)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stderr)["id"] == "m1"
    assert done.stdout == b""
