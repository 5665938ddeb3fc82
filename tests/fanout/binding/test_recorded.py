"""What the Functions extension takes is taken here, and becomes the same REST calls; the differences are listed."""

from typing import Any

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, parse_batch
from fanout.errors import BadRequestError
from fanout.signalr.routes import route_of
from tests.recorded.functions import DONE_HERE, REFUSED, ROWS, TAKEN_HERE, calls_of, name_of, refusal_of

LIMITS = BatchLimits(max_items=1000, max_targets=1000, max_message=1_000_000)
REST = "/api/hubs/chat"


def read(output: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the calls an output becomes, and the codes of what is refused of it."""
    try:
        results = parse_batch(output.encode(), LIMITS).results
    except BadRequestError as error:
        return [], [error.label]
    routes = [route_of("chat", call) for item in results if isinstance(item, ParsedItem) for call in item.calls]
    codes = [item.code for item in results if not isinstance(item, ParsedItem)]
    return [(route.method, route.path.removeprefix(REST)) for route in routes], codes


@pytest.mark.parametrize("row", [row for row in ROWS if row["outcome"] == "done"], ids=lambda row: row["id"])
def test_what_the_extension_sends_becomes_the_same_calls(row: dict[str, Any]) -> None:
    refusal = refusal_of(row)
    assert read(row["output"]) == (([], [refusal]) if refusal else (calls_of(row), []))


@pytest.mark.parametrize("row", [row for row in ROWS if row["outcome"] != "done"], ids=lambda row: row["id"])
def test_what_the_extension_refuses_is_refused_with_a_code(row: dict[str, Any]) -> None:
    _, codes = read(row["output"])
    assert bool(codes) is (name_of(row) not in TAKEN_HERE)


def test_the_recording_covers_what_is_listed_here() -> None:
    names = {name_of(row) for row in ROWS}
    assert {*REFUSED, *DONE_HERE, *TAKEN_HERE} <= names
    assert len(ROWS) > 200
