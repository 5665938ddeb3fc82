"""One instance of the service: the client that calls it with its credential, and what holds its calls back.

Rule guarded: all that is known of an instance (connections, tokens, pace, breakers, window, calls in flight, whether it
runs `:execute`) is in this one object. A process can have several, and what one instance refuses does not slow down
another.
"""

from collections import deque
from collections.abc import Callable, Sequence

from fanout.clock import Clock
from fanout.instruments import Gauges
from fanout.signalr.client import Client, Sender
from fanout.signalr.message import RouteClass, label_of
from workers.gate import Gate
from workers.retry_pace import RetryPace

_FAILURE = 4.0  # a call that has to be repeated takes as long as so many that are served
_NEWEST = 0.1  # the part of the last call in what calls take lately
_AS_EVER = 1.05  # so little is no difference


class Endpoint:
    """One instance: `sender` makes the calls through `client`, `gate` says when they may be made.

    `name` is what it is called in the keys of the queue, "" for none. `address` is what is known of it by, without a
    secret. `in_flight` counts its calls until they are settled, `starting` those of them that wait for their task, so
    that the gate has not counted them yet. `looks` counts the lanes looked at for it since the dispatcher's last turn.
    Each counts as much as its `cost` is: what a call takes lately, where 1 is one that is served. `judged` counts the
    failed calls that were judged since that turn, and `put_off` has those that wait for the next one.
    """

    __slots__ = (
        "address", "client", "cost", "gate", "in_flight", "judged", "looks", "name", "put_off", "retries", "sender",
        "starting",
    )  # fmt: skip

    def __init__(self, client: Client, sender: Sender, gate: Gate, *, name: str = "", address: str = "") -> None:
        self.client = client
        self.sender = sender
        self.gate = gate
        self.name = name
        self.address = address
        self.in_flight = 0
        self.looks = 0.0
        self.cost = 1.0
        self.judged = 0
        self.put_off: deque[Callable[[], None]] = deque()
        self.retries = RetryPace()
        self.starting = 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.label} {self.client!r} {self.gate!r}>"

    @property
    def label(self) -> str:
        """What it is called in metrics and logs."""
        return label_of(self.name)

    def failed(self) -> None:
        """Count a call that has to be repeated."""
        self.cost += (_FAILURE - self.cost) * _NEWEST

    def served(self, attempts: int) -> None:
        """Count a call that was served, the last of so many for what it carried."""
        cost = self.cost + (1.0 - self.cost) * _NEWEST
        self.cost = cost if cost > _AS_EVER else 1.0
        if attempts > 1:
            self.retries.served()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()


def watch_endpoints(gauges: Gauges, endpoints: Sequence[Endpoint], clock: Clock) -> None:
    """Export what is known of these endpoints: of all of them together, and of each what an operator acts on."""
    clients = [endpoint.client for endpoint in endpoints]
    gates = [endpoint.gate for endpoint in endpoints]
    gauges.watch(
        tokens=lambda: sum(client.cache_stats.kept for client in clients),
        token_cache_hits=lambda: sum(client.cache_stats.hits for client in clients),
        token_cache_misses=lambda: sum(client.cache_stats.misses for client in clients),
        connections=lambda: sum(client.pool.stats.idle + client.pool.stats.busy for client in clients),
        connections_opened=lambda: sum(client.pool.stats.opened for client in clients),
        connections_reused=lambda: sum(client.pool.stats.reused for client in clients),
        window=lambda: sum(gate.window.limit for gate in gates),
        paused_hubs=lambda: max(gate.paused_hubs for gate in gates),
    )
    gauges.watch(
        refused_anyway=_by_class(lambda each: max(gate.paces[each].doubt.share for gate in gates)),
        rate_limit=_by_class(lambda each: sum(gate.paces[each].rate for gate in gates)),
        rate_share=_by_class(lambda each: max(gate.paces[each].share for gate in gates)),
        breaker_open=_by_class(lambda each: sum(gate.held_back(each) for gate in gates)),
        pause_seconds=_by_class(lambda each: max(_pause_left(gate, each, clock.monotonic()) for gate in gates)),
    )
    gauges.watch(
        endpoint_in_flight=lambda: {each.label: each.in_flight for each in endpoints},
        endpoint_breaker_open=lambda: {each.label: sum(map(each.gate.held_back, RouteClass)) for each in endpoints},
        endpoint_pause_seconds=lambda: {each.label: _longest_pause(each.gate, clock.monotonic()) for each in endpoints},
    )


def _by_class(value: Callable[[RouteClass], float]) -> Callable[[], dict[str, float]]:
    return lambda: {each.label: value(each) for each in RouteClass}


def _pause_left(gate: Gate, route_class: RouteClass, now: float) -> float:
    return gate.pause_ends_at(route_class, now) - now


def _longest_pause(gate: Gate, now: float) -> float:
    return max(_pause_left(gate, each, now) for each in RouteClass)
