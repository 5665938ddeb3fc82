"""What has to be true of a release in a cluster, each as one check against the API server.

Rule guarded: what only a server knows is asked of a server: which fields are immutable, what an upgrade keeps, which
names and ports are legal, which rights an installation takes.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.helm.custom_resources import KINDS
from tests.helm.release import CHART, Object, Release, example, merged, render
from tests.kube.cluster import OPERATOR, TENANT, Cluster

NAME = "push"
DEMO: Object = {"demo": True}
# What a server before 1.25 is given instead: it serves the same fields, as far as the chart uses them, by other names.
_OLDER = {
    "apiVersion: policy/v1\n": "apiVersion: policy/v1beta1\n",
    "apiVersion: autoscaling/v2\n": "apiVersion: autoscaling/v2beta2\n",
    'kubeVersion: ">=1.25.0-0"\n': "",
}
_OLDEST = 25
_CLIENT = "66666666-7777-8888-9999-000000000000"
_PLURALS = {"PrometheusRule": "prometheusrules", "HTTPRoute": "httproutes"}
# Fields that came after 1.20.
_WITHOUT_NEWER: Object = {"service": {"loadBalancerClass": ""}}
VARIANTS: dict[str, Object] = {
    "minimal": example("minimal"),
    "existing-secrets": example("existing-secrets"),
    "full": merged(example("full"), _WITHOUT_NEWER),
    "demo": DEMO,
    "one value": {"credentials": {"connectionString": example("minimal")["credentials"]["connectionString"]}},
    "all": merged(example("minimal"), {"mode": "all"}),
    "workers alone": merged(example("minimal"), {"ingress": {"enabled": False}}),
    "keda": merged(example("minimal"), {"keda": {"enabled": True}, "metrics": {"podMonitor": {"enabled": True}}}),
    "identity": merged(
        example("minimal"),
        {
            "credentials": {"connectionString": {"value": ""}},
            "identity": {"serviceUri": "https://example.service.signalr.net", "workload": True, "clientId": _CLIENT},
        },
    ),
    "node port": merged(example("minimal"), {"service": {"type": "NodePort", "nodePort": 30123}}),
}


class Install:
    """One release in a namespace of its own."""

    def __init__(self, cluster: Cluster, chart: Path, namespace: str, user: str = OPERATOR) -> None:
        self.cluster = cluster
        self.chart = chart
        self.namespace = namespace
        self.helm = cluster.helm(namespace, user)

    async def install(self, values: Object, name: str = NAME) -> None:
        await asyncio.to_thread(self.helm.install, self.chart, name, values, namespace=self.namespace, timeout=30)

    async def upgrade(self, values: Object, name: str = NAME) -> None:
        await asyncio.to_thread(
            self.helm.upgrade, self.chart, name, values, namespace=self.namespace, timeout=30, reset_values=True
        )

    async def rollback(self, revision: int) -> None:
        await asyncio.to_thread(self.helm.rollback, NAME, version=revision, timeout=30)

    async def uninstall(self, name: str = NAME) -> None:
        await asyncio.to_thread(self.helm.uninstall, name, timeout=30)

    def rendered(self, values: Object) -> Release:
        """Return what the chart that is installed renders."""
        return render(values, name=NAME, namespace=self.namespace, of=helm_python.Chart.load(self.chart))

    async def get(self, version: str, kind: str, name: str) -> Any:
        metadata = {"name": name, "namespace": self.namespace}
        path = await self.cluster.path_of({"apiVersion": version, "kind": kind, "metadata": metadata})
        return await self.cluster.get(path)

    async def deployment(self, role: str) -> Any:
        return await self.get("apps/v1", "Deployment", f"{NAME}-signalr-fanout-{role}")

    async def generated(self) -> Object:
        secret = await self.get("v1", "Secret", f"{NAME}-signalr-fanout-generated")
        data: Object = secret["data"]
        return data


async def new(cluster: Cluster, namespace: str, *, user: str = OPERATOR) -> Install:
    """Make a namespace and return what installs into it."""
    await cluster.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
    minor = int(re.sub(r"\D", "", (await cluster.get("/version"))["minor"]))
    return Install(cluster, CHART if minor >= _OLDEST else await asyncio.to_thread(_older, cluster), namespace, user)


def _older(cluster: Cluster) -> Path:
    """Write the chart as an older server takes it."""
    target = cluster.certificates.parent / "chart"
    for source in sorted(CHART.rglob("*")):
        if source.is_file() and not target.joinpath(source.relative_to(CHART)).exists():
            text = source.read_text()
            for newer, older in _OLDER.items():
                text = text.replace(newer, older)
            file = target / source.relative_to(CHART)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return target


async def install_definitions(cluster: Cluster) -> None:
    """Define the custom resources that the chart can make, without a schema of their own."""
    things = [thing for name in ("full", "keda") for thing in render(VARIANTS[name]).objects if thing["kind"] in KINDS]
    for version, kind in sorted({(thing["apiVersion"], thing["kind"]) for thing in things}):
        (group, number), plural = version.split("/"), _PLURALS.get(kind, f"{kind.lower()}s")
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        spec = {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": number, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        }  # fmt: skip
        # The Gateway API is a protected group, which wants to hear who approved.
        approval = {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"}
        metadata = {"name": f"{plural}.{group}", "annotations": approval}
        await cluster.post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"metadata": metadata, "spec": spec}
        )
        async with asyncio.timeout(30):
            while await cluster.get(f"/apis/{version}/{plural}") is None:  # noqa: ASYNC110 - the server takes its time
                await asyncio.sleep(0.1)


# The checks -----------------------------------------------------------------------------------------------------------


async def installs_every_example(cluster: Cluster) -> None:
    """The server takes every object of each example, and an uninstallation leaves the kept ConfigMaps alone."""
    for number, values in enumerate(VARIANTS.values()):
        one = await new(cluster, f"example-{number}")
        await one.install(values)
        things = [thing for thing in one.rendered(values).objects if not _is_test(thing)]
        for thing in things:
            thing["metadata"].setdefault("namespace", one.namespace)
        for thing in things:
            assert await cluster.get(await cluster.path_of(thing)), f"{thing['kind']} {thing['metadata']['name']}"
        await one.uninstall()
        for thing in things:
            if "helm.sh/hook" in thing["metadata"].get("annotations", {}):
                continue
            kept = thing["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
            assert bool(await cluster.get(await cluster.path_of(thing))) == kept, thing["metadata"]["name"]


def _is_test(thing: Object) -> bool:
    return bool(thing["metadata"].get("annotations", {}).get("helm.sh/hook") == "test")


async def keeps_the_secrets_it_made(cluster: Cluster) -> None:
    """The generated key and password stay through upgrades and a rollback; a new release has its own."""
    one = await new(cluster, "kept")
    await one.install(DEMO)
    made = await one.generated()
    assert set(made) == {"api-key", "valkey-password"}
    await one.upgrade(merged(DEMO, {"config": {"logLevel": "debug"}}))
    assert await one.generated() == made
    await one.rollback(1)
    assert await one.generated() == made
    other = await new(cluster, "kept-not")
    await other.install(DEMO)
    assert not set((await other.generated()).values()) & set(made.values())


async def changes_nothing_without_a_change(cluster: Cluster) -> None:
    """An upgrade with the same values rolls no pod, with generated secrets as well."""
    one = await new(cluster, "same")
    await one.install(DEMO)
    before = [await one.deployment(role) for role in ("ingress", "worker", "emulator")]
    await one.upgrade(DEMO)
    after = [await one.deployment(role) for role in ("ingress", "worker", "emulator")]
    assert [thing["metadata"]["generation"] for thing in before] == [thing["metadata"]["generation"] for thing in after]


async def finds_its_settings_again(cluster: Cluster) -> None:
    """A changed setting has a ConfigMap of its own; the one before stays for pods that roll and for a rollback."""
    one, values = await new(cluster, "settings"), example("minimal")
    await one.install(values)
    first = _config_of(await one.deployment("worker"))
    await one.upgrade(merged(values, {"config": {"logLevel": "debug"}}))
    second = _config_of(await one.deployment("worker"))
    assert first != second
    for name in (first, second):
        assert await one.get("v1", "ConfigMap", name), f"{name} is gone"
    await one.rollback(1)
    assert _config_of(await one.deployment("worker")) == first
    await one.upgrade(merged(values, {"config": {"logLevel": "debug"}}))
    assert _config_of(await one.deployment("worker")) == second
    await one.uninstall()
    await one.install(values)
    assert _config_of(await one.deployment("worker")) == first


def _config_of(deployment: Object) -> str:
    (source,) = deployment["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    return str(source["configMapRef"]["name"])


async def changes_its_shape(cluster: Cluster) -> None:
    """From the demo to a small and a large installation and through all modes, in upgrades: nothing is in the way."""
    one = await new(cluster, "shapes")
    await one.install(DEMO)
    # Not back to the demo: a server of 1.20 leaves an empty valueFrom where a value is applied in its place.
    for name in ("one value", "minimal", "full", "all", "keda", "workers alone", "identity", "minimal"):
        await one.upgrade(VARIANTS[name])
    assert len(await asyncio.to_thread(one.helm.history, NAME)) == 9


async def leaves_the_number_of_pods_to_the_autoscaler(cluster: Cluster) -> None:
    """An upgrade does not take back what an autoscaler has set."""
    one = await new(cluster, "scaled")
    values = merged(example("minimal"), {"worker": {"autoscaling": {"enabled": True, "targetQueueEntries": 100}}})
    await one.install(values)
    worker = await one.deployment("worker")
    path = await cluster.path_of({**worker, "apiVersion": "apps/v1", "kind": "Deployment"})
    await cluster.patch(f"{path}/scale", {"spec": {"replicas": 5}})
    await one.upgrade(merged(values, {"config": {"logLevel": "debug"}}))
    assert (await one.deployment("worker"))["spec"]["replicas"] == 5


async def passes_its_test(cluster: Cluster) -> None:
    """`helm test` makes its pod as the server wants it."""
    one = await new(cluster, "tested")
    await one.install(DEMO)
    await asyncio.to_thread(one.helm.test, NAME, timeout=60)


async def fits_long_names(cluster: Cluster) -> None:
    """The longest name that Helm allows a release, with everything on."""
    one, name = await new(cluster, "n" * 63), "r" * 53
    await one.install(VARIANTS["full"], name)
    await one.uninstall(name)
    await one.install(DEMO, name)


async def needs_no_rights_beyond_its_namespace(cluster: Cluster) -> None:
    """Whoever may administrate a namespace may install, upgrade and remove a release there."""
    one = await new(cluster, "tenants", user=TENANT)
    group = "rbac.authorization.k8s.io"
    for part in ("admin", "edit", "view"):  # what a controller puts together as the role `admin`
        binding = {
            "metadata": {"name": f"{TENANT}-{part}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": f"system:aggregate-to-{part}"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": TENANT}],
        }
        await cluster.post(f"/apis/{group}/v1/namespaces/tenants/rolebindings", binding)
    await one.install(DEMO)
    await one.upgrade(merged(DEMO, {"networkPolicy": {"enabled": True, "scrapers": [{"podSelector": {}}]}}))
    await one.uninstall()


async def is_refused_what_schemas_let_pass(cluster: Cluster) -> None:
    """The server judges: ports out of range, two ports of a name, a Service with a nodePort of another."""
    service = _service([{"name": "a", "port": 80}, {"name": "a", "port": 81}])
    for number, (thing, said) in enumerate(
        [
            (service, "Duplicate value"),
            (_service([{"name": "a", "port": 70_000}]), "must be between 1 and 65535"),
            (_service([{"name": "A_b", "port": 80}]), "Invalid value"),
        ]
    ):
        one = await new(cluster, f"refused-{number}")
        try:
            await one.install(merged(example("minimal"), {"extraObjects": [thing]}))
        except helm_python.HelmError as error:
            assert said in str(error), error  # noqa: PT017 - no pytest here
        else:
            raise AssertionError(f"the server takes {yaml.safe_dump(thing)}")
        # What failed does not stand in the way of the next try.
        await one.upgrade(example("minimal"))


def _service(ports: list[Object]) -> Object:
    metadata = {"name": "extra", "namespace": "{{ .Release.Namespace }}"}
    spec = {"selector": {"a": "b"}, "ports": [{"protocol": "TCP", **port} for port in ports]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
