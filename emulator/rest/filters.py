"""The `filter` of `:execute`: who the commands are for. Pure.

Source: contract 2.4: the published example is `startswith(userId, 'listener-')`; `userId eq '...'` and no filter at
all (everybody) are its neighbours. Other properties and operators are documented nowhere, so they are refused with 400
instead of guessed.
"""

import re
from collections.abc import Callable

from emulator.client import Client
from emulator.refusal import invalid

Filter = Callable[[Client], bool]
_TEXT = r"'((?:[^']|'')*)'"
_STARTS = re.compile(rf"\s*startswith\(\s*userId\s*,\s*{_TEXT}\s*\)\s*", re.DOTALL)
_EQUALS = re.compile(rf"\s*userId\s+eq\s+{_TEXT}\s*", re.DOTALL)


def filter_of(text: str) -> Filter:
    """Read a filter; in its strings `''` stands for one quote. Raises a 400 for what is not understood."""
    if not text:
        return _everybody
    starts = _STARTS.fullmatch(text)
    if starts is not None:
        prefix = starts[1].replace("''", "'")
        return lambda client: client.user_id is not None and client.user_id.startswith(prefix)
    equals = _EQUALS.fullmatch(text)
    if equals is not None:
        user = equals[1].replace("''", "'")
        return lambda client: client.user_id == user
    raise invalid("The filter is not understood: startswith(userId,'...') and userId eq '...' are.", "filter")


def _everybody(_client: Client) -> bool:
    return True
