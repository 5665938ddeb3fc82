"""What one stream entry holds, and its bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fanout.queue.entry import (
    VERSION,
    Entry,
    NewerEntryError,
    StoredEntry,
    UnreadableEntryError,
    apart,
    decode,
    encode,
    with_body,
)
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from tests.builders import a_join, a_message, an_entry

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
IDS = st.lists(TEXT, max_size=3).map(tuple)
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(
        Message,
        scope=st.sampled_from(Scope),
        to=TEXT,
        body=st.binary(max_size=200),
        excluded=IDS,
        ttl=st.none() | st.floats(0, 1e6),
    ),
    st.builds(
        GroupAction,
        verb=st.sampled_from(Verb),
        member_scope=st.sampled_from([Scope.USER, Scope.CONNECTION]),
        member=TEXT,
        group=TEXT,
        ttl=st.none() | st.integers(0, 10**6),
    ),
    st.builds(CloseConnections, scope=st.sampled_from(Scope), to=TEXT, reason=TEXT, excluded=IDS),
)
entries = st.builds(Entry, hub=TEXT, message_id=TEXT, item=items, link=st.just("") | TEXT)


@given(entries)
def test_every_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert decode(encode(entry), entry.hub) == entry


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_an_entry_or_be_refused(data: bytes) -> None:
    try:
        entry = decode(data, "chat")
    except UnreadableEntryError:
        return
    assert entry.hub == "chat"


@given(entries, st.data())
def test_a_damaged_entry_is_an_entry_or_is_refused(entry: Entry, data: st.DataObject) -> None:
    damaged = bytearray(encode(entry))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(damaged), entry.hub)
    except UnreadableEntryError as error:
        assert str(error)  # noqa: PT017 - most damage is harmless, so no error is expected


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="JSON"),
        pytest.param(b"\xc1", id="an opcode that is none"),
        pytest.param(encode(an_entry())[:-3], id="cut off"),
        pytest.param(encode(an_entry()) + b"\x00", id="something behind it"),
        pytest.param(encode(an_entry()).replace(b"alice", b"al\xff\xfee"), id="no UTF-8"),
        pytest.param(b"\x95" + encode(an_entry())[1:] + b"\x91" * 100_000 + b"\xc0", id="nesting without end"),
        pytest.param(msgspec.msgpack.encode([0, 0, "m", ["m", "user", "a", b""]]), id="a format before the first"),
        pytest.param(msgspec.msgpack.encode([1, 0, "m", ["m", "user", 7, b""]]), id="a name that is a number"),
        pytest.param(msgspec.msgpack.encode(["1", 0, "m", None]), id="other types"),
    ],
)
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableEntryError, match="cannot be decoded") as refusal:
        decode(data, "chat")
    assert not isinstance(refusal.value, NewerEntryError)


@pytest.mark.parametrize(
    ("parts", "lane"),
    [
        pytest.param(["ualice", "m", ["z", 1], {"new": b""}], "ualice", id="with its lane"),
        pytest.param([7], "", id="with something else in its place"),
        pytest.param([], "", id="without one"),
    ],
)
def test_an_entry_of_a_newer_format_is_known_by_its_number_and_lane(parts: list[object], lane: str) -> None:
    newer = msgspec.msgpack.encode([VERSION + 2, 0, *parts])
    with pytest.raises(NewerEntryError, match=f"of format {VERSION + 2}, this process reads {VERSION}") as refusal:
        decode(newer, "chat")
    assert (refusal.value.version, refusal.value.lane) == (VERSION + 2, lane)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([1, 1, "m", ["m", "user", "a", b"{}"]], id="a flag"),
        pytest.param([1, 0, "m", ["x", "y"]], id="a kind of item"),
        pytest.param([1, 0, "m", ["m", "galaxy", "", b""]], id="a scope"),
        pytest.param([1, 0, "m", ["m", "user", "a", b"{}", [], None, "", None, "urgent"]], id="a priority"),
        pytest.param([1, 0, "m", ["g", "invite", "user", "a", "g"]], id="a verb"),
    ],
)
def test_what_only_a_newer_process_can_have_written_takes_a_newer_format(parts: list[object]) -> None:
    """No process writes it under the number of an older format; if one did, nothing would be parked for it."""
    with pytest.raises(NewerEntryError) as refusal:
        decode(msgspec.msgpack.encode(parts), "chat")
    assert (refusal.value.version, refusal.value.lane) == (VERSION + 1, "")


def test_a_field_added_at_the_end_is_read_past() -> None:
    """A rolling update has two versions of the program on one queue."""
    entry = replace(an_entry(a_message("alice", ttl=5.0)), body_ref="b1", body_size=7, link="00-trace-span-01")
    fields = msgspec.msgpack.decode(encode(entry))
    fields[3].append("new in the item")
    fields += [(), {"new": ["in", "the", "entry"]}]
    assert decode(msgspec.msgpack.encode(fields), "chat") == entry


def test_a_field_that_was_added_has_its_default_when_it_is_not_there() -> None:
    short = msgspec.msgpack.encode([VERSION, 0, "m1", ["m", "user", "alice", b"{}"]])
    assert decode(short, "chat") == Entry("chat", "m1", Message(Scope.USER, "alice", b"{}"))


def test_the_bytes_of_this_version_stay_what_they_are() -> None:
    """What stands in a queue today is read by the process of tomorrow."""
    stored = b"\x94\x01\x00\xa1m\x96\xa1m\xa4user\xa5alice\xc4\x02{}\x90\xc0"
    assert decode(stored, "chat") == Entry("chat", "m", Message(Scope.USER, "alice", b"{}"))


def test_a_body_that_stands_beside_the_stream_is_named_and_put_back() -> None:
    entry = an_entry(a_message("alice", text="long"))
    assert isinstance(entry.item, Message)
    stored = apart(entry, "b1")
    assert isinstance(stored.item, Message)
    assert (stored.body_ref, stored.body_size, stored.item.body) == ("b1", len(entry.item.body), b"")
    assert decode(encode(stored), "chat") == stored
    assert with_body(stored, entry.item.body).item == entry.item
    join = an_entry(a_join())
    assert apart(join, "b1") == with_body(join, b"x") == join


def test_an_entry_was_stored_when_its_id_says() -> None:
    assert StoredEntry(b"1700000000123-7", b"").stored_at == 1_700_000_000.123
    assert StoredEntry(b"5", b"").stored_at == 0.005


def test_the_trace_of_an_entry_stays_with_it_and_its_body_apart() -> None:
    entry = replace(an_entry(), link="00-trace-span-01 a=1")
    stored = decode(encode(apart(entry, "b1")), entry.hub)
    assert (stored.link, stored.body_ref, stored.body_size) == (entry.link, "b1", len(a_message().body))
    assert with_body(stored, a_message().body).link == entry.link


def test_a_trace_is_ignored_by_a_version_that_knows_none() -> None:
    class Older(msgspec.Struct, array_like=True):
        version: int
        flags: int
        message_id: str
        item: Item
        body_ref: str = ""
        body_size: int = 0

    older = msgspec.msgpack.decode(encode(replace(an_entry(), link="00-trace-span-01")), type=Older)
    assert (older.version, older.flags, older.item, older.body_ref) == (1, 0, a_message(), "")
    assert decode(msgspec.msgpack.encode(older), "chat").link == ""
