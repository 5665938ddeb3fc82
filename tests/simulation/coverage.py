"""What the seeds of a run met: a table for people, and the least a run in CI has to meet.

Rule guarded: a promise about what never happened was not proved. The simulation counts what it is about (a breaker that
opened, a kill in the middle of a joined call). A run of `OF` seeds that meets less than `LEAST`, or in which fewer than
`GUARDED` of the worlds needed one of the guards, has failed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

# A guard was needed in a world: without it, something there would have gone wrong.
FENCE = "guard: fence"  # the store refused a write under a lease that was not the writer's any more
LEASE = "guard: lease"  # a worker gave up entries because its lease had run out by its own clock
ORDER = "guard: order"  # a call failed while entries waited behind it that must not overtake
PAUSE = "guard: pause"  # a class of calls had to rest while entries of it waited
SWEEP = "guard: sweep"  # an entry was held back for a sweep before it, or a sweep for what was before it
HANDED_OVER = "partitions handed over but for calls in flight"
GUARDS = (FENCE, LEASE, ORDER, PAUSE, SWEEP)
GUARDED = 0.05  # of the worlds, at least
OF = 2000
LEAST: Mapping[str, int] = {
    "429 with Retry-After": 500,
    "429 without Retry-After": 200,
    "sent at most once, and again after its hold was lost": 5,
    "breaker closed (send)": 100,
    "breaker opened (action)": 10,
    "breaker opened (broadcast)": 50,
    "breaker opened (send)": 100,
    "calls after nothing but failures": 20,
    "calls over a quota (action)": 50,
    "calls while refusals are expected": 100,
    "calls over a quota (broadcast)": 50,
    "calls over a quota (send)": 50,
    "dead: outcomeUnknown": 500,
    "dead: tooManyAttempts": 50,
    "expired": 1000,
    "flows pruned": 500,
    "flows pruned and read before their owner knew": 5,
    "flows pruned and used before their owner knew": 20,
    HANDED_OVER: 50,
    "joined call ended by ExchangeTimeoutError": 10,
    "joined call ended by StaleConnectionError": 20,
    "joined call refused (400)": 10,
    "joined call refused (404)": 100,
    "joined call refused (413)": 10,
    "joined call refused (415)": 5,
    "joined call refused (501)": 5,
    "joined calls": 2000,
    "killed with a pause to keep": 10,
    "killed with a breaker open": 2,
    "killed with a joined call delivered and not settled": 10,
    "killed with a joined call half settled": 3,
    "killed with a joined call in flight": 40,
    "outages of the store under a configured rate": 100,
    "outages of the store while a class was paused": 30,
    "first calls through an open breaker": 40,
    "pauses heard of": 500,
    "probe failed (send)": 50,
    "probes": 200,
    "spared by the store's clock": 30,
    "sweeps checked against a join": 200,
    "sweeps checked against a message": 200,
    "superseded by a later change": 100,
    "superseded by a newer message": 1000,
    "window shrunk": 1000,
    "workers killed": 200,
}


def missing(all_coverage: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return what was met too seldom, with how often it was."""
    met, worlds = _totals(all_coverage)
    seldom = {what: met[what] for what, least in LEAST.items() if met[what] < least}
    return seldom | {guard: worlds[guard] for guard in GUARDS if worlds[guard] < GUARDED * len(all_coverage)}


def table(all_coverage: Sequence[Mapping[str, int]]) -> str:
    """Return how often each thing was met, and in how many worlds."""
    met, worlds = _totals(all_coverage)
    width = max(map(len, met), default=0)
    return "\n".join(
        f"{what:{width}} {met[what]:8} in {worlds[what]:6} worlds ({worlds[what] / len(all_coverage):.1%})"
        for what in sorted({*met, *GUARDS})
    )


def _totals(all_coverage: Iterable[Mapping[str, int]]) -> tuple[Counter[str], Counter[str]]:
    met: Counter[str] = Counter()
    worlds: Counter[str] = Counter()
    for coverage in all_coverage:
        met.update(coverage)
        worlds.update(coverage.keys())
    return met, worlds
