"""The CPU of one message as bars: an SVG made by hand, so that nothing has to be installed for it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from bench.demand import Samples
from bench.report import number

_WIDTH, _LABELS, _BAR, _STEP, _HEAD = 860, 300, 20, 32, 44  # pixels
_ROOM = 130  # for the figure behind the longest bar
_COLOURS = {"ingress": "#4e79a7", "worker": "#f28e2b", "Redis": "#e15759", "": "#9c9c9c"}
_SERVICES = (
    ("service", "this service"),
    ("aiohttp_service", "this service, aiohttp as sender"),
    ("naive_service", "naive service"),
)
_LOOPS = (
    ("pool_loop", "bare loop, own sender"),
    ("pyreqwest_loop", "bare loop, pyreqwest"),
    ("aiohttp_loop", "bare loop, aiohttp"),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label and its parts (name, CPU microseconds)."""

    label: str
    parts: tuple[tuple[str, float], ...]

    @property
    def total(self) -> float:
        return sum(size for _, size in self.parts)


def services(rounds: Sequence[Samples]) -> list[Bar]:
    """Return the bars of the whole services, median over the rounds."""
    keys = (("ingress", "ingress_us"), ("worker", "worker_us"), ("Redis", "redis_us"))
    return [
        Bar(label, tuple((name, _median(rounds, probe, key)) for name, key in keys))
        for probe, label in _SERVICES
        if _measured(rounds, probe)
    ]


def deliveries(rounds: Sequence[Samples]) -> list[Bar]:
    """Return the bars of what delivers: the worker beside loops that do nothing but POST."""
    bars = []
    if _measured(rounds, "service"):
        bars.append(Bar("worker of this service, all it does", (("worker", _median(rounds, "service", "worker_us")),)))
    loops = ((label, probe) for probe, label in _LOOPS if _measured(rounds, probe))
    return bars + [Bar(label, (("", _median(rounds, probe, "us")),)) for label, probe in loops]


def svg(panels: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Draw panels, each (title, bars) with a scale of its own, one below the other."""
    body, top = [], 0
    for title, bars in panels:
        if bars:
            body += _panel(title, bars, top)
            top += _HEAD + _STEP * len(bars) + 12
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 8}" font-family="sans-serif" '
    return "\n".join([f'{head}font-size="13">', '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>", ""])


def _panel(title: str, bars: Sequence[Bar], top: int) -> list[str]:
    scale = (_WIDTH - _LABELS - _ROOM) / max(bar.total for bar in bars)
    lines = [f'<text x="8" y="{top + 26}" font-weight="bold">{escape(title)}</text>']
    for row, bar in enumerate(bars):
        lines += _bar(bar, top + _HEAD + row * _STEP, scale)
    return lines


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    lines = [f'<text x="{_LABELS - 8}" y="{y + 15}" text-anchor="end">{escape(bar.label)}</text>']
    x = float(_LABELS)
    for name, size in bar.parts:
        hint = f"<title>{escape(name or bar.label)}: {number(size)} us</title>"
        shape = f'x="{x:.1f}" y="{y}" width="{size * scale:.1f}" height="{_BAR}" fill="{_COLOURS[name]}"'
        lines.append(f"<rect {shape}>{hint}</rect>")
        x += size * scale
    parts = ", ".join(f"{name} {number(size)}" for name, size in bar.parts if name) if len(bar.parts) > 1 else ""
    lines.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{number(bar.total)} us</text>')
    if parts:
        lines.append(f'<text x="{_LABELS - 8}" y="{y + 28}" text-anchor="end" font-size="9" fill="#555">{parts}</text>')
    return lines


def _measured(rounds: Sequence[Samples], probe: str) -> bool:
    return any(probe in samples for samples in rounds)


def _median(rounds: Sequence[Samples], probe: str, key: str) -> float:
    return median(samples[probe][key] for samples in rounds if probe in samples)
