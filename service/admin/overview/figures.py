"""The figures of the whole queue, from two surveys of it. Pure.

Rules guarded: the document is bounded whatever callers send: the hubs with the most are shown one by one and the rest
together. A rate is what all processes did between the two surveys, because it is read from the streams themselves: an
entry that is stored raises the count of its stream, and one that is settled or parked leaves it. A stream that was
deleted in between was empty, and one that is new begins at nothing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fanout.queue.keys import hub_of_flow
from fanout.queue.survey import FlowState, PartitionState, Survey

_NOTHING = FlowState(0, 0.0, 0)
_AT = "@"  # with several endpoints the hub of a flow is `hub@endpoint`; no hub and no application has this in its name


@dataclass(frozen=True, slots=True)
class Figures:
    """What waits, when the oldest was stored (0 for nothing), and what came and left since the survey before."""

    entries: int = 0
    oldest: float = 0.0
    came: int = 0
    left: int = 0

    def plus(self, other: "Figures") -> "Figures":
        """Return the figures of both together."""
        stored = [oldest for oldest in (self.oldest, other.oldest) if oldest]
        return Figures(
            self.entries + other.entries, min(stored, default=0.0), self.came + other.came, self.left + other.left
        )


@dataclass(frozen=True, slots=True)
class Rest:
    """The hubs that are not shown one by one. `hubs` counts at least so many."""

    hubs: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Overview:
    """All figures of one moment; `seconds` is the time between the surveys, 0 where there is one alone."""

    seconds: float
    queue: Figures
    hubs: Sequence[tuple[str, Figures]]
    rest: Rest
    endpoints: Sequence[tuple[str, Figures]]
    partitions: Sequence[Figures]


def overview_of(now: Survey, before: Survey | None, most_hubs: int) -> Overview:
    """Return the figures of a survey, with rates since an earlier one; at most so many hubs one by one."""
    hubs: dict[str, Figures] = {}
    endpoints: dict[str, Figures] = {}
    partitions: list[Figures] = []
    for number, state in enumerate(now.partitions):
        earlier = before.partitions[number] if before is not None else state
        total = Figures(state.left_out_entries)
        for flow, figures in _changes(state, earlier):
            hub, endpoint = place_of_flow(flow)
            hubs[hub] = hubs.get(hub, Figures()).plus(figures)
            endpoints[endpoint] = endpoints.get(endpoint, Figures()).plus(figures)
            total = total.plus(figures)
        partitions.append(total)
    ranked = sorted(hubs.items(), key=lambda row: (-row[1].entries, -row[1].came, row[0]))
    seconds = 0.0 if before is None else max(0.0, now.at - before.at)
    rest = _rest_of(now, ranked[most_hubs:])
    return Overview(seconds, _sum(partitions), ranked[:most_hubs], rest, sorted(endpoints.items()), partitions)


def endpoints_of(overview: Overview, configured: Collection[str]) -> Sequence[tuple[str, Figures]]:
    """Return the endpoints that operators see: all that are configured, and others where something waits or moves."""
    found = dict.fromkeys(configured, Figures()) | dict(overview.endpoints)
    return sorted((key, each) for key, each in found.items() if key in configured or each != Figures())


def place_of_flow(flow: str) -> tuple[str, str]:
    """Return the hub of a flow and the name of its endpoint, "" for the one without a name."""
    hub, _at, endpoint = hub_of_flow(flow).partition(_AT)
    return hub, endpoint


def waiting_in(survey: Survey, is_meant: Callable[[str], bool]) -> int:
    """Return how many entries wait in the flows that are meant."""
    flows = (row for state in survey.partitions for row in state.flows.items())
    return sum(found.entries for flow, found in flows if is_meant(flow))


def _changes(state: PartitionState, earlier: PartitionState) -> Iterator[tuple[str, Figures]]:
    for flow, found in state.flows.items():
        known = earlier.flows.get(flow, _NOTHING)
        if found.added < known.added:  # it was deleted, when it was empty, and made again
            known = _NOTHING
        came = found.added - known.added
        yield flow, Figures(found.entries, found.oldest, came, max(0, known.entries + came - found.entries))
    for flow, gone in earlier.flows.items():
        if flow not in state.flows:
            yield flow, Figures(left=gone.entries)


def _rest_of(now: Survey, hubs: Sequence[tuple[str, Figures]]) -> Rest:
    figures = _sum(figures for _hub, figures in hubs)
    left_out = sum(state.left_out_entries for state in now.partitions)
    flows = max((state.left_out for state in now.partitions), default=0)
    return Rest(len(hubs) + flows, replace(figures, entries=figures.entries + left_out))


def _sum(figures: Iterable[Figures]) -> Figures:
    total = Figures()
    for each in figures:
        total = total.plus(each)
    return total


def limited(overview: Overview, most_hubs: int) -> Overview:
    """Return the same figures with at most so many hubs one by one."""
    hidden = overview.hubs[most_hubs:]
    if not hidden:
        return overview
    figures = _sum(figures for _hub, figures in hidden).plus(overview.rest.figures)
    return replace(overview, hubs=overview.hubs[:most_hubs], rest=Rest(overview.rest.hubs + len(hidden), figures))


def share_of_workers(survey: Survey) -> Mapping[str, int]:
    """Return how many partitions each worker owns: those that are live, and those that still hold a lease."""
    owned = dict.fromkeys(survey.workers, 0)
    for state in survey.partitions:
        if state.owner:
            owned[state.owner] = owned.get(state.owner, 0) + 1
    return owned
