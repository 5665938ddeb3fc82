"""What fuzzing starts from: a few inputs of each kind, the words of each grammar, and what was found before.

Rule guarded: an input that once broke a property stays here with its name, so that it is tried in every run.
"""

from collections.abc import Callable, Mapping, Sequence

from tests.fuzz import batch, http1, hub_protocol

PROPERTIES: Mapping[str, Callable[[bytes], None]] = {
    "batch": batch.batch,
    "answer": http1.answer,
    "request": http1.request,
    "incoming": hub_protocol.incoming,
    "session": hub_protocol.session,
    "outgoing": hub_protocol.outgoing,
}

_OK = b"HTTP/1.1 200 OK\r\n"
_JSON_HELLO = b'{"protocol":"json","version":1}\x1e'
_PACK_HELLO = b'{"protocol":"messagepack","version":1}\x1e'

SEEDS: Mapping[str, Sequence[bytes]] = {
    "batch": (
        b'{"target":"t"}',
        b'[{"userId":"alice","target":"news","arguments":[1.10,{"b":1,"b":2},"\\u00e4"],"messageId":"m","ttlSeconds":3}]',
        b'[{"userId":"u","groupName":"g","action":"add","ttlSeconds":5},{"connectionId":"c","action":"removeAll"}]',
        b'"{\\"GroupName\\":\\"g\\",\\"Target\\":\\"t\\",\\"excluded\\":[\\"c\\"]}"',
        b'[{"action":"closeConnection","userIds":["a","b"],"reason":"x"},{"target":"t","collapseKey":"k","delivery":"atMostOnce"}]',
        b'\xef\xbb\xbf[{"target":"t","endpoints":[{"endpoint":"https://example.com"}]}]',
    ),
    "answer": (
        b"\0\x07" + _OK + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello",
        b"\0\x01" + _OK + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: v\r\n\r\n",
        b"\0\x03HTTP/1.0 404 \r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nhello",
        b"\x01\x09HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"Content-Length: 5\r\n\r\n",
        b"\0\x02HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    ),
    "request": (
        b"POST\x1f/api/hubs/h/:send?api-version=2022-06-01\x1fA: b\r\nAuthorization: Bearer x\r\n\x1f{}",
        b"DELETE\x1f/x%20y\x1f\x1f",
        b"GET\x1f/\x1fContent-Length: 1\r\n\x1fx",
    ),
    "incoming": (
        b'\0\x03{"type":6}\x1e{"type":3,"invocationId":"1","result":[1]}\x1e{"type":7,"error":"e"}\x1e',
        b"\x01\x02\x02\x91\x06\x08\x95\x03\x80\xa1a\x03\x91\x01\x03\x92\x07\xc0",
        b"\x01\x09\x0a\x96\x01\x80\xa1a\xa1t\x91\x01\x90",
    ),
    "session": (
        b"\x05" + _JSON_HELLO + b'{"type":6}\x1e{"type":7}\x1e',
        b"\x01" + _PACK_HELLO + b"\x02\x91\x06\x03\x92\x07\xc0",
        b"\x02" + _JSON_HELLO + b'{"type":1,"target":"x","arguments":[]}\x1e',
    ),
    "outgoing": (b'[1,-2.5,"x",null,{"a":[true,1e3]}]', b"[18446744073709551616]", b'["\\ud83d\\ude00"]', b"[" * 30),
}

WORDS: Mapping[str, Sequence[bytes]] = {
    "batch": (
        b'"target"', b'"arguments"', b'"action"', b'"connectionId"', b'"userId"', b'"groupName"', b'"endpoints"',
        b'"connectionIds"', b'"userIds"', b'"groupNames"', b'"excluded"', b'"messageId"', b'"ttlSeconds"', b'"reason"',
        b'"collapseKey"', b'"delivery"', b'"Target"', b'"TARGET"', b'"add"', b'"remove"', b'"removeAll"',
        b'"closeConnection"', b"null", b"true", b"1e400", b"-0", b"\\u0000", b"\\ud800", b'"..":', b'""', b'[""]',
    ),
    "answer": (
        b"HTTP/1.1 ", b"HTTP/1.0 ", b"200", b"100", b"204", b"101", b"Content-Length: ", b"Transfer-Encoding: chunked",
        b"Connection: close", b"Connection: keep-alive", b"Keep-Alive: timeout=5", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n",
        b"1\r\na\r\n", b"ffffffffffffffff", b"\r", b"\n", b" ", b"\t", b",", b";",
    ),
    "request": (b"\x1f", b"\r\n", b": ", b"Host", b"Content-Length", b"Transfer-Encoding", b"POST", b"/", b"\r", b"\n"),
    "incoming": (
        b"\x1e", b'{"type":', b'"invocationId"', b'"result"', b'"error"', b"\x95", b"\x80", b"\x91\x06", b"\xc0",
        b"\xd6\xff", b"\xc7", b"\x81", b"\xa1a", b"\xff\xff\xff\xff\x07",
    ),
    "session": (
        b"\x1e", b'{"type":', b'"protocol"', b'"version"', b'"json"', b'"messagepack"', _JSON_HELLO, _PACK_HELLO,
        b'{"type":6}\x1e', b'{"type":7}\x1e', b"\x02\x91\x06", b"\x03\x92\x07\xc0",
    ),
    "outgoing": (b"[", b"]", b"{", b"}", b'"', b"1e400", b"-0", b"\\u0000", b"\\ud800", b"18446744073709551616"),
}  # fmt: skip

# By what was wrong: the property, and the input that broke it.
FOUND: Mapping[str, tuple[str, bytes]] = {
    "a known name in two spellings, one of them repeated": ("batch", b'{"target":"a","Target":"b","target":"c"}'),
    "a JSON hub message nested too deeply": ("incoming", b'\0\0{"type":1,"x":' + b"[" * 3000 + b"\x1e"),
    "a handshake nested too deeply": ("session", b'\0{"x":' + b"[" * 3000 + b"\x1e"),
    "a MessagePack hub message nested too deeply": ("incoming", b"\x01\0\xb8\x17" + b"\x91" * 3000),
    "a MessagePack text that is not UTF-8": ("incoming", b"\x01\0\x09\x95\x03\x80\xa1a\x03\xa2\xff\xff"),
}
