"""Watches the time for what waits for it: postponed lanes, and classes of calls that are held back.

Rule guarded: one timer for all of them, set anew whenever one of them may have changed, and none while nothing waits.
"""

from fanout.clock import Clock
from workers.bell import Bell
from workers.gate import Gate
from workers.lanes import Lanes
from workers.route_class import RouteClass


class Alarm:
    """The alarm of one worker; `bell.due` tells it that something changed."""

    def __init__(self, lanes: Lanes, gate: Gate, bell: Bell, clock: Clock) -> None:
        self._lanes = lanes
        self._gate = gate
        self._bell = bell
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Alarm, next lane at {self._lanes.next_due()}>"

    async def run(self) -> None:
        """Wake the couriers whenever a lane is due or a class opens, until cancelled."""
        while True:
            self._bell.due.clear()
            now = self._clock.monotonic()
            openings = self._openings(now)
            woken = self._lanes.wake_due(now)
            if self._lanes.any_hungry:
                self._bell.hungry.set()
            if woken or any(at <= now for at in openings):
                self._bell.work.set()
            later = [at for at in (self._lanes.next_due(), *openings) if at is not None and at > now]
            try:
                async with self._clock.timeout(min(later) - now if later else None):
                    await self._bell.due.wait()
            except TimeoutError:
                continue

    def _openings(self, now: float) -> list[float]:
        if not self._gate.holds_back:
            return []
        return [self._gate.opens_at(each, now) for each in RouteClass if self._lanes.ready_in(each)]
