"""The chart as Helm's own engine renders it, and questions to ask the result.

Rule guarded: no test reads a template; each one looks at the objects a cluster would be given. The sum of credentials
that rolls the pods is slow on purpose, half a second for each rendering. So tests render the chart with a quick sum of
the same, `quick_chart`; the golden files and the tests of the sum itself are of the chart as it is, `chart`.
"""

import copy
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
ROLES = ("ingress", "worker")
Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # five times as fast where libyaml is there


_SLOW_SUM = 'derivePassword 1 "maximum" . $.Release.Name $.Release.Namespace | sha256sum'
_QUICK_SUM = "cat . $.Release.Name $.Release.Namespace | sha256sum"


@cache
def chart() -> helm_python.Chart:
    """Load the chart once for all tests."""
    return helm_python.Chart.load(CHART)


@cache
def quick_chart() -> helm_python.Chart:
    """Load the chart with another function that sums the credentials, once for all tests."""
    with tempfile.TemporaryDirectory(prefix="chart-") as directory:
        copied = Path(shutil.copytree(CHART, Path(directory) / "helm"))
        template = copied / "templates" / "_settings.tpl"
        text = template.read_text()
        assert text.count(_SLOW_SUM) == 1
        template.write_text(text.replace(_SLOW_SUM, _QUICK_SUM))
        return helm_python.Chart.load(copied)


# The least that must be said, with credentials that other tools keep.
KEPT_ELSEWHERE: Object = {
    "credentials": {
        "connectionString": {"existingSecret": "signalr", "key": "connectionString"},
        "redisUrl": {"existingSecret": "redis", "key": "redisUrl"},
        "apiKey": {"existingSecret": "signalr", "key": "apiKey"},
    }
}


def example(name: str) -> Object:
    """Read one of the chart's example values files."""
    values: Object = yaml.load((CHART / "ci" / f"{name}-values.yaml").read_text(), Loader=_LOADER)
    return values


def merged(base: Object, over: Object) -> Object:
    """Lay `over` upon `base`, key by key, as `helm --values` does with a second file."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


@dataclass(frozen=True)
class Release:
    """What one installation of the chart consists of."""

    objects: tuple[Object, ...]
    notes: str

    def of_kind(self, kind: str) -> list[Object]:
        return [thing for thing in self.objects if thing["kind"] == kind]

    def one(self, kind: str, suffix: str = "") -> Object:
        """Return the only object of a kind, or the only one whose name ends with `suffix`."""
        found = [thing for thing in self.of_kind(kind) if thing["metadata"]["name"].endswith(suffix)]
        assert len(found) == 1, f"{len(found)} objects of kind {kind} end with {suffix!r}"
        return found[0]

    def settings(self) -> dict[str, str]:
        """Return the data of the ConfigMap with the settings of the process."""
        (found,) = (thing for thing in self.of_kind("ConfigMap") if "-config-" in thing["metadata"]["name"])
        data: dict[str, str] = found["data"]
        return data

    def pod(self, role: str) -> Object:
        """Return the pod template of a role: its metadata and spec."""
        template: Object = self.one("Deployment", f"-{role}")["spec"]["template"]
        return template

    def container(self, role: str) -> Object:
        """Return the container that runs the process."""
        found: Object = self.pod(role)["spec"]["containers"][0]
        return found

    def pod_specs(self) -> Iterator[Object]:
        """Return every pod spec of the release, the test's included."""
        for thing in self.objects:
            if thing["kind"] in {"Deployment", "StatefulSet", "Job"}:
                yield thing["spec"]["template"]["spec"]
            elif thing["kind"] == "Pod":
                yield thing["spec"]


def render(
    values: Object, *, name: str = "demo", namespace: str = "prod", of: helm_python.Chart | None = None
) -> Release:
    """Render the chart with a quick sum, or another `of` it, with these values alone; HelmError where Helm refuses."""
    files = (of or quick_chart()).render(values, name=name, namespace=namespace)
    notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
    objects = [
        thing
        for path, text in sorted(files.items())
        if not path.endswith("NOTES.txt")
        for thing in yaml.load_all(text, Loader=_LOADER)
        if thing
    ]
    return Release(tuple(objects), notes)


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Return whether a label selector takes a thing with these labels."""
    return selector.items() <= labels.items()


def install(over: Object | None = None, *, base: str = "minimal") -> Release:
    """Render an example, or the least that must be said, with changes."""
    return render(merged(example(base) if base else KEPT_ELSEWHERE, over or {}))
