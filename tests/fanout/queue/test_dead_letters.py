"""Dead letters on every kind of server this machine has."""

import pytest

from fanout.clock import SystemClock
from fanout.errors import LeaseLostError
from fanout.queue import keys
from fanout.queue.dead_letters import DeadLetters, Verdict
from fanout.queue.entry import Stored
from fanout.queue.leases import Leases
from fanout.queue.wire import Wire

VERDICT = Verdict(reason="refused", status=400, attempts=1, detail="bad")


async def a_stored(wire: Wire) -> Stored:
    return Stored(await wire.ask("XADD", keys.stream(0), "*", "e", b"\x00bytes"), b"\x00bytes")


async def test_parking_moves_the_entry_with_its_reason(wire: Wire) -> None:
    entry = await a_stored(wire)
    [lease] = await Leases(wire, SystemClock(), worker="w", lifetime=60).acquire([0])
    letters = DeadLetters(wire)
    await letters.park(0, lease.token, entry, VERDICT)
    await letters.park(0, lease.token, entry, VERDICT)  # a repeat after a lost answer parks nothing twice
    [letter] = await letters.oldest(0)
    assert (letter.entry, letter.verdict) == (entry, VERDICT)
    assert await wire.ask("XLEN", keys.stream(0)) == 0


async def test_parking_is_fenced_by_the_lease(wire: Wire) -> None:
    entry = await a_stored(wire)
    with pytest.raises(LeaseLostError):
        await DeadLetters(wire).park(0, "w:1", entry, VERDICT)
    assert await wire.ask("XLEN", keys.stream(0)) == 1
    assert await wire.ask("XLEN", keys.dead(0)) == 0


async def test_parking_works_when_the_store_is_full(wire: Wire) -> None:
    entry = await a_stored(wire)
    [lease] = await Leases(wire, SystemClock(), worker="w", lifetime=60).acquire([0])
    await wire.each("CONFIG", "SET", "maxmemory", "1")
    await DeadLetters(wire).park(0, lease.token, entry, VERDICT)
    assert await wire.ask("XLEN", keys.dead(0)) == 1
