"""The memory limit is found where the kernel keeps it, and what follows from it holds."""

from pathlib import Path

import pytest

from fanout.memory import body_budget, memory_limit, read_ahead, tokens_within

MIB = 1024 * 1024
GIB = 1024 * MIB


def machine(root: Path, cgroup: str = "") -> Path:
    """Write what the kernel would show of a machine with 16 GiB."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/meminfo").write_text(f"MemTotal:       {16 * 1024 * 1024} kB\nMemFree:        123 kB\n")
    return root


def v2(root: Path, path: str, limits: dict[str, str]) -> Path:
    machine(root, f"0::{path}\n")
    for group, text in limits.items():
        directory = root / "sys/fs/cgroup" / group
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.max").write_text(text)
    return root


def v1(root: Path, path: str, limits: dict[str, str]) -> Path:
    machine(root, f"12:cpu,cpuacct:/other\n9:memory:{path}\n1:name=systemd:/x\n")
    for group, text in limits.items():
        directory = root / "sys/fs/cgroup/memory" / group
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.limit_in_bytes").write_text(text)
    return root


def test_without_a_cgroup_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert memory_limit(machine(tmp_path)) == 16 * GIB


@pytest.mark.parametrize(
    ("path", "limits", "expected"),
    [
        ("/", {".": "268435456\n"}, 256 * MIB),  # inside a container with a namespace of its own
        ("/kubepods/pod1/c1", {"kubepods/pod1/c1": "268435456\n"}, 256 * MIB),
        ("/kubepods/pod1/c1", {"kubepods/pod1/c1": "max\n", "kubepods/pod1": "536870912\n"}, 512 * MIB),
        ("/a/b", {"a/b": "536870912", "a": "268435456"}, 256 * MIB),
        ("/a", {"a": "max\n"}, 16 * GIB),
        ("/a", {"a": f"{32 * GIB}\n"}, 16 * GIB),
        ("/../x", {".": "268435456\n"}, 256 * MIB),
    ],
)
def test_the_least_limit_of_its_cgroups_counts(
    tmp_path: Path, path: str, limits: dict[str, str], expected: int
) -> None:
    assert memory_limit(v2(tmp_path, path, limits)) == expected


@pytest.mark.parametrize(
    ("path", "limits", "expected"),
    [
        ("/docker/c1", {"docker/c1": "268435456\n", ".": "9223372036854771712\n"}, 256 * MIB),
        ("/docker/c1", {".": "268435456\n"}, 256 * MIB),  # inside, only the mount is visible
        ("/docker/c1", {"docker/c1": "9223372036854771712\n"}, 16 * GIB),
    ],
)
def test_cgroups_of_the_first_version_are_read_too(
    tmp_path: Path, path: str, limits: dict[str, str], expected: int
) -> None:
    assert memory_limit(v1(tmp_path, path, limits)) == expected


def test_nothing_to_read_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == 1 << 60


def test_this_machine_has_a_limit() -> None:
    assert 64 * MIB < memory_limit() < 1 << 60


@pytest.mark.parametrize(
    ("limit", "alone", "with_worker"),
    [
        (64 * MIB, 1 * MIB, 1 * MIB),
        (256 * MIB, 160 * MIB // 6, 64 * MIB // 6),
        (768 * MIB, 112 * MIB, 320 * MIB // 6),
        (64 * GIB, GIB, GIB),
    ],
)
def test_the_bodies_an_ingress_may_handle_follow_from_the_limit(limit: int, alone: int, with_worker: int) -> None:
    assert body_budget(limit, with_worker=False) == alone
    assert body_budget(limit, with_worker=True) == with_worker


@pytest.mark.parametrize(
    ("limit", "alone", "beside"),
    [(64 * MIB, MIB, MIB), (256 * MIB, 128 * MIB // 6, 64 * MIB // 6), (768 * MIB, 32 * MIB, 32 * MIB)],
)
def test_what_a_worker_reads_ahead_follows_from_the_limit(limit: int, alone: int, beside: int) -> None:
    assert (read_ahead(limit, with_ingress=False), read_ahead(limit, with_ingress=True)) == (alone, beside)


def test_tokens_take_an_eighth_of_the_limit_at_most() -> None:
    assert tokens_within(256 * MIB, 100_000) == 32 * MIB // 900
    assert tokens_within(GIB, 100_000) == 100_000
    assert tokens_within(1000, 100_000) == 1
