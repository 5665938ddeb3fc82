"""Calls that do not go well: what is repeated, when, and what that does to the others.

Rule guarded: a retry waits in its lane, never sooner than the service asked, and other lanes go on.
"""

import asyncio
import itertools
from urllib.parse import quote

import pytest

from tests.flow.child import Child
from tests.flow.oracle import Call, examine, mark
from tests.flow.stack import Stack
from tests.flow.traffic import batches, message, mixed, sent_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _send(stack: Stack, hub: str, *, count: int = 3, to: str = "alice") -> list[Call]:
    """Send `count` messages to one user and give the calls that it took."""
    items = [message(hub, number, "users", to) for number in range(count)]
    await stack.post(hub, batches(items, count)[0])
    await stack.drained()
    calls = await stack.journal(hub)
    examine(sent_of(items), calls).check()
    return calls


async def test_a_refusal_that_may_pass_is_repeated_until_it_has_passed(stack: Stack, worker: Child, hub: str) -> None:
    """Five users, and for each another answer, twice: too few in a row for a service that is down."""
    statuses = {408: "unavailable", 502: "unavailable", 503: "unavailable", 504: "unavailable", 500: "serverError"}
    await stack.faults(*(_once_in_a_while(status, f"user-{status}/", times=2) for status in statuses))
    items = [message(hub, n, "users", f"user-{status}") for n, status in enumerate([*statuses] * 3)]
    await stack.post(hub, batches(items, 15)[0])
    await stack.drained()
    calls = await stack.journal(hub)
    examine(sent_of(items), calls).check()
    for status in statuses:
        own = [call.status for call in calls if f"user-{status}/" in call.target]
        assert own == [status] * 2 + [202] * 3
    metrics = await worker.metrics()
    failures = {fault: metrics[f'fanout_failed_attempts_total{{failure="{fault}"}}'] for fault in statuses.values()}
    assert failures == {"unavailable": 8, "serverError": 2}
    assert metrics["fanout_retries_total"] == 10


def _once_in_a_while(status: int, path: str, *, times: int) -> dict[str, object]:
    return {"kind": "status", "status": status, "times": times, "match": {"path": path}}


async def test_retry_after_is_waited_for_by_every_worker_and_burns_no_attempt(stack: Stack, hub: str) -> None:
    """One call is refused for two seconds; once that has gone round, neither of two workers sends any of its class.

    Each of the many users would be another lane, so it is no lane that waits here but the pace that all share.
    """
    workers = await stack.add_workers(2, retry_base=0.001, retry_cap=0.001)
    await stack.shared_as(8, 8)
    await stack.faults({"kind": "status", "status": 429, "retryAfter": 2, "times": 1})
    (first,) = batches([message(hub, 0, "users", "user 0")], 1)
    await stack.post(hub, first)
    await stack.arrived(hub, 1)
    await asyncio.sleep(0.5)  # the rumour has gone round
    items = [message(hub, n, "users", f"user {n}") for n in range(1, 4)]
    everybody = message(hub, 4, "", "")
    await stack.post(hub, batches([*items, everybody], 4)[0])
    await stack.drained()
    calls = await stack.journal(hub)
    examine(sent_of([message(hub, 0, "users", "user 0"), *items, everybody]), calls).check()
    refused, to_everybody, *later = calls
    assert (refused.status, to_everybody.mark) == (429, mark(4))  # another class goes on
    assert to_everybody.arrived - refused.arrived < 1.9
    assert min(call.arrived for call in later) - refused.arrived >= 2.0
    metrics = [await worker.metrics() for worker in workers]
    assert sum(each['fanout_failed_attempts_total{failure="throttled"}'] for each in metrics) == 1
    assert sum(each["fanout_retries_total"] for each in metrics) == 0


async def test_without_retry_after_a_refusal_slows_down_and_does_not_stop(stack: Stack, hub: str) -> None:
    """Of a service that took nothing before it is not known what it takes, so the pace begins at its lowest."""
    await stack.add_worker(retry_base=0.01, retry_cap=0.05)
    await stack.faults({"kind": "status", "status": 429, "times": 1})
    calls = await _send(stack, hub)
    assert [call.status for call in calls] == [429, 202, 202, 202]
    assert max(after.arrived - before.arrived for before, after in itertools.pairwise(calls)) < 3.0


async def test_a_connection_that_breaks_after_the_request_is_an_unknown_outcome_and_repeated(
    stack: Stack, worker: Child, hub: str
) -> None:
    """At least once is the default: where the service had done it, it is done twice, and nothing else is."""
    await stack.faults(
        {"kind": "resetAfterBody", "deliver": True, "times": 2, "match": {"path": "users/done"}},
        {"kind": "resetAfterBody", "times": 2, "match": {"path": "users/undone"}},
    )
    items = [message(hub, number, "users", to) for number, to in enumerate(["done", "undone"] * 5)]
    await stack.post(hub, batches(items, 10)[0])
    await stack.drained()
    found = examine(sent_of(items), await stack.journal(hub))
    found.check(most_duplicates=2)
    assert {n: found.repeats[mark(n)] for n in range(10) if found.repeats[mark(n)]} == {0: 2}


