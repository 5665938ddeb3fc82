"""The bytes of a request's body to values: what the ingress accepts, item by item.

Source: functions-binding-contract 1.1-1.9; design section 3. Rules guarded: the whole batch is judged before anything
is queued, each item gets a verdict of its own with a JSON pointer into what was sent, and `arguments` travel byte for
byte. Only a body that is no batch at all, or a batch over a limit of the whole, is refused as one.
"""

from dataclasses import dataclass
from typing import Final

from msgspec import Raw

from fanout.binding.document import Document, read_document, read_text
from fanout.binding.item import read_item
from fanout.binding.limits import BatchLimits, ParsedItem
from fanout.binding.plain import read_plain_batch
from fanout.binding.refusals import ERROR_CODES, refuse
from fanout.binding.targets import too_many
from fanout.errors import BadRequestError

__all__ = ["ERROR_CODES", "Batch", "BatchLimits", "ParsedItem", "RejectedItem", "parse_batch"]

_PLAINLY: Final = frozenset({b"[", b"{"})
_LIST_ALLOWANCE: Final = 4 * 1024 * 1024  # what an item's lists may take beside the largest message, in bytes


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item that is refused: a code of ERROR_CODES, where in the sender's document, and a sentence."""

    index: int
    code: str
    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One verdict per item, in the order of the document.

    `is_plain`: each item is accepted, for one destination, without a warning.
    """

    results: tuple[ParsedItem | RejectedItem, ...]
    is_plain: bool = False


def parse_batch(body: bytes, limits: BatchLimits) -> Batch:
    """Read a request's body: one object, an array of them, or a JSON string that holds either.

    Raises BadRequestError (`code` is a key of ERROR_CODES) for a body that is no batch: not JSON, not UTF-8, empty, a
    scalar, nested too deeply, more than `max_items` items or `max_targets` destinations in all.
    """
    text = read_text(body)
    if text[:1] in _PLAINLY and len(text) <= _most_bytes(limits):
        plain = read_plain_batch(text, limits)
        if plain is not None:
            return Batch(tuple(plain), is_plain=True)
    try:
        return _judged(read_document(text, limits.max_items), limits, check_size=len(body) > _most_bytes(limits))
    except RecursionError:
        raise refuse("tooDeep", "The JSON is nested too deeply.") from None


def _judged(document: Document, limits: BatchLimits, *, check_size: bool) -> Batch:
    results: list[ParsedItem | RejectedItem] = []
    targets = 0
    for index, raw in enumerate(document.items):
        try:
            result: ParsedItem | RejectedItem = read_item(_sized(raw, limits) if check_size else raw, index, limits)
        except BadRequestError as error:
            result = RejectedItem(index, error.label, document.pointer_of(index) + error.pointer, str(error))
        results.append(result)
        if isinstance(result, ParsedItem):
            targets += len(result.calls)
            if targets > limits.max_targets:
                raise too_many(targets, limits.max_targets, document.pointer_of(index))
    return Batch(tuple(results))


def _sized(raw: Raw, limits: BatchLimits) -> Raw:
    if memoryview(raw).nbytes > _most_bytes(limits):
        detail = f"The item has more than {_most_bytes(limits)} bytes; its message may have {limits.max_message}."
        raise refuse("itemTooLarge", detail)
    return raw


def _most_bytes(limits: BatchLimits) -> int:
    return limits.max_message + _LIST_ALLOWANCE
