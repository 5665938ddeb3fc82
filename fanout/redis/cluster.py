"""The store as a Redis Cluster: each command goes to the node that serves its key, those of one node in one write.

Source: the Redis Cluster specification. Rule guarded: sent again is only what a node said it did not do (MOVED, ASK,
TRYAGAIN, CLUSTERDOWN, READONLY, LOADING) or what was never written; where a node fell silent, its commands say so and
those of the other nodes keep their replies. redis-py's own cluster client repeats after time-outs, so it is not used.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from redis import exceptions as redis_errors

from fanout.clock import Clock
from fanout.errors import ConfigurationError, QueueError, QueueSilentError
from fanout.redis.address import Node
from fanout.redis.client import Argument, Command, RedisClient, ServerClient
from fanout.redis.durability import Durability
from fanout.redis.slots import SlotMap, key_of, read_slots, slot_of

_MOST_HOPS = 8
_PAUSE = 0.02  # seconds before the second try where a node asks for patience; doubles with each further one
_SLOTS_TIMEOUT = 2.0
_LATER = (redis_errors.TryAgainError, redis_errors.ClusterDownError, redis_errors.ReadOnlyError)


@dataclass(frozen=True, slots=True)
class _Errand:
    """One command, the place of its reply, and where it goes; `node` None: wherever its slot is served.

    `tried` is a node that could not be reached: there is no point in going there again.
    """

    position: int
    command: Command
    node: Node | None = None
    asking: bool = False
    tried: Node | None = None


@dataclass(frozen=True, slots=True)
class _Terms:
    time_limit: float | None
    confirm: Durability | None


class ClusterClient(RedisClient):
    """A client of every primary of a cluster. `open_node` builds that of one node, `seeds` are asked for the others."""

    is_cluster: ClassVar[bool] = True

    def __init__(self, open_node: Callable[[Node], ServerClient], seeds: Sequence[Node], clock: Clock) -> None:
        self._open_node = open_node
        self._seeds = tuple(seeds)
        self._clock = clock
        self._nodes: dict[Node, ServerClient] = {}
        self._gone = 0  # breaks of nodes that are no part of it any more, and their going
        self._slots = SlotMap([], ())
        self._informant = self._seeds[0]
        self._stale = True
        self._surveys = 0
        self._surveying = asyncio.Lock()
        self._turn = 0

    def __repr__(self) -> str:
        return f"<ClusterClient {self._slots!r}>"

    @property
    def breaks(self) -> int:
        return self._gone + sum(redis_client.breaks for redis_client in self._nodes.values())

    async def call(
        self, *commands: Command, time_limit: float | None = None, confirm: Durability | None = None
    ) -> list[Any]:
        await self._know()
        replies: list[Any] = [None] * len(commands)
        errands = [self._placed(_Errand(position, command)) for position, command in enumerate(commands)]
        for hop in range(_MOST_HOPS):
            await self._run(errands, replies, _Terms(time_limit, confirm))
            left = [again for errand in errands if (again := self._again(errand, replies[errand.position], hop))]
            if not left:
                break
            errands = await self._later(left, replies, hop)
        return replies

    async def ask_primaries(self, *command: Argument, time_limit: float | None = None) -> list[Any]:
        await self._know()
        try:
            return [await self._client_of(node).ask(*command, time_limit=time_limit) for node in self._slots.primaries]
        except QueueError:
            self._stale = True
            raise

    async def aclose(self) -> None:
        for redis_client in list(self._nodes.values()):
            await redis_client.aclose()

    async def _run(self, errands: Sequence[_Errand], replies: list[Any], terms: _Terms) -> None:
        groups: dict[Node, list[_Errand]] = {}
        for errand in errands:
            if errand.node is None:
                replies[errand.position] = QueueError("No node of the Redis Cluster serves the slot of this partition.")
                self._stale = True
            else:
                groups.setdefault(errand.node, []).append(errand)
        if len(groups) == 1:
            [(node, group)] = groups.items()
            await self._run_at(node, group, replies, terms)
            return
        async with asyncio.TaskGroup() as tasks:
            for node, group in groups.items():
                tasks.create_task(self._run_at(node, group, replies, terms))

    async def _run_at(self, node: Node, group: Sequence[_Errand], replies: list[Any], terms: _Terms) -> None:
        commands: list[Command] = []
        places: list[int | None] = []
        for errand in group:
            if errand.asking:
                commands.append(("ASKING",))
                places.append(None)
            commands.append(errand.command)
            places.append(errand.position)
        try:
            answers = await self._client_of(node).call(*commands, time_limit=terms.time_limit, confirm=terms.confirm)
        except QueueError as error:
            self._stale = True
            answers = [error] * len(commands)
        for place, answer in zip(places, answers, strict=True):
            if place is not None:
                replies[place] = answer

    def _again(self, errand: _Errand, reply: Any, hop: int) -> _Errand | None:
        # What is to be sent again and where, None when the reply stands.
        if not isinstance(reply, Exception):
            return None
        anew = replace(errand, node=None, asking=False)
        match reply:
            case redis_errors.MovedError():
                self._slots.correct(slot_of(key_of(errand.command) or b""), _target(reply, errand))
                anew = replace(anew, node=_target(reply, errand))
            case redis_errors.AskError():
                return replace(anew, node=_target(reply, errand), asking=True)
            case redis_errors.TryAgainError():
                return anew
            case QueueSilentError():
                return None  # it may have been done
            case QueueError() | redis_errors.ClusterDownError() | redis_errors.ReadOnlyError() if hop == 0:
                anew = replace(anew, tried=errand.node if isinstance(reply, QueueError) else None)
            case _:
                return None
        self._stale = True
        return anew

    async def _later(self, errands: Sequence[_Errand], replies: Sequence[Any], hop: int) -> list[_Errand]:
        if any(isinstance(replies[errand.position], _LATER) for errand in errands):
            await self._clock.sleep(_PAUSE * 2**hop)
        if self._stale:
            with suppress(QueueError):  # else the old map has to do; what cannot be reached says so in its place
                await self._survey()
        placed = [self._placed(errand) for errand in errands]
        return [errand for errand in placed if errand.tried is None or errand.node != errand.tried]

    def _placed(self, errand: _Errand) -> _Errand:
        if errand.node is not None:
            return errand
        key = key_of(errand.command)
        if key is not None:
            return replace(errand, node=self._slots.owner(slot_of(key)))
        self._turn += 1
        return replace(errand, node=self._slots.primaries[self._turn % len(self._slots.primaries)])

    def _client_of(self, node: Node) -> ServerClient:
        redis_client = self._nodes.get(node)
        if redis_client is None:
            redis_client = self._nodes[node] = self._open_node(node)
        return redis_client

    async def _know(self) -> None:
        if self._stale:
            try:
                await self._survey()
            except QueueError:
                if not self._slots:
                    raise

    async def _survey(self) -> None:
        surveys = self._surveys
        async with self._surveying:
            if self._surveys != surveys:
                return  # somebody else asked while we waited for our turn
            slots = await self._ask_around()
            self._surveys += 1
            self._stale = False
            self._slots = slots
            for node in self._nodes.keys() - set(slots.nodes):
                redis_client = self._nodes.pop(node)
                self._gone += redis_client.breaks + 1
                await redis_client.aclose()

    async def _ask_around(self) -> SlotMap:
        reason = "no slots are served"
        for node in dict.fromkeys((self._informant, *self._slots.nodes, *self._seeds)):
            try:
                slots = read_slots(await self._client_of(node).ask("CLUSTER", "SLOTS", time_limit=_SLOTS_TIMEOUT), node)
            except QueueError as error:
                reason = str(error)
                if "cluster support disabled" in reason:
                    raise ConfigurationError(
                        "FANOUT_REDIS_URL says cluster=true, and the server it names is not a Redis Cluster."
                    ) from None
                continue
            if slots:
                self._informant = node
                return slots
        raise QueueError(f"No node of the Redis Cluster can say who serves what: {reason}")


def _target(error: redis_errors.AskError, errand: _Errand) -> Node:
    here = errand.node.host if errand.node else ""
    return Node(error.host or here, error.port)
