"""The judgement at the end of a run: conservation, order and duplicates, from what the witness saw.

Rule guarded: a duplicate needs a reason, call by call. Either its sender was not told that the call before it had
delivered (the far side's doing), or the process that made that call was killed, or lost its lease, before the entry
was out of the store, or the store forgot that it was; and each of these ends explains no more calls than were in
flight. A call that arrived when its sender had given up or was gone is a stray: it may be late, nobody could stop it.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.simulation.far_side import Call
from tests.simulation.parcel import ANSWERED, UNKNOWN, Parcel
from tests.simulation.witness import Witness


def judge(witness: Witness, *, concurrency: int) -> None:
    """Add to the witness's violations what only the end can show."""
    for parcel in witness.parcels.values():
        _check_end(witness, parcel)
    for lane in _by_lane(witness.parcels.values()).values():
        _check_order(witness, lane)
    _check_duplicates(witness, concurrency)
    for parcel in witness.parcels.values():
        _check_promise(witness, parcel)
    if witness.poison - witness.buried and not witness.store_changed:
        witness.violate(f"unreadable entries are not dead: {sorted(witness.poison - witness.buried)}")


def _check_end(witness: Witness, parcel: Parcel) -> None:
    left = parcel.expired or parcel.superseded or parcel.dead
    if parcel.accepted and not (parcel.answered or parcel.arrivals or left or parcel.lost):
        witness.violate(f"{parcel.tag} was accepted and is neither delivered, expired, superseded nor dead")
    once = not parcel.returned and not parcel.ever_lost
    if once and len(parcel.dead) > 1:
        witness.violate(f"{parcel.tag} was parked {len(parcel.dead)} times")
    if once and parcel.dead and parcel.expired:
        witness.violate(f"{parcel.tag} is dead and expired")


def _by_lane(parcels: Iterable[Parcel]) -> dict[str, list[Parcel]]:
    lanes: dict[str, list[Parcel]] = defaultdict(list)
    for parcel in sorted(parcels, key=lambda parcel: parcel.position):
        if parcel.arrivals and parcel.answered_calls and not parcel.ever_lost:
            lanes[parcel.lane].append(parcel)
    return lanes


def _check_order(witness: Witness, lane: list[Parcel]) -> None:
    firsts = [(parcel, _first(parcel)) for parcel in lane]
    late: list[tuple[Parcel, Call, float]] = []  # those that came after one that was stored after them would have to
    latest = -1.0
    for parcel, first in firsts:
        assert first.reached is not None
        if first.reached < latest:
            for other, others_first, reached in late:
                if reached > first.reached and not _is_excused(witness, (other, others_first), (parcel, first)):
                    witness.violate(f"{parcel.tag} was delivered before {other.tag}, which was stored before it")
        late.append((parcel, first, first.reached))
        latest = max(latest, first.reached)


def _first(parcel: Parcel) -> Call:
    return min(parcel.answered_calls, key=lambda call: call.reached or 0.0)


def _is_excused(witness: Witness, late: tuple[Parcel, Call], early: tuple[Parcel, Call]) -> bool:
    """Say whether nobody could help it that the call `early` came first, or whether it does no harm.

    The late one is a stray; or the store gave it back after what overtook it had gone; or it was to leave without a
    delivery (dropped or parked), the lease was lost before it had, and then both were sent, in their order, or the
    early one left without being sent again, because it had become too old or needless meanwhile.
    """
    (parcel, call), (other, overtaking) = late, early
    assert call.reached is not None
    assert overtaking.reached is not None
    if _is_stray(witness, parcel, call) or any(overtaking.reached <= at + witness.unaware for at in parcel.returned):
        return True
    repeats = [later for later in other.calls if later.began > call.reached]
    if any(_reason(witness, other, overtaking, later) for later in repeats):
        return True
    left_later = not repeats and other.left_at > call.reached
    return left_later and _lost_hold(witness, other, overtaking, call) is not None


def _is_stray(witness: Witness, parcel: Parcel, call: Call) -> bool:
    """Say whether a call was answered when its sender had given up, was gone, or had lost the lease it sent under."""
    killed = witness.kills.get(call.host.name)
    ends = [end.at for end in witness.lease_ends if end.partition == parcel.partition]
    ends += witness.lapses((call.host.name, parcel.partition))
    ends += [at for at in (killed, call.ended) if at is not None]
    return any(call.began <= at <= (call.reached or 0.0) for at in ends)


def _check_duplicates(witness: Witness, concurrency: int) -> None:
    excused: dict[str, set[int]] = defaultdict(set)  # a call may carry several ids
    for parcel in witness.parcels.values():
        calls = parcel.calls
        for call, later in pairwise(calls):
            if call.arrived is None:
                continue
            reason = _reason(witness, parcel, call, later)
            if reason is None:
                witness.violate(f"{parcel.tag} was delivered by call {call.number} and sent again by {later.number}")
            elif reason:
                excused[reason].add(call.number)
    for reason, numbers in excused.items():
        if len(numbers) > concurrency:
            witness.violate(f"{len(numbers)} calls repeated after '{reason}', {concurrency} can be in flight")


def _check_promise(witness: Witness, parcel: Parcel) -> None:
    """A message that is to go at most once is not sent again when nobody knows what became of it."""
    if not witness.is_once_at_most(parcel):
        return
    for call, later in pairwise(parcel.calls):
        if call.seen not in UNKNOWN:
            continue
        witness.count("sent at most once, and again after its hold was lost")
        if not (_given_back(parcel, call, later) or _lost_hold(witness, parcel, call, later)):
            witness.violate(f"{parcel.tag} goes at most once: {later.number} followed {call.number}, {call.seen}")


def _given_back(parcel: Parcel, call: Call, later: Call) -> bool:
    return any(call.began <= at <= later.began for at in parcel.returned)


def _reason(witness: Witness, parcel: Parcel, call: Call, later: Call) -> str | None:
    """Tell why `later` may repeat `call`: "" the far side's or store's doing, None for no reason."""
    if call.seen not in ANSWERED and call.seen not in ("", "CancelledError"):
        return ""
    if _given_back(parcel, call, later):
        return ""
    return _lost_hold(witness, parcel, call, later)


def _lost_hold(witness: Witness, parcel: Parcel, call: Call, later: Call) -> str | None:
    """Tell how the maker of `call` lost its hold on the entry before `later`: it was killed, or lost its lease."""
    killed = witness.kills.get(call.host.name)
    if killed is not None and call.began <= killed <= later.began:
        return f"{call.host.name} killed"
    return _lease_end(witness, parcel, call, later)


def _lease_end(witness: Witness, parcel: Parcel, call: Call, later: Call) -> str | None:
    place = (call.host.name, parcel.partition)
    lapse = next((at for at in witness.lapses(place) if call.began <= at <= later.began), None)
    if lapse is not None:
        return f"{place} ran out by its holder's clock at {lapse:.6f}"
    # A lease the store forgot is believed in until its holder hears of it, or until it has run out.
    unaware = witness.unaware if witness.store_changed else 0.0
    ends = [end for end in witness.lease_ends if end.partition == parcel.partition and end.at <= later.began]
    during = [end for end in ends if end.at >= call.began]
    end = during[0] if during else ends[-1] if ends and ends[-1].at >= call.began - unaware else None
    return None if end is None else f"{place} lost ({end.how} at {end.at:.6f})"
