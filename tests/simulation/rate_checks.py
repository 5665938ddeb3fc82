"""The checks of rates at the end of a run: no worker and no fleet sent faster than the settings allow.

Rule guarded: a configured rate is for all workers together. One worker alone never exceeds it by more than a burst,
with or without a store. All together exceed it only until they know of each other's demand. A call counts when it is
let go: those that wait for a connection then reach the service together, as those do that a network held up.
"""

from collections import defaultdict
from collections.abc import Sequence

from tests.simulation.observer import Observer

_BURST = 2.0  # calls a worker may be ahead
_CATCHING_UP = 0.04  # seconds of lost time that it may make up for
_AWAY = 3.0  # seconds added to that when there are faults: a lease and a blocking read run out meanwhile
_STALE = 1.1  # seconds: the age of what a worker knows of the others' demand while nothing fails


def check_rates(observer: Observer) -> None:
    """Add a violation for what went too fast, and count the pauses during an outage of the store."""
    settings = observer.settings
    for kind, rate in (("send", settings.send_rate), ("broadcast", settings.broadcast_rate)):
        if rate:
            _check_rate(observer, kind, rate)
    pauses = [pause for known in observer.pauses.values() for pause in known]
    for start, end in observer.outages:
        if any(pause.known < end and pause.until > start for pause in pauses):
            observer.count("outages of the store while a class was paused")
        if settings.send_rate or settings.broadcast_rate:
            observer.count("outages of the store under a configured rate")


def _check_rate(observer: Observer, kind: str, rate: float) -> None:
    calls = {call for tracked in observer.all_tracked.values() for call in tracked.calls if call.kind == kind}
    by_host: dict[str, list[float]] = defaultdict(list)
    for call in calls:
        by_host[call.host.name].append(call.let_go)
    for host, times in by_host.items():
        over = excess(sorted(times), rate)
        if over > _BURST + _CATCHING_UP * rate:
            observer.violate(f"{host} made {over:.1f} {kind} calls more than {rate:g} a second allow")
    if not calls:
        return
    stale = _STALE if observer.calm and not observer.frozen else _STALE + _AWAY
    fleet = excess(sorted(call.let_go for call in calls), rate)
    ahead = (_BURST + _CATCHING_UP * rate) * len(by_host)
    if fleet > ahead + rate * stale * (len(by_host) - 1):
        observer.violate(f"all workers made {fleet:.1f} {kind} calls more than {rate:g} a second allow")


def excess(times: Sequence[float], rate: float) -> float:
    """Return by how much the calls of any interval exceed what `rate` allows in it, at most."""
    worst = least = 0.0
    for count, at in enumerate(times):
        least = min(least, count - rate * at) if count else -rate * at
        worst = max(worst, count + 1 - rate * at - least)
    return worst
