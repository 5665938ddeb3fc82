"""A Kubernetes API server of its own with an etcd of its own, on loopback and in a folder that goes with it.

Rule guarded: what answers is the real server, so names, ports, immutable fields and rights are judged as in a cluster.
There are no controllers and no nodes: no pod appears, and what Helm's hooks wait for is ended by `finish_hooks`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import helm_python
import httpx
import trustme

from tests.free_ports import free_port
from tests.helm.release import Object

OPERATOR, TENANT = "operator", "tenant"  # everything is allowed to the first; the second gets its rights from a test
_READY_WITHIN = 120.0
_SERVER = (
    "--bind-address=127.0.0.1", "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
    "--service-cluster-ip-range=10.20.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
    "--endpoint-reconciler-type=none",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cluster:
    """The running API server, and the answers to what a test wants to know of it."""

    url: str
    certificates: Path
    http: httpx.AsyncClient
    paths: dict[tuple[str, str], str] = field(default_factory=dict)

    def helm(self, namespace: str, user: str = OPERATOR) -> helm_python.Config:
        """Return Helm's own engine, connected as a user."""
        return helm_python.Config(
            kube_apiserver=self.url, kube_ca_file=self.certificates, kube_token=user, namespace=namespace
        )

    async def get(self, path: str) -> Any:
        """Return what is at a path, or None."""
        answer = await self.http.get(path)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    async def post(self, path: str, document: Object) -> None:
        """Make an object."""
        answer = await self.http.post(path, json=document)
        assert answer.is_success, answer.text

    async def patch(self, path: str, document: Object) -> None:
        """Change part of an object."""
        answer = await self.http.patch(path, json=document, headers={"Content-Type": "application/merge-patch+json"})
        assert answer.is_success, answer.text

    async def path_of(self, thing: Object) -> str:
        """Return the path of an object, as the server itself names its kind."""
        version, metadata = thing["apiVersion"], thing["metadata"]
        if (version, thing["kind"]) not in self.paths:
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for kind in (await self.get(root))["resources"]:
                if "/" not in kind["name"]:
                    self.paths[version, kind["kind"]] = f"{root}/namespaces/{{namespace}}/{kind['name']}/{{name}}"
        return self.paths[version, thing["kind"]].format(**metadata)

    async def finish_hooks(self) -> None:
        """Report every Job and every pod that Helm waits for as done, in the place of controllers and nodes."""
        while True:
            for job in (await self.get("/apis/batch/v1/jobs"))["items"]:
                if not job["status"].get("succeeded"):
                    done = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
                    await self.patch(f"{await self.path_of(_whole(job, 'batch/v1', 'Job'))}/status", {"status": done})
            for pod in (await self.get("/api/v1/pods"))["items"]:
                if pod["status"].get("phase") != "Succeeded":
                    done = {"phase": "Succeeded"}
                    await self.patch(f"{await self.path_of(_whole(pod, 'v1', 'Pod'))}/status", {"status": done})
            await asyncio.sleep(0.2)


def _whole(thing: Object, version: str, kind: str) -> Object:
    return {**thing, "apiVersion": version, "kind": kind}  # members of a list say neither


@asynccontextmanager
async def running(etcd: str, api_server: str, folder: Path) -> AsyncIterator[Cluster]:
    """Run etcd and the API server for the duration of the block."""
    certificates, options = _certificates(folder)
    store, port = f"http://127.0.0.1:{free_port()}", free_port()
    peers = f"http://127.0.0.1:{free_port()}"
    commands = (
        (etcd, "--data-dir", str(folder / "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
         "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}",
         "--unsafe-no-fsync"),
        (api_server, *_SERVER, f"--etcd-servers={store}", f"--secure-port={port}", *options),
    )  # fmt: skip
    url = f"https://127.0.0.1:{port}"
    async with httpx.AsyncClient(
        base_url=url, verify=ssl.create_default_context(cafile=str(certificates)), trust_env=False, timeout=30.0,
        headers={"Authorization": f"Bearer {OPERATOR}"},
    ) as http:  # fmt: skip
        processes = [await _start(command, folder) for command in commands]
        try:
            await _ready(http, folder, processes)
            yield Cluster(url, certificates, http)
        finally:
            for process in reversed(processes):
                if process.returncode is None:
                    process.terminate()
                await process.wait()


def _certificates(folder: Path) -> tuple[Path, tuple[str, ...]]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    files = {name: folder / f"{name}.pem" for name in ("authority", "certificate", "key")}
    authority.cert_pem.write_to_path(str(files["authority"]))
    issued.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    issued.private_key_pem.write_to_path(str(files["key"]))
    tokens = folder / "tokens.csv"
    tokens.write_text(f"{OPERATOR},{OPERATOR},1,system:masters\n{TENANT},{TENANT},2\n")
    return files["authority"], (
        f"--tls-cert-file={files['certificate']}", f"--tls-private-key-file={files['key']}",
        f"--service-account-key-file={files['key']}", f"--service-account-signing-key-file={files['key']}",
        f"--token-auth-file={tokens}",
    )  # fmt: skip


async def _start(command: tuple[str, ...], folder: Path) -> asyncio.subprocess.Process:
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=folder)


async def _ready(http: httpx.AsyncClient, folder: Path, processes: list[asyncio.subprocess.Process]) -> None:
    async with asyncio.timeout(_READY_WITHIN):
        while not await _answers(http):
            if any(process.returncode is not None for process in processes):
                raise AssertionError(f"the API server or etcd ended: {_logs(folder)}")
            await asyncio.sleep(0.2)


def _logs(folder: Path) -> Mapping[str, str]:
    return {log.name: log.read_text()[-2000:] for log in folder.glob("*.log")}


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).is_success
    except httpx.TransportError:
        return False
