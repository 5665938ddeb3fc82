"""The command line of a bench that is run by itself: `--help` shows the head of its module."""

import argparse


def parser(name: str, head: str | None) -> argparse.ArgumentParser:
    """Return the parser of `python -m bench.<name>`; `head` is the docstring of its module."""
    _first, _, text = (head or "").partition(": ")
    return argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