async def test_a_connection_that_breaks_before_the_body_was_read_loses_nothing(
    stack: Stack, worker: Child, hub: str
) -> None:
    await stack.faults({"kind": "resetBeforeBody", "every": 3, "times": 5})
    items = mixed(hub, 60, seed=5, lanes=3)
    await stack.post(hub, batches(items, 60)[0])
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_a_call_over_the_attempt_timeout_is_given_up_and_repeated(stack: Stack, hub: str) -> None:
    worker = await stack.add_worker(attempt_timeout=0.3)
    await stack.faults({"kind": "latency", "seconds": 60, "times": 1})  # longer than the test waits for the queue
    items = [message(hub, number, "users", "alice") for number in range(3)]
    await stack.post(hub, batches(items, 3)[0])
    await stack.drained()
    calls = await stack.journal(hub)
    assert (await worker.metrics())['fanout_failed_attempts_total{failure="maybeSent"}'] == 1
    assert [call.status for call in calls] == [None, 202, 202, 202]
    examine(sent_of(items), calls).check()


async def test_a_message_that_is_refused_for_good_is_parked_and_the_next_one_goes(
    stack: Stack, worker: Child, hub: str
) -> None:
    reasons = {400: "refused", 413: "tooLarge"}
    await stack.faults(*(_once_in_a_while(status, f"user-{status}/", times=1) for status in reasons))
    items = [message(hub, n, "users", f"user-{status}") for n, status in enumerate([*reasons] * 2)]
    await stack.post(hub, batches(items, 4)[0])
    await stack.drained()
    refused = {mark(n) for n in range(2)}
    examine(sent_of(items[2:]), [call for call in await stack.journal(hub) if call.mark not in refused]).check()
    letters = await stack.dead_letters()
    assert {letter.cause.status: letter.cause.reason for letter in letters} == reasons
    assert [letter.cause.attempts for letter in letters] == [1] * 2
    assert all(any(mark(n).encode() in letter.entry.data for letter in letters) for n in range(2))
    metrics = await worker.metrics()
    assert [metrics[f'fanout_dead_total{{reason="{reason}"}}'] for reason in reasons.values()] == [1] * 2


async def test_at_most_once_parks_what_may_have_been_delivered(stack: Stack, hub: str) -> None:
    """With FANOUT_OUTCOME_UNKNOWN=dead a message is never sent again once its outcome is unknown; an action is."""
    await stack.add_worker(outcome_unknown="dead", attempt_timeout=0.3)
    rules = {
        "answered 500": {"kind": "statusAfterDelivery", "status": 500},
        "cut": {"kind": "resetAfterBody", "deliver": True},
        "late": {"kind": "latency", "seconds": 1.0},
        "action": {"kind": "statusAfterDelivery", "status": 500},
    }
    await stack.faults(*({**rule, "times": 1, "match": {"path": quote(user)}} for user, rule in rules.items()))
    users = [*rules][:3]
    items = [message(hub, number, "users", user) for number, user in enumerate(users * 2)]
    await stack.post(hub, batches(items, 6)[0])
    await stack.post(hub, {"userId": "action", "groupName": "g", "action": "add"})
    await stack.drained()
    calls = await stack.journal(hub)
    for number, user in enumerate(users):
        own = [call.mark for call in calls if quote(user) in call.target]
        assert len(own) == 2
        assert own[1] == mark(number + 3)
    assert [call.status for call in calls if call.method == "PUT"] == [500, 200]
    letters = await stack.dead_letters()
    assert {letter.cause.reason for letter in letters} == {"outcomeUnknown"}
    assert sorted(number for number in range(6) for each in letters if mark(number).encode() in each.entry.data) == [
        0,
        1,
        2,
    ]


async def test_what_is_too_old_to_be_repeated_is_parked(stack: Stack, hub: str) -> None:
    await stack.add_worker(retry_max_age=1)
    await stack.faults({"kind": "status", "status": 503})
    await stack.post(hub, batches([message(hub, 1, "users", "alice")], 1)[0])
    await stack.drained()
    (letter,) = await stack.dead_letters()
    assert (letter.cause.reason, letter.cause.status) == ("tooOld", 503)
    assert letter.cause.attempts > 2


async def test_a_message_whose_time_is_over_is_dropped_and_counted_not_sent_late(
    stack: Stack, worker: Child, hub: str
) -> None:
    await stack.faults({"kind": "status", "status": 503, "match": {"path": "users/alice"}, "times": 6})
    short = [message(hub, n, "users", "alice", extra=',"ttlSeconds":0.3') for n in range(5)]
    last = message(hub, 5, "users", "alice")
    await stack.post(hub, batches([*short, last], 6)[0])
    await stack.drained()
    delivered = [call.mark for call in await stack.journal(hub) if call.delivered]
    expired = (await worker.metrics())["fanout_expired_total"]
    assert delivered[-1] == mark(5)
    assert len(delivered) + expired == 6
    assert await stack.dead_letters() == []
