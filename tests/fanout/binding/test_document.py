"""A body that is no batch is refused as a whole, with a code and a place, whatever its bytes."""

import msgspec
import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, parse_batch
from fanout.errors import BadRequestError

LIMITS = BatchLimits(max_items=1000, max_targets=1000, max_message=1_000_000)
ITEM = '{"userId":"u","target":"newMessage","arguments":["x",null,1.50]}'


def refused(body: bytes | str, limits: BatchLimits = LIMITS) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        parse_batch(body.encode() if isinstance(body, str) else body, limits)
    return caught.value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "emptyBody"),
        (b" \n", "emptyBody"),
        (b'""', "emptyBody"),
        (b'" "', "emptyBody"),
        (b"null", "notABatch"),
        (b"12", "notABatch"),
        (b"true", "notABatch"),
        (b'"12"', "notABatch"),
        (b'"\\"{}\\""', "nestedString"),
        (b"{", "invalidJson"),
        (b"nul", "invalidJson"),
        (b"NaN", "invalidJson"),
        (b'"hello"', "invalidJson"),
        (b'"unfinished', "invalidJson"),
        (b'{"target":"t"} {"target":"t"}', "invalidJson"),
        (b'{"target":"t",}', "invalidJson"),
        (b'{"target":"t","arguments":[01]}', "invalidJson"),
        (b'{"target":"t","arguments":["\x01"]}', "invalidJson"),
        (b'{"target":"t","arguments":["\xff"]}', "invalidUtf8"),
        (b'{"target":"t","ignored":["\xc0\x80"]}', "invalidUtf8"),
        (b'{"target":"t","arguments":["\xed\xa0\x80"]}', "invalidUtf8"),
        (b"\xff\xfe{\x00}\x00", "invalidUtf8"),
        (b"[" * 1_000_000, "tooDeep"),
        (b'{"a":' * 1_000_000, "tooDeep"),
        (b'{"target":"t","arguments":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "tooDeep"),
        (b'{"target":"t","ignored":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "tooDeep"),
        (b'[{"target":"t"},' + b"[" * 100_000 + b"]" * 100_000 + b"]", "tooDeep"),
        (b'"' + b"[" * 1_000_000 + b'"', "tooDeep"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_as_a_whole(body: bytes, code: str) -> None:
    error = refused(body)
    assert (error.label, error.status) == (code, 400)


def test_broken_json_is_located_by_line_and_column() -> None:
    assert "line 3, column 15 (byte 17)" in str(refused('\n[\n{"target":"t",}]'))


@pytest.mark.parametrize("name", ["arguments", "endpoints", "ignored", "userIds"])
def test_nesting_near_the_parser_s_limit_is_an_answer(name: str) -> None:
    codes = set()
    for depth in range(850, 1000):
        try:
            parse_batch(f'[{{"target":"t","{name}":{"[" * depth}{"]" * depth}}}]'.encode(), LIMITS)
        except BadRequestError as error:
            codes.add(error.label)
    assert codes <= {"tooDeep"}


def test_a_truncated_batch_is_refused_at_every_byte() -> None:
    whole = b"[" + ITEM.encode() + ',{"target":"é😀","arguments":["\\u00e9",-1.5e+3,true]}]'.encode()
    for document in (whole, ITEM.encode(), msgspec.json.encode(whole.decode())):
        parse_batch(document, LIMITS)
        for end in range(len(document)):
            assert refused(document[:end]).status == 400


def test_more_items_than_allowed_refuse_the_batch() -> None:
    limits = BatchLimits(max_items=2, max_targets=10, max_message=1000)
    assert len(parse_batch(b'[{"target":"t"},{"target":"t"}]', limits).results) == 2
    assert refused('[{"target":"t"},{"target":"t"},1]', limits).label == "tooManyItems"


@pytest.mark.parametrize("element", [b"1", b"{}", b"[]", b'"",""'])
def test_millions_of_tiny_items_are_counted_before_they_become_objects(element: bytes) -> None:
    error = refused(b"[" + b",".join([element] * 1_000_000) + b"]")
    assert error.label == "tooManyItems"


def test_a_batch_of_many_commas_and_few_items_is_accepted() -> None:
    arguments = b"[" + b",".join([b"1"] * 300_000) + b"]"
    (result,) = parse_batch(b'[{"target":"t","arguments":%b}]' % arguments, LIMITS).results
    assert isinstance(result, ParsedItem)
