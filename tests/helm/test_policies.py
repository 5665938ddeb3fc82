"""The rendered pods keep to the published policies for Kubernetes, and each exception says why.

Rule guarded: a policy that is broken is either mended or written down with its reason; an exception that no object
needs any more is removed.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helm.golden_files import VALUES
from tests.helm.release import Object, merged, render

TRIVY = Path(sys.executable).parent / "trivy"
EXCEPTIONS = {
    "KSV-0011": "CPU limits throttle a process that is late anyway; what it may take is bounded by its one thread.",
    "KSV-0125": "From which registry images come is the user's choice (image.repository, valkey.image).",
    "KSV-01010": "FANOUT_MAX_BYTES in a ConfigMap is taken for a credential. Credentials are in Secrets only.",
}
# Containers of the user's own, which the full example has, are not the chart's to judge.
OWN: Object = {"worker": {"initContainers": [], "extraContainers": []}}


def findings(folder: Path) -> dict[str, str]:
    """Return the policies that the objects in the files of a folder break, with the message of one breach."""
    quiet = ["--quiet", "--skip-check-update", "--skip-version-check", "--disable-telemetry", "--format", "json"]
    command = [str(TRIVY), "config", *quiet, "--cache-dir", str(folder / "cache"), str(folder)]
    results = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["Results"]
    assert len(results) == len(list(folder.glob("*.yaml")))
    assert all(result["MisconfSummary"]["Successes"] > 50 for result in results)
    return {found["ID"]: found["Message"] for result in results for found in result.get("Misconfigurations", [])}


def test_the_chart_breaks_no_policy_but_those_with_a_reason(tmp_path: Path) -> None:
    for name, values in VALUES.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(render(merged(values, OWN)).objects))
    found = findings(tmp_path)
    assert {policy: text for policy, text in found.items() if policy not in EXCEPTIONS} == {}
    assert found.keys() == set(EXCEPTIONS)


def test_a_pod_without_its_hardening_is_found(tmp_path: Path) -> None:
    pod = render(VALUES["minimal"]).one("Deployment", "-worker")
    del pod["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(pod))
    assert {"KSV-0001", "KSV-0014"} <= findings(tmp_path).keys()


@pytest.mark.parametrize("policy", EXCEPTIONS)
def test_each_exception_has_a_reason(policy: str) -> None:
    assert len(EXCEPTIONS[policy]) > 40
