"""What the Functions extension takes is taken here, and becomes the same REST calls; the differences are listed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, parse_batch
from fanout.errors import BadRequestError
from fanout.signalr.routes import route_of

LIMITS = BatchLimits(max_items=1000, max_targets=1000, max_message=1_000_000)
RECORDED = Path(__file__).parents[2] / "recorded" / "functions.jsonl"
ROWS = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]
REST = "/api/hubs/chat"
# Where we differ on purpose from what the extension does, by the first part of a row's id.
REFUSED = {
    "user_id": "misnamedAddress",  # there a broadcast of what was meant for one
    "action-3": "unknownAction",  # there nothing happens
    'action-"add,remove"': "unknownAction",  # there one of the two is done
    "endpoints-empty": "noEndpointSelected",
    'groupName-" "': "invalidGroupName",  # the service refuses it
}
NOT_JSON = "notjson-"
DONE_HERE = {"removeall-conn": [("DELETE", "/connections/c/groups")]}  # there nothing happens
TAKEN_HERE = ("no-arguments", "null-arguments", "whole-str-json", "notjson-bom")  # there refused


def name_of(row: dict[str, Any]) -> str:
    name: str = row["id"]
    return name.rpartition(".")[0]


def read(output: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the calls an output becomes, and the codes of what is refused of it."""
    try:
        results = parse_batch(output.encode(), LIMITS).results
    except BadRequestError as error:
        return [], [error.label]
    routes = [route_of("chat", call) for item in results if isinstance(item, ParsedItem) for call in item.calls]
    codes = [item.code for item in results if not isinstance(item, ParsedItem)]
    return [(route.method, route.path.removeprefix(REST)) for route in routes], codes


def recorded_calls(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(call["method"], call["target"].partition("?")[0]) for call in row["calls"]]


@pytest.mark.parametrize("row", [row for row in ROWS if row["outcome"] == "done"], ids=lambda row: row["id"])
def test_what_the_extension_sends_becomes_the_same_calls(row: dict[str, Any]) -> None:
    name = name_of(row)
    calls, codes = read(row["output"])
    if name in REFUSED or name.startswith(NOT_JSON):
        assert (calls, codes) == ([], [REFUSED.get(name, "invalidJson")])
    else:
        assert (calls, codes) == (DONE_HERE.get(name, recorded_calls(row)), [])


@pytest.mark.parametrize("row", [row for row in ROWS if row["outcome"] != "done"], ids=lambda row: row["id"])
def test_what_the_extension_refuses_is_refused_with_a_code(row: dict[str, Any]) -> None:
    _, codes = read(row["output"])
    assert bool(codes) is (name_of(row) not in TAKEN_HERE)


def test_the_recording_covers_what_is_listed_here() -> None:
    names = {name_of(row) for row in ROWS}
    assert {*REFUSED, *DONE_HERE, *TAKEN_HERE} <= names
    assert len(ROWS) > 200
