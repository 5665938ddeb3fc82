"""How tests wait: for something to become true, with a deadline that says what did not.

Rule guarded: no test sleeps and hopes. A wait ends as soon as its condition holds, and a deadline that passes is a
failure with words, not a hang.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOK_EVERY = 0.02


async def until(condition: Callable[[], Awaitable[object]], *, within: float, what: str) -> None:
    """Return as soon as `condition` gives something true; AssertionError naming `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(_LOOK_EVERY)
