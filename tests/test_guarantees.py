"""What the pages under docs/ name exists: tests that prove a promise, metrics in the manual.

Rule guarded: a promise without a test that can be run is no promise, so each has one and none is only a name.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from fanout.metrics import Metrics
from tests.documents import METRICS

ROOT = Path(__file__).parent.parent
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()
HARD_INPUTS = GUARANTEES.split("\n## Inputs that are hard on delivery\n", 1)[1].split("\n## ", 1)[0]
OPERATING = (ROOT / "docs" / "operating.md").read_text()
PROOFS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", GUARANTEES)))


def promises() -> Sequence[str]:
    """Return each promise with the proofs under it."""
    promised = GUARANTEES.split("\n## Promised\n", 1)[1].split("\n## ", 1)[0]
    return re.split(r"\n(?=- )", promised)[1:]


@cache
def names_in(path: str) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)\(", (ROOT / path).read_text(), re.MULTILINE))


@pytest.mark.parametrize(("path", "name"), PROOFS)
def test_every_proof_is_a_test(path: str, name: str) -> None:
    assert name in names_in(path)


@pytest.mark.parametrize("promise", promises(), ids=lambda text: " ".join(text.split()[1:6]))
def test_every_promise_has_a_proof(promise: str) -> None:
    assert re.search(r"^  - `tests/[\w/]+\.py::test_\w+`", promise, re.MULTILINE), promise


def test_every_hard_input_stands_under_its_number_with_a_proof() -> None:
    rows = re.findall(r"^\| (\d+b?) \| .+ \| (.+) \|$", HARD_INPUTS, re.MULTILINE)
    assert sorted(number for number, _ in rows) == sorted([*map(str, range(1, 19)), "8b"])
    for number, proofs in rows:
        for proof in proofs.split(", "):
            assert is_test(proof) or is_benchmark(proof), f"{number}: {proof}"


def is_test(proof: str) -> bool:
    found = re.fullmatch(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
    return found is not None and found[2] in names_in(found[1])


def is_benchmark(proof: str) -> bool:
    if re.fullmatch(r"R\d+", proof):
        return any(f'"{proof}"' in file.read_text() for file in (ROOT / "bench" / "demands").glob("*.py"))
    found = re.fullmatch(r"`bench\.(\w+)`", proof)
    return found is not None and (ROOT / "bench" / f"{found[1]}.py").exists()


def test_every_metric_is_explained_and_none_that_does_not_exist() -> None:
    defined = {definition.exported_name for definition in Metrics().definitions}
    named = {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"\bfanout_[a-z_]+[a-z]\b", OPERATING)}
    assert named - defined == set()
    assert set(re.findall(r"^\| `(fanout_\w+)`", METRICS.read_text(), re.MULTILINE)) == defined
