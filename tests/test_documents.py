"""What the documents repeat is what the code says; `make docs` writes it anew."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from fanout.environment import variable_of
from fanout.settings import Settings
from service.cli.main import main
from tests.documents import DOCUMENTS, README, files_not_to_open, files_to_read


@pytest.mark.parametrize(("path", "made"), DOCUMENTS, ids=[path.name for path, _ in DOCUMENTS])
def test_a_document_repeats_the_code(path: Path, made: object) -> None:
    assert callable(made)
    assert path.read_text() == made(path.read_text()), "run: make docs"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_a_link_to_a_file_leads_to_one(name: str) -> None:
    root = README.parent
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (root / name).read_text()):
        assert (root / target).exists(), target


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_commands_and_settings_that_are_named_exist(name: str) -> None:
    text = (README.parent / name).read_text()
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    known = {variable_of(field) for field in Settings.model_fields}
    assert {variable.removesuffix("_FILE") for variable in re.findall(r"FANOUT_[A-Z_]+", text)} <= known


def test_the_two_commands_of_the_readme_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    assert re.search(r"^run:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


def sources_named(text: str) -> set[str]:
    """The headings of docs/sources.md that a text names, where line breaks and comment signs may stand in between."""
    plain = re.sub(r"\s*\n\s*#*\s*", " ", text)
    lists = re.findall(r"docs/sources\.md[,:] ([a-z-]+)((?:(?:, and |, | and )[a-z-]+)+(?=[.;:)]))?", plain)
    return {name for first, rest in lists for name in (first, *re.split(r", and |, | and ", rest)) if name}


def test_every_source_that_the_code_names_is_a_heading() -> None:
    headings = set(re.findall(r"^### (\S+)$", (README.parent / "docs" / "sources.md").read_text(), re.MULTILINE))
    assert {"operations", "rest-tokens", "binding-items"} <= headings
    for room in ("fanout", "workers", "service", "emulator", "bench", "tests"):
        for path in sorted((README.parent / room).rglob("*.py")):
            unknown = sources_named(path.read_text()) - headings
            assert not unknown, f"{path}: docs/sources.md has no heading {sorted(unknown)}"


def test_the_headings_that_a_text_names_are_found_across_lines() -> None:
    text = '"""Signs tokens.\n\nSource: docs/sources.md, rest-tokens, client-tokens\nand limits. More."""\n'
    assert sources_named(text) == {"rest-tokens", "client-tokens", "limits"}
    assert sources_named("# See docs/sources.md,\n    # names.") == {"names"}
    assert sources_named("See docs/sources.md, limits, which says why.") == {"limits"}
    assert sources_named("# See docs/sources.md.") == set()


def test_each_command_of_the_readme_and_of_the_manual_exists_with_its_options() -> None:
    texts = [README.read_text(), (README.parent / "docs" / "operating.md").read_text()]
    lines = re.findall(r"^(?:\$ )?fanout ([a-z][^#\n]*)", "\n".join(texts), re.MULTILINE)
    assert len(lines) > 8
    for line in lines:
        result = CliRunner().invoke(main, [*shlex.split(line), "--help"])
        assert result.exit_code == 0, f"fanout {line}: {result.output}"


def test_the_architecture_page_names_files_that_exist_and_at_most_25_to_read() -> None:
    page = (README.parent / "docs" / "architecture.md").read_text()
    to_read, helpers = files_to_read(page), files_not_to_open(page)
    assert len(helpers) > 5
    assert 15 < len(to_read) <= 25
    assert len({*to_read, *helpers}) == len(to_read) + len(helpers), "a file is named twice"
    numbers = [int(number) for number in re.findall(r"^(\d+)\. \[[a-z]+/", page, re.MULTILINE)]
    assert numbers == list(range(1, len(to_read) + 1))
    for path in {*to_read, *helpers, *re.findall(r"\]\(\.\./([^)#]+)", page)}:
        assert (README.parent / path).is_file(), path
    assert {path.partition("/")[0] for path in (*to_read, *helpers)} == {"fanout", "workers", "service"}


def test_the_architecture_page_links_what_it_names() -> None:
    page = (README.parent / "docs" / "architecture.md").read_text()
    for text, target in re.findall(r"\[([^\]]+\.py)\]\(([^)]+)\)", page):
        assert target == f"../{text}"
