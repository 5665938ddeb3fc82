"""Installs the chart into a real Kubernetes API server: `make kube-test`, or `python -m tests.kube`.

Needs etcd (of the package etcd-server) and a kube-apiserver: the one that KUBE_APISERVER names, or one on PATH. Without
either it is compiled once from Debian's source package, which needs root and mmdebstrap and takes eight minutes of one
CPU. It is kept in KUBE_CACHE (~/.cache/fanout-kube).
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from tests.kube import checks
from tests.kube.cluster import Cluster, running
from tests.kube.compile import VERSION, CompileError, compile_api_server

_CACHE = Path("~/.cache/fanout-kube")
CHECKS: tuple[Callable[[Cluster], Awaitable[None]], ...] = (
    checks.installs_every_example,
    checks.keeps_the_secrets_it_made,
    checks.changes_nothing_without_a_change,
    checks.finds_its_settings_again,
    checks.changes_its_shape,
    checks.leaves_the_number_of_pods_to_the_autoscaler,
    checks.passes_its_test,
    checks.fits_long_names,
    checks.needs_no_rights_beyond_its_namespace,
    checks.is_refused_what_schemas_let_pass,
)


def main() -> int:
    """Find the programs and run every check; the exit code says whether all passed."""
    etcd = shutil.which("etcd")
    if etcd is None:
        click.echo("This needs etcd: apt-get install etcd-server")
        return 2
    try:
        api_server = _api_server()
    except CompileError as error:
        click.echo(f"{error}\nOr name a binary that is there: KUBE_APISERVER=/path/to/kube-apiserver")
        return 2
    with tempfile.TemporaryDirectory(prefix="fanout-kube-") as folder:
        return asyncio.run(_run(etcd, api_server, Path(folder)))


def _api_server() -> str:
    named = os.environ.get("KUBE_APISERVER") or shutil.which("kube-apiserver")
    if named:
        if shutil.which(named) is None:
            raise CompileError(f"KUBE_APISERVER is {named}, which is no program.")
        return named
    binary = Path(os.environ.get("KUBE_CACHE") or _CACHE).expanduser().absolute() / f"kube-apiserver-{VERSION}"
    if not binary.exists():
        click.echo(f"Compiling kube-apiserver {VERSION} into {binary}; this takes about a quarter of an hour, once ...")
        compile_api_server(binary)
    return str(binary)


async def _run(etcd: str, api_server: str, folder: Path) -> int:
    failed = 0
    async with running(etcd, api_server, folder) as cluster, asyncio.TaskGroup() as tasks:
        hooks = tasks.create_task(cluster.finish_hooks())
        await checks.install_definitions(cluster)
        for check in CHECKS:
            name = check.__name__.replace("_", " ")
            try:
                await check(cluster)
                click.echo(f"ok    {name}")
            except Exception as error:  # noqa: BLE001 - each check is reported
                failed += 1
                click.echo(f"FAIL  {name}: {error!r}")
        hooks.cancel()
    click.echo(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
