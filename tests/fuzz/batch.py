"""The batch reader under any bytes: it refuses with a declared code, or what it accepts is what came in.

Rule guarded: Python's own JSON reader is the second opinion, so that the two can disagree; and what was accepted can
be stored, read back, named in a request line and written, whatever stands in it.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import h11

from fanout.binding.batch import ERROR_CODES, BatchLimits, ParsedItem, RejectedItem, parse_batch
from fanout.errors import BadRequestError
from fanout.http1 import messages as outgoing
from fanout.http1 import pool
from fanout.queue.entry import Entry, decode, encode
from fanout.signalr.message import Item, Message
from fanout.signalr.routes import route_of

LIMITS = BatchLimits(max_items=20, max_targets=50, max_message=3000, endpoints=("https://example.com",))


class Number(str):
    """A JSON number by its text: equal only when not a digit was changed."""

    __slots__ = ()


def batch(data: bytes) -> None:
    """AssertionError when the reader does anything but refuse or keep what came in."""
    results = _results(data)
    if isinstance(results, str):
        assert results in ERROR_CODES, results
        return
    assert [result.index for result in results] == list(range(len(results)))
    elements = _second_opinion(data)
    for result in results:
        if isinstance(result, RejectedItem):
            assert result.code in ERROR_CODES, result
        else:
            _check(result, data, None if elements is None else elements[result.index])


def _results(data: bytes) -> tuple[ParsedItem | RejectedItem, ...] | str:
    """Return the verdicts, or the code of the refusal of the whole."""
    try:
        return parse_batch(data, LIMITS).results
    except BadRequestError as error:
        return error.label


def _check(result: ParsedItem, data: bytes, element: dict[str, Any] | None) -> None:
    assert result.calls
    for item in result.calls:
        _check_way(item)
        if isinstance(item, Message):
            _check_body(item.body, data, element)


def _check_body(body: bytes, data: bytes, element: dict[str, Any] | None) -> None:
    if element is None or not isinstance(element["target"], str):  # numbers and booleans become text as in .NET
        return
    written = _loads(body.decode())
    arguments = element.get("arguments")
    assert written == {"target": element["target"], "arguments": [] if arguments is None else arguments}
    if arguments is not None and not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b'"'):
        start = body.index(b',"arguments":[', len(json.dumps(element["target"], ensure_ascii=False).encode()) - 2)
        assert body[start + len(b',"arguments":') : -1] in data, "arguments are not the sender's bytes"


def _check_way(item: Item) -> None:
    """It can be stored and read back, and its request is one request that names what the item names."""
    entry = Entry("chat", "id", item)
    assert decode(encode(entry), "chat") == entry
    route = route_of("chat", item)
    body = item.body if isinstance(item, Message) else b""
    reader = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=2**20)
    reader.receive_data(
        pool.encode(outgoing.Request(outgoing.RequestHead(route.method, route.target), body), b"localhost")
    )
    head = reader.next_event()
    assert isinstance(head, h11.Request), head
    names = unquote(head.target.partition(b"?")[0].decode()).split("/")
    wanted = [name for field in ("to", "member", "group") if (name := getattr(item, field, ""))]
    assert all("/".join(names).count(f"/{name}") for name in wanted), (names, wanted)
    read = b""
    while isinstance(event := reader.next_event(), h11.Data):
        read += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    assert (read, reader.trailing_data[0]) == (body, b"")


def _second_opinion(data: bytes) -> list[dict[str, Any]] | None:
    """Read the batch as Python's json does: known properties by their canonical name, a repeated one by its last value.

    None where that reader gives up: it goes less deep.
    """
    try:
        document = _loads(data.removeprefix(b"\xef\xbb\xbf").decode())
        if type(document) is str:
            document = _loads(document)
    except RecursionError:
        return None
    elements = document if isinstance(document, list) else [document]
    return [element if isinstance(element, dict) else {} for element in elements]


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_no_constant, object_pairs_hook=_fold)


def _fold(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Keep names the reader knows in lower case, all others as they are."""
    known = {"target": "target", "arguments": "arguments"}
    return {known.get(name.lower(), name): value for name, value in pairs}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
