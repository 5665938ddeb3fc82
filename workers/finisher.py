"""Does what follows from the end of a call: its lane moves on, waits or falls apart; its entries are settled or buried.

Rules guarded: the lane moves on as soon as its head is delivered, without waiting for the store, and the call keeps its
place until the store has answered; being throttled is no attempt; a joined call that is refused harms none of its
messages, each is judged in a call of its own.
"""

import asyncio
from functools import partial

from workers.bell import Bell
from workers.lane import Lane
from workers.lanes import Lanes
from workers.places import Places
from workers.records import Records
from workers.retry import OUTCOME_UNKNOWN, THROTTLED, Again, Attempt, Dead, Delivered, Outcome, judge
from workers.sender import TAKEN, Sender
from workers.settler import Settler
from workers.tenure import Call
from workers.trade import Trade


class Finisher:
    """The ends of all calls of one worker."""

    def __init__(self, lanes: Lanes, sender: Sender, settler: Settler, bell: Bell, trade: Trade) -> None:
        self._lanes = lanes
        self._sender = sender
        self._settler = settler
        self._bell = bell
        self._trade = trade
        self.records = Records(trade)
        self.places = Places()

    def __repr__(self) -> str:
        return f"<Finisher {self.places!r}>"

    def finish(self, group: asyncio.TaskGroup, lane: Lane, call: Call, outcome: Outcome, took: float) -> bool:
        """Do what follows; True when the call's place was handed on to whoever settles or buries it."""
        if outcome is TAKEN and self.records.traces is None:
            return self._deliver(lane, call, outcome, took)
        if len(call) > 1 and self._sender.refused_joining(outcome):
            return self._apart(lane)
        attempt = Attempt(lane.attempts, self.records.age(call[0]), self._trade.random(), renewed=lane.renewed)
        verdict = judge(call[0].entry, outcome, attempt, self._trade.policy)
        self.records.judged(call, attempt, outcome, verdict)
        match verdict:
            case Delivered():
                return self._deliver(lane, call, outcome, took)
            case Again():
                return self._postpone(lane, call, verdict)
            case Dead(reason) if len(call) > 1 and reason != OUTCOME_UNKNOWN:
                return self._apart(lane)  # which of them is it? each is judged in a call of its own
            case Dead():
                group.create_task(self._bury(call, verdict, lane.attempts))
                self._lanes.advance(lane, len(call))
                self.moved_on(lane)
                return True

    def _deliver(self, lane: Lane, call: Call, outcome: Outcome, took: float) -> bool:
        told = partial(self._settled, call, outcome, lane.attempts, took)
        self._lanes.advance(lane, len(call))
        self.moved_on(lane)
        self.records.delivered(call)
        self._settler.hand_in(call, told)
        return True

    def _settled(self, call: Call, outcome: Outcome, attempts: int, took: float, certain: bool) -> None:
        self.places.give_back(call[0].tenure)
        self.records.settled(call, outcome, attempts=attempts, took=took, certain=certain)
        self._bell.work.set()  # once for all that are settled together

    async def _bury(self, call: Call, dead: Dead, attempts: int) -> None:
        try:
            for held in call:
                if await self._settler.park(held, self.records.verdict(dead, attempts)):
                    self.records.parked(held, dead, attempts)
        finally:
            self.places.give_back(call[0].tenure)
        self._bell.work.set()

    def _apart(self, lane: Lane) -> bool:
        lane.alone = lane.throttled = True
        lane.attempts -= 1
        self._lanes.release(lane)
        self.moved_on(lane)
        return False

    def _postpone(self, lane: Lane, call: Call, again: Again) -> bool:
        if again.renew:
            lane.renewed = True
            self._sender.renew_token([held.entry for held in call])
        if again.failure == THROTTLED:
            lane.attempts -= 1
            lane.throttled = True
        self._lanes.postpone(lane, self._trade.clock.monotonic() + again.delay)
        self._bell.due.set()
        self._bell.room.set()  # what waited behind the head may have been left to the stream
        return False

    def moved_on(self, lane: Lane) -> None:
        """Tell the reader what a lane that moved on made room for."""
        if lane.tenure.held <= lane.tenure.low:
            self._bell.room.set()
        if lane.fetching:
            self._bell.hungry.set()
