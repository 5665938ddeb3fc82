"""R10: what the token of a message costs once its destination is known, beside signing one."""

from bench.demand import Bench, Demand, read
from bench.stacks import Sample


async def token_cost(bench: Bench) -> Sample:
    """Time a lookup in the product's cache, and one PyJWT encode."""
    sample: dict[str, float] = await bench.rig.result("bench.references.token_cost")
    return sample


DEMANDS = (
    Demand(
        "R10", "token CPU per message, warm / one PyJWT encode", 0.1, (token_cost,),
        read(token_cost, "cached_us"), read(token_cost, "pyjwt_us"), prototype="0.015",
    ),
)  # fmt: skip
