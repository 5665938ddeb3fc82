"""The recorded outputs of Functions apps, and where this service does something else with them on purpose.

Rule guarded: the differences are listed in one place, each with its reason. What is not listed has to become the calls
that the vendor's extension made.
"""

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "functions.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]
# What is refused here, by the first part of a row's id, and with which code.
REFUSED = {
    "user_id": "misnamedAddress",  # there a broadcast of what was meant for one
    "action-3": "unknownAction",  # there nothing happens
    'action-"add,remove"': "unknownAction",  # there one of the two is done
    "endpoints-empty": "noEndpointSelected",
    'groupName-" "': "invalidGroupName",  # the service refuses it
}
NOT_JSON = "notjson-"
DONE_HERE = {"removeall-conn": [("DELETE", "/connections/c/groups")]}  # there nothing happens
# What the extension writes anew: `1.50` and `1e3`, and texts that look like dates. Here they arrive as they were.
CHANGED_THERE = ("args-numbers.json", "args-dates.string")
TAKEN_HERE = ("no-arguments", "null-arguments", "whole-str-json", "notjson-bom")  # there refused


def name_of(row: dict[str, Any]) -> str:
    """Return the id of a row without the way in which its output reached the host."""
    name: str = row["id"]
    return name.rpartition(".")[0]


def refusal_of(row: dict[str, Any]) -> str:
    """Return the code with which an output that the extension took is refused here, "" where it is taken."""
    name = name_of(row)
    return REFUSED.get(name, "invalidJson" if name.startswith(NOT_JSON) else "")


def calls_of(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return method and path of the calls that an output that is taken becomes here."""
    recorded = [(call["method"], call["target"].partition("?")[0]) for call in row["calls"]]
    return DONE_HERE.get(name_of(row), recorded)
