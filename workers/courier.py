"""Carries heads of lanes to the service, judges how it went and has them settled: the loop around one entry.

Rules guarded: an entry holds its place among `concurrency` calls until it is settled, so what a crash can duplicate is
bounded by what was in flight; the lane moves on as soon as its head is delivered, without waiting for the store;
nothing is sent under a lease that may have run out.
"""

from collections.abc import Callable

from fanout.clock import Clock
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import Verdict as DeadVerdict
from fanout.signalr.message import operation_of
from workers.bell import Bell
from workers.lanes import Lane, Lanes
from workers.retry import Again, Answered, Attempt, Dead, Delivered, Outcome, RetryPolicy, is_expired, judge
from workers.sender import Sender
from workers.settler import Settler
from workers.store_time import StoreTime
from workers.tenure import Held


class Trade:
    """What couriers work with besides lanes, sender and settler."""

    __slots__ = ("clock", "log", "metrics", "policy", "random", "store_time")

    def __init__(
        self, clock: Clock, metrics: Metrics, log: Logger, *, policy: RetryPolicy, random: Callable[[], float]
    ) -> None:
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.policy = policy
        self.random = random
        self.store_time = StoreTime()


class Couriers:
    """All couriers of one worker; each runs `run` as a task of its own."""

    def __init__(self, lanes: Lanes, sender: Sender, settler: Settler, bell: Bell, trade: Trade) -> None:
        self._lanes = lanes
        self._sender = sender
        self._settler = settler
        self._bell = bell
        self._trade = trade
        self._closed = False
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<Couriers {self.in_flight} in flight{', closed' if self._closed else ''}>"

    def close(self) -> None:
        """Take no further entry; calls in flight end as they will."""
        self._closed = True

    async def run(self) -> None:
        """Carry one entry after the other, until cancelled."""
        while True:
            lane = None if self._closed else self._lanes.take(self._trade.clock.monotonic())
            if lane is None:
                await self._bell.sleep()
            elif lane.head.tenure.may_act(self._trade.clock.monotonic()):
                await self._carry(lane, lane.head)
            else:
                self._lanes.drop(lane.tenure)  # the keeper will see that this tenure is over and start another

    async def watch_delays(self) -> None:
        """Wake a courier whenever a postponed lane is due, until cancelled."""
        while True:
            self._bell.due.clear()
            due = self._lanes.next_due()
            wait = None if due is None else due - self._trade.clock.monotonic()
            if wait is not None and wait <= 0:
                self._bell.ring(1)
                wait = 0.001  # the courier takes it before we look again
            try:
                async with self._trade.clock.timeout(wait):
                    await self._bell.due.wait()
            except TimeoutError:
                continue

    async def _carry(self, lane: Lane, held: Held) -> None:
        self.in_flight += 1
        held.tenure.began_call()
        try:
            await self._attempt(lane, held)
        finally:
            held.tenure.ended_call()
            self.in_flight -= 1

    async def _attempt(self, lane: Lane, held: Held) -> None:
        age = self._age(held)
        if is_expired(held.entry, age):
            await self._expire(lane, held)
            return
        lane.attempts += 1
        if lane.attempts == 1:
            self._trade.metrics.queue_wait_seconds.observe(age)
        else:
            self._trade.metrics.retries.inc()
        started = self._trade.clock.monotonic()
        outcome = await self._sender.send(held.entry)
        attempt = Attempt(lane.attempts, self._age(held), self._trade.random(), renewed=lane.renewed)
        took = self._trade.clock.monotonic() - started
        match judge(held.entry, outcome, attempt, self._trade.policy):
            case Delivered():
                await self._deliver(lane, held, outcome, took)
            case Again() as again:
                self._postpone(lane, held, again)
            case Dead() as dead:
                await self._bury(lane, held, dead)

    async def _deliver(self, lane: Lane, held: Held, outcome: Outcome, took: float) -> None:
        attempts = lane.attempts
        self._next(lane)
        self._trade.metrics.delivered[operation_of(held.entry.item)].inc()
        settled = await self._settler.settle(held)
        self._say(held, "delivered" if settled else "delivered, not settled", outcome, attempts=attempts, took=took)

    async def _expire(self, lane: Lane, held: Held) -> None:
        attempts = lane.attempts
        self._next(lane)
        if await self._settler.settle(held):
            self._trade.metrics.expired.inc()
            self._say(held, "expired", None, attempts=attempts, took=0.0)

    async def _bury(self, lane: Lane, held: Held, dead: Dead) -> None:
        attempts = lane.attempts
        self._trade.metrics.failures[dead.failure].inc()
        verdict = DeadVerdict(reason=dead.reason, status=dead.status, attempts=attempts, detail=dead.detail)
        self._next(lane)
        if await self._settler.park(held, verdict):
            self._trade.metrics.dead[dead.reason].inc()
            self._say(held, f"dead: {dead.reason}", Answered(dead.status), attempts=attempts, took=0.0)

    def _postpone(self, lane: Lane, held: Held, again: Again) -> None:
        self._trade.metrics.failures[again.failure].inc()
        if again.renew:
            lane.renewed = True
            self._sender.renew_token(held.entry)
        self._lanes.postpone(lane, self._trade.clock.monotonic() + again.delay)
        self._bell.due.set()
        self._trade.log.debug(
            "delivery.postponed", id=held.entry.message_id, failure=again.failure, delay=round(again.delay, 3)
        )

    def _next(self, lane: Lane) -> None:
        self._lanes.advance(lane)
        self._bell.ring(1)
        self._bell.room.set()
        self._bell.hungry.set()

    def _age(self, held: Held) -> float:
        return max(0.0, self._trade.store_time.now(self._trade.clock.monotonic()) - held.stored_at)

    def _say(self, held: Held, end: str, outcome: Outcome | None, *, attempts: int, took: float) -> None:
        self._trade.log.info(
            "delivery.settled",
            end=end,
            id=held.entry.message_id,
            hub=held.entry.hub,
            operation=operation_of(held.entry.item),
            partition=held.tenure.partition,
            entry=held.id.decode(),
            status=outcome.status if isinstance(outcome, Answered) else 0,
            attempts=attempts,
            age=round(self._age(held), 4),
            took=round(took, 4),
        )
