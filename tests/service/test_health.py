"""Where clients are sent: what is online, and what is chosen of it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import nextafter
from typing import Any, cast

import pytest

from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints, EndpointType, ServiceEndpoint
from service.compat.questions import Answer, Question, Service, ServiceUnavailableError
from service.health import Health, choose
from tests.fakes import FakeClock
from tests.workers.helpers import Lines


def at(name: str, kind: EndpointType = "Primary") -> ServiceEndpoint:
    return ServiceEndpoint(name, ConnectionString.parse(f"Endpoint=https://{name or 'x'}.net;AccessKey=k;"), kind)


ALL = Endpoints.of([at("a"), at("b"), at("c", "Secondary")])


@pytest.mark.parametrize(
    ("online", "expected"), [("abc", "ab"), ("bc", "b"), ("c", "c"), ("", "abc")], ids=lambda text: text or "none"
)
def test_a_client_goes_to_any_online_primary_or_else_to_any_online_secondary(online: str, expected: str) -> None:
    chosen = []
    for number in range(100):
        random = partial(float, number / 100)
        chosen.append(choose(ALL, lambda endpoint: endpoint.name in online, random).name)
    assert set(chosen) == set(expected)
    counts = [chosen.count(name) for name in expected]
    assert max(counts) - min(counts) <= 1


def shares(*weighted: tuple[str, float, EndpointType], online: str) -> dict[str, int]:
    """Return how many of a hundred clients, evenly spread, each endpoint gets."""
    endpoints = Endpoints.of([replace(at(name, kind), weight=weight) for name, weight, kind in weighted])
    counts = Counter(
        choose(endpoints, lambda endpoint: endpoint.name in online, partial(float, number / 100)).name
        for number in range(100)
    )
    return dict(counts)


def test_endpoints_get_clients_in_proportion_to_their_weights() -> None:
    three = [at_weight("a", 3), at_weight("b", 1), at_weight("c", 0.001, "Secondary")]
    assert shares(*three, online="abc") == {"a": 75, "b": 25}
    assert shares(*three, online="bc") == {"b": 100}
    assert shares(*three, online="c") == {"c": 100}
    assert shares(*three, online="")["a"] == 75


def test_an_endpoint_of_weight_zero_gets_clients_only_while_no_other_is_online() -> None:
    drained = [at_weight("a", 0), at_weight("b", 0), at_weight("c", 2, "Secondary"), at_weight("d", 0, "Secondary")]
    assert shares(*drained, online="abcd") == {"c": 100}
    assert shares(*drained, online="abd") == {"a": 50, "b": 50}
    assert shares(*drained, online="d") == {"d": 100}
    assert shares(*drained, online="") == {"c": 100}
    assert shares(*drained[:2], online="") == {"a": 50, "b": 50}


def test_the_largest_random_number_still_chooses_one() -> None:
    for weight in (0.001, 0.1, 1 / 3, 1000.0):
        endpoints = Endpoints.of([replace(at(name), weight=weight) for name in "abcdefg"])
        assert choose(endpoints, lambda _endpoint: True, lambda: nextafter(1.0, 0.0)).name == "g"


def at_weight(name: str, weight: float, kind: EndpointType = "Primary") -> tuple[str, float, EndpointType]:
    return name, weight, kind


class Scripted:
    """A way to an endpoint that answers with these statuses, one after the other; None does not answer."""

    def __init__(self, statuses: Sequence[int | None]) -> None:
        self._statuses = list(statuses)

    async def ask(self, question: Question) -> Answer:
        assert (question.method, question.raw_path, question.signed) == ("HEAD", "/api/health", False)
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if status is None:
            raise ServiceUnavailableError("away")
        return Answer(status, {}, b"")


async def test_an_endpoint_is_offline_from_an_answer_that_is_none_until_one_that_is() -> None:
    clock, lines = FakeClock(), Lines()
    scripts: dict[str, Any] = {"a": Scripted([200]), "b": Scripted([None, 503, 401]), "c": Scripted([204])}
    health = Health(ALL, cast("dict[str, Service]", scripts), clock, lines.log)
    assert all(map(health.is_online, ALL))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(health.run())
        seen = []
        for _ in range(3):
            await clock.advance(0)
            assert health.by_label() == {"a": 1.0, "b": float(health.is_online(ALL.all[1])), "c": 1.0}
            seen.append((health.is_online(ALL.all[1]), health.warning()))
            await clock.advance(10)
        task.cancel()
    waits = "offline: b; what is sent to them waits in the queue"
    assert seen == [(False, waits), (False, waits), (True, "")]
    assert [event for event, _fields in lines.lines] == ["endpoint.offline", "endpoint.online"]


async def test_a_single_endpoint_is_not_asked() -> None:
    health = Health(Endpoints.single(at("").service), {}, FakeClock(), Lines().log)
    await health.run()
    assert health.by_label() is None
