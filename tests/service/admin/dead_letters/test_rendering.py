"""A dead letter as an operator sees it: everything it was, in the words of the API."""

from typing import Any

import orjson
import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, parse_batch
from fanout.queue.dead_letters import DeadLetter, DeathCause
from fanout.queue.entry import Entry, StoredEntry, encode
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb, operation_of
from service.admin.dead_letters.reference import LetterRef
from service.admin.dead_letters.rendering import details_of, message_of, summary_of, time_of

BODY = b'{"target":"t","arguments":[1.50,{"a": null}]}'
ITEMS: list[Item] = [
    Message(Scope.BROADCAST, "", BODY),
    Message(Scope.BROADCAST, "", BODY, excluded=("c1", "c2")),
    Message(Scope.USER, "alice", BODY, ttl=30.5, collapse="ACME", at_most_once=False),
    Message(Scope.GROUP, "red", BODY, at_most_once=True),
    Message(Scope.CONNECTION, "c1", BODY),
    GroupAction(Verb.ADD, Scope.USER, "alice", "red", ttl=0),
    GroupAction(Verb.ADD, Scope.CONNECTION, "c1", "red"),
    GroupAction(Verb.REMOVE, Scope.USER, "alice", "red"),
    GroupAction(Verb.REMOVE_ALL, Scope.USER, "alice"),
    CloseConnections(Scope.CONNECTION, "c1", reason="bye"),
    CloseConnections(Scope.USER, "alice", excluded=("c1",)),
    CloseConnections(Scope.GROUP, "red"),
]


def a_letter(item: Item) -> DeadLetter:
    entry = Entry("chat", "m1", item)
    return DeadLetter(b"1-0", StoredEntry(b"1-0", encode(entry)), DeathCause("refused", 400, 1, "bad"))


@pytest.mark.parametrize("item", ITEMS, ids=operation_of)
def test_a_message_is_shown_as_it_may_be_sent_again(item: Item) -> None:
    """What is shown, read as a batch, is the same item."""
    message = message_of(Entry("chat", "m1", item))
    limits = BatchLimits(max_items=1, max_targets=1, max_message=1000, endpoints=())
    batch = parse_batch(orjson.dumps(message), limits)
    [parsed] = batch.results
    assert isinstance(parsed, ParsedItem), parsed
    assert (parsed.message_id, list(parsed.calls), parsed.warnings) == ("m1", [item], ())


@pytest.mark.parametrize("body", [b"", b"[]", b'{"target":1}', b'{"target":"t","arguments":[}', b'{"target":"\xff"}'])
def test_a_body_that_is_none_is_shown_as_bytes(body: bytes) -> None:
    shown = details_of(LetterRef(1, 0, 3), a_letter(Message(Scope.USER, "alice", body)))
    assert (shown["message"], bool(shown["entry"]), shown["to"]) == (None, True, "alice")


@pytest.mark.parametrize(("item", "whom"), [(ITEMS[0], ""), (ITEMS[3], "red"), (ITEMS[5], "alice"), (ITEMS[9], "c1")])
def test_a_line_names_whom_it_concerns(item: Item, whom: str) -> None:
    line = summary_of(LetterRef(1000, 0, 3), a_letter(item))
    assert (line["id"], line["to"], line["operation"]) == ("3:1000-0", whom, operation_of(item))


@pytest.mark.parametrize(
    ("millisecond", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1795388238007, "2026-11-22T22:57:18.007Z"), (2**62, None)],
)
def test_a_time_is_rfc_3339_in_utc(millisecond: int, text: Any) -> None:
    assert time_of(millisecond) == text
