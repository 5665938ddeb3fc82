"""A client of a Redis Cluster: each command goes to the node that serves its key, those of one node in one write.

Source: the Redis Cluster specification. Rules guarded: sent again is only what a node said it did not do (MOVED, ASK,
TRYAGAIN, CLUSTERDOWN, READONLY, LOADING) or what was never written. Where a node fell silent, its commands say so and
those of the other nodes keep their replies. redis-py's own cluster client repeats after time-outs, so it is not used.
A node that does not answer delays only commands of its own keys: only they wait for a new map of the slots.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from redis import exceptions as redis_errors

from fanout.clock import Clock
from fanout.errors import ConfigurationError, QueueError, QueueSilentError
from fanout.redis.address import Node
from fanout.redis.client import Argument, Command, RedisClient
from fanout.redis.durability import Durability
from fanout.redis.server import ServerClient
from fanout.redis.slots import SlotMap, key_of, read_slots, slot_of

_MAX_HOPS = 8
_PAUSE = 0.02  # seconds before the second try where a node asks to try again later; doubles with each further one
_SLOTS_TIMEOUT = 1.0  # seconds for each node that is asked who serves what
_MAP_LIFETIME = 0.5  # seconds for which a map that was just read is not asked for again
_TRY_LATER_ERRORS = (redis_errors.ClusterDownError, redis_errors.ReadOnlyError)
# What a script is told that asks for a name it did not announce, in a slot that is being moved. Our scripts do so
# before they write, or repeat without harm.
_NOT_LOCAL = "non local key in a cluster node"


@dataclass(frozen=True, slots=True)
class _Routed:
    """One command, the position of its reply, and its node; None: the one that serves its slot.

    `tried` is a node that could not be reached: it is not tried again for this command.
    """

    position: int
    command: Command
    node: Node | None = None
    asking: bool = False
    tried: Node | None = None


@dataclass(frozen=True, slots=True)
class _CallOptions:
    time_limit: float | None
    confirm: Durability | None
    blocking: bool


@dataclass(slots=True)
class _NodeClient:
    """The client of one node. `serial` tells it from an earlier client of the same node."""

    client: ServerClient
    serial: int
    is_suspect: bool = False  # its last call failed: the map may be outdated


class ClusterClient(RedisClient):
    """A client of every primary of a Cluster. `open_node` builds that of one node, `seeds` are asked for the others."""

    is_cluster: ClassVar[bool] = True

    def __init__(self, open_node: Callable[[Node], ServerClient], seeds: Sequence[Node], clock: Clock) -> None:
        self._open_node = open_node
        self._seeds = tuple(seeds)
        self._clock = clock
        self._nodes: dict[Node, _NodeClient] = {}
        self._serial = 0
        self._slots = SlotMap([], ())
        self._source = self._seeds[0]  # the node that the map is from
        self._is_outdated = False
        self._refreshed = float("-inf")
        self._refreshing = asyncio.Lock()
        self._turn = 0

    def __repr__(self) -> str:
        return f"<ClusterClient {self._slots!r}>"

    def generation(self, key: str) -> Hashable:
        node = self.node_of(key)
        if not isinstance(node, Node):
            return None
        node_client = self._node_client(node)
        return node_client.serial, node_client.client.generation()

    def node_of(self, key: str) -> Hashable:
        return self._slots.owner(slot_of(key)) if self._slots else None

    async def call(
        self,
        *commands: Command,
        time_limit: float | None = None,
        confirm: Durability | None = None,
        blocking: bool = False,
    ) -> list[Any]:
        if not self._slots:
            await self._refresh()
        replies: list[Any] = [None] * len(commands)
        options = _CallOptions(time_limit, confirm, blocking)
        by_node: dict[Node | None, list[_Routed]] = {}
        for position, command in enumerate(commands):
            routed = self._route(_Routed(position, command))
            by_node.setdefault(routed.node, []).append(routed)
        groups = list(by_node.values())
        if len(groups) == 1:
            await self._run(groups[0], replies, options)
        else:
            async with asyncio.TaskGroup() as tasks:
                for group in groups:
                    tasks.create_task(self._run(group, replies, options))
        return replies

    async def ask_primaries(self, *command: Argument, time_limit: float | None = None) -> list[Any]:
        await self._refresh()
        return [await self._client_of(node).ask(*command, time_limit=time_limit) for node in self._slots.primaries]

    async def aclose(self) -> None:
        for node_client in list(self._nodes.values()):
            await node_client.client.aclose()

    async def _run(self, group: list[_Routed], replies: list[Any], options: _CallOptions) -> None:
        """Run commands that are routed to one node, and follow each until its reply is final."""
        for hop in range(_MAX_HOPS):
            node = group[0].node
            if hop == 0 and (node is None or self._node_client(node).is_suspect):
                with suppress(QueueError):  # else the old map has to do
                    await self._refresh()
                group = [self._route(replace(routed, node=None)) for routed in group]
            await self._run_at_nodes(group, replies, options)
            again = [retry for routed in group if (retry := self._retry_of(routed, replies[routed.position], hop))]
            if not again:
                return
            group = await self._route_again(again, replies, hop)
            if not group:
                return

    async def _run_at_nodes(self, group: Sequence[_Routed], replies: list[Any], options: _CallOptions) -> None:
        by_node: dict[Node, list[_Routed]] = {}
        for routed in group:
            if routed.node is None:
                replies[routed.position] = QueueError("No node of the Redis Cluster serves the slot of this partition.")
                self._is_outdated = True
            else:
                by_node.setdefault(routed.node, []).append(routed)
        if len(by_node) == 1:
            [(node, only)] = by_node.items()
            await self._run_at(node, only, replies, options)
            return
        async with asyncio.TaskGroup() as tasks:
            for node, some in by_node.items():
                tasks.create_task(self._run_at(node, some, replies, options))

    async def _run_at(self, node: Node, group: Sequence[_Routed], replies: list[Any], options: _CallOptions) -> None:
        commands: list[Command] = []
        positions: list[int | None] = []
        for routed in group:
            if routed.asking:
                commands.append(("ASKING",))
                positions.append(None)
            commands.append(routed.command)
            positions.append(routed.position)
        node_client = self._node_client(node)
        try:
            answers = await node_client.client.call(
                *commands, time_limit=options.time_limit, confirm=options.confirm, blocking=options.blocking
            )
            node_client.is_suspect = False
        except QueueError as error:
            node_client.is_suspect = True
            answers = [error] * len(commands)
        for position, answer in zip(positions, answers, strict=True):
            if position is not None:
                replies[position] = answer

    def _retry_of(self, routed: _Routed, reply: Any, hop: int) -> _Routed | None:
        # What is to be sent again and where, None when the reply is final.
        if not isinstance(reply, Exception):
            return None
        retry = replace(routed, node=None, asking=False)
        match reply:
            case redis_errors.MovedError():
                target = _target(reply, routed)
                self._slots.correct(slot_of(key_of(routed.command) or b""), target)
                retry = replace(retry, node=target)
            case redis_errors.AskError():
                return replace(retry, node=_target(reply, routed), asking=True)
            case _ if _is_torn(reply):
                return retry
            case QueueSilentError():
                return None  # it may have been done
            case QueueError() | redis_errors.ClusterDownError() | redis_errors.ReadOnlyError() if hop == 0:
                retry = replace(retry, tried=routed.node if isinstance(reply, QueueError) else None)
            case _:
                return None
        self._is_outdated = True
        return retry

    async def _route_again(self, group: Sequence[_Routed], replies: Sequence[Any], hop: int) -> list[_Routed]:
        if any(_is_for_later(replies[routed.position]) for routed in group):
            await self._clock.sleep(_PAUSE * 2**hop)
        if self._is_outdated:
            with suppress(QueueError):  # else the old map has to do
                await self._refresh()
        again = [self._route(routed) for routed in group]
        return [routed for routed in again if routed.tried is None or routed.node != routed.tried]

    def _route(self, routed: _Routed) -> _Routed:
        if routed.node is not None:
            return routed
        key = key_of(routed.command)
        if key is not None:
            return replace(routed, node=self._slots.owner(slot_of(key)))
        trusted = [node for node in self._slots.primaries if not self._is_suspect(node)] or self._slots.primaries
        self._turn += 1
        return replace(routed, node=trusted[self._turn % len(trusted)])

    def _node_client(self, node: Node) -> _NodeClient:
        node_client = self._nodes.get(node)
        if node_client is None:
            self._serial += 1
            node_client = self._nodes[node] = _NodeClient(self._open_node(node), self._serial)
        return node_client

    def _client_of(self, node: Node) -> ServerClient:
        return self._node_client(node).client

    def _is_suspect(self, node: Node) -> bool:
        node_client = self._nodes.get(node)
        return node_client is not None and node_client.is_suspect

    async def _refresh(self) -> None:
        """Read the map of the slots anew, unless another caller has just done so."""
        async with self._refreshing:
            if self._slots and self._clock.monotonic() - self._refreshed < _MAP_LIFETIME and not self._is_outdated:
                return
            self._is_outdated = False
            try:
                self._slots = await self._read_slots()
            except asyncio.CancelledError:
                self._is_outdated = True  # the next caller reads it instead
                raise
            self._refreshed = self._clock.monotonic()
            for node in self._nodes.keys() - set(self._slots.nodes):
                await self._nodes.pop(node).client.aclose()

    async def _read_slots(self) -> SlotMap:
        reason = "no slots are served"
        nodes = dict.fromkeys((self._source, *self._slots.nodes, *self._seeds))
        for node in sorted(nodes, key=self._is_suspect):  # those that answered last time first
            try:
                reply = await self._client_of(node).ask("CLUSTER", "SLOTS", time_limit=_SLOTS_TIMEOUT)
            except QueueError as error:
                self._node_client(node).is_suspect = True
                reason = str(error)
                if "cluster support disabled" in reason:
                    raise ConfigurationError(
                        "FANOUT_REDIS_URL says cluster=true, and the server it names is not a Redis Cluster."
                    ) from None
                continue
            if slots := read_slots(reply, node):
                self._source = node
                return slots
        raise QueueError(f"No node of the Redis Cluster can say who serves what: {reason}")


def _is_torn(reply: object) -> bool:
    """Return whether a node refused, before it did anything, because the slot is being moved."""
    return isinstance(reply, redis_errors.TryAgainError) or (
        isinstance(reply, redis_errors.ResponseError) and _NOT_LOCAL in str(reply)
    )


def _is_for_later(reply: object) -> bool:
    return _is_torn(reply) or isinstance(reply, _TRY_LATER_ERRORS)


def _target(error: redis_errors.AskError, routed: _Routed) -> Node:
    here = routed.node.host if routed.node else ""
    return Node(error.host or here, error.port)
