"""Which node of a Cluster serves which key: the slots, and the key that a command is routed by. Pure.

Source: the Redis Cluster specification. Rule guarded: a command goes to the node of its first key. Every command of
this project uses keys of one slot only (see fanout/queue/keys.py), so one key is enough. A command without a key may go
to any node.
"""

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any

from fanout.redis.address import Node

COUNT = 16384
_KEYLESS = frozenset({"PING", "TIME", "ECHO", "INFO", "CONFIG", "COMMAND", "CLUSTER", "CLIENT", "SCRIPT"})


def key_of(command: Sequence[Any]) -> str | bytes | None:
    """Return the key that a command is routed by, None when any node can run it."""
    name = command[0]
    if name in {"EVALSHA", "EVAL"}:
        return command[3] if command[2] else None
    if name == "XREAD":
        return command[command.index("STREAMS") + 1]  # type: ignore[no-any-return] # keys are text or bytes
    return None if name in _KEYLESS else command[1]


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key: the hash of what is between its first { and the next }, if anything, else of all."""
    data = key.encode() if isinstance(key, str) else key
    start = data.find(b"{")
    if start >= 0:
        end = data.find(b"}", start + 1)
        if end > start + 1:
            data = data[start + 1 : end]
    return crc_hqx(data, 0) % COUNT


class SlotMap:
    """Which node serves each slot, as one node reported it. A redirection by another node corrects single slots."""

    def __init__(self, owners: list[Node | None], nodes: Sequence[Node]) -> None:
        self._owners = owners
        self.nodes = tuple(dict.fromkeys(nodes))
        self.primaries = tuple(dict.fromkeys(node for node in owners if node is not None))

    def __repr__(self) -> str:
        return f"<SlotMap of {len(self.primaries)} primaries, {self._owners.count(None)} slots unserved>"

    def __bool__(self) -> bool:
        return bool(self.primaries)

    def owner(self, slot: int) -> Node | None:
        """Return the node that serves a slot, None when none does."""
        return self._owners[slot]

    def correct(self, slot: int, node: Node) -> None:
        """Record that `node` serves this slot now."""
        self._owners[slot] = node


def read_slots(reply: Sequence[Any], source: Node) -> SlotMap:
    """Read the reply of CLUSTER SLOTS. A node listed without a host has that of `source`, the node that replied."""
    owners: list[Node | None] = [None] * COUNT
    nodes: list[Node] = []
    for first, last, *members in reply:
        known = [_node(member, source) for member in members]
        owners[first : last + 1] = [known[0]] * (last - first + 1)
        nodes += known
    return SlotMap(owners, nodes)


def _node(member: Sequence[Any], source: Node) -> Node:
    host = bytes(member[0] or b"").decode()
    return Node(source.host if host in {"", "?"} else host, int(member[1]))
