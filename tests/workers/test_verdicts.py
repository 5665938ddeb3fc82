"""The table of what answers mean: whole, closed, and one meaning for each status."""

import pytest

from fanout.metrics import DEAD_REASONS, FAILURES
from workers.verdicts import GONE, TABLE, Ruling, rule_of


def test_every_label_of_the_table_is_in_the_closed_sets_of_the_metrics() -> None:
    for rule in [*TABLE, rule_of(999)]:
        if rule.message is not Ruling.DELIVERED:
            assert rule.failure in FAILURES
            assert rule.reason in DEAD_REASONS


def test_every_status_has_exactly_one_row() -> None:
    for status in range(1000):
        rows = [rule for rule in TABLE if rule.first <= status <= rule.last]
        assert len(rows) <= 1
        assert rule_of(status) is (rows[0] if rows else rule_of(418))


def test_every_row_says_why_in_a_sentence_and_is_not_backwards() -> None:
    for rule in TABLE:
        assert rule.first <= rule.last
        assert rule.why.endswith(".")


def test_only_a_message_can_have_an_unknown_outcome() -> None:
    """A membership change or a closing has the same effect however often it is done."""
    assert [rule.first for rule in TABLE if rule.message is Ruling.UNKNOWN] == [500]
    assert not [rule for rule in TABLE if rule.action is Ruling.UNKNOWN]


@pytest.mark.parametrize(
    ("status", "message", "action"),
    [
        (100, Ruling.DEAD, Ruling.DEAD),
        (200, Ruling.DELIVERED, Ruling.DELIVERED),
        (202, Ruling.DELIVERED, Ruling.DELIVERED),
        (299, Ruling.DELIVERED, Ruling.DELIVERED),
        (302, Ruling.DEAD, Ruling.DEAD),
        (400, Ruling.DEAD, Ruling.DEAD),
        (401, Ruling.RENEW_TOKEN, Ruling.RENEW_TOKEN),
        (403, Ruling.DEAD, Ruling.DEAD),
        (404, Ruling.DEAD, Ruling.DEAD),
        (408, Ruling.RETRY, Ruling.RETRY),
        (409, Ruling.DEAD, Ruling.DEAD),
        (413, Ruling.DEAD, Ruling.DEAD),
        (414, Ruling.DEAD, Ruling.DEAD),
        (429, Ruling.RETRY, Ruling.RETRY),
        (431, Ruling.DEAD, Ruling.DEAD),
        (500, Ruling.UNKNOWN, Ruling.RETRY),
        (501, Ruling.RETRY, Ruling.RETRY),
        (502, Ruling.RETRY, Ruling.RETRY),
        (503, Ruling.RETRY, Ruling.RETRY),
        (504, Ruling.RETRY, Ruling.RETRY),
        (599, Ruling.RETRY, Ruling.RETRY),
        (600, Ruling.DEAD, Ruling.DEAD),
    ],
)
def test_what_a_status_means_for_messages_and_actions(status: int, message: Ruling, action: Ruling) -> None:
    rule = rule_of(status)
    assert (rule.message, rule.action) == (message, action)


def test_gone_is_told_by_exactly_these_codes() -> None:
    assert {code.split(".", 1)[0] for code in GONE} == {"Warning", "Info", "Error"}
    assert len(GONE) == 5
