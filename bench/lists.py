"""`python -m bench.lists`: what one item for many targets costs beside as many single messages.

Source of the demand: 100,000 targets in one POST make Redis grow by at most 100 bytes and the length of its name for
each target, and by one body for each partition touched, traces off. CPU per target stands beside that of a message.
"""

import asyncio
import json
from collections.abc import Iterator

from bench.command import parser
from bench.messages import MESSAGE, USERS, arguments, batches
from bench.rig import PARTITIONS, Rig
from bench.stacks import BATCH, Sample, Shape, Stack

_TARGETS = 100_000
_ROUNDS = 3
_NAME = len("user-000000")
_SETTINGS = (("FANOUT_TRACE_KEEP", "0"), ("FANOUT_MAX_BYTES", "100000000000"))


async def main(targets: int = _TARGETS, rounds: int = _ROUNDS) -> None:
    """Measure memory once, and CPU `rounds` times in turns; every target was sent to before."""
    print("                 Redis bytes   ingress us   worker us   Redis us   (each per target)")
    async with Rig.open() as rig:
        stack = await Stack.start(rig, Shape("lists-stored", has_worker=False, environ=_SETTINGS))
        bound = 100 + _NAME + PARTITIONS * MESSAGE / targets
        print(f"one list         {await stored(stack, one_list(targets), 1) / targets:>11.1f}   at most {bound:.1f}")
        print(f"single messages  {await stored(stack, singles(targets), BATCH) / targets:>11.1f}", flush=True)
    async with Rig.open() as rig:
        stack = await Stack.start(rig, Shape("lists", users=max(USERS, targets), environ=_SETTINGS))
        for _ in range(rounds):
            row("one list", await stack.flow_of(one_list(targets), targets, 1))
            row("single messages", await stack.flow_of(singles(targets), targets))


def one_list(targets: int) -> Iterator[bytes]:
    """One request: a message of 1 KB to as many users."""
    users = json.dumps([f"user-{number:06}" for number in range(targets)])
    yield f'{{"userIds":{users},"target":"newMessage","arguments":{arguments(0)}}}'.encode()


def singles(targets: int) -> Iterator[bytes]:
    """Return requests of 100 messages of 1 KB, each to another user."""
    return batches(targets, BATCH, users=targets)


async def stored(stack: Stack, bodies: Iterator[bytes], size: int) -> int:
    """Return by how many bytes Redis grows."""
    requests = list(bodies)
    await stack.redis.client.flushall(asynchronous=False)
    before = await stack.redis.memory()
    await stack.post(iter(requests), size)
    return await stack.redis.memory() - before


def row(name: str, sample: Sample) -> None:
    """Print the CPU of one round."""
    figures = "".join(f"{sample[key]:>12.2f}" for key in ("ingress_us", "worker_us", "redis_us"))
    print(f"{name:<28} {figures}", flush=True)


if __name__ == "__main__":
    command = parser("lists", __doc__)
    command.add_argument("targets", nargs="?", type=int, default=_TARGETS, help="of the one list (%(default)s)")
    command.add_argument("rounds", nargs="?", type=int, default=_ROUNDS, help="of the part for CPU (%(default)s)")
    chosen = command.parse_args()
    asyncio.run(main(chosen.targets, chosen.rounds))
