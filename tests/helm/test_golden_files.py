"""The chart renders what its golden files say."""

import pytest

from tests.helm.golden_files import FOLDER, VALUES, rendered


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_renders_what_its_golden_file_says(name: str) -> None:
    wanted = (FOLDER / f"{name}.yaml").read_text()
    assert rendered(name) == wanted, "read the difference, then: make docs"


def test_there_is_no_other_golden_file() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(VALUES)
