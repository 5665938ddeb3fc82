"""Checks at start that the Redis of this queue can keep what it accepts, and fixes the number of partitions.

Rules guarded: the number of partitions never changes after the first start, because that would move lanes between
streams and break their order. A primary that may evict or lose what was accepted is reported. What a setting needs
from Redis is checked by capability, not by product name, before the first request is accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fanout.errors import ConfigurationError, QueueError
from fanout.queue import keys
from fanout.redis.client import RedisClient
from fanout.redis.durability import Durability

_MINIMUM = (7, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something an operator should know about this Redis. A `fatal` one stops the start."""

    text: str
    fatal: bool = False


async def prepare(redis_client: RedisClient, partitions: int, durability: Durability | None = None) -> list[Finding]:
    """Check every primary, then store the number of partitions or compare it with the stored one.

    Raise ConfigurationError when this Redis cannot be used as configured and QueueError when it does not answer.
    """
    infos = [_info(text) for text in await redis_client.ask_primaries("INFO")]
    if infos[0].get("cluster_enabled") == "1" and not redis_client.is_cluster:
        raise ConfigurationError("FANOUT_REDIS_URL names a node of a Redis Cluster: add ?cluster=true to it.")
    findings: list[Finding] = []
    for info, policy in zip(infos, await _policies(redis_client, len(infos)), strict=True):
        findings += judge(info, policy)
        if durability is not None:
            findings += judge_durability(info, durability, waitaof=await _knows(redis_client, "WAITAOF"))
    for finding in findings:
        if finding.fatal:
            raise ConfigurationError(finding.text)
    await redis_client.ask("SET", keys.PARTITIONS, partitions, "NX")
    found = int(await redis_client.ask("GET", keys.PARTITIONS))
    if found != partitions:
        raise ConfigurationError(
            f"This Redis was first used with {found} partitions and FANOUT_PARTITIONS says {partitions}. Set "
            f"FANOUT_PARTITIONS={found}, or drain the queue, stop every process and delete the key {keys.PARTITIONS}."
        )
    return list(dict.fromkeys(findings))


def judge(info: dict[str, str], policy: str) -> list[Finding]:
    """Return the findings about a server with this INFO and this maxmemory-policy."""
    findings = []
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


async def _policies(redis_client: RedisClient, count: int) -> list[str]:
    try:
        replies: Sequence[Sequence[bytes]] = await redis_client.ask_primaries("CONFIG", "GET", "maxmemory-policy")
    except QueueError:
        return [""] * count  # managed services forbid CONFIG
    return [reply[1].decode() if len(reply) > 1 else "" for reply in replies]


async def _knows(redis_client: RedisClient, command: str) -> bool:
    replies: Sequence[Any] = await redis_client.ask("COMMAND", "INFO", command)
    return bool(replies) and replies[0] is not None


def _info(text: Any) -> dict[str, str]:
    lines = bytes(text).decode().splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _colon, value in pairs}
