"""Pauses of delivery, kept in Redis so that every worker obeys them and an operator can see and lift them.

Rules guarded: each pause says what it holds back, why, who set it and when it ends. One set by hand may have no end;
one that the service asked for always has. A pause that is over counts for nothing, so that it need not be deleted.
"""

from collections.abc import Sequence
from math import inf

import msgspec

from fanout.queue.keys import KEYS, Keys
from fanout.queue.scripts import PUT_PAUSE
from fanout.redis.client import Argument, RedisClient, reply_or_raise
from fanout.signalr.message import RouteClass

ALL = "all"
_AT = "@"  # in front of the name of an endpoint
_HUB, _CLASS, _SERVICE = "hub", "class", "service"


class Pause(msgspec.Struct, frozen=True):
    """One pause. Times are unix seconds by the clock of Redis; without `until` it lasts until it is lifted."""

    target: str
    since: float
    until: float | None
    by: str
    cause: str

    @property
    def is_asked(self) -> bool:
        """Whether the service asked for it."""
        return self.target.startswith(f"{_SERVICE}:")

    @property
    def endpoint(self) -> str | None:
        """The endpoint that asked for it, "" for the one without a name; None where it holds back all of them."""
        return self.target.partition(_AT)[2] if self.is_asked else None

    @property
    def everywhere(self) -> str:
        """The target without the endpoint that asked for it."""
        return self.target.partition(_AT)[0] if self.is_asked else self.target

    @property
    def hub(self) -> str | None:
        """The hub that is held back, if it is one."""
        kind, _colon, name = self.target.partition(":")
        return name if kind == _HUB else None

    @property
    def route_classes(self) -> tuple[RouteClass, ...]:
        """The classes of calls that are held back in every hub; none for a pause of a hub."""
        if self.target == ALL:
            return tuple(RouteClass)
        kind, _colon, name = self.target.partition(_AT)[0].partition(":")
        return tuple(each for each in RouteClass if kind != _HUB and each.label == name)


def of_hub(hub: str) -> str:
    """Return the target of a pause of one hub."""
    return f"{_HUB}:{hub.lower()}"


def of_class(route_class: RouteClass) -> str:
    """Return the target of a pause that was set by hand for one class of calls."""
    return f"{_CLASS}:{route_class.label}"


def of_service(route_class: RouteClass, endpoint: str = "") -> str:
    """Return the target of a pause that an endpoint asked for."""
    return f"{_SERVICE}:{route_class.label}" + (f"{_AT}{endpoint}" if endpoint else "")


def is_lifted_by(pause: Pause, targets: Sequence[str]) -> bool:
    """Return whether lifting these targets ends a pause.

    A target of `of_service` without an endpoint ends what any endpoint asked for.
    """
    return not frozenset(targets).isdisjoint((ALL, pause.target, pause.everywhere))


class Pauses:
    """The pauses of one queue."""

    def __init__(self, redis_client: RedisClient, keys: Keys = KEYS) -> None:
        self._redis = redis_client
        self._keys = keys

    async def current(self) -> dict[Pause, float]:
        """Return the pauses that are not over with the seconds they have left, in the order in which they were set."""
        time, fields = await self._redis.call(("TIME",), ("HGETALL", self._keys.pauses))
        now, values = _seconds(reply_or_raise(time)), reply_or_raise(fields)
        pauses = [_decoded(target.decode(), value) for target, value in zip(values[::2], values[1::2], strict=True)]
        found = sorted(pauses, key=lambda pause: (pause.since, pause.target))
        left = {pause: inf if pause.until is None else pause.until - now for pause in found}
        return {pause: seconds for pause, seconds in left.items() if seconds > 0}

    async def put(self, target: str, *, seconds: float | None, by: str, cause: str) -> Pause:
        """Set a pause from now on, in place of one with the same target; without `seconds` until it is lifted."""
        lasts: Argument = "" if seconds is None else round(seconds * 1000)
        reply = await self._redis.run(PUT_PAUSE, [self._keys.pauses], [target, lasts, _note(by, cause), 0])
        return _decoded(target, b"%b %b %b" % (*reply, _note(by, cause)))

    async def keep(self, route_class: RouteClass, endpoint: str = "", *, seconds: float, by: str, cause: str) -> None:
        """Set a pause that an endpoint asked for, unless there is one that ends later."""
        arguments: list[Argument] = [of_service(route_class, endpoint), round(seconds * 1000), _note(by, cause), 1]
        await self._redis.run(PUT_PAUSE, [self._keys.pauses], arguments)

    async def lift(self, targets: Sequence[str]) -> int:
        """End pauses; return how many there were. `all` ends every pause, those the service asked for included."""
        lifted = [pause for pause in await self.current() if is_lifted_by(pause, targets)]
        if lifted:
            await self._redis.ask("HDEL", self._keys.pauses, *(pause.target for pause in lifted))
        return len(lifted)


def _note(by: str, cause: str) -> bytes:
    return msgspec.json.encode({"by": by, "cause": cause})


def _decoded(target: str, value: bytes) -> Pause:
    began, ends, note = value.split(b" ", 2)
    until = int(ends) / 1000 if ends else None
    said = msgspec.json.decode(note, type=dict[str, str])
    return Pause(target, int(began) / 1000, until, by=said["by"], cause=said["cause"])


def _seconds(time: Sequence[bytes]) -> float:
    return int(time[0]) + int(time[1]) / 1e6
