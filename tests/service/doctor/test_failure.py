"""What a service answered is fit for a terminal before it is shown."""

from service.doctor.failure import shown


def test_control_characters_and_line_ends_do_not_reach_the_terminal() -> None:
    assert shown("a\x1b[31m\r\nb\0") == "a [31m  b "


def test_secrets_are_masked() -> None:
    assert "c2VjcmV0" not in shown("Authorization: Bearer c2VjcmV0 refused; AccessKey=c2VjcmV0;")


def test_a_long_text_is_cut() -> None:
    assert len(shown("x" * 1000)) == 200
