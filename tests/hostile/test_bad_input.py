"""Bad input at the real server: each kind is refused with a problem document, and the process stays as large as it was.

Rule guarded: no request costs more memory than a known multiple of the largest body, however its bytes are made, and
none of it stays. The kernel says how large the process was at most.
"""

import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from fanout.clock import SystemClock
from service.dev.private_redis import private_redis
from service.http.exchange import MAX_HEAD
from tests.hostile.ingress import MAX_BODY, Answer, Victim, head_of, ingress

pytestmark = pytest.mark.asyncio(loop_scope="module")
MESSAGES = "/v1/hubs/chat/messages"
MILLION = 1_000_000
MIB = 2**20
PROBLEM = "application/problem+json"
# The worst body is one of nothing but short names, each of which becomes an object.
ROOM = 24 * MAX_BODY


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victim]:
    async with private_redis(SystemClock()) as url, ingress(tmp_path_factory.mktemp("hostile"), url) as victim:
        await victim.post(b'[{"target":"warm","arguments":["' + b"x" * (MAX_BODY // 2) + b'"]}]')
        yield victim


@pytest_asyncio.fixture(loop_scope="module")
async def victim(running: Victim) -> AsyncIterator[Victim]:
    """Return the ingress; after the test it is alive, has logged no error and was never larger than it may be."""
    before = running.memory
    running.forget_peak()
    yield running
    assert running.program.process.returncode is None, running.program.err
    assert running.troubles == []
    assert running.peak - before < ROOM, f"{before / MIB:.0f} MiB grew to {running.peak / MIB:.0f} MiB"


def is_refused(answer: Answer, status: int, code: str) -> bool:
    """Whether it is a problem document of this kind; for an item's own code the whole says `invalidItems`."""
    codes = [answer.document.get("code"), *(error["code"] for error in answer.document.get("errors", ()))]
    assert (answer.status, answer.content_type, codes[-1]) == (status, PROBLEM, code), answer
    return bool(answer.document["status"] == status)


def chunked(*pieces: bytes) -> list[bytes]:
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


# Size -----------------------------------------------------------------------------------------------------------------


async def test_a_body_that_says_it_is_a_terabyte_is_413_while_it_is_sent(victim: Victim) -> None:
    flood = [b"x" * MIB] * 64
    answer = await victim.send(head_of(MESSAGES, f"Content-Length: {2**40}"), *flood)
    assert is_refused(answer, 413, "bodyTooLarge")


async def test_a_chunked_body_without_end_is_413_while_it_is_sent(victim: Victim) -> None:
    answer = await victim.send(head_of(MESSAGES, "Transfer-Encoding: chunked"), *chunked(*[b" " * MIB] * 64))
    assert is_refused(answer, 413, "bodyTooLarge")


async def test_a_body_in_chunks_of_one_byte_is_413_past_the_limit(victim: Victim) -> None:
    pieces = [b"1\r\n \r\n" * 20_000] * (MAX_BODY // 20_000 + 2)
    answer = await victim.send(head_of(MESSAGES, "Transfer-Encoding: chunked"), *pieces)
    assert is_refused(answer, 413, "bodyTooLarge")


async def test_a_negotiation_s_body_has_its_bound_too(victim: Victim) -> None:
    answer = await victim.post(b'{"userId":"' + b"x" * MAX_BODY + b'"}', path="/chat/negotiate")
    assert is_refused(answer, 413, "bodyTooLarge")


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "1, 1", "99999999999999999999999999"])
async def test_a_length_that_is_no_number_is_400(victim: Victim, length: str) -> None:
    answer = await victim.send(head_of(MESSAGES, f"Content-Length: {length}") + b"[]")
    assert answer.status == 400


async def test_a_length_beside_chunks_is_400(victim: Victim) -> None:
    head = head_of(MESSAGES, "Content-Length: 2", "Transfer-Encoding: chunked")
    answer = await victim.send(head + b"".join(chunked(b"[]", b"")))
    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" + b"{}," * MILLION + b"{}]", "tooManyItems"),
        (b"[" + b"0," * (2 * MILLION) + b"0]", "tooManyItems"),
        (
            b'{"target":"t","userIds":[' + b",".join(b'"%d"' % n for n in range(MILLION * 2 // 5)) + b"]}",
            "tooManyTargets",
        ),
        (b'{"target":"t","arguments":["' + b"x" * (MAX_BODY - 100) + b'"]}', "messageTooLarge"),
        (b'{"target":"' + b"\\u0001" * (MAX_BODY // 6 - 100) + b'"}', "messageTooLarge"),
    ],
    ids=["items", "numbers", "users", "arguments", "escapes"],
)
async def test_more_than_the_limits_of_a_batch_is_400(victim: Victim, body: bytes, code: str) -> None:
    assert is_refused(await victim.post(body), 400, code)


async def test_a_user_who_is_named_a_million_times_is_one_user(victim: Victim) -> None:
    answer = await victim.post(b'{"target":"t","userIds":[' + b'"a",' * (MILLION - 1) + b'"a"]}')
    assert answer.status == 202
    assert "targets" not in answer.document["results"][0]


HEADS = {
    "one header": (b"POST / HTTP/1.1\r\nHost: x\r\nX: ", b"a" * MIB),
    "many headers": (b"POST / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 170_000),
    "the address": (b"GET /", b"a" * MIB),
}


@pytest.mark.parametrize(("start", "more"), HEADS.values(), ids=HEADS)
async def test_a_head_without_end_is_431_while_it_is_sent(victim: Victim, start: bytes, more: bytes) -> None:
    before = victim.memory
    assert is_refused(await victim.send(start, more[: MAX_HEAD + 1 - len(start)]), 431, "headTooLarge")
    with contextlib.suppress(OSError, EOFError):  # bytes that meet a closed connection may swallow the answer
        await victim.send(start, *[more] * 64)
    assert victim.peak - before < 20 * MIB


# Nesting --------------------------------------------------------------------------------------------------------------

DEEP = {
    "brackets": b"[" * MILLION,
    "closed brackets": b"[" * MILLION + b"]" * MILLION,
    "braces": b'{"a":' * (MILLION // 2) + b"1" + b"}" * (MILLION // 2),
    "arguments": b'{"target":"t","arguments":' + b"[" * MILLION + b"]" * MILLION + b"}",
    "unknown property": b'[{"target":"t","x":' + b'{"a":' * (MILLION // 2),
    "in a string": json.dumps("[" * MILLION + "]" * MILLION).encode(),
    "endpoints": b'{"target":"t","endpoints":' + b"[" * MILLION + b"]" * MILLION + b"}",
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP)
async def test_a_million_brackets_are_400(victim: Victim, body: bytes) -> None:
    assert is_refused(await victim.post(body), 400, "tooDeep")


@pytest.mark.parametrize("body", [b"[" * 65_536, b'{"claims":' * 6_553], ids=["brackets", "braces"])
async def test_a_negotiation_of_as_many_brackets_as_it_may_have_bytes_is_400(victim: Victim, body: bytes) -> None:
    assert is_refused(await victim.post(body, path="/chat/negotiate"), 400, "invalidRequest")


# Bytes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4"], ids=lambda bad: bad.hex()
)
async def test_what_is_not_utf_8_is_400_wherever_it_stands(victim: Victim, bad: bytes) -> None:
    for body in (bad, b'{"target":"' + bad + b'"}', b'{"target":"t","arguments":["' + bad + b'"]}', b"[]" + bad):
        assert is_refused(await victim.post(body), 400, "invalidUtf8")


@pytest.mark.parametrize("bom", [b"\xff\xfe", b"\xfe\xff"], ids=["little", "big"])
async def test_utf_16_is_400(victim: Victim, bom: bytes) -> None:
    text = json.dumps([{"target": "t"}])
    body = bom + text.encode("utf-16-le" if bom == b"\xff\xfe" else "utf-16-be")
    assert is_refused(await victim.post(body), 400, "invalidUtf8")


@pytest.mark.parametrize("body", [b"\0", b"\0" * MILLION, b'{"target":"t\0"}', b"[]\0", b'{\0"target":"t"}'])
async def test_a_nul_byte_in_the_json_is_400(victim: Victim, body: bytes) -> None:
    assert is_refused(await victim.post(body), 400, "invalidJson")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("userId", "invalidUserId"),
        ("groupName", "invalidGroupName"),
        ("connectionId", "invalidConnectionId"),
        ("messageId", "invalidMessageId"),
    ],
)
async def test_an_escaped_nul_in_a_name_is_400(victim: Victim, name: str, code: str) -> None:
    body = json.dumps([{"target": "t", name: "a\0b"}]).encode()
    assert b"\\u0000" in body
    assert is_refused(await victim.post(body), 400, code)


@pytest.mark.parametrize("hub", ["%00", "a%00b", "a%0Ab", "%ff", "a%2Fb", "x" * 200, "%C3%A4"])
async def test_a_hub_with_such_bytes_is_refused(victim: Victim, hub: str) -> None:
    answer = await victim.post(b"[]", path=f"/v1/hubs/{hub}/messages")
    assert answer.status in {400, 404}
    assert answer.content_type == PROBLEM


@pytest.mark.parametrize("value", ["\x01", "ä", "x" * 256, ""], ids=["control", "latin-1", "long", "empty"])
async def test_an_idempotency_key_that_is_none_is_400(victim: Victim, value: str) -> None:
    answer = await victim.post(b"[]", f"Idempotency-Key: {value}")
    assert answer.status == 400


async def test_a_nul_in_a_header_is_400(victim: Victim) -> None:
    assert (await victim.post(b"[]", "X-Odd: a\0b")).status == 400


# Numbers and keys -----------------------------------------------------------------------------------------------------

DIGITS = b"9" * MILLION


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'"userId":' + DIGITS, "notAString"),
        (b'"userId":1e400', "notAString"),
        (b'"ttlSeconds":' + DIGITS, "invalidTtl"),
        (b'"ttlSeconds":1e' + DIGITS, "invalidTtl"),
        (b'"ttlSeconds":0.' + b"0" * MILLION + b"1", "invalidTtl"),
        (b'"messageId":' + DIGITS, "notAString"),
        (b'"userIds":[' + DIGITS + b"]", "notAString"),
    ],
    ids=["user", "infinite user", "ttl", "exponent", "tiny", "message id", "users"],
)
async def test_a_huge_number_is_400_where_it_is_read(victim: Victim, text: bytes, code: str) -> None:
    assert is_refused(await victim.post(b'{"target":"t",' + text + b"}"), 400, code)


