"""python -m tests.simulation: runs seeds from the command line.

`--seeds 100000` runs that many from `--first` on, whatever fails, and prints what they met. `--seed 7 -v` replays one
seed and prints all its events. The exit code is 1 when something was violated.
"""

import argparse
import sys
from time import monotonic

from tests.simulation.campaign import run_plan, run_seeds
from tests.simulation.coverage import table
from tests.simulation.scenes import plan_of


def main() -> int:
    options = _options()
    if options.seed is not None:
        result = run_plan(plan_of(options.seed, options.scene), whole=options.verbose)
        print(result.report or f"seed {options.seed}: nothing violated in {result.calls} calls, {result.digest}")  # noqa: T201 - a command's answer
        return 1 if result.violations else 0
    started, failed, all_coverage = monotonic(), [], []
    for result in run_seeds(range(options.first, options.first + options.seeds), processes=options.processes):
        all_coverage.append(result.coverage)
        if result.violations:
            failed.append(result.seed)
            print(result.report if options.verbose else f"seed {result.seed}: {result.violations[0]}", flush=True)  # noqa: T201 - a command's answer
    print(table(all_coverage))  # noqa: T201 - a command's answer
    print(f"{options.seeds} seeds in {monotonic() - started:.1f} s, {len(failed)} violated: {failed}")  # noqa: T201 - a command's answer
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Deterministic simulation by seed.")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--scene", help="scene to run it in, instead of its own (scenes.py)")
    parser.add_argument("--seeds", type=int, default=2000, help="number of seeds to run (2000)")
    parser.add_argument("--first", type=int, default=0, help="first seed (0)")
    parser.add_argument("--processes", type=int, help="processes (one for each core)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print all events")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
