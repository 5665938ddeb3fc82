"""Which worker owns which partition: leases with a fencing token, spread evenly over the live workers.

Rules guarded: a partition has one owner, which is what makes order possible. The holder of an expired lease can change
nothing, because every script that writes compares the token. A holder that gives a partition up while some lanes have a
call in flight keeps the rest of its lease, for these lanes alone: the next holder is told of them in the same step, and
leaves them until they are free or the rest has expired. What is settled under the rest is fenced as under a lease, and
a lane is freed by nobody but its former holder, when nothing of it is left to be settled.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanout.clock import Clock
from fanout.errors import LeaseLostError
from fanout.queue.entry import VERSION
from fanout.queue.keys import KEYS, REST, Keys
from fanout.queue.sharing import LiveWorkers, live_workers_of, need_member, worker_member
from fanout.queue.worker_scripts import ACQUIRE, FREE, HAND_OVER, HEARTBEAT, RELEASE, RENEW
from fanout.redis.client import Argument, Call, RedisClient, reply_or_raise

_TIME_LIMIT = 1.0  # seconds without progress: a node that is silent must not hold up the leases on the others
_MOST_LEFT = 10_000  # lanes of one partition that former holders may keep
_NO_REPLY: Any = object()  # stands for a reply that did not arrive

LeaseKey = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Lease:
    """Ownership of one partition until `expires`, a reading of this process's monotonic clock."""

    partition: int
    token: str
    expires: float

    @property
    def key(self) -> LeaseKey:
        """What names it among all leases, and among what is left of former ones."""
        return self.partition, self.token


@dataclass(frozen=True, slots=True)
class Renewal:
    """A renewed lease with its new end, and the id of the oldest entry of each flow asked about (b"" for none)."""

    lease: Lease
    oldest: Mapping[str, bytes]


def fence_of(token: str) -> int:
    """Return the number in a lease's token, which grows with each owner; 0 for a token that has none."""
    number = token.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def is_rest(lease: Lease) -> bool:
    """Return whether this is what is left of a lease: the lanes with calls in flight when it was handed over."""
    return lease.token.startswith(REST)


