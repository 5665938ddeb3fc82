"""buildah and podman with a storage of their own, so that a run leaves the machine's images and networks alone.

Rule guarded: they work inside a container too, where a build has no user namespaces and a container no systemd.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# As the chart runs it: nothing to write to but /tmp, no capabilities, no way to get any.
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt", "no-new-privileges")


class EngineError(Exception):
    """A command of the engine failed; the text has what it wrote."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The commands; everything lives under `directory`."""

    directory: Path

    def build(self, context: Path, name: str, **arguments: str) -> None:
        """Build the Dockerfile of a directory. The build sees the machine's certificates, as pip needs them."""
        options = [option for key, value in arguments.items() for option in ("--build-arg", f"{key}={value}")]
        if _CERTIFICATES.exists():
            pip = self.directory / "pip.conf"
            pip.write_text(f"[global]\ncert = {_CERTIFICATES}\n")
            options += ["--volume", f"{pip}:/etc/pip.conf:ro", "--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
        self._run(
            "buildah", *self._storage(), "bud", "--isolation", "chroot", "--network", "host", "--format", "docker",
            "--pull-never", *options, "--tag", name, str(context),
        )  # fmt: skip

    def run(self, image: str, name: str, *arguments: str, options: Sequence[str] = (), **environ: str) -> str:
        """Start a container in the background and return its address on the network of the run."""
        variables = [option for key, value in environ.items() for option in ("--env", f"{key}={value}")]
        self.podman(
            "run", "--detach", "--name", name, "--network", "fanout", "--no-healthcheck", "--pull=never",
            *options, *variables, image, *arguments,
        )  # fmt: skip
        return self.address(name)

    def address(self, name: str) -> str:
        """Return the address of a container on the network of the run."""
        networks: Mapping[str, Any] = self.inspect(name)["NetworkSettings"]["Networks"]
        return str(networks["fanout"]["IPAddress"])

    def inspect(self, name: str) -> Mapping[str, Any]:
        """Return what podman knows of a container."""
        found: Mapping[str, Any] = json.loads(self.podman("container", "inspect", name))[0]
        return found

    def pod(self, name: str) -> Mapping[str, Any]:
        """Return what podman knows of a pod."""
        found: Mapping[str, Any] = json.loads(self.podman("pod", "inspect", name))
        return found

    def logs(self, name: str) -> str:
        """Return what a container has written, on both of its channels."""
        return self.podman("logs", name, errors=True)

    def take(self, image: str) -> None:
        """Copy an image that this machine has."""
        archive = str(self.directory / "image.tar")
        self._run("podman", "save", "--output", archive, image)
        self.podman("load", "--input", archive)

    def podman(self, *arguments: str, errors: bool = False) -> str:
        """Run podman and return what it printed, with what it wrote as errors if that is wanted."""
        networks = ("--network-config-dir", f"{self.directory}/networks")
        return self._run("podman", *self._storage(), *networks, *arguments, errors=errors)

    def _storage(self) -> tuple[str, ...]:
        return "--storage-driver", "overlay", "--root", f"{self.directory}/root", "--runroot", f"{self.directory}/run"

    def _run(self, *command: str, errors: bool = False) -> str:
        configuration = self.directory / "containers.conf"
        configuration.write_text(_CONFIGURATION)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False,
            env={**os.environ, "CONTAINERS_CONF": str(configuration)},
        )  # fmt: skip
        if done.returncode:
            raise EngineError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout + (done.stderr if errors else "")
