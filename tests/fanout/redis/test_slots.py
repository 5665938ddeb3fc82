"""Where a key lives."""

from typing import Any

import pytest
from redis.crc import key_slot

from fanout.queue.keys import KEYS
from fanout.redis.address import Node
from fanout.redis.slots import key_of, read_slots, slot_of


@pytest.mark.parametrize("key", ["a", "123456789", "{7}:x", "x{7}y", "{}x", "a{}{b}", "{a", "}a{b}", "ä{ö}", ""])
def test_slots_are_those_of_the_specification(key: str) -> None:
    assert slot_of(key) == slot_of(key.encode()) == key_slot(key.encode())


def test_all_keys_of_a_partition_share_a_slot() -> None:
    names = [KEYS.stream(3, "uchat"), KEYS.dead(3), KEYS.lease(3), KEYS.fence(3), KEYS.seen(3)]
    assert len({slot_of(name) for name in names}) == 1


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), "a"),
        (("EVALSHA", "sha", 2, "a", "b", "x"), "a"),
        (("EVAL", "text", 0, "x"), None),
        (("XREAD", "COUNT", 1, "BLOCK", 5, "STREAMS", b"s", b"0"), b"s"),
        (("XRANGE", "s", "-", "+"), "s"),
        (("PING",), None),
        (("CONFIG", "SET", "a", "b"), None),
    ],
)
def test_the_key_of_a_command(command: tuple[Any, ...], key: str | bytes | None) -> None:
    assert key_of(command) == key


def test_a_map_tells_who_serves_a_slot_and_can_be_corrected() -> None:
    asked = Node("asked", 1)
    slots = read_slots([[0, 5, [b"a", 1, b"id", []], [b"r", 2, b"id"]], [7, 16383, [b"", 3, b"id"]]], asked)
    assert [slots.owner(slot) for slot in (0, 5, 6, 7, 16383)] == [
        Node("a", 1), Node("a", 1), None, Node("asked", 3), Node("asked", 3),
    ]  # fmt: skip
    assert slots.primaries == (Node("a", 1), Node("asked", 3))
    assert slots.nodes == (Node("a", 1), Node("r", 2), Node("asked", 3))
    slots.correct(6, Node("b", 4))
    assert slots.owner(6) == Node("b", 4)


def test_a_cluster_without_slots_has_an_empty_map() -> None:
    assert not read_slots([], Node("a", 1))
