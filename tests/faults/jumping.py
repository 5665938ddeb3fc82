"""A wall clock that tests may set while a process runs: libfaketime, preloaded into it.

Rule guarded: only the wall clock jumps; the monotonic one goes on, as it does when a machine's clock is set. Where the
library is missing the tests say so, or fail when TEST_REQUIRE names `faketime`.
"""

import os
from pathlib import Path

import pytest

_PLACES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
_FILE = "faketime/libfaketimeMT.so.1"
MISSING = "libfaketime is not installed (apt-get install libfaketime)"


def find_library() -> str:
    """Return the path of the library; skips or fails the test when there is none."""
    for place in map(Path, _PLACES):
        found = [place / _FILE, *place.glob(f"*/{_FILE}")]
        if path := next(filter(Path.exists, found), None):
            return str(path)
    if "faketime" in os.environ.get("TEST_REQUIRE", ""):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


class JumpingClock:
    """The wall clock of every process started with `environment`."""

    def __init__(self, library: str, directory: Path) -> None:
        self._file = directory / "clock"
        self.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # it is read at each look at the clock
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name before 0.9.11
        }
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Set the clock wrong by this many seconds from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.replace(self._file)
