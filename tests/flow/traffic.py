"""What the flow tests send: items as a caller writes them, each with the REST call it has to become.

Rule guarded: the expected calls are written here by hand, from the REST API's description, and share no code with the
product, so that the two can disagree. The argument texts are ones that a decoding and re-encoding would change.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from fanout.queue.keys import lane_of, partition_of
from fanout.signalr.message import Message, Scope
from tests.flow.oracle import Sent, mark, sent_target

# JSON texts that do not survive a trip through most JSON libraries.
DELICATE = (
    "1.10",
    "12345678901234567890123",
    "1e400",
    '{"b":1,"a":2,"b":3}',
    '"\\u00e4\\/"',
    '"2026-01-31T23:59:59.1234567+02:00"',
    "[ ]",
    '"äöü日本"',
    "-0.0",
    "null",
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a batch, as JSON text, and the call that has to arrive."""

    text: str
    sent: Sent


def message(hub: str, number: int, kind: str, to: str, *, extra: str = "", query: Sequence[str] = ()) -> Item:
    """Make a message; `kind` is users, groups, connections, or "" foreverybody; `extra` are more JSON properties."""
    arguments = f'["{mark(number)}",{DELICATE[number % len(DELICATE)]}]'
    names = {"users": "userId", "groups": "groupName", "connections": "connectionId"}
    address = f',"{names[kind]}":"{to}"' if kind else ""
    place = "/".join(("", kind, quote(to, safe=""))) if kind else ""
    path = f"/api/hubs/{hub.lower()}{place}/:send"
    body = f'{{"target":"news","arguments":{arguments}}}'.encode()
    text = f'{{"target":"news"{address},"arguments":{arguments}{extra}}}'
    return Item(text, Sent(f"{kind} {to}", "POST", sent_target(path, *query), body))


def membership(hub: str, number: int, group: str, *, add: bool, kind: str = "users") -> Item:
    """Make a group action; the member is named after its number."""
    member = f"member {mark(number)}"
    root, group_path = f"/api/hubs/{hub.lower()}", f"/groups/{quote(group, safe='')}"
    member_path = f"/{kind}/{quote(member, safe='')}"
    path = root + (member_path + group_path if kind == "users" else group_path + member_path)
    name = "userId" if kind == "users" else "connectionId"
    text = f'{{"{name}":"{member}","groupName":"{group}","action":"{"add" if add else "remove"}"}}'
    return Item(text, Sent(f"groups {group}", "PUT" if add else "DELETE", sent_target(path)))


def mixed(hub: str, count: int, *, seed: int, lanes: int = 20) -> list[Item]:
    """Make `count` items of every kind that works without a connected client, for about `4 * lanes` lanes."""
    dice = random.Random(seed)
    makers: Sequence[Callable[[int], Item]] = (
        lambda n: message(hub, n, "", ""),
        lambda n: message(hub, n, "", "", extra=',"excluded":["x y","z"]', query=("excluded=x%20y", "excluded=z")),
        lambda n: message(hub, n, "users", f"user {dice.randrange(lanes)}"),
        lambda n: message(hub, n, "users", f"ü/{dice.randrange(lanes)}?&#%", extra=',"ttlSeconds":600'),
        lambda n: message(hub, n, "groups", f"group {dice.randrange(lanes)}"),
        lambda n: message(
            hub, n, "groups", f"group {dice.randrange(lanes)}", extra=',"excluded":["a+b"]', query=("excluded=a%2Bb",)
        ),
        lambda n: message(hub, n, "connections", f"connection-{dice.randrange(lanes)}_="),
        lambda n: membership(hub, n, f"group {dice.randrange(lanes)}", add=dice.random() < 0.5),
    )
    # Broadcasts are one lane, so they are few: a lane is served one call after the other.
    weights = (1, 1, 10, 5, 8, 4, 8, 6)
    return [dice.choices(makers, weights)[0](number) for number in range(count)]


def batches(items: Sequence[Item], size: int) -> list[bytes]:
    """Return the bodies that POST `items` in order, `size` at a time."""
    return [_body(items[start : start + size]) for start in range(0, len(items), size)]


def sent_of(items: Sequence[Item]) -> list[Sent]:
    """Return the calls that have to arrive."""
    return [item.sent for item in items]


def partition_of_user(hub: str, user: str, partitions: int) -> int:
    """Return the partition of a user's messages, for tests that aim at one; only the product knows it."""
    return partition_of(lane_of(hub.lower(), Message(Scope.USER, user, b"")), partitions)


def _body(items: Sequence[Item]) -> bytes:
    return f"[{','.join(item.text for item in items)}]".encode()
