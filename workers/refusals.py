"""Which destinations are refused although others of their hub are served. Pure.

Rule guarded: what everybody is refused waits for the end of that, and a destination that is refused alone dies alone.
"""

from math import inf

_ALONE_AFTER = 3.0  # seconds
_MOST_ALONE = 10  # destinations of a hub that were refused lately; where it is more, none of them is alone
_LATELY = 60.0  # seconds; backoff makes it half a minute between two calls to one of them
_MOST_REFUSED = 10_000
_MOST_HUBS = 1000
_FORGOTTEN = 600.0  # seconds after which a refusal says nothing: twice the longest pause that is usual


class Refusals:
    """Which destinations are refused alone, in a way that would be an outage if it concerned others too.

    A refusal concerns one destination if another one of its hub was served since the refusal before. Once is not
    enough: an outage may end bit by bit. A destination is refused alone after some seconds of such refusals, unless so
    many others were refused lately that something else must be the cause: half of an outage is one too.
    """

    def __init__(self) -> None:
        # By lane: since when its refusals concern it alone, infinity if they do not, and when the last one was.
        self.by_lane: dict[str, tuple[float, float]] = {}
        self._served: dict[str, float] = {}  # by hub, when another destination was served last
        self._alone: set[str] = set()
        self._recent: dict[str, dict[str, float]] = {}  # by hub, the lanes that were refused last and when

    def __repr__(self) -> str:
        return f"<Refusals of {len(self.by_lane)} destinations, {len(self._alone)} alone>"

    def is_alone(self, lane: str) -> bool:
        """Return whether the last refusal of a destination concerned it alone."""
        return lane in self._alone

    def refused(self, hub: str, lane: str, now: float) -> None:
        """Learn that a destination was refused."""
        since, last = self.by_lane.pop(lane, (inf, inf))
        concerns_it = self._served.get(hub, -inf) > last
        self.by_lane[lane] = min(since, now) if concerns_it else since, now  # the latest is the last
        is_one_of_few = self._count_refused(hub, lane, now) <= _MOST_ALONE
        if is_one_of_few and concerns_it and now - since >= _ALONE_AFTER:
            self._alone.add(lane)
        else:
            self._alone.discard(lane)
        if len(self.by_lane) > _MOST_REFUSED:
            oldest = next(iter(self.by_lane))
            del self.by_lane[oldest]
            self._alone.discard(oldest)

    def served(self, hub: str, lane: str, now: float) -> None:
        """Learn that a destination was served."""
        if self.by_lane.pop(lane, None) is not None:
            self._alone.discard(lane)
        self._served[hub] = now
        if len(self._served) > _MOST_REFUSED:
            del self._served[next(iter(self._served))]
        self._forget_oldest(now)
        if not self.by_lane:
            self._served.clear()

    def _forget_oldest(self, now: float) -> None:
        # A destination that is called no more, because its messages died, would be asked about for ever.
        oldest = next(iter(self.by_lane), None)
        if oldest is not None and self.by_lane[oldest][1] < now - _FORGOTTEN:
            del self.by_lane[oldest]
            self._alone.discard(oldest)

    def _count_refused(self, hub: str, lane: str, now: float) -> int:
        # As many as decide. This one is included, and so is who was served since: refusals may come and go.
        recent = self._recent.pop(hub, {})
        recent.pop(lane, None)
        self._recent[hub] = recent  # the latest is the last
        recent[lane] = now
        while recent[first := next(iter(recent))] < now - _LATELY or len(recent) > _MOST_ALONE + 1:
            del recent[first]
        if len(self._recent) > _MOST_HUBS:
            del self._recent[next(iter(self._recent))]
        return len(recent)
