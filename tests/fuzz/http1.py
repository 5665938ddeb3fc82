"""The HTTP/1.1 client's own code under any bytes: the reader of answers, and the writer of requests.

Rule guarded: an answer is refused with our error or is the one that h11, a reader by others, finds in the same bytes;
it is the same however the bytes were cut; a request is refused before it is written or is exactly one request.
"""

from collections.abc import Iterator, Sequence

import h11

from fanout.http1 import messages as outgoing
from fanout.http1 import pool
from fanout.http1.exchange import Limits, Response
from fanout.http1.messages import read_whole
from tests.fanout.http1.reading import Outcome, read

LIMITS = Limits(max_headers=8192, max_body=512)
_METHODS = ("POST", "HEAD")
_BYTE_BY_BYTE = 400  # longer ones are only cut at random
_SEPARATOR = b"\x1f"


def answer(data: bytes) -> None:
    """The first byte chooses the request's method, the second one where to cut; the rest is what the server sends."""
    if len(data) < 3:
        return
    method, text = _METHODS[data[0] & 1], data[2:]
    whole = _read(method, [text])
    assert whole[0] is None or len(whole[0].body) <= LIMITS.max_body
    short = read_whole(text, method, reused=False)
    fits = short is not None and short.head_size <= LIMITS.max_headers and short.head.length <= LIMITS.max_body
    assert short is None or not fits or whole == (short.response, short.head.keep_alive, "answered"), (short, whole)
    _assert_same(whole, _read(method, list(cut(text, data[1]))))
    if len(text) <= _BYTE_BY_BYTE:
        _assert_same(whole, _read(method, [text[i : i + 1] for i in range(len(text))]))
    if whole[0] is not None:
        _compare(method, text, whole[0], keep_alive=whole[1])


def request(data: bytes) -> None:
    """Method, target, header lines and body, with 0x1F between them."""
    parts = (data.split(_SEPARATOR, 3) + [b""] * 4)[:4]
    method, target, headers, body = parts[0].decode("latin-1"), parts[1].decode("latin-1"), parts[2], parts[3]
    try:
        head = outgoing.RequestHead(method, target, outgoing.HeaderLines(headers))
        written = pool.encode(outgoing.Request(head, body), b"localhost")
    except ValueError:
        return
    reader = h11.Connection(our_role=h11.SERVER)
    reader.receive_data(written)
    seen = reader.next_event()
    assert isinstance(seen, h11.Request), seen
    assert (seen.method.decode(), seen.target.decode()) == (method, target)
    assert [value for name, value in seen.headers if name == b"content-length"] == [b"%d" % len(body)]
    assert len(seen.headers) == headers.count(b"\r\n") + 2
    sent = b""
    while isinstance(event := reader.next_event(), h11.Data):
        sent += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    assert (sent, reader.trailing_data[0]) == (body, b"")


def cut(text: bytes, dice: int) -> Iterator[bytes]:
    """Cut into pieces of one to some bytes, by a number from 0 to 255."""
    start, step = 0, dice
    while start < len(text):
        step = (step * 5 + 3) % 256  # every number from 0 to 255 comes
        size = 1 + step % (1 + dice % 61)
        yield text[start : start + size]
        start += size


def _assert_same(whole: Outcome, pieces: Outcome) -> None:
    """A head that can never become one may be refused before or at the end of the bytes."""
    assert whole == pieces or {whole[2], pieces[2]} == {"malformed", "broken"}, (whole, pieces)


def _read(method: str, pieces: Sequence[bytes]) -> Outcome:
    return read(*pieces, method=method, limits=LIMITS)


def _compare(method: str, text: bytes, response: Response, *, keep_alive: bool) -> None:
    """Ask h11; where it refuses what we read there is nothing to compare (it wants other things of a head)."""
    reader = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=2**20)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    reader.send(h11.EndOfMessage())
    try:
        reader.receive_data(text)
        status, body, whole = _as_h11_reads(reader)
    except h11.RemoteProtocolError:
        return
    assert status == response.status
    assert response.body == body[: len(response.body)]
    assert len(response.body) in {len(body), LIMITS.max_body} or not whole
    if keep_alive and b"HTTP/1.0" not in text:
        assert whole
        assert reader.trailing_data[0] == b""
        assert reader.their_state is h11.DONE


def _as_h11_reads(reader: h11.Connection) -> tuple[int, bytes, bool]:
    """Return status and body, and whether the body was whole."""
    status, body = 0, b""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif not isinstance(event, h11.InformationalResponse):
            return status, body, isinstance(event, h11.EndOfMessage)
