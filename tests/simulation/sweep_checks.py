"""The checks at the end of a run of what has to keep its order across lanes: sweeps, joins, messages to groups.

Rules guarded: what one producer wrote about one member in order arrives in order: no join or leave overtakes a sweep,
and no sweep a join or leave. A message to a group keeps its place beside a sweep, unless one waited for the bound.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from fanout.queue.changes import joining, swept_by
from fanout.signalr.message import Message, Scope
from tests.simulation.final_checks import first_call, is_excused
from tests.simulation.observer import Observer
from tests.simulation.plan import Batch
from tests.simulation.service_model import Call
from tests.simulation.tracked import TrackedEntry

Pair = tuple[TrackedEntry, Call]


def check_sweeps(observer: Observer, producers: Sequence[Sequence[Batch]]) -> None:
    """Add the violations of order across lanes. What the store lost excuses the rest of its world."""
    if observer.store_changed:
        return
    for batches in producers:
        tags = [one.entry.message_id for batch in batches for one in batch.submissions]
        for earlier, later in combinations(_delivered(observer, tags), 2):
            _check(observer, earlier, later)


def _delivered(observer: Observer, tags: Sequence[str]) -> Iterator[Pair]:
    for tag in tags:
        tracked = observer.all_tracked[tag]
        if tracked.arrivals and tracked.answered_calls and not tracked.ever_lost:
            yield tracked, first_call(tracked)


def _check(observer: Observer, earlier: Pair, later: Pair) -> None:
    one, other = earlier[0].submission.entry, later[0].submission.entry
    swept = swept_by(one.item) or swept_by(other.item)
    if swept is None or one.hub != other.hub or earlier[0].lane == later[0].lane:
        return
    if swept in (joining(one.item), joining(other.item)):
        observer.count("sweeps checked against a join")
    elif _is_heard_by_groups(earlier[0]) or _is_heard_by_groups(later[0]):
        observer.count("sweeps checked against a message")
        if later[1].began - earlier[0].added_at >= observer.settings.order_wait:
            return
    else:
        return
    first, second = earlier[1].reached or 0.0, later[1].reached or 0.0
    if second < first and not is_excused(observer, earlier, later):
        observer.violate(f"{later[0].tag} was delivered across lanes before {earlier[0].tag}, which it had to follow")


def _is_heard_by_groups(tracked: TrackedEntry) -> bool:
    item = tracked.submission.entry.item
    return isinstance(item, Message) and item.scope is Scope.GROUP
