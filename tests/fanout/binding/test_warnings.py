"""What is dropped is said: one warning for what precedence passes over, one for what means nothing."""

from typing import Any

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, parse_batch
from fanout.signalr.message import GroupAction, Item, Message, Scope, Verb

LIMITS = BatchLimits(max_items=10, max_targets=100, max_message=10_000)
B, U, C = Scope.BROADCAST, Scope.USER, Scope.CONNECTION


def message(scope: Scope, to: str, arguments: bytes = b"[]", target: str = "t", **more: Any) -> Message:
    return Message(scope, to, b'{"target":"%b","arguments":%b}' % (target.encode(), arguments), **more)


def parsed(body: str) -> ParsedItem:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, ParsedItem), result
    return result


@pytest.mark.parametrize(
    ("body", "item", "words"),
    [
        ('{"target":"t","action":"add","userId":"u"}', message(U, "u"), ["Both target and action"]),
        (
            '{"target":"t","connectionId":"c","userId":"u","groupName":"g"}',
            message(C, "c"),
            ["connection is addressed", "userId and groupName ignored"],
        ),
        ('{"target":"t","userId":"u","groupName":"g"}', message(U, "u"), ["user is addressed", "groupName ignored"]),
        (
            '{"action":"add","connectionId":"c","userId":"u","groupName":"g"}',
            GroupAction(Verb.ADD, C, "c", "g"),
            ["userId ignored"],
        ),
        ('{"target":"t","foo":1,"Bar":2,"reason":"x"}', message(B, ""), ["reason, foo, Bar"]),
        ('{"action":"removeAll","userId":"u","groupName":"g"}', GroupAction(Verb.REMOVE_ALL, U, "u"), ["groupName"]),
        ('{"action":2,"userId":"u","Arguments":[]}', GroupAction(Verb.REMOVE_ALL, U, "u"), ["Arguments"]),
    ],
)
def test_what_is_dropped_is_said_in_a_warning(body: str, item: Item, words: list[str]) -> None:
    result = parsed(body)
    assert result.calls == (item,)
    assert len(result.warnings) == 1
    assert all(word in result.warnings[0] for word in words)


def test_a_warning_names_ten_unknown_properties_and_counts_the_rest() -> None:
    body = '{"target":"t",' + ",".join(f'"unknown{n}":{n}' for n in range(12)) + "}"
    (warning,) = parsed(body).warnings
    assert "unknown9 and 2 more" in warning
    assert "unknown10" not in warning


def test_a_warning_shortens_a_long_unknown_name() -> None:
    (warning,) = parsed('{"target":"t","%s":1}' % ("x" * 5000)).warnings
    assert len(warning) < 200
