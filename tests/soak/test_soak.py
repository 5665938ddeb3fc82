"""A soak in short: the same program as `make soak`, with two or three troubles."""

from pathlib import Path

import pytest

from tests.soak.__main__ import Plan, soak


@pytest.mark.timeout(180)
async def test_a_short_soak_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing accepted is lost or changed, order is kept, each repeat has a reason, nothing is left waiting."""
    held = await soak(Plan(seconds=12.0, seed=5, rate=100.0), tmp_path)
    printed = capsys.readouterr().out
    assert held, printed
    assert "all held" in printed
