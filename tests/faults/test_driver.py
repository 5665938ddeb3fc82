"""A producer does what callers are told to: the same batch under the same key until a 202, and only then the next."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import orjson
import pytest

from tests.faults.driver import BATCH, NO_ANSWER, Flow, Producer, flowing, traffic_of

Answer = httpx.Response | None
ITEMS = traffic_of("h", seed=1)


@dataclass
class Front:
    """An ingress made of answers: each request is answered by the next, None breaks it; later ones are taken."""

    answers: list[Answer]
    requests: list[tuple[str, bytes]]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.headers["idempotency-key"], request.content))
        answer = self.answers.pop(0) if self.answers else taken()
        if answer is None:
            raise httpx.ReadError("broken", request=request)
        return answer


def taken(status: str = "accepted") -> httpx.Response:
    results = [{"index": n, "status": status, "messageId": f"m{n}"} for n in range(BATCH)]
    return httpx.Response(202, content=orjson.dumps({"results": results}))


def refused(status: int = 503, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers or {"Retry-After": "1"}, text="no")


@asynccontextmanager
async def at_work(*answers: Answer) -> AsyncIterator[tuple[Flow, Front]]:
    front = Front(list(answers), [])
    async with httpx.AsyncClient(transport=httpx.MockTransport(front)) as http:
        producer = Producer("h", ITEMS, http, lambda: "http://front")
        async with flowing([producer]) as flow:
            await flow.goes_on(2 * BATCH)
            yield flow, front


async def test_batches_go_one_by_one_each_under_a_key_of_its_own() -> None:
    async with at_work() as (flow, front):
        pass
    assert [key for key, _body in front.requests][:2] == ["h-0", "h-1"]
    for number, (_key, body) in enumerate(front.requests):
        own = ITEMS[number * BATCH : (number + 1) * BATCH]
        assert all(item.text.encode() in body for item in own)
    assert flow.producers[0].accepted == ITEMS[: flow.accepted]
    assert flow.producers[0].marks["m0"]
    assert set(flow.answers) == {202}


@pytest.mark.parametrize(("answer", "counted"), [(lambda: None, NO_ANSWER), (refused, 503)])
async def test_what_was_not_taken_is_posted_again_as_it_was(answer: Callable[[], Answer], counted: int) -> None:
    async with at_work(answer(), answer(), taken("duplicate")) as (flow, front):
        pass
    first, second, third, fourth = front.requests[:4]
    assert first == second == third
    assert fourth[0] == "h-1"
    assert flow.answers[counted] == 2


@pytest.mark.parametrize("answer", [refused(500), refused(422), refused(503, Nothing="x"), taken("rejected")])
async def test_no_other_answer_is_proper(answer: httpx.Response) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with at_work(answer):
            pass
    assert caught.group_contains((AssertionError, KeyError))


async def test_a_producer_that_is_never_answered_202_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.driver._ENDS_WITHIN", 0.1)
    with pytest.raises(ExceptionGroup) as caught:
        async with at_work(taken(), taken(), *[refused() for _ in range(100)]):
            await asyncio.sleep(0.2)
    assert caught.group_contains(AssertionError, match="not answered 202")


def test_some_of_the_traffic_may_expire_when_asked_for() -> None:
    hasty = [item for item in traffic_of("h", seed=1, ttl=1.5) if '"ttlSeconds":1.5' in item.text]
    assert len(hasty) > 300
    assert not [item for item in ITEMS if '"ttlSeconds":1.5' in item.text]
