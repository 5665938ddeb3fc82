"""What the chart renders for a few sets of values, kept in files, so that a change of a template is seen in a diff.

`python -m tests.helm.golden_files` writes them anew, and the dashboard; read the difference before it is committed.
What is random, the credentials that the chart makes itself, is left out.
"""

import sys
from pathlib import Path

import yaml

from tests.helm import dashboard
from tests.helm.release import Object, chart, example, merged, render

FOLDER = Path(__file__).parent / "golden"
_WATCHED: Object = {"metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}
_BY_POD: Object = {"enabled": False, "podMonitor": {"enabled": True}}
VALUES: dict[str, Object] = {
    "minimal": example("minimal"),
    "existing-secrets": example("existing-secrets"),
    "full": example("full"),
    "trial": {"demo": True, "mode": "all"},
    "examined": merged(
        example("minimal"),
        {"doctor": {"enabled": True}, "metrics": {"enabled": False, "podMonitor": {"enabled": True}}},
    ),
    "scaled-to-zero": merged(example("minimal"), {**_WATCHED, "keda": {"enabled": True, "minReplicas": 0}}),
}


def rendered(name: str) -> str:
    """Return the objects of one set of values as YAML, and the notes."""
    release = render(VALUES[name], of=chart())
    objects = [thing for thing in release.objects if not thing["metadata"]["name"].endswith("-generated")]
    for thing in objects:
        if thing["metadata"]["name"].endswith("-dashboard"):
            thing["data"] = dict.fromkeys(thing["data"], "helm/files/dashboard.json")
    return yaml.safe_dump_all(objects, width=1000, sort_keys=True) + "---\n" + _comment(release.notes)


def _comment(notes: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in notes.splitlines())


if __name__ == "__main__":
    dashboard.PATH.write_text(dashboard.text())
    for each in VALUES:
        (FOLDER / f"{each}.yaml").write_text(rendered(each))
    sys.exit(0)
