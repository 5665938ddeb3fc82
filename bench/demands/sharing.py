"""P: two ingress and two worker processes on one Redis, which know nothing of each other but the leases.

Half of the callers post to each ingress. What arrives must be what was sent, each message once. Rates say how many
cores the machine has to spare; the CPU a message costs all workers together, and how evenly they share it, do not.
"""

import asyncio

from bench.demand import Bench, Demand, read
from bench.load import post_all
from bench.messages import PATH, batches
from bench.rig import PARTITIONS, BenchError, Child, free_port
from bench.stacks import BATCH, Sample, Shape, Stack, start_ingress, start_worker
from fanout.queue.keys import KEYS

ONE, TWO = Shape("one-of-each"), Shape("two-of-each")
_SHARED_WITHIN = 20.0
_EACH = 4  # callers of each ingress


async def one_of_each(bench: Bench) -> Sample:
    """One ingress, one worker."""
    stack = await bench.stack(ONE)
    return await _flow(stack, [stack.port, stack.port], [_worker(stack)], bench.scale.count(20_000))


async def two_of_each(bench: Bench) -> Sample:
    """Two of each."""
    stack = await bench.stack(TWO)
    port, worker = await bench.keep("second-of-each", lambda: _seconds(bench, stack))
    return await _flow(stack, [stack.port, port], [_worker(stack), worker], bench.scale.count(20_000))


def _worker(stack: Stack) -> Child:
    if stack.worker is None:
        raise BenchError(f"{stack.shape.name} has no worker")
    return stack.worker


async def _seconds(bench: Bench, stack: Stack) -> tuple[int, Child]:
    port = free_port()
    await start_ingress(bench.rig, TWO, stack.sink, stack.redis, port)
    worker = await start_worker(bench.rig, TWO, stack.sink, stack.redis)
    deadline = _now() + _SHARED_WITHIN
    while not await _is_shared(stack):
        if _now() > deadline:
            raise BenchError("the workers do not share the partitions")
        await asyncio.sleep(0.2)
    await stack.flow(bench.scale.count(2_000))  # both have signed and connected
    return port, worker


async def _is_shared(stack: Stack) -> bool:
    leases = await stack.redis.client.mget([KEYS.lease(number) for number in range(PARTITIONS)])
    holders = [bytes(lease).rpartition(b":")[0] for lease in leases if isinstance(lease, bytes)]
    return len(holders) == PARTITIONS and {holders.count(holder) for holder in holders} == {PARTITIONS // 2}


async def _flow(stack: Stack, ports: list[int], workers: list[Child], count: int) -> Sample:
    bodies = list(batches(count, BATCH))
    answered, before, begin = await stack.sink.answered(), [worker.cpu() for worker in workers], _now()
    async with asyncio.TaskGroup() as group:
        arriving = group.create_task(stack.sink.reached(answered + count, _SHARED_WITHIN * 10))
        for number, port in enumerate(ports):
            group.create_task(post_all(port, PATH, iter(bodies[number :: len(ports)]), connections=_EACH))
    await stack.settled()
    if await stack.sink.answered() != answered + count:
        raise BenchError(f"{stack.shape.name}: {count} messages made {await stack.sink.answered() - answered} calls")
    used = sorted(worker.cpu() - cpu for worker, cpu in zip(workers, before, strict=True))
    wall = arriving.result() - begin
    return {"rate": count / wall, "worker_us": sum(used) * 1e6 / count, "most": used[-1], "least": used[0]}


def _now() -> float:
    return asyncio.get_running_loop().time()


DEMANDS = (
    Demand(
        "P", "messages/s, two ingress and two worker processes / one of each", None, (two_of_each, one_of_each),
        read(two_of_each, "rate"), read(one_of_each, "rate"), unit="/s",
    ),
    Demand(
        "P", "CPU per message of two workers together / of one alone", None, (two_of_each, one_of_each),
        read(two_of_each, "worker_us"), read(one_of_each, "worker_us"),
    ),
    Demand(
        "P", "CPU of the busier of two workers / of the other", None, (two_of_each,),
        read(two_of_each, "most", 1000.0), read(two_of_each, "least", 1000.0), unit="ms",
    ),
)  # fmt: skip
