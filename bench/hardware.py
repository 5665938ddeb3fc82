"""Where and with what a run was made, so that its figures can be read later."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.rig import ROOT

_UNKNOWN = "unknown"
_PACKAGES = (
    "aiohttp", "fastapi", "hiredis", "httptools", "httpx", "msgspec", "orjson", "prometheus-client", "pydantic",
    "PyJWT", "pyreqwest", "redis", "starlette", "structlog", "uvicorn", "uvloop",
)  # fmt: skip


def facts(arguments: Sequence[str], redis: str, sink: str) -> dict[str, Any]:
    """Describe machine, versions, commit and command."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "bench", *arguments]),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": _git("status", "--porcelain", "--untracked-files=no") not in {"", _UNKNOWN},
        "hardware": {
            "cpu": _field("/proc/cpuinfo", "model name"),
            "cores": os.cpu_count(),
            "memory": _field("/proc/meminfo", "MemTotal"),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "load": os.getloadavg(),
        },
        "versions": {"python": platform.python_version(), "server": redis, "sink": sink} | _versions(),
    }


def sentence(found: Mapping[str, Any]) -> str:
    """Return the same in two lines."""
    hardware, versions = found["hardware"], found["versions"]
    commit = f"{found['commit'][:12]}{' with changes' if found['dirty'] else ''}"
    return (
        f"{hardware['cores']} x {hardware['cpu']}, {hardware['system']}, load {hardware['load'][0]:.1f} at the end\n"
        f"Python {versions['python']}, {versions['server']}, sink: {versions['sink']}; commit {commit}"
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the arguments stand here
            ("git", *arguments),  # noqa: S607 - whichever git there is
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return _UNKNOWN
    return done.stdout.strip()


def _field(path: str, name: str) -> str:
    if not sys.platform.startswith("linux"):
        return _UNKNOWN
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return _UNKNOWN
