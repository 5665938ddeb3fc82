"""What a release has to hold: the packages of service and client, the packaged chart, and one version in all of them.

Rule guarded: what is published is exactly what the repository holds for it. A file that is missing in a wheel is found
by whoever installs it, and one too many (a test, a value of a trial, a cache) cannot be taken back.
"""

import re
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("fanout", "workers", "service", "emulator")
_CHART = (".helmignore", "Chart.yaml", "README.md", "values.yaml", "values.schema.json", "files/", "templates/")
_NEVER = re.compile(r"(^|/)(\.(?!helmignore|gitignore)[^/]*|__pycache__|tests|bench|dist)(/|$)|\.pyc$|uv\.lock$")


class ReleaseError(AssertionError):
    """Something in a release is not as it has to be; the text says what."""


def version_of_sources() -> str:
    """Return the one version that every part names. Raise ReleaseError where they differ, or the changelog lacks it."""
    chart = yaml.safe_load((ROOT / "helm" / "Chart.yaml").read_text())
    found = {
        "pyproject.toml": _match("pyproject.toml", r'^version = "(.+)"$'),
        "fanout/__init__.py": _match("fanout/__init__.py", r'^__version__ = "(.+)"$'),
        "client/signalr_fanout/client.py": _match("client/signalr_fanout/client.py", r'^__version__.* = "(.+)"$'),
        "Dockerfile": _match("Dockerfile", r"^ARG VERSION=(.+)$"),
        "helm/Chart.yaml, version": str(chart["version"]),
        "helm/Chart.yaml, appVersion": str(chart["appVersion"]),
    }
    if len(set(found.values())) > 1:
        raise ReleaseError(f"The parts are of different versions: {found}")
    version = found["pyproject.toml"]
    if f"## [{version}]" not in (ROOT / "CHANGELOG.md").read_text():
        raise ReleaseError(f"CHANGELOG.md has no section for {version}.")
    return version


def check_wheel(wheel: Path, folder: Path, packages: tuple[str, ...]) -> None:
    """Raise ReleaseError unless a wheel holds the files of its packages, its licence, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = f"{wheel.name.split('-')[0]}-{wheel.name.split('-')[1]}.dist-info/"
    files = {name for name in names if not name.startswith(info)}
    _compare(wheel, files, sources(folder, packages))
    if f"{info}licenses/LICENSE" not in names:
        raise ReleaseError(f"{wheel.name} has no licence.")


def check_sdist(sdist: Path, folder: Path, packages: tuple[str, ...]) -> None:
    """Raise ReleaseError unless a source package holds what a wheel is built from, and no test, cache or lock file."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {""}
    needed = sources(folder, packages) | {"pyproject.toml", "README.md", "LICENSE"}
    if missing := needed - names:
        raise ReleaseError(f"{sdist.name} lacks {sorted(missing)}")
    if unwanted := sorted(filter(_NEVER.search, names)):
        raise ReleaseError(f"{sdist.name} holds {unwanted[:10]}")


def check_chart(package: Path, version: str) -> None:
    """Raise ReleaseError unless a packaged chart holds the chart's files and names the version."""
    with tarfile.open(package) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {""}
        chart = yaml.safe_load(archive.extractfile("signalr-fanout/Chart.yaml") or b"")
    wanted = {name for name in sources(ROOT / "helm", (".",)) if name.startswith(_CHART)}
    _compare(package, names, wanted)
    if {str(chart["version"]), str(chart["appVersion"])} != {version}:
        raise ReleaseError(f"{package.name} is of version {chart['version']} for {chart['appVersion']}")


def requirements_of(wheel: Path) -> list[str]:
    """Return what a wheel needs without extras, as its metadata say."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    return [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]


def sources(folder: Path, packages: tuple[str, ...]) -> set[str]:
    """Return the files in these folders of `folder`, by their paths in it; caches of compiled modules are left out."""
    found = [path for package in packages for path in (folder / package).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix() for path in found if "__pycache__" not in path.parts}


def _compare(package: Path, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        missing, more = sorted(wanted - found), sorted(found - wanted)
        raise ReleaseError(f"{package.name} lacks {missing} and has {more} too many")


def _match(name: str, pattern: str) -> str:
    found = re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)
    if found is None:
        raise ReleaseError(f"{name} names no version.")
    return found[1]
