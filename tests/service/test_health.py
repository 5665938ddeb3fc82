"""Where clients are sent: what is online, and what is chosen of it."""

import asyncio
from collections.abc import Sequence
from functools import partial
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
