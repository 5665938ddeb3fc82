"""The table of error codes is complete and current."""

import ast
from pathlib import Path

import fanout.binding
from fanout.binding.refusals import ERROR_CODES

ROOM = Path(fanout.binding.__file__).parent


def codes_in_use() -> set[str]:
    """Every string in the room's code that is shaped like a code and is handed to `refuse` or a table of codes."""
    found: set[str] = set()
    for path in ROOM.glob("*.py"):
        if path.name == "refusals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "refuse":
                found |= {
                    n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                }
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ERROR_CODES:
                found.add(node.value)
    return found


def test_each_code_that_is_raised_is_in_the_table_and_the_other_way_round() -> None:
    assert codes_in_use() == set(ERROR_CODES)


def test_codes_are_camel_case_words_with_one_sentence_each() -> None:
    for code, sentence in ERROR_CODES.items():
        assert code.isalnum()
        assert code[0].islower()
        assert sentence.endswith(".")
