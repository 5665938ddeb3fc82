"""Every kind of fault happens to the calls that its rule matches, and to no others."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from emulator.control.faults import FaultRule, Faults, parse_rules
from tests.emulator.running import Service, until
from tests.fakes import FakeClock


async def test_a_status_is_answered_instead_of_delivering(service: Service) -> None:
    service.emulator.faults.set([{"kind": "status", "status": 503, "times": 2}])
    async with service.client() as client:
        statuses = [(await service.send(body=f'{{"target":"m{number}"}}')).status_code for number in range(3)]
        assert statuses == [503, 503, 202]
        assert '"m2"' in await client.receive()
    assert [entry.delivered for entry in service.emulator.journal.entries()] == [False, False, True]


async def test_a_status_after_delivery_hides_that_the_send_took_effect(service: Service) -> None:
    service.emulator.faults.set([{"kind": "statusAfterDelivery", "status": 500, "times": 1}])
    async with service.client() as client:
        assert (await service.send()).status_code == 500
        assert '"m"' in await client.receive()
    (entry,) = service.emulator.journal.entries()
    assert (entry.status, entry.delivered, entry.fault) == (500, True, "statusAfterDelivery")


@pytest.mark.parametrize(
    ("retry_after", "header"), [(None, None), (2, "2"), (0.5, "0.5"), ("Wed, 21 Oct", "Wed, 21 Oct")]
)
async def test_429_comes_with_or_without_retry_after(
    service: Service, retry_after: float | str | None, header: str | None
) -> None:
    rule: dict[str, Any] = {"kind": "status", "status": 429}
    if retry_after is not None:
        rule["retryAfter"] = retry_after
    service.emulator.faults.set([rule])
    answer = await service.send()
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, header)


async def test_an_injected_401_carries_a_challenge(service: Service) -> None:
    service.emulator.faults.set([{"kind": "status", "status": 401}])
    assert "invalid_token" in (await service.send()).headers["www-authenticate"]


@pytest.mark.parametrize("kind", ["resetBeforeBody", "resetAfterBody"])
async def test_a_reset_is_a_reset_and_delivers_nothing(service: Service, kind: str) -> None:
    service.emulator.faults.set([{"kind": kind, "times": 1}])
    with pytest.raises((httpx.ReadError, httpx.WriteError)):
        await service.send()
    assert (await service.send()).status_code == 202
    first, second = service.emulator.journal.entries()
    assert (first.status, first.delivered, first.fault) == (None, False, kind)
    assert first.body == (b"" if kind == "resetBeforeBody" else b'{"target":"m"}')
    assert second.connection != first.connection


async def test_a_reset_before_the_body_happens_while_the_caller_still_writes(service: Service) -> None:
    service.emulator.faults.set([{"kind": "resetBeforeBody"}])
    reader, writer = await asyncio.open_connection("localhost", service.port)
    writer.write(b"POST /api/hubs/chat/:send?api-version=2022-06-01 HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_reset_after_the_body_may_have_delivered(service: Service) -> None:
    service.emulator.faults.set([{"kind": "resetAfterBody", "deliver": True}])
    async with service.client() as client:
        with pytest.raises(httpx.ReadError):
            await service.send()
        assert '"m"' in await client.receive()
    assert service.emulator.journal.entries()[0].delivered


async def test_latency_delays_and_then_delivers(timed: Service, clock: FakeClock) -> None:
    timed.emulator.faults.set([{"kind": "latency", "seconds": 5}, {"kind": "latency", "seconds": 2}])
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(timed.send())
        await until(lambda: timed.emulator.journal.in_flight)
        await clock.advance(6.9)
        assert not call.done()
        await clock.advance(0.2)
        assert (await call).status_code == 202
    (entry,) = timed.emulator.journal.entries()
    assert entry.answered is not None
    assert entry.answered - entry.monotonic == pytest.approx(7, abs=0.2)
    assert entry.fault == "latency"


async def test_a_rule_is_for_the_calls_it_matches(service: Service) -> None:
    match = {"method": "post", "path": "/users/a%2Fb/"}
    service.emulator.faults.set([{"kind": "status", "status": 500, "match": match}])
    assert (await service.send("users/a%2Fb/:send")).status_code == 500
    assert (await service.send("users/a/:send")).status_code == 202
    assert await service.status("HEAD", "users/a%2Fb/groups/g") == 404


async def test_a_quota_answers_429_past_it_and_recovers_with_the_next_second(timed: Service, clock: FakeClock) -> None:
    timed.emulator.quota.set(2, 1)
    answers = [await timed.send() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert (await timed.http.head(timed.base + "/api/health")).status_code == 200
    assert await timed.status("HEAD", "groups/health") == 429
    clock.jump(1)
    assert (await timed.send()).status_code == 202
    assert [entry.fault for entry in timed.emulator.journal.entries()] == [None, None, "quota", None, "quota", None]


def hits(rule: dict[str, Any], calls: int) -> list[int]:
    """Return the numbers of the calls, counted from 1, that a rule applies to."""
    faults = Faults()
    faults.set([rule])
    return [number for number in range(1, calls + 1) if faults.decide("POST", "/x").rule is not None]


def test_which_calls_a_rule_applies_to() -> None:
    status = {"kind": "status", "status": 500}
    assert hits(status, 3) == [1, 2, 3]
    assert hits({**status, "times": 2}, 5) == [1, 2]
    assert hits({**status, "every": 3}, 9) == [3, 6, 9]
    assert hits({**status, "every": 2, "times": 2}, 9) == [2, 4]
    assert hits({**status, "probability": 0}, 20) == []
    assert hits({**status, "probability": 1}, 3) == [1, 2, 3]


def test_a_probability_is_repeatable_by_its_seed() -> None:
    rule = {"kind": "status", "status": 500, "probability": 0.3, "seed": 7}
    first = hits(rule, 1000)
    assert first == hits(rule, 1000)
    assert first != hits({**rule, "seed": 8}, 1000)
    assert 250 < len(first) < 350


def test_the_first_rule_that_applies_decides_and_latencies_add_up() -> None:
    faults = Faults()
    faults.set([
        {"kind": "latency", "seconds": 1.5},
        {"kind": "status", "status": 429, "times": 1},
        {"kind": "status", "status": 500},
    ])  # fmt: skip
    verdicts = [faults.decide("POST", "/x") for _ in range(2)]
    assert [(v.latency, v.rule.status if v.rule else 0) for v in verdicts] == [(1.5, 429), (1.5, 500)]
    faults.clear()
    assert faults.decide("POST", "/x").name is None


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (b"{}", "array"),
        (b'[{"kind":"explode"}]', "explode"),
        (b'[{"kind":"status"}]', "status"),
        (b'[{"kind":"status","status":99}]', "200"),
        (b'[{"kind":"latency"}]', "seconds"),
        (b'[{"kind":"status","status":500,"time":1}]', "time"),
        (b'[{"kind":"status","status":500,"match":{"paht":"x"}}]', "paht"),
        (b'[{"kind":"status","status":500,"match":{"path":"("}}]', "regular expression"),
        (b'[{"kind":"status","status":500,"probability":2}]', "probability"),
        (b'[{"kind":"status","status":500,"times":-1}]', "times"),
        (b"nonsense", "JSON"),
    ],
)
def test_an_invalid_rule_is_refused(rules: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_rules(rules)


def test_rules_may_be_given_as_values() -> None:
    (rule,) = parse_rules(msgspec.json.encode([{"kind": "status", "status": 503, "retryAfter": 1}]))
    assert rule == FaultRule("status", status=503, retry_after=1)
