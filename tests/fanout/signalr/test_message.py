"""The values are frozen, stored compactly, and readable by older and newer processes."""

import msgspec
import pytest

from fanout.signalr.message import OPERATIONS, CloseConnections, GroupAction, Item, Message, Scope, Verb, operation_of

ITEMS: list[tuple[Item, str]] = [
    (Message(Scope.BROADCAST, "", b"{}"), "broadcast"),
    (Message(Scope.USER, "u", b"\x00\xff", ("c",), 1.5), "sendToUser"),
    (Message(Scope.GROUP, "g", b"{}"), "sendToGroup"),
    (Message(Scope.CONNECTION, "c", b"{}"), "sendToConnection"),
    (GroupAction(Verb.ADD, Scope.USER, "u", "g", 7), "addUser"),
    (GroupAction(Verb.REMOVE, Scope.USER, "u", "g"), "removeUser"),
    (GroupAction(Verb.REMOVE_ALL, Scope.USER, "u"), "removeAllUser"),
    (GroupAction(Verb.ADD, Scope.CONNECTION, "c", "g"), "addConnection"),
    (GroupAction(Verb.REMOVE, Scope.CONNECTION, "c", "g"), "removeConnection"),
    (GroupAction(Verb.REMOVE_ALL, Scope.CONNECTION, "c"), "removeAllConnection"),
    (CloseConnections(Scope.CONNECTION, "c", "r"), "closeConnection"),
    (CloseConnections(Scope.USER, "u", "", ("c",)), "closeUser"),
    (CloseConnections(Scope.GROUP, "g"), "closeGroup"),
    (CloseConnections(Scope.BROADCAST, ""), "closeHub"),
    (Message(Scope.USER, "u", b"\x80", binary=True), "sendToUser"),
    (Message(Scope.CONNECTION, "c", b"1", stream="s", completion=""), "sendToConnection"),
]


@pytest.mark.parametrize(("item", "operation"), ITEMS)
def test_each_kind_of_call_has_its_name(item: Item, operation: str) -> None:
    assert operation_of(item) == operation


def test_the_names_of_calls_are_a_closed_set() -> None:
    assert {operation for _, operation in ITEMS} == set(OPERATIONS)


@pytest.mark.parametrize(("item", "operation"), ITEMS)
def test_a_stored_item_is_read_back_equal(item: Item, operation: str) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(item), type=Item) == item


def test_fields_a_newer_process_added_at_the_end_are_skipped() -> None:
    stored = msgspec.msgpack.encode(
        ["m", "user", "u", b"{}", [], None, "", None, "normal", False, "", None, "from the future"]
    )
    assert msgspec.msgpack.decode(stored, type=Item) == Message(Scope.USER, "u", b"{}")


def test_fields_an_older_process_did_not_know_have_their_defaults() -> None:
    stored = msgspec.msgpack.encode(["g", "add", "user", "u"])
    assert msgspec.msgpack.decode(stored, type=Item) == GroupAction(Verb.ADD, Scope.USER, "u")


def test_an_item_cannot_be_changed() -> None:
    item = Message(Scope.USER, "u", b"{}")
    with pytest.raises(AttributeError):
        item.to = "v"  # type: ignore[misc]  # the test is that this fails
