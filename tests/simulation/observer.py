"""Checks each call when it leaves a worker and when it arrives at the service.

Rule guarded: the invariants of the promise are checked where they can be broken. A call leaves under a lease that is
held, one at a time for a lane, unchanged, and not after its time to live. store_observer.py checks what the store does,
delivery_observer.py what holds calls back, final_checks.py what only the end of a run shows.
"""

import re

from fanout.http1.messages import Request
from fanout.queue.keys import KEYS
from fanout.signalr.message import Message, Scope
from fanout.signalr.routes import execute_route, route_of
from tests.simulation.delivery_observer import DeliveryObserver
from tests.simulation.service_model import Call

_TAG = re.compile(rb"n\d+n")
_LATE = 0.05  # seconds by which a worker's reading of the store's clock may be behind
_ON_ITS_WAY = 2.5  # seconds an answer of the store may take


class Observer(DeliveryObserver):
    """Observes one run."""

    def tags_of(self, request: Request) -> tuple[str, ...]:
        """Return the ids that a request carries."""
        routed = self.routes.get((request.head.method, request.head.target))
        return (routed,) if routed else tuple(tag.decode() for tag in _TAG.findall(request.body))

    def lane_of(self, tag: str) -> str:
        return self.all_tracked[tag].lane

    def began(self, call: Call, request: Request) -> None:
        self.note("service", "call", call.number, call.host.name, call.tags, call.fate)
        if not call.tags or any(tag not in self.all_tracked for tag in call.tags):
            self.violate(f"a call nobody asked for: {request!r}")
            return
        for tag in call.tags:
            self.all_tracked[tag].calls.append(call)
        self.check_gate(call)
        self._check_payload(call, request)
        self._check_holder(call)
        self._check_lane(call)
        self._check_ttl(call)

    def arrived(self, call: Call) -> None:
        self.note("service", "delivered", call.number, call.tags)
        for tag in call.tags:
            if not self.all_tracked[tag].position:
                self.violate(f"{tag} was delivered and never stored")

    def ended(self, call: Call) -> None:
        self.note("service", "ended", call.number, call.seen)
        if self.in_flight.get((call.host.name, call.lane)) is call:
            del self.in_flight[call.host.name, call.lane]
        self.learn(call)

    def _check_payload(self, call: Call, request: Request) -> None:
        entry = self.all_tracked[call.tags[0]].submission.entry
        items = [self.all_tracked[tag].submission.entry.item for tag in call.tags]
        bodies = [item.body for item in items if isinstance(item, Message)]
        if len(items) == 1:
            route = route_of(entry.hub, items[0])
            body = b"".join(bodies)
        else:
            scope, to = (items[0].scope, items[0].to) if isinstance(items[0], Message) else (Scope.GROUP, "")
            route = execute_route(entry.hub, scope, to)
            body = b"[" + b",".join(b'{"type":"SendMessage","message":' + body + b"}" for body in bodies) + b"]"
        if len({self.all_tracked[tag].lane for tag in call.tags}) != 1:
            self.violate(f"{call.tags} of several lanes left in one call")
        if (request.head.method, request.head.target, request.body) != (route.method, route.target, body):
            self.violate(f"{call.tags[0]} left as {request.head.method} {request.head.target} {request.body!r}")

    def _check_holder(self, call: Call) -> None:
        assert self.store is not None
        partition = self.all_tracked[call.tags[0]].partition
        holder = self.store.string(KEYS.lease(partition).encode())
        mine = holder is not None and holder.startswith(call.host.name.encode() + b":")
        if holder is not None and mine:
            call.token = holder.decode()
        elif self.loop.time() > self.unsure_until:
            self.violate(f"{call.host.name} sent {call.tags} while partition {partition} was held by {holder!r}")

    def _check_lane(self, call: Call) -> None:
        place = (call.host.name, call.lane)
        if self.is_slow_join(self.all_tracked[call.tags[0]]):
            return  # it may have gone aside
        if sum(host == call.host.name for host, _lane in self.in_flight) >= self.settings.concurrency:
            self.violate(f"{call.host.name} has more than {self.settings.concurrency} calls in flight")
        other = self.in_flight.get(place)
        if other is not None:
            self.violate(f"{call.host.name} sent {call.tags} while {other.tags} of the same lane was in flight")
        for (host, lane), earlier in self.in_flight.items():
            if lane == call.lane and host != call.host.name and self._is_held(earlier):
                self.violate(f"{call.host.name} sent {call.tags} while {earlier.tags} of the same lane was with {host}")
        self.in_flight[place] = call

    def _is_held(self, call: Call) -> bool:
        """Return whether a call in flight is still covered by the lease that it left under, or what is left of it."""
        host, partition = call.host.name, self.all_tracked[call.tags[0]].partition
        now = self.loop.time()
        if host in self.kills or host in self.overtime or now <= self.unsure_until:
            return False
        ends = [end.at for end in self.lease_ends if end.may_end(call, partition)]
        lapses = [at for at in self.lapses(call, partition) if at <= now]
        return not any(at >= call.began for at in (*ends, *lapses))

    def _check_ttl(self, call: Call) -> None:
        assert self.store is not None
        if self.clock_changed:
            return
        for tag in call.tags:
            tracked = self.all_tracked[tag]
            age = self.store.now() - tracked.stored_at - self.store.tick
            spared = self.loop.time() < tracked.spared + _ON_ITS_WAY
            if tracked.ttl is not None and age > tracked.ttl + _LATE and not spared:
                self.violate(f"{tag} was sent {age:.3f} s old, its ttl is {tracked.ttl} s")
