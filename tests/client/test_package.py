"""The distribution: what its wheel contains, what it needs, and that Python 3.9 reads it."""

import ast
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import signalr_fanout

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "client"
MODULES = sorted((CLIENT / "signalr_fanout").glob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=CLIENT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_the_typed_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {f"signalr_fanout/{path.name}" for path in MODULES} | {"signalr_fanout/py.typed"}


def test_it_needs_only_httpx_and_names_its_version_once_and_again(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        headers = Parser().parsestr(archive.read(metadata).decode())
    assert headers["Name"] == "signalr-fanout-client"
    assert headers["Requires-Python"] == ">=3.9"
    assert [each.split("<")[0].split(">")[0] for each in headers.get_all("Requires-Dist", [])] == ["httpx"]
    assert headers["Version"] == signalr_fanout.__version__


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_python_3_9_reads_it(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_it_imports_the_standard_library_and_httpx_only(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "httpx", "signalr_fanout"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= allowed
