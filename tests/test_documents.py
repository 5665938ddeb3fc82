"""What the documents repeat is what the code says; `make docs` writes it anew."""

import re
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, README


@pytest.mark.parametrize(("path", "made"), DOCUMENTS, ids=[path.name for path, _ in DOCUMENTS])
def test_a_document_repeats_the_code(path: Path, made: object) -> None:
    assert callable(made)
    assert path.read_text() == made(path.read_text()), "run: make docs"


def test_the_two_commands_of_the_readme_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    assert re.search(r"^run:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)
