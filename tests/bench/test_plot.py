"""The plot and the page: whole SVG, bars in proportion, nothing else of the page touched."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import pages, plot

ROUNDS = [
    {
        "service": {"ingress_us": 10.0, "worker_us": 30.0, "redis_us": 10.0},
        "naive_service": {"ingress_us": 100.0, "worker_us": 1800.0, "redis_us": 100.0},
        "aiohttp_loop": {"us": 150.0},
    }
]
FACTS = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": "python -m bench",
    "commit": "0123456789abcdef",
    "dirty": False,
    "hardware": {"cores": 2, "cpu": "a CPU", "system": "Linux", "load": (0.5, 0.5, 0.5)},
    "versions": {"python": "3.11", "server": "Redis 7", "sink": "C"},
}


def test_bars_are_in_proportion() -> None:
    root = ET.fromstring(plot.svg([("title", plot.services(ROUNDS))]))
    widths = [float(rect.attrib["width"]) for rect in root.iter() if "height" in rect.attrib and "x" in rect.attrib]
    ours, naive = sum(widths[:3]), sum(widths[3:])
    assert naive / ours == pytest.approx(40, rel=0.02)


def test_what_was_not_measured_has_no_bar() -> None:
    assert [bar.label for bar in plot.services(ROUNDS)] == ["this service", "naive service"]
    assert [bar.total for bar in plot.deliveries(ROUNDS)] == [30.0, 150.0]
    assert plot.services([]) == []


def test_labels_are_escaped() -> None:
    text = plot.svg([("a < b", [plot.Bar("x & y", (("", 1.0),))])])
    assert ET.fromstring(text) is not None


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n")
    pages.write(FACTS, [], ROUNDS, tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "Redis 7" in text
    assert (tmp_path / "performance.svg").read_text().startswith("<svg")


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        pages.replaced("nothing here", "table")


def test_the_page_of_this_project_has_the_marks() -> None:
    assert pages.replaced((pages.DOCS / "performance.md").read_text(), "x")
