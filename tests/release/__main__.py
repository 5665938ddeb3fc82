"""Builds what a release consists of and checks its contents: `make release-check`, or `python -m tests.release [DIR]`.

The packages of service and client, as source and as wheel, and the chart are left in DIR (dist). Nothing is published.
"""

import subprocess
import sys
from pathlib import Path

import click
import helm_python

from tests.release.contents import (
    PACKAGES,
    ROOT,
    ReleaseError,
    check_chart,
    check_sdist,
    check_wheel,
    requirements_of,
    version_of_sources,
)

_CLIENT_NEEDS = "httpx"


def build(target: Path) -> list[Path]:
    """Build everything into `target`, check it, and return the files. Raise ReleaseError for what is wrong."""
    version = version_of_sources()
    target.mkdir(parents=True, exist_ok=True)
    service = _packages(ROOT, target / "service", PACKAGES)
    client = _packages(ROOT / "client", target / "client", ("signalr_fanout",))
    needs = requirements_of(client[1])
    if len(needs) != 1 or not needs[0].startswith(_CLIENT_NEEDS):
        raise ReleaseError(f"The client needs {needs}, and may need {_CLIENT_NEEDS} alone.")
    chart = Path(helm_python.package(ROOT / "helm", destination=target))
    check_chart(chart, version)
    built = [*service, *client, chart]
    if wrong := [path.name for path in built if version not in path.name]:
        raise ReleaseError(f"{wrong} are not of version {version}.")
    return built


def _packages(folder: Path, target: Path, packages: tuple[str, ...]) -> tuple[Path, Path]:
    command = (sys.executable, "-m", "hatchling", "build", "-d", str(target))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{folder.name} cannot be built: {done.stderr.strip()}")
    [sdist], [wheel] = target.glob("*.tar.gz"), target.glob("*.whl")
    check_sdist(sdist, folder, packages)
    check_wheel(wheel, folder, packages)
    return sdist, wheel


@click.command(help=__doc__)
@click.argument("target", default=ROOT / "dist", type=click.Path(path_type=Path, file_okay=False))
def main(target: Path) -> None:
    """Build, check and list."""
    try:
        built = build(target)
    except ReleaseError as error:
        raise click.ClickException(str(error)) from None
    for path in built:
        click.echo(f"{path.stat().st_size:>10,} bytes  {path}")


if __name__ == "__main__":
    main()
