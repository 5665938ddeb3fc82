"""What one worker tells the others of the pace of a class: what it was refused, and how much waits in it. Pure.

Rule guarded: a rate is for all workers together. What one of them learns by a refusal is not refused to each of them,
and each takes the share of the rate that its demand makes.
"""

from dataclasses import dataclass

from workers.limit import Found

IDLE = 0.001  # the demand of a worker where nothing waits: a share to begin with that takes hardly any from others


@dataclass(frozen=True, slots=True)
class Slowdown:
    """What one worker tells all of the pace: a refusal, or what was learned of refusals.

    `pause` in seconds from now. `found`: the rate for all together, and what is known of it. `share` of the calls is
    refused whatever the rate: such refusals hold back nothing but what they refused.
    """

    pause: float
    found: Found
    share: float = 0.0
    asked: bool = False  # the service named the pause itself
    is_test: bool = False  # the share is not certain yet
    capped: bool = False  # it named a longer one: after the pause one call at a time finds out whether it is over


def share_of(demand: float, others: float) -> float:
    """Return a worker's share of the rate: its demand (lanes ready) against that of the other live workers."""
    mine = max(IDLE, demand)
    return mine / (mine + max(0.0, others))
