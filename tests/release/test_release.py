"""A release is complete and of one version, and what is wrong with one is found."""

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.release.__main__ import build
from tests.release.contents import PACKAGES, ROOT, ReleaseError, check_wheel, requirements_of

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return build(tmp_path_factory.mktemp("release"))


def test_packages_and_chart_hold_what_they_have_to(built: list[Path]) -> None:
    assert sorted(path.suffix for path in built) == [".gz", ".gz", ".tgz", ".whl", ".whl"]


def test_a_service_needs_no_tool_of_its_tests(built: list[Path]) -> None:
    needs = " ".join(requirements_of(built[1]))
    assert "fastapi" in needs
    assert not [name for name in ("pytest", "hypothesis", "aiohttp", "watchfiles", "python-dotenv") if name in needs]


@pytest.mark.parametrize("change", ["a file too many", "a file is missing"])
def test_a_wheel_that_differs_from_the_repository_is_refused(built: list[Path], tmp_path: Path, change: str) -> None:
    wheel = tmp_path / built[1].name
    if change == "a file too many":
        shutil.copy(built[1], wheel)
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("fanout/notes.txt", "")
    else:
        with zipfile.ZipFile(built[1]) as whole, zipfile.ZipFile(wheel, "w") as archive:
            for name in set(whole.namelist()) - {"fanout/errors.py"}:
                archive.writestr(name, whole.read(name))
    with pytest.raises(ReleaseError, match=r"notes\.txt|errors\.py"):
        check_wheel(wheel, ROOT, PACKAGES)
