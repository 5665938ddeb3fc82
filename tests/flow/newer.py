"""The next version of the program: the same code with a newer format of entries; `-m tests.flow.newer serve ...`.

Rule guarded: what is replaced is what a change of the format would change, the functions that write and read an entry,
before anything has imported them. All else is the product as it is.
"""

import msgspec

from fanout.queue import entry as form
from fanout.queue.entry import Entry
from fanout.queue.lane_key import lane_of
from fanout.signalr.message import Item

_NEWER = 2
_older_decode = form.decode


def encode(entry: Entry) -> bytes:
    """Return the bytes that are stored: the lane in its place, and the item in a form the first version cannot read."""
    lane = lane_of("", entry.item)[1:]
    item = {"kind": "item of the second format", "item": msgspec.msgpack.encode(entry.item)}
    parts = (_NEWER, 0, lane, entry.message_id, item, entry.body_ref, entry.body_size)
    return msgspec.msgpack.encode(parts)


def decode(data: bytes, hub: str) -> Entry:
    """Read an entry of either format."""
    try:
        version, _flags, _lane, message_id, item, body_ref, body_size = msgspec.msgpack.decode(data)
        if version == _NEWER:
            return Entry(hub, message_id, msgspec.msgpack.decode(item["item"], type=Item), body_ref, body_size)
    except (msgspec.DecodeError, TypeError, ValueError):
        pass
    return _older_decode(data, hub)


def main() -> None:
    """Run the command line of the newer version."""
    form.VERSION = _NEWER
    form.encode, form.decode = encode, decode
    from service.cli.main import main as run  # noqa: PLC0415 - it imports the functions replaced above

    run()


if __name__ == "__main__":
    main()
