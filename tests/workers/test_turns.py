"""What many tasks take in together in one turn of the event loop."""

import asyncio
from itertools import pairwise

from workers.reader import Turns


async def test_tasks_take_no_more_in_a_turn_than_may_be_and_each_goes_on() -> None:
    turns, taken, seen = Turns(256), [0] * 16, list[int]()

    async def take_in(number: int) -> None:
        for _ in range(20):
            await turns.take(64)
            taken[number] += 64
            await asyncio.sleep(0)

    def turn() -> None:
        seen.append(sum(taken))
        assert max(taken) - min(taken) <= 128
        if seen[-1] < 16 * 20 * 64:
            asyncio.get_running_loop().call_soon(turn)

    asyncio.get_running_loop().call_soon(turn)
    await asyncio.wait_for(asyncio.gather(*map(take_in, range(16))), 5)
    assert max(after - before for before, after in pairwise(seen)) <= 256
    assert repr(turns) == "<Turns of 256, 0 waiting>"


async def test_who_is_cancelled_while_it_waits_holds_up_nobody() -> None:
    turns = Turns(1)
    first, second, third = (asyncio.ensure_future(turns.take(1)) for _ in range(3))
    await asyncio.sleep(0)
    assert (first.done(), repr(turns)) == (True, "<Turns of 1, 2 waiting>")
    second.cancel()
    await asyncio.wait_for(third, 5)
    assert second.cancelled()
