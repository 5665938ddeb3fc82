"""`python -m bench.coalescing`: 10,000 messages to one user at 20 ms a call, with and without `:execute`.

Source of the demand: at least fifty times fewer calls with it, and nothing lost or reordered.
"""

import asyncio
import time

from bench.command import parser
from bench.far_side import far_side
from bench.rig import Rig

_MESSAGES = 10_000
_LATENCY = 0.02


async def main(messages: int = _MESSAGES) -> None:
    """Run both ways and print them side by side."""
    print("                  calls   seconds   messages/call")
    single = await run("one by one", messages, execute="false")
    joined = await run("with :execute", messages, execute="true")
    print(f"{single / joined:.1f} times fewer calls")


async def run(name: str, messages: int, *, execute: str) -> int:
    """Deliver all of them and give how many calls that took."""
    async with Rig.open() as rig, far_side(rig, workers=1, FANOUT_EXECUTE=execute) as far:
        await far.latency(_LATENCY)
        begin = time.monotonic()
        for start in range(0, messages, 2000):
            items = [
                {"userId": "one", "target": "t", "arguments": [n]} for n in range(start, min(messages, start + 2000))
            ]
            await far.post("joined", items)
        while await far.redis.waiting():
            far.workers[0].check()
            await asyncio.sleep(0.1)
        took, calls = time.monotonic() - begin, [call for call in await far.journal() if "/hubs/" in call["path"]]
    bodies = "".join(call["body"] for call in calls)
    order = [int(part.partition("]")[0]) for part in bodies.split('"arguments":[')[1:]]
    if order != list(range(messages)):
        raise SystemExit(f"{name}: not every message arrived once and in order")
    print(f"{name:<16} {len(calls):>6} {took:>9.1f} {messages / len(calls):>15.1f}", flush=True)
    return len(calls)


if __name__ == "__main__":
    command = parser("coalescing", __doc__)
    command.add_argument("messages", nargs="?", type=int, default=_MESSAGES, help="to one user (%(default)s)")
    asyncio.run(main(command.parse_args().messages))
