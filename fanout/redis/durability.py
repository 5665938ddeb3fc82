"""Which acknowledgements a write waits for before it counts as durable. Pure.

Rule guarded: WAIT or WAITAOF is sent on the connection that wrote, in the same round trip, directly after the writes,
because both concern only what their own connection wrote. When too few servers acknowledge in time, the writes remain
in the primary. That is neither success nor failure, and `Unconfirmed` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fanout.errors import ConfigurationError

Mode = Literal["configured", "replicas", "aof"]


@dataclass(frozen=True, slots=True)
class Durability:
    """Acknowledgement by this many `replicas`, with `aof` also by the disks, within `timeout` seconds."""

    replicas: int
    aof: bool
    timeout: float

    @property
    def command(self) -> Sequence[str | int]:
        """The command that waits for the acknowledgements."""
        milliseconds = max(1, int(self.timeout * 1000))  # 0 would wait without a limit
        return ("WAITAOF", 1, self.replicas, milliseconds) if self.aof else ("WAIT", self.replicas, milliseconds)

    def is_met(self, reply: Any) -> bool:
        """Return whether the reply of `command` reports enough acknowledgements."""
        if self.aof:
            return isinstance(reply, list) and reply[0] >= 1 and reply[1] >= self.replicas
        return isinstance(reply, int) and reply >= self.replicas


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The reply to a write that the primary has done and too few others acknowledged in time."""

    reply: Any


def durability_of(mode: Mode, replicas: int, timeout: float) -> Durability | None:
    """Return what to wait for, None for nothing. Raise ConfigurationError for a combination without a meaning."""
    if mode == "configured":
        return None
    if mode == "replicas" and replicas < 1:
        raise ConfigurationError("FANOUT_DURABILITY=replicas needs FANOUT_DURABILITY_REPLICAS of 1 or more.")
    return Durability(replicas, mode == "aof", timeout)


def confirmed(replies: list[Any], durability: Durability) -> list[Any]:
    """Remove the reply of `durability.command` from the end of `replies` and mark the others if it is not enough."""
    if durability.is_met(replies.pop()):
        return replies
    return [reply if isinstance(reply, Exception) else Unconfirmed(reply) for reply in replies]
