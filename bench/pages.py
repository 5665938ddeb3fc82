"""Puts the table and the plot of a run into docs/, between marks that stand there.

Rule guarded: no figure in the docs is typed by hand; the rest of the page is left alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import hardware, plot, report
from bench.demand import Samples
from bench.rig import ROOT

DOCS = ROOT / "docs"
BEGIN, END = "<!-- table: written by python -m bench --docs -->", "<!-- end of table -->"


def write(facts: Mapping[str, Any], rows: Sequence[report.Row], rounds: Sequence[Samples], docs: Path = DOCS) -> None:
    """Write docs/performance.svg and the table in docs/performance.md."""
    panels = (
        ("CPU microseconds per 1 KB message: ingress + worker + Redis", plot.services(rounds)),
        ("CPU microseconds per delivered message: the process that delivers", plot.deliveries(rounds)),
    )
    (docs / "performance.svg").write_text(plot.svg(panels))
    page = docs / "performance.md"
    where = hardware.sentence(facts).replace("\n", ". ")
    table = (
        f"{facts['date'][:10]}. {where}. `{facts['command']}`\n\n{report.markdown(rows)}\n{report.sink_line(rounds)}"
    )
    page.write_text(replaced(page.read_text(), table))


def replaced(page: str, table: str) -> str:
    """Return `page` with what stands between the marks replaced by `table`."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: {BEGIN} ... {END}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"
