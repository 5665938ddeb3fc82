"""What one stream entry holds, and its bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.queue.entry import VERSION, Entry, StoredEntry, UnreadableEntryError, decode, encode
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from tests.builders import a_message, an_entry

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
entries = st.builds(Entry, version=st.just(VERSION), hub=TEXT, message_id=TEXT, item=items)


@given(entries)
def test_every_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_an_entry_or_be_refused(data: bytes) -> None:
    try:
        entry = decode(data)
    except UnreadableEntryError:
        return
    assert entry.version == VERSION


@given(entries, st.data())
def test_a_damaged_entry_is_an_entry_or_is_refused(entry: Entry, data: st.DataObject) -> None:
    damaged = bytearray(encode(entry))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(damaged))
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
        pytest.param(encode(an_entry()).replace(b"chat", b"ch\xff\xfe"), id="no UTF-8"),
        pytest.param(b"\x95" + encode(an_entry())[1:] + b"\x91" * 100_000 + b"\xc0", id="nesting without end"),
        pytest.param(msgspec.msgpack.encode([1, "chat", "m", ["x", "y"]]), id="an item of no kind"),
        pytest.param(msgspec.msgpack.encode([1, "chat", "m", ["m", "galaxy", "", b""]]), id="a scope of no kind"),
        pytest.param(msgspec.msgpack.encode(["1", "chat", "m", None]), id="other types"),
    ],
)
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableEntryError, match="cannot be decoded"):
        decode(data)


def test_an_entry_of_another_version_is_refused_by_its_number() -> None:
    newer = msgspec.structs.replace(an_entry(), version=VERSION + 1)
    with pytest.raises(UnreadableEntryError, match=f"of version {VERSION + 1}, this process reads {VERSION}"):
        decode(encode(newer))


def test_a_field_added_at_the_end_is_read_past() -> None:
    """A rolling update has two versions of the program on one queue."""
    entry = an_entry(a_message("alice", ttl=5.0))
    fields = msgspec.msgpack.decode(encode(entry))
    fields[3].append("new in the item")
    fields.append({"new": ["in", "the", "entry"]})
    assert decode(msgspec.msgpack.encode(fields)) == entry


def test_a_field_that_was_added_has_its_default_when_it_is_not_there() -> None:
    short = msgspec.msgpack.encode([VERSION, "chat", "m1", ["m", "user", "alice", b"{}"]])
    assert decode(short) == Entry(VERSION, "chat", "m1", Message(Scope.USER, "alice", b"{}"))


def test_the_bytes_of_this_version_stay_what_they_are() -> None:
    """What stands in a queue today is read by the process of tomorrow."""
    stored = b"\x94\x01\xa4chat\xa1m\x96\xa1m\xa4user\xa5alice\xc4\x02{}\x90\xc0"
    assert decode(stored) == Entry(1, "chat", "m", Message(Scope.USER, "alice", b"{}"))


def test_an_entry_was_stored_when_its_id_says() -> None:
    assert StoredEntry(b"1700000000123-7", b"").stored_at == 1_700_000_000.123
    assert StoredEntry(b"5", b"").stored_at == 0.005
