"""What every client has to see, whoever wrote it: the same batch to all of them, and what must have arrived.

Rule guarded: what is POSTed reaches a client that came through our negotiate, by each of the four ways to address it,
with equal arguments, each destination's messages in the order in which they were sent, none missing and none twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# The method names, one for each way to address a client, so that a receiver can tell them apart.
EVERYONE, USER, GROUP, CONNECTION = TARGETS = ("toEveryone", "toUser", "toGroup", "toConnection")
COPIES = 25
# Kinds of values that a codec on the way could bend. Numbers stay inside what a double holds exactly, because
# MessagePack and JavaScript clients have nothing wider.
PAYLOAD: dict[str, Any] = {
    "text": 'zwölf Ärger, 日本語, \N{PARTY POPPER}, \u2028 and \\ " / \t',
    "empty": "",
    "date": "2026-01-31T23:59:59.1234567Z",
    "numbers": [0, -1, 127, 128, -32769, 2**31, 2**53 - 1, -(2**53 - 1), 1.5, -0.25, 1e300],
    "nested": {"list": [[], {}, [None, True, False]], "Case": 1, "case": 2},
}


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is connected: a user of a hub, a member of a group."""

    hub: str
    user: str = "alice"
    group: str = "a group/with ä slash"


def join(listener: Listener) -> dict[str, Any]:
    """Make the user a member of the group."""
    return {"userId": listener.user, "groupName": listener.group, "action": "add"}


def messages(listener: Listener, connection_id: str) -> list[dict[str, Any]]:
    """Give one batch: COPIES of each kind, taking turns, and as many for somebody else, who must not be this client."""
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
    """Give the arguments of one message."""
    return [number, PAYLOAD, None, "last"]


def expected_count() -> int:
    """Say how many of `messages` are for the listener."""
    return COPIES * len(TARGETS)


def check(received: Sequence[tuple[str, list[Any]]]) -> None:
    """Assert that exactly what was sent to the listener arrived, each destination in order."""
    for target in TARGETS:
        arrived = [values for name, values in received if name == target]
        assert [values[0] for values in arrived] == list(range(COPIES)), f"order of {target}"
        assert all(values == arguments(number) for number, values in enumerate(arrived)), f"arguments of {target}"
    assert len(received) == expected_count()
