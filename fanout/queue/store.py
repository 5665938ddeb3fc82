"""Checks at start that the Redis of this queue can keep what it accepts, and that this process belongs to the queue.

Rules guarded: the number of partitions never changes after the first start, because that would move lanes between
streams and break their order. Two services never share a queue: a process whose endpoints have nothing in common with
those stored beside it refuses to start. A primary that may evict or lose what was accepted is reported. What a setting
needs from Redis is checked by capability, not by product name, before the first request is accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanout.errors import ConfigurationError
from fanout.queue.keys import KEYS, Keys
from fanout.queue.permissions import missing_commands
from fanout.queue.worker_scripts import JOIN_ENDPOINTS
from fanout.redis.client import RedisClient
from fanout.redis.durability import Durability

_MINIMUM = (7, 0)
_UNLIMITED = 1792 << 20  # bytes: 1 GiB may wait where Redis has no maxmemory


@dataclass(frozen=True, slots=True)
class Finding:
    """Something an operator should know about this Redis. A `fatal` one stops the start."""

    text: str
    fatal: bool = False


async def prepare(
    redis_client: RedisClient,
    partitions: int,
    durability: Durability | None = None,
    *,
    keys: Keys = KEYS,
    endpoints: Sequence[str] = (),
) -> list[Finding]:
    """Check every primary, then compare partitions and endpoints of this process with the stored ones.

    The first process of a namespace stores them. `endpoints` are the identities of what this process delivers to.
    Raise ConfigurationError when this Redis cannot be used as configured and QueueError when it does not answer.
    """
    findings = await inspect(redis_client, partitions, durability, keys=keys)
    fatal = [finding.text for finding in findings if finding.fatal]
    if fatal:
        raise ConfigurationError(*fatal)
    await _fix_partitions(redis_client, keys, partitions)
    if endpoints:
        findings += await _join_endpoints(redis_client, keys, endpoints)
    return list(dict.fromkeys(findings))


async def inspect(
    redis_client: RedisClient, partitions: int, durability: Durability | None = None, *, keys: Keys = KEYS
) -> list[Finding]:
    """Return the findings about every primary and about the stored number of partitions. It changes nothing."""
    infos = [info_of(text) for text in await redis_client.ask_primaries("INFO")]
    if infos[0].get("cluster_enabled") == "1" and not redis_client.is_cluster:
        return [Finding("FANOUT_REDIS_URL names a node of a Redis Cluster: add ?cluster=true to it.", fatal=True)]
    findings: list[Finding] = []
    for info in infos:
        findings += judge(info)
        if durability is not None:
            findings += judge_durability(info, durability, waitaof=await _knows(redis_client, "WAITAOF"))
    if missing := await missing_commands(redis_client, keys, durability):
        allow = " ".join(f"+{name.lower()}" for name in missing)
        findings.append(
            Finding(
                f"The account in Redis may not use {', '.join(missing)} on keys that begin with {keys.namespace}: it "
                f"needs {allow} ~{keys.namespace}:* (docs/operating.md has the whole list).",
                fatal=True,
            )
        )
        return list(dict.fromkeys(findings))
    stored = await redis_client.ask("GET", keys.partitions)
    if stored is not None and int(stored) != partitions:
        findings.append(Finding(_other_partitions(int(stored), partitions, keys), fatal=True))
    return list(dict.fromkeys(findings))


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes the queue may take: entries that wait, and dead letters."""

    waiting: int
    dead: int