class Leases:
    """The leases as one worker sees them. `lifetime` is seconds, `reads` the newest format of entries it can read."""

    def __init__(
        self,
        redis_client: RedisClient,
        clock: Clock,
        keys: Keys = KEYS,
        *,
        worker: str,
        lifetime: float,
        reads: int = VERSION,
    ) -> None:
        self.worker = worker
        self.reads = reads
        self.lifetime = lifetime
        self._redis = redis_client
        self._keys = keys
        self._clock = clock
        self._lifetime_ms = int(lifetime * 1000)

    def __repr__(self) -> str:
        return f"<Leases of {self.worker}, {self.lifetime} s>"

    def generation(self, partition: int) -> Hashable:
        """Return a value that changes when what was read of a partition may no longer exist (a failover, a restart)."""
        return self._redis.generation(self._keys.lease(partition))

    async def heartbeat(self, needs: Mapping[int, int] | None = None) -> LiveWorkers:
        """Mark this worker as live for one lifetime and return all live workers.

        `needs` are partitions with entries that it cannot read, and the format that one has to know for them.
        """
        return live_workers_of(await self._heartbeat(self._lifetime_ms, needs or {}))

    async def deregister(self) -> None:
        """Remove this worker from the live ones, so that the others share its partitions."""
        await self._heartbeat(0, {})

    async def owners(self, partitions: int) -> dict[int, str]:
        """Return the token of the lease of each partition that has an owner."""
        commands = [("GET", self._keys.lease(partition)) for partition in range(partitions)]
        replies = await self._redis.call(*commands, time_limit=_TIME_LIMIT)
        tokens = _answered(replies)
        return {partition: token.decode() for partition, token in enumerate(tokens) if token not in (None, _NO_REPLY)}

    async def acquire(self, partitions: Sequence[int]) -> list[Lease]:
        """Try to acquire each of `partitions` and return the leases that were acquired.

        A partition whose node did not answer is left out. If it was acquired nevertheless, that lease expires unused.
        """
        now = self._clock.monotonic()
        calls: list[Call] = [
            (ACQUIRE, [self._keys.lease(partition), self._keys.fence(partition)], [self.worker, self._lifetime_ms])
            for partition in partitions
        ]
        tokens = _answered(await self._redis.run_all(calls, time_limit=_TIME_LIMIT)) if calls else []
        return [
            Lease(partition, token.decode(), now + self.lifetime)
            for partition, token in zip(partitions, tokens, strict=True)
            if token not in (None, _NO_REPLY)
        ]

    async def renew(
        self, leases: Sequence[Lease], flows: Mapping[int, Sequence[str]] | None = None
    ) -> Mapping[LeaseKey, Renewal | None]:
        """Extend `leases` and return the renewals by their keys, with None for each lease that is lost.

        A renewal has the oldest entry of each of the partition's `flows`. A lease whose node did not answer, while
        others did, keeps the end it had.
        """
        now = self._clock.monotonic()  # read before asking, so that our lease never ends later than the one in Redis
        named = flows or {}
        calls: list[Call] = []
        for lease in leases:
            streams = (self._keys.stream(lease.partition, flow) for flow in named.get(lease.partition, ()))
            name = self._keys.lease_of(lease.partition, lease.token)
            calls.append((RENEW, [name, *streams], [lease.token, self._lifetime_ms]))
        replies = _answered(await self._redis.run_all(calls, time_limit=_TIME_LIMIT)) if calls else []
        end = now + self.lifetime
        return {
            lease.key: _renewal(lease, reply, end, named.get(lease.partition, ()))
            for lease, reply in zip(leases, replies, strict=True)
        }

    async def release(self, lease: Lease) -> None:
        """Release one partition, lanes left behind included. Does no harm when the lease was lost already."""
        token, number = lease.token.removeprefix(REST), lease.partition
        names = [self._keys.lease(number), self._keys.rest(number, REST + token)]
        await self._redis.run(RELEASE, names, [token, REST + token], time_limit=_TIME_LIMIT)

    async def hand_over(self, lease: Lease, lanes: Collection[str]) -> Lease | None:
        """Release a partition but for `lanes`, and return the rest of the lease; None when they are too many.

        Raise LeaseLostError when the lease was lost. Repeating is harmless.
        """
        now, keys, number = self._clock.monotonic(), self._keys, lease.partition
        token = REST + lease.token
        names = [keys.lease(number), keys.rest(number, token), keys.left(number)]
        arguments: list[Argument] = [lease.token, token, self._lifetime_ms, _MOST_LEFT, *lanes]
        reply = await self._redis.run(HAND_OVER, names, arguments, time_limit=_TIME_LIMIT)
        if reply == -1:
            raise LeaseLostError(f"partition {number} has another owner")
        return Lease(number, token, now + self.lifetime) if reply else None

    async def free(self, rest: Lease, lanes: Collection[str]) -> None:
        """Give up lanes of the rest of a lease, and wake who reads the partition now. Repeating is harmless."""
        names = [self._keys.left(rest.partition), self._keys.wake(rest.partition)]
        await self._redis.run(FREE, names, [rest.token, *lanes], time_limit=_TIME_LIMIT)

    async def _heartbeat(self, lifetime_ms: int, needs: Mapping[int, int]) -> Sequence[bytes]:
        members = [worker_member(self.worker, self.reads), *(need_member(*need) for need in needs.items())]
        reply: Sequence[bytes] = await self._redis.run(
            HEARTBEAT, [self._keys.workers], [members[0], lifetime_ms, *members[1:]], time_limit=_TIME_LIMIT
        )
        return reply


def _renewal(lease: Lease, oldest: Any, end: float, flows: Sequence[str]) -> Renewal | None:
    if oldest is None:
        return None
    if oldest is _NO_REPLY:
        return Renewal(lease, {})
    return Renewal(Lease(lease.partition, lease.token, end), dict(zip(flows, oldest, strict=True)))


def _answered(replies: Sequence[Any]) -> list[Any]:
    # One node of a Cluster that is down must not cost the leases on the others.
    if replies and all(isinstance(reply, Exception) for reply in replies):
        reply_or_raise(replies[0])
    return [_NO_REPLY if isinstance(reply, Exception) else reply for reply in replies]
