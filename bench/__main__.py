"""The command: `python -m bench [--quick] [--only R1,R3] [--json out]`.

Rule guarded: rounds are interleaved: every probe runs once before any runs again, so that what the machine does to one
round it does to all of it. No figure makes the command fail; only what could not be measured does, and then what was
measured until then is still shown.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import uvloop

from bench import hardware, pages, report
from bench.demand import FULL, QUICK, Bench, Demand, Probe, Samples, Scale, chosen, name_of, scaled
from bench.demands import ALL
from bench.rig import BenchError, Rig, server_binary
from bench.stacks import Sample


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds, fewer messages, no backlog of a million: three minutes.")
@click.option("--only", default="", help="Only these demands, e.g. R1,R3.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write everything measured to this file.")
@click.option(
    "--compare", type=click.Path(path_type=Path, exists=True), help="Warn of what is worse than in this file."
)
@click.option("--docs", is_flag=True, help="Write table and plot into docs/.")
@click.option("--rounds", type=click.IntRange(1), help="Number of rounds.")
@click.option("--backlog", type=click.IntRange(0), help="Messages of R13's backlog.")
def main(*, quick: bool, only: str, out: Path | None, compare: Path | None, docs: bool, **changes: int | None) -> None:
    """Measure the service against its floors and peers, in this run, on this machine, and print the ratios."""
    scale = scaled(QUICK if quick else FULL, **changes)
    try:
        demands = chosen(ALL, only.split(","))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--only") from None
    begin = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            measured, facts = runner.run(_run(demands, scale))
        except asyncio.CancelledError:
            raise click.Abort from None
    rows = report.rows_of(demands, measured)
    found = report.document(rows, measured, facts | {"seconds": round(time.monotonic() - begin)})
    click.echo(f"\n{hardware.sentence(facts)}\n\n{report.table(rows)}\n\n{report.sink_line(measured)}")
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")
    if compare is not None:
        for line in report.warnings(found, json.loads(compare.read_text())):
            click.echo(line)
    if docs:
        pages.write(facts, rows, measured)
    if facts["failure"]:
        raise click.ClickException(f"stopped early: {facts['failure']}")


async def _run(demands: Sequence[Demand], scale: Scale) -> tuple[list[Samples], dict[str, Any]]:
    whole = asyncio.current_task()
    if whole is not None:  # a terminated run cleans up like an interrupted one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, whole.cancel)
    measured: list[Samples] = []
    failure = ""
    async with Rig.open() as rig:
        bench = Bench(rig, scale, server_binary())
        try:
            await _measure(bench, demands, measured)
        except (BenchError, ExceptionGroup) as error:
            failure = _text_of(error)
    facts = hardware.facts(sys.argv[1:], bench.version or "not used", bench.sink_kind or "not used")
    return measured, facts | {"failure": failure}


async def _measure(bench: Bench, demands: Sequence[Demand], measured: list[Samples]) -> None:
    for number in range(bench.scale.rounds):
        samples: dict[str, Sample] = {}
        measured.append(samples)
        for probe in _probes(demand for demand in demands if demand.wanted(number, bench.scale)):
            click.echo(f"\rround {number + 1} of {bench.scale.rounds}: {name_of(probe):<24}", nl=False, err=True)
            samples[name_of(probe)] = await probe(bench)
    click.echo("\r" + " " * 50 + "\r", nl=False, err=True)


def _text_of(error: BenchError | ExceptionGroup[Exception]) -> str:
    if isinstance(error, BenchError):
        return str(error)
    wrong, rest = error.split(BenchError)
    if wrong is None or rest is not None:
        raise error
    first = wrong.exceptions[0]
    return _text_of(first) if isinstance(first, BenchError | ExceptionGroup) else str(first)


def _probes(demands: Iterable[Demand]) -> list[Probe]:
    return list(dict.fromkeys(probe for demand in demands for probe in demand.probes))


if __name__ == "__main__":
    main()
