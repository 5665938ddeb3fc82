"""Draws the Grafana dashboard from its JSON and the answers of Prometheus, as a page of HTML with SVG. Pure.

Rule guarded: what the JSON says is what is drawn: the place of each panel on the grid, its title, unit, kind and
legends. A panel whose queries answer nothing says so, as Grafana does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from math import floor, isfinite, log10
from re import sub
from typing import Any, Final

Panel = Mapping[str, Any]
_CELL_WIDTH, _CELL_HEIGHT, _GAP = 50, 21, 6  # of the grid, in pixels
_ROW_HEIGHT: Final = 1
_COLUMNS: Final = 24
_LEGENDS: Final = 8  # of a panel that are shown by name
_COLORS: Final = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#5794f2", "#fade2a")
_TICKS: Final = 3
_STYLE: Final = """
body { margin: 0; background: #111217; color: #ccccdc; font: 11px sans-serif; position: relative; }
.panel, .row { position: absolute; box-sizing: border-box; overflow: hidden; }
.panel { background: #181b1f; border: 1px solid #2a2d33; padding: 6px 8px; }
.panel h3 { margin: 0; font-size: 12px; font-weight: 600; color: #ccccdc; }
.row { font-size: 12px; font-weight: 600; line-height: 14px; padding: 0 4px; }
.stat { font-size: 30px; text-align: center; color: #73bf69; margin-top: 10px; }
.none { text-align: center; color: #8e8e9a; margin-top: 40px; }
.legend { position: absolute; left: 8px; right: 8px; bottom: 4px; height: 26px; overflow: hidden; line-height: 13px; }
.legend span { margin-right: 10px; white-space: nowrap; }
.legend i { display: inline-block; width: 10px; height: 3px; margin-right: 4px; vertical-align: 3px; }
text { fill: #8e8e9a; font-size: 10px; }
"""


@dataclass(frozen=True)
class Series:
    """One line: its legend, and points of unix time and value."""

    legend: str
    points: Sequence[tuple[float, float]]


def legend_of(template: str, labels: Mapping[str, str]) -> str:
    """Return a legend with the labels of a series in it."""
    return sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)


def series_of(answer: Mapping[str, Any], template: str) -> list[Series]:
    """Return the lines of one answer to a range query."""
    return [
        Series(
            legend_of(template, row["metric"]),
            [(float(at), number) for at, value in row["values"] if isfinite(number := float(value))],
        )
        for row in answer["data"]["result"]
    ]


def page_of(dashboard: Mapping[str, Any], answers: Mapping[int, Sequence[Series]], begin: float, end: float) -> str:
    """Return the page; `answers` has the lines of each panel by its id."""
    drawn = [_drawn(panel, answers.get(panel["id"], ()), begin, end) for panel in dashboard["panels"]]
    return f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style><body>{"".join(drawn)}</body>'


def size_of(dashboard: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height of the page in pixels."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    return _COLUMNS * _CELL_WIDTH, bottom * _CELL_HEIGHT


def _drawn(panel: Panel, lines: Sequence[Series], begin: float, end: float) -> str:
    place = panel["gridPos"]
    width, height = place["w"] * _CELL_WIDTH - _GAP, place["h"] * _CELL_HEIGHT - _GAP
    left, top = place["x"] * _CELL_WIDTH + _GAP // 2, place["y"] * _CELL_HEIGHT + _GAP // 2
    box = f"left:{left}px;top:{top}px;width:{width}px;height:{height}px"
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f'<div class="row" style="{box}">⌄ {title}</div>'
    shown = [line for line in lines if line.points]
    unit = unit_of(panel["fieldConfig"]["defaults"]["unit"])
    if not shown:
        body = '<p class="none">No data</p>'
    elif panel["type"] == "stat":
        body = f'<div class="stat">{unit(shown[0].points[-1][1])}</div>'
    else:
        body = _chart(shown, unit, width - 18, height - 56, begin, end) + _legend(shown)
    return f'<div class="panel" style="{box}"><h3>{title}</h3>{body}</div>'


def _chart(
    lines: Sequence[Series], unit: Callable[[float], str], width: int, height: int, begin: float, end: float
) -> str:  # fmt: skip
    top = _nice(max(value for line in lines for _at, value in line.points))
    left, span = 58, max(1.0, end - begin)
    across, down = width - left, height - 24

    def x(at: float) -> float:
        return left + (at - begin) / span * across

    def y(value: float) -> float:
        return 12 + down - value / top * down

    parts = []
    for tick in range(_TICKS + 1):
        value = top * tick / _TICKS
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y(value):.0f}" y2="{y(value):.0f}" stroke="#2a2d33"/>')
        parts.append(f'<text x="{left - 5}" y="{y(value) + 3:.0f}" text-anchor="end">{unit(value)}</text>')
    for tick in range(1, 4):
        at = begin + span * tick / 4
        clock = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
        parts.append(f'<text x="{x(at):.0f}" y="{height + 2}" text-anchor="middle">{clock}</text>')
    for number, line in enumerate(lines):
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line.points)
        color = _COLORS[number % len(_COLORS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.2"/>')
    return f'<svg width="{width}" height="{height + 6}">{"".join(parts)}</svg>'


def _legend(lines: Sequence[Series]) -> str:
    names = [
        f'<span><i style="background:{_COLORS[number % len(_COLORS)]}"></i>{escape(line.legend)}</span>'
        for number, line in enumerate(lines[:_LEGENDS])
    ]
    more = f"<span>and {len(lines) - _LEGENDS} more</span>" if len(lines) > _LEGENDS else ""
    return f'<div class="legend">{"".join(names)}{more}</div>'


def _nice(highest: float) -> float:
    # The end of an axis: 1, 2 or 5 times a power of ten, or 3 times so that three ticks are round.
    if highest <= 0:
        return 1.0
    power = 10 ** floor(log10(highest))
    return float(next(step * power for step in (1.2, 1.5, 3, 6, 9, 12) if step * power >= highest))


def unit_of(name: str) -> Callable[[float], str]:
    """Return how a unit of Grafana is written."""
    return {"s": _seconds, "bytes": _bytes, "percentunit": lambda value: f"{value * 100:.3g}%"}.get(
        name, lambda value: f"{_short(value)}{ {'ops': ' ops/s', 'reqps': ' req/s'}.get(name, '') }"
    )


def _short(value: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "K")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def _seconds(value: float) -> str:
    if value and abs(value) < 1:
        return f"{value * 1000:.3g} ms" if abs(value) >= 0.001 else f"{value * 1e6:.3g} µs"
    return f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min"


def _bytes(value: float) -> str:
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f} B"
