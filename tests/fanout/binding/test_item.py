"""An item's own id, and the fingerprint by which a repeat is told from a conflict."""

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, RejectedItem, parse_batch

LIMITS = BatchLimits(max_items=10, max_targets=10, max_message=10_000)


def parsed(body: str) -> ParsedItem:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, ParsedItem), result
    return result


def test_an_item_with_a_message_id_has_a_fingerprint_of_its_meaning() -> None:
    one = parsed('{"messageId":"1","target":"t","arguments":[1],"userId":"u"}')
    same = parsed('{"UserId":"u","Arguments":[1],"messageId":"2","Target":"\\u0074","extra":1}')
    other = parsed('{"messageId":"1","target":"t","arguments":[2],"userId":"u"}')
    assert one.message_id == "1"
    assert len(one.fingerprint) == 16
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"ttlSeconds":1}',
        '{"collapseKey":"k"}',
        '{"delivery":"atMostOnce"}',
        '{"excluded":["c"]}',
        '{"groupName":"g"}',
    ],
)
def test_a_fingerprint_covers_more_than_the_body(text: str) -> None:
    plain = parsed('{"messageId":"1","target":"t"}')
    other = parsed(text[:-1] + (',"' if len(text) > 2 else '"') + 'messageId":"1","target":"t"}')
    assert (plain.fingerprint == other.fingerprint) is (text == "{}")


def test_an_item_without_a_message_id_has_no_fingerprint() -> None:
    assert parsed('{"target":"t","messageId":null}').fingerprint == b""


@pytest.mark.parametrize(("sent", "read"), [('"a b"', "a b"), ('"é"', "é"), ("7", "7"), (f'"{"x" * 128}"', "x" * 128)])
def test_a_message_id_is_1_to_128_printable_characters(sent: str, read: str) -> None:
    assert parsed(f'{{"target":"t","messageId":{sent}}}').message_id == read


@pytest.mark.parametrize("sent", ['""', '"a\\nb"', '"\\u0000"', f'"{"x" * 129}"'])
def test_any_other_message_id_is_refused(sent: str) -> None:
    (result,) = parse_batch(f'{{"target":"t","MessageID":{sent}}}'.encode(), LIMITS).results
    assert isinstance(result, RejectedItem)
    assert (result.code, result.pointer) == ("invalidMessageId", "/MessageID")


def test_a_rejection_says_what_is_wrong_in_a_sentence() -> None:
    (result,) = parse_batch(b'{"userId":"u"}', LIMITS).results
    assert result == RejectedItem(0, "noTargetOrAction", "", "The item has neither a target nor an action.")
