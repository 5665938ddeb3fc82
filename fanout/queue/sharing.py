"""How the partitions are shared between the live workers. Pure.

Rules guarded: the share of each worker follows from its rank among the live ones, so workers agree without exchanging
messages. A partition with entries of a newer format is shared only between the workers that can read it, while there is
one, so that it does not matter whether a roll-out begins with the ingresses or with the workers.

What workers know of each other is one sorted set in Redis, by the time at which each member ends: live workers, each
with the newest format of entries that it reads, and partitions in which one of them met entries it could not read.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

_FIRST = 1  # the format that a worker reads that says nothing of it
_NEED = "!"  # how a partition begins; no host name does


@dataclass(frozen=True, slots=True)
class LiveWorkers:
    """The live workers, in the order that gives each its rank, and the unix time in seconds by the clock of Redis.

    `formats` are the newest formats that they read, `needs` the formats that partitions ask for, where more than the
    first.
    """

    workers: tuple[str, ...]
    now: float
    formats: Mapping[str, int] = field(default_factory=dict)
    needs: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Portion:
    """Partitions that are shared between the same workers, and how many of them one worker should own."""

    partitions: Collection[int]
    share: int


def worker_member(worker: str, reads: int) -> str:
    """Return how a live worker stands in the set."""
    return f"{worker} {reads}"


def need_member(partition: int, version: int) -> str:
    """Return how a partition stands in the set that asks for workers which read a format."""
    return f"{_NEED}{partition} {version}"


def live_workers_of(reply: Sequence[bytes]) -> LiveWorkers:
    """Read the store's answer: its time in milliseconds, then the members of the set."""
    workers: list[str] = []
    formats: dict[str, int] = {}
    needs: dict[int, int] = {}
    for member in reply[1:]:
        name, _space, number = member.decode().rpartition(" ")
        if not name:
            name, number = number, str(_FIRST)
        if name.startswith(_NEED):
            partition = int(name[1:])
            needs[partition] = max(needs.get(partition, 0), int(number))
        else:
            workers.append(name)
            formats[name] = int(number)
    return LiveWorkers(tuple(workers), int(reply[0]) / 1000, formats, needs)


def share_of(worker: str, live_workers: LiveWorkers, partitions: int) -> int:
    """Return how many partitions `worker` should own. The shares of all live workers add up to `partitions`."""
    return _share(worker, sorted({*live_workers.workers, worker}), partitions)


def portions_of(worker: str, live_workers: LiveWorkers, partitions: int) -> list[Portion]:
    """Return what `worker` should own: of the partitions that all can read, and of those that only some can."""
    workers = sorted({*live_workers.workers, worker})
    by_readers: dict[tuple[str, ...], list[int]] = {}
    for partition in range(partitions):
        need = live_workers.needs.get(partition, _FIRST)
        readers = tuple(name for name in workers if live_workers.formats.get(name, _FIRST) >= need)
        by_readers.setdefault(readers or tuple(workers), []).append(partition)
    return [Portion(found, _share(worker, readers, len(found))) for readers, found in by_readers.items()]


def _share(worker: str, workers: Sequence[str], partitions: int) -> int:
    if worker not in workers:
        return 0
    each, left = divmod(partitions, len(workers))
    return each + (1 if workers.index(worker) < left else 0)
