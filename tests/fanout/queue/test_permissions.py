"""The list of commands that an account needs is complete."""

import ast
from pathlib import Path

import fanout.queue
from fanout.queue.permissions import commands
from fanout.redis.durability import Durability
from tests.documents import ROOT

ROOM = Path(fanout.queue.__file__).parent
WITHIN = {"STREAMS"}  # begins a list of arguments inside a command


def sent_directly() -> set[str]:
    """Return the first words of what the queue sends without a script: literals in capitals that begin a command."""
    found: set[str] = set()
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            words: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                words = node.args if node.func.attr in {"ask", "ask_primaries"} else []
            elif isinstance(node, ast.Tuple | ast.List):
                words = node.elts
            if words and isinstance(words[0], ast.Constant) and str(words[0].value).isupper():
                found.add(str(words[0].value))
    return found


def test_every_command_that_is_sent_is_in_the_list() -> None:
    everything = {
        name.partition("|")[0]
        for aof in (False, True)
        for name in commands(cluster=True, durability=Durability(1, aof=aof, timeout=1.0))
    }
    found = sent_directly()
    assert {"XREAD", "GET", "LRANGE"} <= found, "the search finds nothing"
    assert found - everything - WITHIN == set()


def test_the_documents_show_the_list() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    assert " ".join(f"+{name.lower()}" for name in commands()) in " ".join(text.split())
