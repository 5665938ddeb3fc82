"""A newer format of entries, as the next version might have it: for tests with two versions on one queue.

Rule guarded: it keeps the one promise to older versions, the number of the format in the first place and the lane in
the third. Nothing else of it can be read by them.
"""

import msgspec

from fanout.queue import entry as form
from fanout.queue.entry import Entry
from fanout.queue.keys import lane_of
from fanout.signalr.message import Item

NEWER = form.VERSION + 1
_older_decode = form.decode


def encode(entry: Entry) -> bytes:
    """Return the bytes that are stored."""
    lane = lane_of("", entry.item)[1:]
    item = {"kind": "item of the second format", "item": msgspec.msgpack.encode(entry.item)}
    parts = (NEWER, 0, lane, entry.message_id, item, entry.body_ref, entry.body_size)
    return msgspec.msgpack.encode(parts)


def decode(data: bytes, hub: str, endpoint: str = "") -> Entry:
    """Read an entry of either format."""
    try:
        version, _flags, _lane, message_id, item, body_ref, body_size = msgspec.msgpack.decode(data)
        if version == NEWER:
            read = msgspec.msgpack.decode(item["item"], type=Item)
            return Entry(hub, message_id, read, body_ref, body_size, endpoint=endpoint)
    except (msgspec.DecodeError, TypeError, ValueError):
        pass
    return _older_decode(data, hub, endpoint)
