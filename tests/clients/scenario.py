"""One batch for every kind of client, and the check of what each must receive.

Rule guarded: what is POSTed reaches a client that used the product's negotiate, by each of the four addresses, with
equal arguments, the messages of each destination in the order in which they were sent, none missing and none twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# The method names, one for each way to address a client, so that a receiver can tell them apart.
EVERYONE, USER, GROUP, CONNECTION = TARGETS = ("toEveryone", "toUser", "toGroup", "toConnection")
COPIES = 25
# Values that a codec on the way could change. Numbers are those that a double holds exactly, because MessagePack and
# JavaScript clients have no wider type.
PAYLOAD: dict[str, Any] = {
    "text": 'zwölf Ärger, 日本語, \N{PARTY POPPER}, \u2028 and \\ " / \t',
    "empty": "",
    "date": "2026-01-31T23:59:59.1234567Z",
    "numbers": [0, -1, 127, 128, -32769, 2**31, 2**53 - 1, -(2**53 - 1), 1.5, -0.25, 1e300],
    "nested": {"list": [[], {}, [None, True, False]], "Case": 1, "case": 2},
}


@dataclass(frozen=True, slots=True)
class Listener:
    """A connected client: a user of a hub and a member of a group."""

    hub: str
    user: str = "alice"
    group: str = "a group/with ä slash"


def join(listener: Listener) -> dict[str, Any]:
    """Return the action that makes the user a member of the group."""
    return {"userId": listener.user, "groupName": listener.group, "action": "add"}


def messages(listener: Listener, connection_id: str) -> list[dict[str, Any]]:
    """Return one batch: COPIES for each address in turn, and as many for other users and groups."""
    addresses: list[tuple[str, dict[str, str]]] = [
        (EVERYONE, {}),
        (USER, {"userId": listener.user}),
        (GROUP, {"groupName": listener.group}),
        (CONNECTION, {"connectionId": connection_id}),
        (USER, {"userId": f"not-{listener.user}"}),
        (GROUP, {"groupName": f"not {listener.group}"}),
    ]
    return [
        {**address, "target": target, "arguments": arguments(number)}
        for number in range(COPIES)
        for target, address in addresses
    ]


def arguments(number: int) -> list[Any]:
    """Return the arguments of one message."""
    return [number, PAYLOAD, None, "last"]


def expected_count() -> int:
    """Return how many of `messages` are for the listener."""
    return COPIES * len(TARGETS)


def check(received: Sequence[tuple[str, list[Any]]]) -> None:
    """Assert that exactly the listener's messages arrived, those of each destination in order."""
    for target in TARGETS:
        arrived = [values for name, values in received if name == target]
        assert [values[0] for values in arrived] == list(range(COPIES)), f"order of {target}"
        assert all(values == arguments(number) for number, values in enumerate(arrived)), f"arguments of {target}"
    assert len(received) == expected_count()
