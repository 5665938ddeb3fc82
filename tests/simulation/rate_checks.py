"""The judgement of rates at the end of a run: no worker and no fleet went faster than the settings allow.

Rule guarded: a configured rate is for all workers together. One worker alone never exceeds it by more than a burst,
with or without a store; all together exceed it only for as long as it takes them to hear of each other's demand.
"""

from collections import defaultdict
from collections.abc import Sequence

from tests.simulation.observer import Observer

_BURST = 2.0  # calls a worker may be ahead
_CATCHING_UP = 0.04  # seconds of lost time that it may make up for
_AWAY = 3.0  # and how much older it gets in what goes wrong: a lease, and a read that waits, run out meanwhile
_STALE = 1.1  # seconds: how old a worker's idea of the others' demand may be while all is well


def check_rates(observer: Observer) -> None:
    """Add to the witness's violations what went too fast, and count the pauses that met an outage of the store."""
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
        by_host[call.host.name].append(call.began)
    for host, times in by_host.items():
        over = excess(sorted(times), rate)
        if over > _BURST + _CATCHING_UP * rate:
            observer.violate(f"{host} made {over:.1f} {kind} calls more than {rate:g} a second allow")
    if not calls:
        return
    stale = _STALE if observer.calm and not observer.frozen else _STALE + _AWAY
    fleet = excess(sorted(call.began for call in calls), rate)
    ahead = (_BURST + _CATCHING_UP * rate) * len(by_host)
    if fleet > ahead + rate * stale * (len(by_host) - 1):
        observer.violate(f"all workers made {fleet:.1f} {kind} calls more than {rate:g} a second allow")


def excess(times: Sequence[float], rate: float) -> float:
    """Give by how much the calls of any stretch of time exceed what `rate` allows in it."""
    worst = least = 0.0
    for count, at in enumerate(times):
        least = min(least, count - rate * at) if count else -rate * at
        worst = max(worst, count + 1 - rate * at - least)
    return worst
