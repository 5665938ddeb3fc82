"""python -m tests.fuzz: runs the properties under a coverage-guided fuzzer, each in a process of its own.

`--seconds 600` is how long for each, names choose among them; `--child NAME` is how it calls itself. What breaks a
property is written to the directory --artifacts (or ./fuzz-artifacts) and makes the exit code 1. It belongs into
FOUND in tests/fuzz/seeds.py then. The fuzzer is atheris; where it cannot be had (no Linux, no CPython it knows) the
seeds are tried by the tests and this command says so and exits with 2.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.dev.parent import dying_with

ROOT = Path(__file__).parents[2]
_MOST_BYTES = 2048  # of one input
_MOST_MEGABYTES = 700  # of the process, which starts with about 150
_MOST_SECONDS = 10  # of one input
_PATIENCE = 60  # seconds for starting and stopping
_DONE = re.compile(r"Done (\d+) runs in")


@dataclass(frozen=True, slots=True)
class Run:
    """One property's run: `runs` inputs were tried, `code` is 0 when all held; `out` is what the fuzzer wrote."""

    name: str
    code: int
    runs: int
    out: str


def fuzz(name: str, seconds: int, *, seed: int = 1, artifacts: Path) -> Run:
    """Run one property for so long. With seconds 0 the seeds alone are tried."""
    artifacts.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--child", name, "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--artifacts", str(artifacts)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        timeout=seconds + _PATIENCE,
    )  # fmt: skip
    out = done.stdout.decode(errors="replace")
    found = _DONE.search(out)
    return Run(name, done.returncode, int(found[1]) if found else 0, out)


def available() -> bool:
    """Whether the fuzzer is installed."""
    return importlib.util.find_spec("atheris") is not None


def main() -> int:
    options = _options()
    if options.child:
        return _in_a_process_of_its_own(options)
    if not available():
        print("The fuzzer, atheris, is not installed: it has no package for this system or this Python.")  # noqa: T201 - a command's answer
        return 2
    from tests.fuzz.seeds import PROPERTIES  # noqa: PLC0415 - a child must instrument it before it is imported

    failed = 0
    for name in options.names or PROPERTIES:
        run = fuzz(name, options.seconds, seed=options.seed, artifacts=options.artifacts)
        failed += run.code != 0
        print(f"{name}: {run.runs} inputs, {'held' if run.code == 0 else 'BROKEN'}", flush=True)  # noqa: T201 - a command's answer
        if run.code:
            print(run.out[-6000:])  # noqa: T201 - a command's answer
    return 1 if failed else 0


def _in_a_process_of_its_own(options: argparse.Namespace) -> int:
    # Linux hands down the peak of memory from who starts a program, and the fuzzer would take that of the tests for its
    # own. A process that is forked and runs no other program begins anew.
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if end_with := dying_with(parent):
        end_with()
    _child(options)
    return 0


def _child(options: argparse.Namespace) -> None:
    import atheris  # noqa: PLC0415 - only here, and not everywhere

    with atheris.instrument_imports(include=["fanout.signalr", "emulator", "tests.fuzz"]):
        from tests.fuzz.planted import PLANTED  # noqa: PLC0415 - a child must instrument it before it is imported
        from tests.fuzz.seeds import FOUND, PROPERTIES, SEEDS, WORDS  # noqa: PLC0415 - a child must instrument it before it is imported
    name = options.child
    known = [*SEEDS.get(name, ()), *(data for of, data in FOUND.values() if of == name and len(data) <= _MOST_BYTES)]
    properties: dict[str, Callable[[bytes], None]] = {**PROPERTIES, **PLANTED}
    with tempfile.TemporaryDirectory(prefix="fanout-fuzz-") as directory:
        arguments = _prepared(Path(directory), known, WORDS.get(name, ()))
        arguments += [f"-seed={options.seed}", f"-max_len={_MOST_BYTES}", f"-rss_limit_mb={_MOST_MEGABYTES}"]
        arguments += [f"-timeout={_MOST_SECONDS}", f"-artifact_prefix={options.artifacts}/{name}-"]
        arguments += [f"-max_total_time={options.seconds}"] if options.seconds else ["-runs=0"]
        atheris.Setup([sys.argv[0], *arguments], properties[name])
        atheris.Fuzz()


def _prepared(directory: Path, known: Sequence[bytes], words: Sequence[bytes]) -> list[str]:
    corpus = directory / "corpus"
    corpus.mkdir()
    for number, data in enumerate(known):
        (corpus / f"seed-{number}").write_bytes(data)
    dictionary = directory / "words"
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in words]
    dictionary.write_text("\n".join([*lines, ""]))
    return [str(corpus), f"-dict={dictionary}"] if words else [str(corpus)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Coverage-guided fuzzing of the parsers.")
    parser.add_argument("names", nargs="*", help="which properties (all)")
    parser.add_argument("--seconds", type=int, default=60, help="how long for each (60)")
    parser.add_argument("--seed", type=int, default=1, help="what chance starts from (1)")
    parser.add_argument(
        "--artifacts", type=Path, default=Path("fuzz-artifacts"), help="where broken inputs are written"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
