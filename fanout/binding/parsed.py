"""What parsing a batch takes and gives: its limits, and one value for each item.

The collector does not track these values (`gc=False`). They are made by the thousand, and none is part of a cycle.
"""

from dataclasses import dataclass

import msgspec

from fanout.signalr.message import Item


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much one batch may hold. `max_message` is in bytes.

    `endpoints` are the URLs that this process delivers to, and `endpoint_names` what these are called in the queue, in
    the same order; without names there is one endpoint, or none.
    """

    max_items: int
    max_targets: int
    max_message: int
    endpoints: tuple[str, ...] = ()
    endpoint_names: tuple[str, ...] = ()


class ItemWarning(msgspec.Struct, frozen=True, gc=False):
    """Something about an item that may not be as its sender meant it; `code` is a key of WARNING_CODES."""

    code: str
    detail: str
    pointer: str = ""


class ItemContent(msgspec.Struct, frozen=True, gc=False):
    """The REST calls one item becomes, in order, and the warnings for its sender."""

    calls: tuple[Item, ...]
    warnings: tuple[ItemWarning, ...] = ()


class ParsedItem(msgspec.Struct, frozen=True, gc=False):
    """An item that can be delivered. `fingerprint` has 16 bytes, or none where the item has no `messageId`.

    `endpoints` are the names of those that it is for, None for all that are configured.
    """

    index: int
    calls: tuple[Item, ...]
    message_id: str | None = None
    fingerprint: bytes = b""
    warnings: tuple[ItemWarning, ...] = ()
    endpoints: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item that is refused. `code` is a key of ERROR_CODES, `pointer` a JSON pointer into the sender's document."""

    index: int
    code: str
    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One result for each item, in the order of the document.

    `is_plain` means that every item is accepted, has one destination and no warning; `is_common` beside that that every
    one is a message for all endpoints and names no id of its own.
    """

    results: tuple[ParsedItem | RejectedItem, ...]
    is_plain: bool = False
    is_common: bool = False
