"""A finding does harm when the configuration relies on what was not proved."""

import pytest

from service.doctor.check import Finding, Standing


@pytest.mark.parametrize(
    ("standing", "relied_on", "harmful"),
    [
        (Standing.PROVED, True, False),
        (Standing.FAILED, True, True),
        (Standing.SKIPPED, True, True),
        (Standing.FAILED, False, False),
        (Standing.SKIPPED, False, False),
    ],
)
def test_only_what_is_relied_on_and_not_proved_is_harmful(
    standing: Standing, *, relied_on: bool, harmful: bool
) -> None:
    assert Finding("routes", "x", standing, relied_on, "").harmful is harmful
