"""From samples to the table: medians, spread, ratios, met or missed, and what got worse. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.demand import Demand, Samples

_WORSE_BY = 0.25
_SINK_IS_BUSY = 0.9
_WHOLE_FROM = 1000  # from here on all digits before the point are wanted
_COLUMNS = ("", "demand", "ours", "reference", "measured", "spread", "asked", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One demand and what became of it; `values` are its ratios (or figures), one a round."""

    demand: Demand
    ours: float
    reference: float | None
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median, which is what counts."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the demand is met; None where nothing is demanded."""
        if self.demand.limit is None:
            return None
        if self.demand.at_least:
            return self.value >= self.demand.limit
        return self.value <= self.demand.limit

    @property
    def missed_by(self) -> float:
        """By which factor the demand is missed."""
        if self.demand.limit is None or not self.value:
            return 1.0
        return self.demand.limit / self.value if self.demand.at_least else self.value / self.demand.limit


def rows_of(demands: Sequence[Demand], rounds: Sequence[Samples]) -> list[Row]:
    """Judge each demand over the rounds in which all its probes were measured."""
    rows = []
    for demand in demands:
        whole = [samples for samples in rounds if demand.needs <= samples.keys()]
        if not whole:
            continue
        ours = [demand.ours(samples) for samples in whole]
        if demand.reference is None:
            rows.append(Row(demand, median(ours), None, tuple(ours)))
        else:
            reference = [demand.reference(samples) for samples in whole]
            ratios = tuple(a / b for a, b in zip(ours, reference, strict=True))
            rows.append(Row(demand, median(ours), median(reference), ratios))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out as text."""
    return _aligned([_COLUMNS, *(_cells(row) for row in rows)])


def markdown(rows: Sequence[Row]) -> str:
    """Lay the rows out for the docs."""
    head = f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}\n"
    return head + "".join(f"| {' | '.join(_cells(row))} |\n" for row in rows)


def document(rows: Sequence[Row], rounds: Sequence[Samples], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything as one JSON-ready object: the judged rows, and every sample they were made of."""
    return {
        **facts,
        "demands": [
            {
                "key": row.demand.key,
                "text": row.demand.text,
                "limit": row.demand.limit,
                "atLeast": row.demand.at_least,
                "unit": row.demand.unit,
                "ours": row.ours,
                "reference": row.reference,
                "value": row.value,
                "min": min(row.values),
                "max": max(row.values),
                "met": row.met,
            }
            for row in rows
        ],
        "rounds": [{name: dict(sample) for name, sample in samples.items()} for samples in rounds],
    }


def warnings(found: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    """Name each demanded ratio that is worse than the baseline's by more than a quarter."""
    known = {row["text"]: row for row in baseline.get("demands", ())}
    lines = []
    for row in found["demands"]:
        before = known.get(row["text"])
        if before is None or not before["value"] or row["limit"] is None or row["reference"] is None:
            continue
        change = row["value"] / before["value"]
        worse = 1 / change - 1 if row["atLeast"] else change - 1
        if worse > _WORSE_BY:
            lines.append(
                f"WARNING: {row['key']} {row['text']}: {number(row['value'])}, baseline {number(before['value'])}, "
                f"{worse:.0%} worse."
            )
    return lines


def sink_line(rounds: Sequence[Samples]) -> str:
    """Show that the sink was not what limited the figures, or that it was."""
    busy = [sample for samples in rounds for sample in samples.values() if sample.get("sink_share")]
    if not busy:
        return ""
    busiest = max(busy, key=lambda sample: sample["sink_share"])
    cost, share = busiest["sink_us"], busiest["sink_share"]
    text = f"sink: {number(cost)} us of CPU per request at its busiest, so up to {number(1e6 / cost)}/s; "
    text += f"it used at most {share:.0%} of a core"
    return text if share < _SINK_IS_BUSY else f"WARNING: {text}: rates are limited by it"


def number(value: float) -> str:
    """Write a number with three digits that mean something."""
    if abs(value) >= _WHOLE_FROM:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cells(row: Row) -> tuple[str, ...]:
    demand = row.demand
    ratio = "x" if row.reference is not None else f" {demand.unit}"
    asked = "" if demand.limit is None else f"{'>=' if demand.at_least else '<='} {number(demand.limit)}{ratio}"
    return (
        demand.key,
        demand.text,
        f"{number(row.ours)} {demand.unit}",
        "" if row.reference is None else f"{number(row.reference)} {demand.unit}",
        f"{number(row.value)}{ratio}",
        f"{number(min(row.values))}-{number(max(row.values))}",
        asked,
        _verdict(row),
    )


def _verdict(row: Row) -> str:
    if row.met is None:
        return ""
    return "met" if row.met else f"MISSED by {number(row.missed_by)}x"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
