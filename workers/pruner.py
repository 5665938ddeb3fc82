"""Takes flows that nobody uses any more out of the store and out of memory: hubs come and go, and leave empty streams.

Rules guarded: only the owner of a partition does it, under its lease, and whether a stream is empty is decided in the
same step that deletes it. A flow that got something meanwhile stays known, or is found anew from its start: nothing in
it is missed or read twice. A round asks for a bounded number of flows, so that it holds nobody up.
"""

from collections.abc import Awaitable, Callable, Mapping
from itertools import chain, islice

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.queue.stream import START, Stream
from workers.partition import OwnedFlow, OwnedPartition

_IDLE = 600.0  # seconds after which an empty stream is deleted: one that is used again costs a little more
_INTERVAL = 30.0  # seconds between two rounds
_MOST = 256  # flows in one round


class Pruner:
    """Prunes the partitions of one worker. `idle` and `interval` are seconds."""

    def __init__(self, stream: Stream, clock: Clock, *, idle: float = _IDLE, interval: float = _INTERVAL) -> None:
        self._stream = stream
        self._clock = clock
        self._idle = idle
        self._interval = interval
        self.pruned = 0  # flows, since the start

    def __repr__(self) -> str:
        return f"<Pruner of {self.pruned} flows>"

    async def run(self, owned: OwnedPartition, find_flows: Callable[[OwnedPartition], Awaitable[None]]) -> None:
        """Prune a partition until cancelled. `find_flows` looks for flows in the store that are not known here."""
        start = 0
        while not owned.doubted:
            await self._clock.sleep(self._interval)
            chosen, start = _choose(owned, start)
            try:
                pruned = await self._stream.prune(owned.number, owned.lease.token, list(chosen), self._idle)
            except QueueError:  # the next round asks again
                continue
            if pruned:
                self.pruned += len(pruned)
                self._forget(owned, {name: chosen[name] for name in pruned})
                await find_flows(owned)  # what was stored in one of them before it was forgotten woke nobody

    def _forget(self, owned: OwnedPartition, pruned: Mapping[str, bytes]) -> None:
        for name, cursor in pruned.items():
            flow = owned.flows.get(name)
            if flow is None or (_is_unused(flow) and flow.cursor == cursor):
                owned.forget(name)


def _choose(owned: OwnedPartition, start: int) -> tuple[dict[str, bytes], int]:
    """Return flows that may be empty with how far they were read, and where the next round begins."""
    flows = ((flow.name, flow.cursor) for flow in owned.flows.values() if _is_unused(flow))
    others = ((name, START) for name in (*owned.foreign, *owned.left_alone))
    found = list(chain(flows, others))
    start = start if start < len(found) else 0
    return dict(islice(found, start, start + _MOST)), start + _MOST


def _is_unused(flow: OwnedFlow) -> bool:
    # One that is behind may be in the middle of a read. Lanes that are blocked are blocked in the flow that is known.
    return not (flow.behind or flow.known or flow.waiting or flow.left or flow.blocked)
