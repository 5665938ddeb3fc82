"""How much memory a process may use, and the bounds in bytes that follow from it.

Rule guarded: an operator sets one number, the memory limit of the container, and the process stays within it whatever
is sent. The limit is looked for where the kernel keeps it (cgroup v2, then v1, then the size of the machine).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MIB: Final = 1024 * 1024
_UNLIMITED: Final = 1 << 60  # bytes; cgroup v1 writes a number above it for "no limit"
_IDLE: Final = 96 * _MIB  # what a process takes before the first request
_IDLE_WITH_WORKER: Final = 128 * _MIB
# A byte of a body takes up to six while it is handled, as measured: the body, the bodies of its messages, the entries
# made of them, and the command to Redis, which is copied while it is written.
_BYTES_PER_BODY_BYTE: Final = 6
# A byte of the entries that a worker reads ahead takes up to two in memory, and one of a large body in flight is held
# twice, as it was fetched and as it is written. The rest is room for tokens and for what the allocator keeps.
_BYTES_PER_BYTE_READ: Final = 6
_MOST_READ: Final = 32 * _MIB
_TOKEN: Final = 900  # bytes of a cached token with its route
_SHARE_OF_TOKENS: Final = 8  # an eighth of the memory
_LEAST: Final = 1 * _MIB
_MOST: Final = 1024 * _MIB


def body_budget(limit: int, *, with_worker: bool) -> int:
    """Return how many bytes of request bodies an ingress may handle at the same time under a memory limit.

    `with_worker`: the same process also delivers, and takes half of what is left.
    """
    left = (limit - _IDLE_WITH_WORKER) // 2 if with_worker else limit - _IDLE
    return max(_LEAST, min(_MOST, left // _BYTES_PER_BODY_BYTE))


def read_ahead(limit: int, *, with_ingress: bool) -> int:
    """Return how many bytes a worker may read ahead under a memory limit. `with_ingress`: half of it is not its own."""
    left = (limit - _IDLE_WITH_WORKER) // (2 if with_ingress else 1)
    return max(_LEAST, min(_MOST_READ, left // _BYTES_PER_BYTE_READ))


def tokens_within(limit: int, most: int) -> int:
    """Return how many tokens may be cached under a memory limit, at most `most`."""
    return max(1, min(most, limit // _SHARE_OF_TOKENS // _TOKEN))


def memory_limit(root: Path = Path("/")) -> int:
    """Return the memory in bytes that this process may use: the least limit of its cgroups, or what the machine has.

    `root` is where proc and sys are mounted.
    """
    limits = [*_cgroup_limits(root), _machine(root)]
    return min((limit for limit in limits if 0 < limit < _UNLIMITED), default=_UNLIMITED)


def _cgroup_limits(root: Path) -> Iterator[int]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            yield from _up(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _up(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")


def _up(mount: Path, path: str, name: str) -> Iterator[int]:
    # The group of the process and each above it has a limit. Inside a container only the mount itself may be visible.
    group = Path(path.strip("/"))
    for part in (group, *group.parents):
        text = _text(mount / part / name).strip()
        if text.isdigit():
            yield int(text)


def _machine(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
