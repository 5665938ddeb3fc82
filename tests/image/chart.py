"""A release of the chart as containers, by `podman kube play`, and real traffic through it.

Rule guarded: what runs is what the chart renders. Changed is only what podman has no part for: the names of Services
become host aliases of the pods, the StatefulSet becomes its pod, files of Secrets are mounted as those of ConfigMaps,
and probes are asked by the test in the place of a kubelet.
"""

import base64
import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import yaml

from tests.helm.release import Object, Release, chart, matches, render
from tests.image.engine import Engine
from tests.image.site import IMAGE, REDIS, Site

_REPOSITORY, _, _TAG = IMAGE.partition(":")
_VALUES: Object = {
    "demo": True,
    "image": {"repository": _REPOSITORY, "tag": _TAG, "pullPolicy": "Never"},
    "valkey": {"image": REDIS, "storage": ""},
    # Behind a host alias there is nothing that turns the port of a Service into that of its pods.
    "service": {"port": 8080},
    "config": {"partitions": 4},
}
_STARTED = re.compile(r"^Pod:\n([0-9a-f]{64})\nContainers?:\n([0-9a-f]{64})$", re.MULTILINE)
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs: its address, the name of its container, and what the chart rendered for it."""

    address: str
    container: str
    spec: Object

    def probes(self) -> Iterator[str]:
        """Return the URLs that a kubelet would ask."""
        container = self.spec["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in (container[name]["httpGet"] for name in _PROBES if "httpGet" in container.get(name, {})):
            yield f"http://{self.address}:{ports[probe['port']]}{probe['path']}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is left of a cluster: pods, and the Services' names for those that run."""

    engine: Engine
    release: Release
    names: dict[str, str] = field(default_factory=dict)

    def keep_secrets(self) -> None:
        """Give the engine the Secrets; it takes ConfigMaps from beside the pods."""
        for secret in self.release.of_kind("Secret"):
            file = self.engine.directory / "secret.json"
            file.write_text(json.dumps(secret["data"]))  # as podman 4.3 wants it
            self.engine.podman("secret", "create", secret["metadata"]["name"], str(file))

    def play(self, thing: Object) -> list[Pod]:
        """Start the pods of an object and return them."""
        template = thing if thing["kind"] == "Pod" else thing["spec"]["template"]
        played = thing if thing["kind"] == "Deployment" else {**template, "apiVersion": "v1", "kind": "Pod"}
        file = self.engine.directory / "pod.yaml"
        maps = [*self.release.of_kind("ConfigMap"), *self._files(template["spec"])]
        file.write_text(yaml.safe_dump_all([*maps, self._playable(played, thing)]))
        out = self.engine.podman("kube", "play", "--network", "fanout", str(file))
        pods = [self._pod(pod, container, template["spec"]) for pod, container in _STARTED.findall(out)]
        for service in self.release.of_kind("Service"):
            if matches(service["spec"]["selector"], template["metadata"]["labels"]):
                self.names[f"{service['metadata']['name']}.{service['metadata']['namespace']}"] = pods[0].address
        return pods

    def _pod(self, name: str, container: str, spec: Object) -> Pod:
        return Pod(self.engine.address(self.engine.pod(name)["InfraContainerID"]), container, spec)

    def _files(self, spec: Object) -> Iterator[Object]:
        secret = self.release.one("Secret")["data"]
        for volume in (volume for volume in spec.get("volumes", []) if "projected" in volume):
            items = [item for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
            data = {item["path"]: base64.b64decode(secret[item["key"]]).decode() for item in items}
            yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": volume["name"]}, "data": data}

    def _playable(self, thing: Object, original: Object) -> Object:
        played = copy.deepcopy(thing)
        played["metadata"]["name"] = original["metadata"]["name"]
        spec = played["spec"]["template"]["spec"] if played["kind"] == "Deployment" else played["spec"]
        spec["hostAliases"] = [{"ip": address, "hostnames": [name]} for name, address in self.names.items()]
        for volume in spec.get("volumes", []):
            if volume.pop("projected", None):
                volume["configMap"] = {"name": volume["name"]}
        for container in spec["containers"]:
            # It would have systemd ask the probes, with a curl that the image does not have, and publish the ports on
            # this machine.
            for left_out in (*_PROBES, "ports"):
                container.pop(left_out, None)
        return played


async def delivers_as_the_chart_renders_it(site: Site) -> None:
    """The pods of `demo: true` deliver a batch, each confined as rendered, and the pod of `helm test` passes."""
    site.clear()
    release = render(_VALUES, of=chart())
    cluster = Cluster(site.engine, release)
    cluster.keep_secrets()
    cluster.play(release.one("StatefulSet"))
    [emulator] = cluster.play(release.one("Deployment", "-emulator"))
    ingress = cluster.play(release.one("Deployment", "-ingress"))
    workers = cluster.play(release.one("Deployment", "-worker"))
    assert (len(ingress), len(workers)) == (2, 2)
    for pod in (*ingress, *workers):
        for url in pod.probes():
            await site.answers(url)
        _check_confinement(site, pod)
    items = [{"userId": f"u{n}", "target": "m", "arguments": [n]} for n in range(100)]
    for url in (f"http://{pod.address}:8080" for pod in ingress):
        assert (await site.send(url, items, hub="played", key="wrong" * 8)).status_code == httpx.codes.UNAUTHORIZED
        answer = await site.send(url, items, hub="played", key=_api_key(release))
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    assert len(await site.delivered("played", 200, by=emulator.container)) == 200
    [test] = cluster.play(release.one("Pod"))
    code = site.engine.podman("wait", test.container).strip()
    logged = site.engine.logs(test.container)
    assert (code, logged.splitlines()[-1:]) == ("0", ["delivered"]), logged
    served = [pod.container for pod in (*workers, *ingress)]
    site.engine.podman("stop", "--time", "60", *served)
    assert {site.ended(name) for name in served} == {(0, False)}


def _api_key(release: Release) -> str:
    return base64.b64decode(release.one("Secret")["data"]["api-key"]).decode()


def _check_confinement(site: Site, pod: Pod) -> None:
    rendered: Any = pod.spec["containers"][0]
    assert site.limit(pod.container) == int(rendered["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
    code = (
        "import os; print(os.getuid(), bool(os.statvfs('/').f_flag & os.ST_RDONLY), os.access('/tmp', os.W_OK),"
        "os.environ['FANOUT_PARTITIONS'], *sorted(line.split()[1] for line in open('/proc/1/status') if"
        " line.startswith(('CapEff', 'NoNewPrivs'))))"
    )
    assert site.run_python(pod.container, code).split() == ["10001", "True", "True", "4", "0" * 16, "1"]
