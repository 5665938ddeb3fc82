"""The checks at the end of a run: nothing lost, nothing out of order, and a reason for every duplicate.

A call may be repeated for one of these reasons, and each of them explains no more calls than were in flight:
- its sender did not learn that it had delivered (the service's doing);
- the process that made it was killed, or lost its lease, before the entry was out of the store;
- the store forgot that the entry was taken out.
A call that arrives when its sender has given up, or is gone, is a stray. It may be late, because nothing can stop it.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.simulation.observer import Observer
from tests.simulation.service_model import Call
from tests.simulation.tracked import ANSWERED, UNKNOWN, TrackedEntry


def check_history(observer: Observer, *, concurrency: int) -> None:
    """Add the violations that only the whole history shows."""
    for tracked in observer.all_tracked.values():
        _check_end(observer, tracked)
    for lane in _by_lane(observer.all_tracked.values()).values():
        _check_order(observer, lane)
    _check_duplicates(observer, concurrency)
    for tracked in observer.all_tracked.values():
        _check_promise(observer, tracked)
    if observer.poison - observer.buried and not observer.store_changed:
        observer.violate(f"unreadable entries are not dead: {sorted(observer.poison - observer.buried)}")


def _check_end(observer: Observer, tracked: TrackedEntry) -> None:
    left = tracked.expired or tracked.superseded or tracked.dead
    if tracked.accepted and not (tracked.answered or tracked.arrivals or left or tracked.lost):
        observer.violate(f"{tracked.tag} was accepted and is neither delivered, expired, superseded nor dead")
    once = not tracked.returned and not tracked.ever_lost
    if once and len(tracked.dead) > 1:
        observer.violate(f"{tracked.tag} was parked {len(tracked.dead)} times")
    if once and tracked.dead and tracked.expired:
        observer.violate(f"{tracked.tag} is dead and expired")


def _by_lane(all_tracked: Iterable[TrackedEntry]) -> dict[str, list[TrackedEntry]]:
    lanes: dict[str, list[TrackedEntry]] = defaultdict(list)
    for tracked in sorted(all_tracked, key=lambda tracked: tracked.position):
        if tracked.arrivals and tracked.answered_calls and not tracked.ever_lost:
            lanes[tracked.lane].append(tracked)
    return lanes


def _check_order(observer: Observer, lane: list[TrackedEntry]) -> None:
    firsts = [(tracked, first_call(tracked)) for tracked in lane]
    late: list[
        tuple[TrackedEntry, Call, float]
    ] = []  # those that came after one that was stored after them would have to
    latest = -1.0
    for tracked, first in firsts:
        assert first.reached is not None
        if first.reached < latest:
            for other, others_first, reached in late:
                if reached > first.reached and not is_excused(observer, (other, others_first), (tracked, first)):
                    observer.violate(f"{tracked.tag} was delivered before {other.tag}, which was stored before it")
        late.append((tracked, first, first.reached))
        latest = max(latest, first.reached)


def first_call(tracked: TrackedEntry) -> Call:
    return min(tracked.answered_calls, key=lambda call: call.reached or 0.0)


def is_excused(observer: Observer, late: tuple[TrackedEntry, Call], early: tuple[TrackedEntry, Call]) -> bool:
    """Return whether the call `early` could not be prevented from coming first, or does no harm.

    1. The late one is a stray.
    2. The store gave the late one back after what overtook it had left.
    4. The late one is a join that went aside, because it waited for a sweep for too long.
    3. The late one was to leave without a delivery (dropped or parked), and the lease was lost before it had left.
       Then both were sent again in order, or the early one left unsent because it had expired or was superseded.
    """
    (tracked, call), (other, overtaking) = late, early
    if observer.is_slow_join(tracked):
        return True
    assert call.reached is not None
    assert overtaking.reached is not None
    if _is_stray(observer, tracked, call) or any(
        overtaking.reached <= at + observer.unaware for at in tracked.returned
    ):
        return True
    repeats = [later for later in other.calls if later.began > call.reached]
    if any(_reason(observer, other, overtaking, later) for later in repeats):
        return True
    left_later = not repeats and other.left_at > call.reached
    return left_later and _lost_hold(observer, other, overtaking, call) is not None


def _is_stray(observer: Observer, tracked: TrackedEntry, call: Call) -> bool:
    """Return whether a call was answered after its sender had given up, was gone, or had lost its lease.

    The holder of a lease that the store forgot, or whose end its clock passed, relies on it until it hears of that.
    """
    killed = observer.kills.get(call.host.name)
    reached, unaware = call.reached or 0.0, observer.unaware if observer.store_changed else 0.0
    lost = [end.at for end in observer.lease_ends if end.may_end(call, tracked.partition)]
    ends = [*observer.lapses(call, tracked.partition), *(at for at in (killed, call.ended) if at is not None)]
    return any(call.began - unaware <= at <= reached for at in lost) or any(call.began <= at <= reached for at in ends)


def _check_duplicates(observer: Observer, concurrency: int) -> None:
    excused: dict[str, set[int]] = defaultdict(set)  # a call may carry several ids
    for tracked in observer.all_tracked.values():
        calls = tracked.calls
        for call, later in pairwise(calls):
            if call.arrived is None:
                continue
            reason = _reason(observer, tracked, call, later)
            if reason is None:
                observer.violate(f"{tracked.tag} was delivered by call {call.number} and sent again by {later.number}")
            elif reason:
                excused[reason].add(call.number)
    for reason, numbers in excused.items():
        if len(numbers) > concurrency:
            observer.violate(f"{len(numbers)} calls repeated after '{reason}', {concurrency} can be in flight")


def _check_promise(observer: Observer, tracked: TrackedEntry) -> None:
    """Check that a message with at most one delivery is not repeated after an unknown outcome."""
    if not observer.is_once_at_most(tracked):
        return
    for call, later in pairwise(tracked.calls):
        if call.seen not in UNKNOWN:
            continue
        observer.count("sent at most once, and again after its hold was lost")
        if not (_given_back(tracked, call, later) or _lost_hold(observer, tracked, call, later)):
            observer.violate(f"{tracked.tag} goes at most once: {later.number} followed {call.number}, {call.seen}")


def _given_back(tracked: TrackedEntry, call: Call, later: Call) -> bool:
    """Return whether the store lost between two calls that the entry had left, or stored it anew since it was lost.

    A call that began before it was stored carried what had been read before the store lost it.
    """
    return any(call.began <= at <= later.began for at in (*tracked.returned, tracked.added_at))


def _reason(observer: Observer, tracked: TrackedEntry, call: Call, later: Call) -> str | None:
    """Return why `later` may repeat `call`: "" is the service's or the store's doing, None no reason at all."""
    if call.seen not in ANSWERED and call.seen not in ("", "CancelledError"):
        return ""
    if _given_back(tracked, call, later):
        return ""
    return _lost_hold(observer, tracked, call, later)


def _lost_hold(observer: Observer, tracked: TrackedEntry, call: Call, later: Call) -> str | None:
    """Return how the sender of `call` lost the entry before `later`: it was killed, or lost its lease."""
    killed = observer.kills.get(call.host.name)
    if killed is not None and call.began <= killed <= later.began:
        return f"{call.host.name} killed"
    return _lease_end(observer, tracked, call, later)


def _lease_end(observer: Observer, tracked: TrackedEntry, call: Call, later: Call) -> str | None:
    place = (call.host.name, tracked.partition)
    lapse = next((at for at in observer.lapses(call, tracked.partition) if call.began <= at <= later.began), None)
    if lapse is not None:
        return f"{place} ran out by its holder's clock at {lapse:.6f}"
    # The holder of a lease that the store forgot relies on it until it hears of that, or until it has run out.
    ends = [end for end in observer.lease_ends if end.partition == tracked.partition and end.at <= later.began]
    during = [end for end in ends if end.at >= call.began and end.may_end(call, tracked.partition)]
    forgotten = ends and observer.store_changed and ends[-1].at >= call.began - observer.unaware
    end = during[0] if during else ends[-1] if forgotten else None
    return None if end is None else f"{place} lost ({end.how} at {end.at:.6f})"
