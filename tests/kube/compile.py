"""Compiles a real Kubernetes API server from Debian's source package: `python -m tests.kube.compile FILE`.

No binary of one is to be had from a package, but its source is, with everything vendored. The compiler runs in a Debian
folder of its own, so that the machine keeps its packages. Takes about eight minutes of one CPU and 5 GB of disk, once.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

VERSION = "1.20.2"
_SUITE = "bookworm"
_PACKAGES = "golang-go,rsync,jq,git,dpkg-dev,make,ca-certificates"
_NEEDED = ("mmdebstrap", "unshare", "chroot", "apt-get")
# In a mount namespace of its own: whatever ends it, no mount is left in the folder that is removed afterwards.
_INSIDE = """
set -e
mount -t proc proc {root}/proc
exec nice -n 15 chroot {root} /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -ec 'cd /root
{script}'
"""
_FETCH = """
echo "deb-src {mirror} {suite} main" >/etc/apt/sources.list.d/source.list
apt-get update --quiet
apt-get source --quiet kubernetes
"""
# The version is named, since the folder of the package is no git checkout to ask. One CPU: others work here too.
_MAKE = f"""
cd kubernetes-*/
export CGO_ENABLED=0 GOFLAGS=-mod=vendor GO111MODULE=on GOMAXPROCS=1
export KUBE_GIT_VERSION=v{VERSION} KUBE_GIT_COMMIT=debian KUBE_GIT_TREE_STATE=clean KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20
make WHAT=cmd/kube-apiserver
"""
# The vendored reflect2 calls a function of the runtime whose arguments changed in Go 1.18, and a server with it ends
# with a fault at its first custom resource. reflect2 1.0.2 made the same changes.
_REFLECT = "vendor/github.com/modern-go/reflect2"
_FIELDS = """\
\tt, h, buckets, bptr, overflow, oldoverflow unsafe.Pointer
\tstartBucket uintptr
\tflags [4]uint8
\tbucket, checkBucket uintptr
"""
_PATCHES = (
    (f"{_REFLECT}/unsafe_link.go", "m unsafe.Pointer) *hiter", "m unsafe.Pointer, it *hiter)"),
    (f"{_REFLECT}/unsafe_link.go", "\t// rest fields are ignored\n", _FIELDS),
    (f"{_REFLECT}/unsafe_map.go", "mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)),", "it,"),
    (
        f"{_REFLECT}/unsafe_map.go",
        "\treturn &UnsafeMapIterator{\n",
        "\tit := new(hiter)\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n\treturn &UnsafeMapIterator{\n",
    ),
)


class CompileError(Exception):
    """The API server could not be compiled; the text says what lacks, or where the output is."""


def compile_api_server(binary: Path) -> None:
    """Compile the API server into `binary`, and leave nothing else behind but the log beside it."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing or os.geteuid():
        raise CompileError(f"Compiling needs root and {', '.join(_NEEDED)}; missing: {', '.join(missing) or 'root'}.")
    binary.parent.mkdir(parents=True, exist_ok=True)
    log = binary.with_name(f"{binary.name}.log")
    root = Path(tempfile.mkdtemp(prefix="compile-", dir=binary.parent))
    try:
        with log.open("w") as output:
            mirror = _mirror()
            _run(output, "mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root), mirror)
            _run_inside(output, root, _FETCH.format(mirror=mirror, suite=_SUITE))
            [source] = (root / "root").glob("kubernetes-*")
            patch(source)
            _run_inside(output, root, _MAKE)
        unfinished = binary.with_name(f"{binary.name}.new")
        shutil.copy2(source / "_output" / "bin" / "kube-apiserver", unfinished)
        unfinished.rename(binary)
    except subprocess.CalledProcessError as error:
        raise CompileError(f"The API server could not be compiled: {error.cmd[0]} failed, see {log}.") from error
    finally:
        shutil.rmtree(root, ignore_errors=True)


def patch(source: Path) -> None:
    """Change what does not fit today's compiler."""
    for name, old, new in _PATCHES:
        text = (source / name).read_text()
        if text.count(old) != 1:
            raise CompileError(f"{name} is not the file that is known: {old.strip()!r} is not in it once.")
        (source / name).write_text(text.replace(old, new))


def _mirror() -> str:
    # Where this machine has its own packages from.
    command = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    sources = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    mirror = os.environ.get("DEBIAN_MIRROR") or next(iter(sources), "")
    if not mirror:
        raise CompileError("apt knows no mirror of Debian here: DEBIAN_MIRROR names one.")
    return mirror


def _run_inside(output: IO[str], root: Path, script: str) -> None:
    _run(output, "unshare", "--mount", "sh", "-c", _INSIDE.format(root=root, script=script))


def _run(output: IO[str], *command: str) -> None:
    subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    compile_api_server(Path(sys.argv[1]).absolute())
