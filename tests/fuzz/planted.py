"""A property with a mistake in it, so that the fuzzer itself is checked: no seed and no word leads to it."""

from collections.abc import Callable, Mapping

_WORD = b"spot"


def planted(data: bytes) -> None:
    """Breaks on one word, which only who follows the branches finds in time."""
    for index, byte in enumerate(_WORD):
        if len(data) <= index or data[index] != byte:
            return
    raise AssertionError("planted")


PLANTED: Mapping[str, Callable[[bytes], None]] = {"planted": planted}
