"""What has to acknowledge an append before it is answered 202: the durability of the promise, as a value. Pure.

Rule guarded: the acknowledgement is asked for on the connection that wrote, in the same round trip, right behind the
writes, because WAIT and WAITAOF speak of what their own connection wrote. When too few answer in time the entries stand
in the primary all the same: that is neither an acceptance nor a refusal, and is told as it is (design section 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fanout.errors import ConfigurationError

Mode = Literal["configured", "replicas", "aof"]


@dataclass(frozen=True, slots=True)
class Durability:
    """`replicas` copies besides the primary's, on their disks too when `aof`, within `timeout` seconds."""

    replicas: int
    aof: bool
    timeout: float

    @property
    def command(self) -> Sequence[str | int]:
        """The command that waits for the acknowledgements."""
        milliseconds = max(1, int(self.timeout * 1000))  # 0 would wait for ever
        return ("WAITAOF", 1, self.replicas, milliseconds) if self.aof else ("WAIT", self.replicas, milliseconds)

    def is_met(self, reply: Any) -> bool:
        """Say whether the reply of `command` reports acknowledgements enough."""
        if self.aof:
            return isinstance(reply, list) and reply[0] >= 1 and reply[1] >= self.replicas
        return isinstance(reply, int) and reply >= self.replicas


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A reply to something that was done in the primary and not acknowledged by enough others in time."""

    reply: Any


def durability_of(mode: Mode, replicas: int, timeout: float) -> Durability | None:
    """Give what to wait for, None for nothing; ConfigurationError when it would mean nothing."""
    if mode == "configured":
        return None
    if mode == "replicas" and replicas < 1:
        raise ConfigurationError("FANOUT_DURABILITY=replicas needs FANOUT_DURABILITY_REPLICAS of 1 or more.")
    return Durability(replicas, mode == "aof", timeout)


def confirmed(replies: list[Any], durability: Durability) -> list[Any]:
    """Take the reply of `durability.command` off the end of `replies`; mark the others when it does not suffice."""
    if durability.is_met(replies.pop()):
        return replies
    return [reply if isinstance(reply, Exception) else Unconfirmed(reply) for reply in replies]
