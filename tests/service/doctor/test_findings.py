"""Findings: when one is harmful, and that foreign text is fit for a terminal."""

import pytest

from service.doctor.findings import Finding, Outcome, printable


@pytest.mark.parametrize(
    ("outcome", "relied_on", "harmful"),
    [
        (Outcome.PROVED, True, False),
        (Outcome.FAILED, True, True),
        (Outcome.SKIPPED, True, True),
        (Outcome.FAILED, False, False),
        (Outcome.SKIPPED, False, False),
    ],
)
def test_only_what_is_relied_on_and_not_proved_is_harmful(outcome: Outcome, *, relied_on: bool, harmful: bool) -> None:
    assert Finding("routes", "x", outcome, relied_on, "").harmful is harmful


def test_control_characters_and_line_ends_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[31m\r\nb\0") == "a [31m  b "


def test_secrets_are_masked() -> None:
    assert "c2VjcmV0" not in printable("Authorization: Bearer c2VjcmV0 refused; AccessKey=c2VjcmV0;")


def test_a_long_text_is_cut() -> None:
    assert len(printable("x" * 1000)) == 200
