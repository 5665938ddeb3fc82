"""Pauses of delivery, kept in Redis so that every worker obeys them and an operator can see and lift them.

Rules guarded: each pause says what it holds back, why, who set it and when it ends. One set by hand may have no end;
one that the service asked for always has. A pause that is over counts for nothing, so that it need not be deleted.

The name of an endpoint follows the target after `@`: `all@east`, `hub:chat@east`, `class:send@default`. Without one a
pause that was set by hand holds back every endpoint, and one that was asked for the endpoint without a name.
"""

from collections.abc import Sequence
from math import inf

import msgspec

from fanout.queue.keys import KEYS, Keys
from fanout.queue.worker_scripts import PUT_PAUSE
from fanout.redis.client import Argument, RedisClient, reply_or_raise
from fanout.signalr.message import UNNAMED, RouteClass, label_of

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
        """The endpoint that is held back, "" for the one without a name; None where it holds back all of them."""
        _what, is_one, endpoint = self.target.partition(_AT)
        if not is_one:
            return "" if self.is_asked else None
        return "" if endpoint == UNNAMED else endpoint

    @property
    def everywhere(self) -> str:
        """The target of a pause that was set by hand for the same at every endpoint."""
        what = self.target.partition(_AT)[0]
        return f"{_CLASS}{what[len(_SERVICE) :]}" if self.is_asked else what

    @property
    def hub(self) -> str | None:
        """The hub that is held back, if it is one."""
        kind, _colon, name = self.everywhere.partition(":")
        return name if kind == _HUB else None

    @property
    def route_classes(self) -> tuple[RouteClass, ...]:
        """The classes of calls that are held back in every hub; none for a pause of a hub."""
        if self.everywhere == ALL:
            return tuple(RouteClass)
        kind, _colon, name = self.everywhere.partition(":")
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


def at_endpoint(target: str, endpoint: str) -> str:
    """Return the target of a pause that is set by hand, narrowed to one endpoint."""
    return f"{target}{_AT}{label_of(endpoint)}"


def is_lifted_by(pause: Pause, target: str) -> bool:
    """Return whether lifting what could be set by hand ends a pause, whoever set that.

    Without an endpoint it ends the pauses of each endpoint too, and with one those of this endpoint alone.
    """
    what, is_one, endpoint = target.partition(_AT)
    if is_one and (pause.endpoint is None or label_of(pause.endpoint) != endpoint):
        return False
    return what in (ALL, pause.everywhere)


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

    async def lift(self, target: str) -> int:
        """End the pauses that `is_lifted_by` names, those the service asked for included; return how many."""
        lifted = [pause for pause in await self.current() if is_lifted_by(pause, target)]
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