async def test_a_huge_action_is_400(victim: Victim) -> None:
    assert is_refused(await victim.post(b'{"userId":"u","action":' + DIGITS + b"}"), 400, "unknownAction")


async def test_of_a_million_equal_keys_the_last_counts(victim: Victim) -> None:
    """As in the binding's own reader; what the item is, is decided by the last one alone."""
    many = b'"target":"t",' * (MAX_BODY // 16)
    assert (await victim.post(b"{" + many + b'"target":"last"}')).status == 202
    assert is_refused(await victim.post(b"{" + many + b'"target":""}'), 400, "emptyTarget")


async def test_half_a_million_unknown_keys_are_named_in_a_short_warning(victim: Victim) -> None:
    unknown = b",".join(b'"%d":0' % n for n in range(MAX_BODY // 11))
    answer = await victim.post(b'{"target":"t",' + unknown + b"}")
    assert answer.status == 202
    assert len(json.dumps(answer.document)) < 1000


# Types and encodings --------------------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    return gzip.compress(b'[{"target":"t"}]' + b" " * size)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, identity", "aes128gcm"])
async def test_a_compressed_body_is_415_and_never_unpacked(victim: Victim, encoding: str) -> None:
    """A bomb of a hundred kilobytes that would be a hundred megabytes."""
    before = victim.memory
    answer = await victim.post(bomb(100 * MIB), f"Content-Encoding: {encoding}")
    assert is_refused(answer, 415, "unsupportedMediaType")
    assert victim.peak - before < 50 * MIB


async def test_a_compressed_body_that_does_not_say_so_is_400(victim: Victim) -> None:
    assert is_refused(await victim.post(bomb(100)), 400, "invalidUtf8")


async def test_a_compressed_transfer_is_refused(victim: Victim) -> None:
    head = head_of(MESSAGES, "Transfer-Encoding: gzip, chunked")
    answer = await victim.send(head + b"".join(chunked(bomb(100), b"")))
    assert answer.status == 400


@pytest.mark.parametrize(
    "content_type",
    [
        "application/octet-stream",
        "application/x-msgpack",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "text/html",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/xml",
        "json",
        "\xff",
    ],
)
async def test_a_type_that_is_not_json_in_utf_8_is_415(victim: Victim, content_type: str) -> None:
    for path in (MESSAGES, "/chat/negotiate"):
        answer = await victim.post(b'{"target":"t"}', f"Content-Type: {content_type}", path=path)
        assert is_refused(answer, 415, "unsupportedMediaType")


# All of it ------------------------------------------------------------------------------------------------------------


async def _one_round(victim: Victim, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        assert (await victim.post(body)).status == 400


async def test_bad_input_again_and_again_leaves_nothing_behind(running: Victim) -> None:
    bodies = [*DEEP.values(), b"[" + b"{}," * MILLION + b"{}]", b"\0" * MILLION, DIGITS, b"\xff" * MILLION]
    await _one_round(running, bodies)
    before = running.memory
    for _ in range(5):
        await _one_round(running, bodies)
    assert running.memory - before < MAX_BODY, "each round leaves something behind"
