"""Every operation of the published versions is found under its address, with the status that the version promises."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.compat.address import Address, address_of, promised_status

RECORDED = Path(__file__).parents[2] / "recorded" / "sdk.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]


@pytest.mark.parametrize("row", [row for row in ROWS if "/hubs/" in row["target"]], ids=lambda row: str(row["call"]))
def test_every_recorded_call_of_the_sdk_is_known(row: dict[str, Any]) -> None:
    assert address_of(row["method"], row["target"].partition("?")[0]) is not None


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/api/hubs/chat/:send", Address("send", "chat")),
        ("POST", "/api/hubs/chat/%3Asend", Address("send", "chat")),
        ("POST", "/api/v1/hubs/chat", Address("send", "chat", v1=True)),
        ("POST", "/api/v1/hubs/chat/users/a%2Fb", Address("send", "chat", user="a/b", v1=True)),
        ("PUT", "/api/hubs/chat/users/u/groups/g", Address("add_user", "chat", "u", "g")),
        ("PUT", "/api/v1/hubs/chat/groups/g/users/u", Address("add_user", "chat", "u", "g", v1=True)),
        ("GET", "/api/hubs/chat/users/u/groups/g", Address("user_in_group", "chat", "u", "g")),
        ("DELETE", "/api/hubs/chat/users/u/groups", Address("remove_user_from_all", "chat", "u")),
        ("DELETE", "/api/hubs/chat/connections/c", Address("close", "chat", connection="c")),
        ("POST", "/api/hubs/chat/users/users/:send", Address("send", "chat", user="users")),
        ("POST", "/api/hubs/chat/groups/:send/:send", Address("send", "chat", group=":send")),
        (
            "POST",
            "/api/hubs/chat/connections/c/streams/s/:complete",
            Address("stream_complete", "chat", connection="c", stream="s"),
        ),
    ],
)
def test_an_address_names_an_operation(method: str, path: str, expected: Address) -> None:
    assert address_of(method, path) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/hubs/chat/users//:send"),
        ("POST", "/api/hubs//:send"),
        ("POST", "/api/hubs/chat/:send/"),
        ("POST", "/api/hubs/chat/users/a/b/:send"),
        ("POST", "/api/hubs/chat/users/%FF/:send"),
        ("POST", "/api/hubs/chat/users/U/U"),
        ("PATCH", "/api/hubs/chat/:send"),
        ("POST", "/v1/hubs/chat/messages"),
    ],
)
def test_any_other_address_names_none(method: str, path: str) -> None:
    assert address_of(method, path) is None


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        ("send", (202, 202, 202, 202)),
        ("add_user", (202, 202, 200, 200)),
        ("remove_user", (202, 200, 204, 204)),
        ("remove_user_from_all", (202, 200, 204, 204)),
        ("close", (202, 200, 200, 200)),
        ("close_all", (204, 204, 204, 204)),
        ("user_in_group", (None, None, None, None)),
    ],
)
def test_each_version_has_the_status_it_promises(operation: str, statuses: tuple[int | None, ...]) -> None:
    versions = ("1.0", "2020-10-01", "2022-06-01", "2024-12-01")
    assert tuple(promised_status(operation, version) for version in versions) == statuses
