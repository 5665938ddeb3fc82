"""Bugs planted into what keeps order across lanes; `planted` says what a planted bug is."""

from collections.abc import Mapping, Sequence
from typing import Any

from fanout.queue.entry import Submission
from fanout.queue.presence import Place
from tests.simulation.planted import Planted
from workers.sweeps import Barrier, Fence, Sweeps

_LOWER = Sweeps._lower


def may(*_anything: Any) -> bool:
    """Let everything go."""
    return True


def passed(sweeps: Sweeps, fences: list[Fence], fence: Fence, *_anything: Any, **_more: Any) -> None:
    """Take a marker out whatever stands before it."""
    fences.remove(fence)
    sweeps._settle(fence.buffered)


def lowered_at_once(sweeps: Sweeps, barrier: Barrier, gone: set[Place]) -> None:
    """Take a barrier down when the first of what it waits for is gone, or nothing of it."""
    del gone
    _LOWER(sweeps, barrier, {place for places in barrier.open.values() for place in places})


def never_lowered(sweeps: Sweeps, barrier: Barrier, gone: set[Place]) -> None:
    """Keep a barrier for ever."""
    del sweeps, barrier, gone


def in_one_stage(submissions: Sequence[Submission]) -> list[list[int]]:
    """Store sweeps with what follows them behind no marker."""
    positions = list(range(len(submissions)))
    sweeps = [k for k in positions if type(submissions[k].entry.item).__name__ == "CloseConnections"]
    return [[k for k in positions if k not in sweeps], sweeps]


def aside_by_member(head: Any, member: str) -> str:
    """Put all that goes aside of a member into one lane, where it waits for what was stored later."""
    return f"{head.entry.hub}\n{member}"


def _patched(target: str, what: Any, *words: str) -> Planted:
    return Planted({target: what}, words, "sweeps")


_ACROSS = "was delivered across lanes before"
PLANTED_IN_SWEEPS: Mapping[str, Planted] = {
    "a join that waits for no sweep": _patched("workers.sweeps.Sweeps._may_join", may, _ACROSS),
    "a message that waits for no sweep": _patched("workers.sweeps.Sweeps._may_be_heard", may, _ACROSS),
    "a sweep that waits for nothing": _patched("workers.sweeps.Sweeps._may_sweep", may, _ACROSS),
    "a marker that is taken out unseen": _patched("workers.sweeps.Sweeps._pass", passed, _ACROSS),
    "a barrier that is taken down at once": _patched("workers.sweeps.Sweeps._lower", lowered_at_once, _ACROSS),
    "a barrier that stays": _patched("workers.sweeps.Sweeps._lower", never_lowered, "not done"),
    "a batch in one stage": _patched("fanout.queue.staged.stages_of", in_one_stage, _ACROSS),
    "one lane aside for all groups": _patched("workers.sweeps._key_aside", aside_by_member, "not done"),
}
