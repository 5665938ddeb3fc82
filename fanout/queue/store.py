"""Opens the store named by FANOUT_REDIS_URL and looks whether it is fit to keep a promise.

Rules guarded: a URL with a password never reaches an error or a log; the number of partitions is fixed at the first
start, because changing it would move lanes between streams and break their order; a store that may evict or forget
says so at start-up, loudly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fanout.clock import Clock
from fanout.errors import ConfigurationError, QueueError
from fanout.log import masked
from fanout.queue import keys
from fanout.queue.wire import Wire

_SCHEMES = ("redis://", "rediss://", "unix://")
_MINIMUM = (7, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the store an operator should know; `fatal` ones stop the start."""

    text: str
    fatal: bool = False


def open_wire(url: str, clock: Clock) -> Wire:
    """Build the wire to `url`; nothing is connected yet. ConfigurationError when the URL cannot be used."""
    if not url.startswith(_SCHEMES):
        raise ConfigurationError(
            f"FANOUT_REDIS_URL must start with {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}; "
            f"{masked(url).partition(':')[0]!r} is none of them."
        )
    try:
        pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
        )  # fmt: skip
    except ValueError as error:
        raise ConfigurationError(f"FANOUT_REDIS_URL cannot be read: {masked(str(error))}") from None

    def make() -> AbstractConnection:
        return cast("AbstractConnection", pool.make_connection())  # type: ignore[no-untyped-call] # redis-py has none

    return Wire(make, clock)


async def prepare(wire: Wire, partitions: int) -> list[Finding]:
    """Fix the number of partitions, or check it, and look the store over.

    Raises ConfigurationError when the store cannot be used as configured and QueueError when it does not answer.
    """
    findings = judge(_info(await wire.ask("INFO")), await _policy(wire))
    for finding in findings:
        if finding.fatal:
            raise ConfigurationError(finding.text)
    await wire.ask("SET", keys.PARTITIONS, partitions, "NX")
    found = int(await wire.ask("GET", keys.PARTITIONS))
    if found != partitions:
        raise ConfigurationError(
            f"This Redis was first used with {found} partitions and FANOUT_PARTITIONS says {partitions}. Set "
            f"FANOUT_PARTITIONS={found}, or drain the queue, stop every process and delete the key {keys.PARTITIONS}."
        )
    return findings


def judge(info: dict[str, str], policy: str) -> list[Finding]:
    """Decide what is worth saying about a store with this INFO and this maxmemory-policy."""
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
            Finding(
                "Redis runs without append-only file: what is accepted is lost when it restarts. Set appendonly yes."
            )
        )
    return findings


async def _policy(wire: Wire) -> str:
    try:
        reply: Sequence[bytes] = await wire.ask("CONFIG", "GET", "maxmemory-policy")
    except QueueError:
        return ""  # managed services forbid CONFIG; INFO carries the policy there too, when it is set
    return reply[1].decode() if len(reply) > 1 else ""


def _info(text: Any) -> dict[str, str]:
    lines = bytes(text).decode().splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _colon, value in pairs}
