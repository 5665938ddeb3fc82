"""The command as people run it."""

import json
import subprocess
import sys
from pathlib import Path

from bench.rig import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "bench", *arguments)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_quick_run_of_one_demand_prints_its_ratio_and_writes_json(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = bench("--quick", "--only", "R10", "--rounds", "2", "--json", str(out))
    assert done.returncode == 0, done.stderr
    assert "token CPU per message" in done.stdout
    found = json.loads(out.read_text())
    assert found["demands"][0]["key"] == "R10"
    assert len(found["rounds"]) == 2
    assert found["command"].startswith("python -m bench --quick --only R10")
    assert {"hardware", "versions", "commit", "date"} <= found.keys()


def test_a_ratio_far_worse_than_the_baseline_prints_a_warning_and_still_succeeds(tmp_path: Path) -> None:
    out, baseline = tmp_path / "out.json", tmp_path / "baseline.json"
    bench("--quick", "--only", "R10", "--rounds", "1", "--json", str(out))
    found = json.loads(out.read_text())
    found["demands"][0]["value"] /= 100
    baseline.write_text(json.dumps(found))
    done = bench("--quick", "--only", "R10", "--rounds", "1", "--compare", str(baseline))
    assert done.returncode == 0
    assert any(line.startswith("WARNING: R10") for line in done.stdout.splitlines())


def test_an_unknown_demand_is_one_clear_line() -> None:
    done = bench("--only", "R99")
    assert done.returncode == 2
    assert "no such demand: R99" in done.stderr
