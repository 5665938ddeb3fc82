"""The screen of `fanout top`, from made-up overviews."""

from typing import Any

import pytest

from service.cli.screen import age, lines_of, rate, size


def figures(entries: int = 0, oldest: float = 0.0, rate_in: float | None = 1.0) -> dict[str, Any]:
    return {
        "entries": entries,
        "oldestAgeSeconds": oldest,
        "acceptedPerSecond": rate_in,
        "settledPerSecond": rate_in,
    }


def an_overview(hubs: int = 2, partitions: int = 4, **more: Any) -> dict[str, Any]:
    return {
        "at": 1_800_000_000.0,
        "version": "0.2.0",
        "queue": figures(12_345, 4.2, 1203.4) | {"bytes": 3_400_000, "deadLetters": 3, "deadLetterBytes": 9},
        "hubs": [{"hub": f"hub-{number}"} | figures(number, 1.0) for number in range(hubs)],
        "otherHubs": {"hubs": 0} | figures(),
        "partitions": [
            {"partition": number, "owner": "worker-0" if number else None, "deadLetters": 0} | figures(number, 2.0)
            for number in range(partitions)
        ],
        "workers": [{"worker": "worker-0", "partitions": partitions - 1}],
        "endpoints": [{"endpoint": "default", "configured": True} | figures(12_345, 4.2)],
        "deliversTo": ["example.service.signalr.net"],
        "pauses": [],
        "redis": {"latencySeconds": 0.0008, "memoryRatio": 0.24},
    } | more


def test_everything_is_there_once_and_figures_stand_in_columns() -> None:
    lines = lines_of(an_overview(), 100)
    assert lines[:4] == [
        "fanout 0.2.0  08:00:00 UTC  to example.service.signalr.net",
        "waiting 12,345  oldest 4.2 s  in 1,203/s  out 1,203/s  dead letters 3",
        "3.2 MiB wait  Redis 0.8 ms, 24% of its memory",
        "NO OWNER for 1 of 4 partitions: what is in them waits",
    ]
    assert lines[5:8] == [
        "HUB    WAITING  OLDEST  IN/S  OUT/S",
        "hub-0        0   1.0 s   1.0    1.0",
        "hub-1        1   1.0 s   1.0    1.0",
    ]
    assert lines[9:12] == [
        "WORKER    OWNS  WAITING  OLDEST  IN/S  OUT/S",
        "(nobody)     1        0   2.0 s   1.0    1.0",
        "worker-0     3        6   2.0 s   3.0    3.0",
    ]
    assert [line.split()[0] for line in lines[13:]] == ["PARTITION", "0", "3", "2", "1"]


def test_several_endpoints_have_a_table_of_their_own() -> None:
    endpoints = [{"endpoint": name, "configured": name != "old"} | figures(1) for name in ("default", "east", "old")]
    lines = lines_of(an_overview(endpoints=endpoints), 100)
    assert [line[:20].strip() for line in lines[9:13]] == ["ENDPOINT", "default", "east", "old (not configured)"]


def test_pauses_say_until_when_by_whom_and_why() -> None:
    pause = {"target": "hub:chat", "since": 0.0, "until": None, "by": "operator at 10.0.0.1", "cause": "an update"}
    asked = {"target": "service:send", "since": 0.0, "until": 1_800_000_060.0, "by": "w", "cause": ""}
    lines = lines_of(an_overview(pauses=[pause, asked, *[pause] * 5]), 100)
    assert "PAUSED hub:chat until it is resumed, by operator at 10.0.0.1: an update" in lines
    assert "PAUSED service:send until 2027-01-15 08:01:00 UTC, by w" in lines
    assert "PAUSED 2 more" in lines


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 5, 12, 24, 60])
def test_no_screen_is_larger_than_the_terminal(width: int, height: int) -> None:
    lines = lines_of(an_overview(hubs=50, partitions=300), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_what_does_not_fit_is_counted_and_no_table_starves_another() -> None:
    lines = lines_of(an_overview(hubs=50, partitions=300), 80, 30)
    assert len([line for line in lines if line.startswith(("HUB", "WORKER", "PARTITION"))]) == 3
    assert [line.split()[0] for line in lines if line.endswith(" more")] == ["42", "292"]


def test_a_long_name_gives_way_to_its_figures() -> None:
    overview = an_overview(hubs=0, partitions=1)
    overview["hubs"] = [{"hub": "h" * 300} | figures(7)]
    [line] = [line for line in lines_of(overview, 40) if line.startswith("hhh")]
    assert line.split()[1:2] == ["7"]
    assert len(line) <= 40


def test_names_cannot_write_to_the_terminal() -> None:
    overview = an_overview(deliversTo=["\x1b[2Jevil"], version="1\r2")
    overview["hubs"][0]["hub"] = "a\x1b]0;title\x07"
    assert all(line.isprintable() for line in lines_of(overview, 120))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "-"), (0.34, "0.3 s"), (59, "59.0 s"), (90, "1.5 m"), (5400, "1.5 h"), (200_000, "2.3 d")],
)
def test_an_age_is_in_the_unit_that_says_it(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_rates_and_sizes_are_short() -> None:
    assert [rate(each) for each in (None, 0.0, 0.25, 9.96, 12.3, 12_345.6)] == ["-", "0", "0.2", "10.0", "12", "12,346"]
    assert [size(each) for each in (0, 900, 2048, 3 * 1024**2, 5000 * 1024**3)] == [
        "0 B", "900 B", "2.0 KiB", "3.0 MiB", "5000.0 GiB",
    ]  # fmt: skip
