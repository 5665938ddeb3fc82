"""What a terminal gets to see."""

import json
from collections import Counter

import pytest

from service.cli.dead_letters.tables import counts_of, details_of, group_of, letters, table_of
from service.cli.render import json_lines

ITEM = {
    "id": "3:1-0", "parkedAt": "1970-01-01T00:00:00.001Z", "reason": "refused", "status": 400, "attempts": 1,
    "detail": "HTTP 400", "hub": "chat", "messageId": "m1", "operation": "sendToUser", "to": "alice", "bytes": 91,
}  # fmt: skip


def test_a_table_has_a_heading_and_columns_and_cuts_what_is_long() -> None:
    heading, one, two = table_of([ITEM, ITEM | {"to": "u" * 100, "hub": None}])
    assert heading.index("MESSAGE ID") == one.index("m1") == two.index("m1")
    assert "u" * 39 + "…" in two
    assert two.split()[5] == "-"
    assert table_of([]) == []


def test_nothing_that_others_wrote_moves_the_cursor() -> None:
    evil = "a\x1b[2J\r\n\u202eb\x9bc"
    lines = table_of([ITEM | {"to": evil, "reason": evil}])
    lines += details_of(json.dumps(ITEM | {"detail": evil, "message": {"target": evil}}, ensure_ascii=False))
    lines += details_of(json.dumps(ITEM | {"message": None, "entry": evil}))
    lines += counts_of(Counter([group_of(ITEM | {"hub": evil})]))
    assert all(line.isprintable() for line in lines), lines


@pytest.mark.parametrize("text", ['{"a":[1.50,12345678901234567890123,"\u202e\x9b\U000e0001ä"]}', "[]", '"\\u0007"'])
def test_json_that_is_laid_out_means_what_it_meant(text: str) -> None:
    lines = json_lines(text)
    assert all(line.isprintable() for line in lines)
    assert json.loads("\n".join(lines)) == json.loads(text)
    assert all(number in "".join(lines) for number in ("1.50", "12345678901234567890123") if number in text)


def test_the_members_nobody_knows_yet_do_no_harm() -> None:
    assert details_of(json.dumps(ITEM | {"colour": "red", "message": {"target": "t"}}))[0].split() == ["id", "3:1-0"]
    assert details_of("{}")


def test_one_is_one() -> None:
    assert (letters(1), letters(0), letters(2)) == ("1 dead letter", "0 dead letters", "2 dead letters")
