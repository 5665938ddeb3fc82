"""A stand-in for the base image of the Dockerfile, for machines that cannot pull it.

Debian bookworm with Python, made by mmdebstrap from the machine's own package sources. It has what the Dockerfile uses
of the real base: `python`, `pip`, venv, certificates, and the accounts of Debian.
"""

import subprocess
from pathlib import Path

from tests.image.engine import Engine

STAND_IN = "localhost/python-stand-in:latest"
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"


def take_base(engine: Engine, name: str) -> str:
    """Take an image that is on this machine as the base."""
    engine.take(name)
    return name


def make_base(engine: Engine, directory: Path) -> str:
    """Build the stand-in and return its name."""
    context = directory / "base"
    context.mkdir()
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(context / "base.tar")],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (context / "Dockerfile").write_text(
        "FROM scratch\nADD base.tar /\nRUN ln -s python3 /usr/bin/python && rm /usr/lib/python3*/EXTERNALLY-MANAGED\n"
    )
    engine.build(context, STAND_IN)
    return STAND_IN
