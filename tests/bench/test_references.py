"""What the bench puts in the place of a part of the product is called as that part is.

Rule guarded: the process with the exchanged sender is started by the bench alone, where nothing but a figure that never
comes tells of a parameter that is missing.
"""

import inspect

import pytest

from bench.references.aiohttp_worker import AiohttpPool
from fanout.http1.pool import Pool

OWN = {"sweep"}  # the timer of the pool itself runs it
MEMBERS = sorted(name for name in vars(Pool).keys() - OWN if not name.startswith("_"))


@pytest.mark.parametrize("name", ["__init__", *MEMBERS])
def test_the_other_sender_has_the_members_of_the_pool(name: str) -> None:
    ours, other = (inspect.getattr_static(pool, name) for pool in (Pool, AiohttpPool))
    assert type(ours) is type(other)
    if inspect.isfunction(ours):
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(other).parameters)
        assert inspect.iscoroutinefunction(ours) is inspect.iscoroutinefunction(other)