async def room_of(redis_client: RedisClient, waiting: int, dead: int) -> Room:
    """Return the room of the queue; what is 0 follows from the memory that all primaries may use."""
    if waiting and dead:
        return Room(waiting, dead)
    limits = [int(info_of(text).get("maxmemory", "0")) for text in await redis_client.ask_primaries("INFO", "memory")]
    memory = sum(limits) if all(limits) else _UNLIMITED
    return Room(waiting or memory * 6 // 10, dead or memory * 2 // 10)


def judge(info: dict[str, str]) -> list[Finding]:
    """Return the findings about a server with this INFO, which managed services answer where they hide CONFIG."""
    findings = []
    policy = info.get("maxmemory_policy", "")
    version = info.get("valkey_version") or info.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < _MINIMUM:
        findings.append(Finding(f"Redis {version} is too old: 7.0 or newer is needed.", fatal=True))
    if info.get("maxmemory", "0") != "0" and policy not in {"", "noeviction"}:
        findings.append(
            Finding(f"maxmemory-policy is {policy}: Redis may evict queued messages. Set it to noeviction.")
        )
    if info.get("aof_enabled") == "0":
        findings.append(
            Finding("Redis has no append-only file: accepted messages are lost when it restarts. Set appendonly yes.")
        )
    return findings


def judge_durability(info: dict[str, str], durability: Durability, *, waitaof: bool) -> list[Finding]:
    """Return what stands against FANOUT_DURABILITY on a server with this INFO; `waitaof`: it has the command."""
    findings = []
    if durability.aof and not waitaof:
        findings.append(Finding("FANOUT_DURABILITY=aof needs WAITAOF: Redis 7.2 or newer, or Valkey.", fatal=True))
    elif durability.aof and info.get("aof_enabled") == "0":
        findings.append(Finding("FANOUT_DURABILITY=aof needs an append-only file: appendonly yes.", fatal=True))
    connected = int(info.get("connected_slaves", "0"))
    if connected < durability.replicas:
        findings.append(
            Finding(
                f"FANOUT_DURABILITY asks for {durability.replicas} replicas and {connected} are "
                "connected: no request is answered 202 until there are enough."
            )
        )
    return findings


async def _fix_partitions(redis_client: RedisClient, keys: Keys, partitions: int) -> None:
    stored = await redis_client.ask("GET", keys.partitions)
    if stored is None:  # only then: a worker must be able to start while Redis is full
        await redis_client.ask("SET", keys.partitions, partitions, "NX")
        stored = await redis_client.ask("GET", keys.partitions)
    if int(stored) != partitions:
        raise ConfigurationError(_other_partitions(int(stored), partitions, keys))


def _other_partitions(stored: int, partitions: int, keys: Keys) -> str:
    return (
        f"This queue was first used with {stored} partitions and FANOUT_PARTITIONS says {partitions}. Set "
        f"FANOUT_PARTITIONS={stored}, or drain the queue, stop every process and delete the key {keys.partitions}."
    )


async def _join_endpoints(redis_client: RedisClient, keys: Keys, endpoints: Sequence[str]) -> list[Finding]:
    reply = await redis_client.run(JOIN_ENDPOINTS, [keys.endpoints], endpoints)
    joined, known = reply[0], sorted(name.decode() for name in reply[1:])
    if not joined:
        raise ConfigurationError(
            f"The queue in namespace {keys.namespace} is delivered to {', '.join(known)}, and this process is "
            f"configured for {', '.join(endpoints)}: each would deliver messages of the other. Set FANOUT_NAMESPACE to "
            f"another name for this service, or, to move the queue to this service, drain it, stop every process and "
            f"delete the key {keys.endpoints}."
        )
    others = [name for name in known if name not in endpoints]
    if not others:
        return []
    return [
        Finding(
            f"The queue in namespace {keys.namespace} is also delivered to {', '.join(others)}, which this process is "
            f"not configured for. If that has ended, remove it from the key {keys.endpoints} (SREM)."
        )
    ]


async def _knows(redis_client: RedisClient, command: str) -> bool:
    replies: Sequence[Any] = await redis_client.ask("COMMAND", "INFO", command)
    return bool(replies) and replies[0] is not None


def info_of(text: Any) -> dict[str, str]:
    """Return the fields of an INFO reply."""
    lines = bytes(text).decode().splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _colon, value in pairs}


def memory_ratio(info: Mapping[str, str]) -> float | None:
    """Return the share of its memory limit that a server with this INFO uses, None where it has none."""
    limit = int(info.get("maxmemory", "0")) or int(info.get("total_system_memory", "0"))
    return int(info.get("used_memory", "0")) / limit if limit else None
