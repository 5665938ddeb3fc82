"""Batches are stored and judged item by item, by any caller: nothing here is HTTP."""

from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from fanout.binding.batch import Batch, BatchLimits, ParsedItem, parse_batch
from fanout.clock import SystemClock
from fanout.errors import (
    IdempotencyConflictError,
    OverloadedError,
    QueueError,
    QueueFullError,
    QueueSilentError,
)
from fanout.metrics import Metrics
from fanout.queue.entry import Admission, Receipt, Submission
from fanout.signalr.message import GroupAction, Message
from service.http.request import ByteBudget
from service.ingress.intake import Intake
from service.ingress.outcome import (
    BatchOptions,
    ItemOutcome,
    Mixed,
    Refused,
    Stored,
    outcome_of,
    rejected_of,
    stored_ids,
    submissions_of,
)
from tests.builders import a_message
from tests.service.memory_queue import MemoryQueue

A, D, C, F, U = Admission.ACCEPTED, Admission.DUPLICATE, Admission.CONFLICT, Admission.FULL, Admission.UNKNOWN
LIMITS = BatchLimits(max_items=100, max_targets=100, max_message=10_000)
STRICT, LENIENT = BatchOptions("o"), BatchOptions("o", handling="lenient")
KEYED = BatchOptions("o", key="k", fingerprint=b"body")


def batch_of(text: bytes) -> Batch:
    return parse_batch(text, LIMITS)


TWO_TARGETS = batch_of(b'{"target":"t","userIds":["a","b"],"messageId":"m"}')
MIXED = batch_of(b'[{"target":"t","userId":"a"},{},{"target":"t","userIds":["a","b"]}]')


def an_intake(queue: MemoryQueue, metrics: Metrics | None = None) -> Intake:
    return Intake(queue, metrics or Metrics(), SystemClock())


# The seam: intake(hub, batch, options) --------------------------------------------------------------------------------


async def test_another_source_stores_a_batch_and_gets_what_became_of_each_item() -> None:
    queue, metrics = MemoryQueue(), Metrics()
    outcome = await an_intake(queue, metrics)("chat", MIXED, LENIENT)
    assert outcome == Mixed(
        (
            ItemOutcome(0, "accepted", "o.0"),
            ItemOutcome(1, "rejected", "", "noTargetOrAction", "The item has neither a target nor an action.", "/1"),
            ItemOutcome(2, "accepted", "o.2", targets=2, target_counts={"accepted": 2}),
        )
    )
    assert [submission.entry.message_id for submission in queue.stored] == ["o.0", "o.2", "o.2"]
    assert metrics.registry.get_sample_value("fanout_accepted_total", {"operation": "sendToUser"}) == 3
    assert metrics.registry.get_sample_value("fanout_rejected_total") == 1


async def test_what_needs_no_words_is_stored_under_ids_made_here() -> None:
    queue = MemoryQueue()
    batch = batch_of(b'[{"target":"t","arguments":[]},{"target":"t","arguments":[]}]')
    assert await an_intake(queue)("chat", batch, STRICT) == Stored(["o.0", "o.1"], "o")
    assert len(queue.stored) == 2


async def test_a_refused_batch_comes_back_with_its_bad_items_and_nothing_is_queued() -> None:
    queue = MemoryQueue()
    outcome = await an_intake(queue)("chat", MIXED, STRICT)
    assert isinstance(outcome, Refused)
    assert ([item.index for item in outcome.rejected], outcome.count) == ([1], 3)
    assert queue.stored == []


async def test_a_key_with_another_batch_is_an_error_and_stores_nothing() -> None:
    queue = MemoryQueue()
    intake = an_intake(queue)
    outcomes = [await intake("chat", TWO_TARGETS, KEYED) for _ in range(2)]
    assert [item.status for o in outcomes if isinstance(o, Mixed) for item in o.items] == ["accepted", "duplicate"]
    with pytest.raises(IdempotencyConflictError):
        await intake("chat", TWO_TARGETS, replace(KEYED, fingerprint=b"other"))
    assert len(queue.stored) == 2


async def test_a_queue_that_is_away_is_an_error_of_the_whole() -> None:
    queue = MemoryQueue()
    queue.error = QueueError("gone")
    with pytest.raises(QueueError):
        await an_intake(queue)("chat", TWO_TARGETS, STRICT)


# Which entries ------------------------------------------------------------------------------------------------------


def test_the_messages_own_id_goes_before_the_idempotency_key() -> None:
    batch = batch_of(b'[{"target":"t","messageId":"a"},{"target":"t"}]')
    first, second = submissions_of(batch, "chat", KEYED)
    assert first.entry.message_id == "a"
    assert first.dedup_id == submissions_of(batch, "chat", STRICT)[0].dedup_id
    assert first.fingerprint not in (b"", b"body")
    assert second.fingerprint == b"body"
    assert submissions_of(batch, "chat", STRICT)[1].dedup_id is None
    assert second.entry.message_id == f"{KEYED.id_prefix('chat')}.1"


def test_ids_of_the_two_kinds_and_of_different_callers_never_meet() -> None:
    item = '{"target":"t","arguments":[]%s}'
    own = [item % f',"messageId":{msgspec.json.encode(name).decode()}' for name in ("k", "k#0", "k 0", "key", "0")]
    ids = []
    for options in (
        replace(KEYED, caller="one"),
        replace(KEYED, caller="two"),
        replace(KEYED, key="k#0", caller="one"),
    ):
        batch = batch_of(f"[{item % ''},{item % ''},{','.join(own)}]".encode())
        ids.append([submission.dedup_id for submission in submissions_of(batch, "chat", options)])
    assert len(set(ids[0])) == len(ids[0])
    assert set(ids[0]).isdisjoint(ids[1])
    assert set(ids[0]) & set(ids[2]) == set(ids[0][2:]), "the messageIds of one caller, whatever its key"


async def test_the_same_key_of_two_callers_is_two_keys() -> None:
    queue = MemoryQueue()
    intake = an_intake(queue)
    batch, other = batch_of(b'{"target":"t"}'), batch_of(b'{"target":"u"}')
    await intake("chat", batch, replace(KEYED, caller="one"))
    await intake("chat", other, replace(KEYED, caller="two", fingerprint=b"other"))
    assert len({submission.entry.message_id for submission in queue.stored}) == 2


def test_members_of_one_group_have_dedup_ids_of_their_own() -> None:
    batch = batch_of(b'{"action":"add","groupName":"g","userIds":["a","b"],"messageId":"m"}')
    submissions = submissions_of(batch, "chat", STRICT)
    assert all(isinstance(s.entry.item, GroupAction) for s in submissions)
    assert len({s.dedup_id for s in submissions}) == 2
    assert {s.entry.message_id for s in submissions} == {"m"}


def test_ids_start_with_the_request_id_without_a_key_and_with_a_hash_of_it_with_one() -> None:
    assert STRICT.id_prefix("chat") == "o"
    prefix = KEYED.id_prefix("chat")
    assert len(prefix) == 16
    assert prefix == replace(KEYED, request_id="another").id_prefix("chat") != KEYED.id_prefix("other")


# What became of them ------------------------------------------------------------------------------------------------


def items_of(batch: Batch, receipts: list[Receipt]) -> tuple[ItemOutcome, ...]:
    outcome = outcome_of(batch, submissions_of(batch, "chat", STRICT), receipts, "o")
    assert isinstance(outcome, Mixed)
    return outcome.items


@pytest.mark.parametrize(
    ("admissions", "status"),
    [
        ((A, D), "accepted"),
        ((D, D), "duplicate"),
        ((A, C), "rejected"),
        ((D, C), "rejected"),
        ((C, F), "failed"),
        ((A, U), "failed"),
    ],
)
def test_an_item_of_several_targets_is_judged_by_its_worst(admissions: tuple[Admission, ...], status: str) -> None:
    (item,) = items_of(TWO_TARGETS, [Receipt(admission) for admission in admissions])
    assert item.status == status
    assert item.target_counts is not None
    assert (item.targets, sum(item.target_counts.values())) == (2, 2)


@pytest.mark.parametrize(
    ("other", "code"), [(Receipt(U), "queueSilent"), (Receipt(F), "queueFull"), (Receipt(C), "notConfirmed")]
)
def test_not_confirmed_is_the_least_grave_of_the_failures_and_graver_than_a_conflict(other: Receipt, code: str) -> None:
    (item,) = items_of(TWO_TARGETS, [Receipt(U, 3, b"1-0"), other])
    assert item.code == code


def test_receipts_meet_their_items_past_rejected_ones_and_wide_ones() -> None:
    batch = batch_of(b'[{"target":"t","userIds":["a","b"]},{},{"target":"t"}]')
    items = items_of(batch, [Receipt(A), Receipt(A), Receipt(D)])
    assert [item.status for item in items] == ["accepted", "rejected", "duplicate"]


def test_a_conflict_of_an_item_without_an_id_is_one_of_the_key() -> None:
    (item,) = items_of(batch_of(b'{"target":"t"}'), [Receipt(C)])
    assert item.code == "idempotencyConflict"


@pytest.mark.parametrize("odd", [D, C, F, U])
def test_a_plain_batch_is_told_item_by_item_when_one_is_not_stored_now(odd: Admission) -> None:
    batch = batch_of(b'[{"target":"t","arguments":[]},{"target":"t","arguments":[]}]')
    assert batch.is_plain
    items = items_of(batch, [Receipt(A), Receipt(odd)])
    assert [item.status == "accepted" for item in items] == [True, False]


def test_strict_refuses_for_one_bad_item_and_lenient_only_for_nothing_but_bad_ones() -> None:
    bad = batch_of(b"[{}]")
    assert len(rejected_of(MIXED, STRICT)) == 1
    assert rejected_of(MIXED, LENIENT) == []
    assert len(rejected_of(bad, LENIENT)) == 1
    assert rejected_of(batch_of(b"[]"), STRICT) == []


def test_stored_ids_are_those_of_items_that_are_stored_or_may_be() -> None:
    batch = batch_of(b'[{"target":"t"},{},{"target":"t","messageId":"m"}]')
    outcome = outcome_of(batch, [], [Receipt(A), Receipt(U)], "o")
    assert stored_ids(outcome) == ["o.0", "m"]


# A large batch --------------------------------------------------------------------------------------------------------


class CountedQueue(MemoryQueue):
    """Remembers how much came in each step; `errors` says which step fails, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.lists: list[set[str]] = []
        self.errors: dict[int, QueueError] = {}
        self.unstored: dict[int, Admission] = {}

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        self.steps.append(sum(len(s.entry.item.body) for s in submissions if isinstance(s.entry.item, Message)))
        self.lists.append({s.list_id for s in submissions})
        step = len(self.steps) - 1
        if step in self.errors:
            raise self.errors[step]
        self.outcomes = {len(submissions) - 1: self.unstored[step]} if step in self.unstored else {}
        return await super().append(submissions)


MIB = 1024 * 1024
LARGE = parse_batch(
    b"[" + b",".join([b'{"target":"t","arguments":["%b",%d]}' % (b"x" * 500_000, n) for n in range(30)]) + b"]",
    BatchLimits(max_items=100, max_targets=100, max_message=MIB),
)


async def test_a_large_batch_is_stored_in_parts_and_in_order() -> None:
    queue = CountedQueue()
    outcome = await an_intake(queue)("chat", LARGE, STRICT)
    assert isinstance(outcome, Mixed)
    assert [item.status for item in outcome.items] == ["accepted"] * 30
    assert len(queue.steps) > 2
    assert max(queue.steps) <= 4 * MIB
    assert [s.entry.message_id for s in queue.stored] == [f"o.{n}" for n in range(30)]


@pytest.mark.parametrize(
    ("error", "code"), [(QueueFullError("full"), "queueFull"), (QueueSilentError("silent"), "queueSilent")]
)
async def test_where_a_part_fails_nothing_behind_it_is_tried(error: QueueError, code: str) -> None:
    queue = CountedQueue()
    queue.errors[1] = error
    outcome = await an_intake(queue)("chat", LARGE, STRICT)
    assert isinstance(outcome, Mixed)
    stored = len(queue.stored)
    assert len(queue.steps) == 2
    assert [item.status for item in outcome.items] == ["accepted"] * stored + ["failed"] * (30 - stored)
    assert outcome.items[stored].code == code
    assert outcome.items[-1].code == "queueFull", "what was not tried is certainly not stored"


async def test_after_an_entry_that_is_not_stored_no_part_overtakes_it() -> None:
    queue = CountedQueue()
    queue.unstored[0] = Admission.FULL
    outcome = await an_intake(queue)("chat", LARGE, STRICT)
    assert len(queue.steps) == 1
    assert isinstance(outcome, Mixed)
    assert outcome.counts()["failed"] == 30 - len(queue.stored)


async def test_a_first_part_that_fails_is_an_error_of_the_whole() -> None:
    queue = CountedQueue()
    queue.errors[0] = QueueError("gone")
    with pytest.raises(QueueError):
        await an_intake(queue)("chat", LARGE, STRICT)


async def test_a_list_is_never_cut() -> None:
    queue = CountedQueue()
    item = b'{"target":"t","userIds":[%b],"arguments":["%b"]}' % (
        b",".join([b'"u%d"' % n for n in range(20)]),
        b"x" * MIB,
    )
    limits = BatchLimits(max_items=100, max_targets=1000, max_message=2 * MIB)
    await an_intake(queue)("chat", parse_batch(b"[" + b",".join([item] * 9) + b"]", limits), STRICT)
    assert [len(step) for step in queue.lists] == [3, 3, 3]


async def test_what_entries_and_lists_add_is_held_while_they_are_stored() -> None:
    queue = MemoryQueue()
    budget = ByteBudget(100 * MIB)
    with budget.hold(1000) as holding:
        await an_intake(queue)("chat", TWO_TARGETS, STRICT, holding)
        assert holding.size == 1000 + 2 * 384 + 2 * len(b'{"target":"t","arguments":[]}')
        with budget.hold(100 * MIB - holding.size), pytest.raises(OverloadedError):
            await an_intake(queue)("chat", TWO_TARGETS, STRICT, holding)
    assert len(queue.stored) == 2


# Legs: one entry for each endpoint ------------------------------------------------------------------------------------

ENDPOINTS = ("", "east")


def with_legs(queue: MemoryQueue) -> Intake:
    return Intake(queue, Metrics(), SystemClock(), endpoints=ENDPOINTS)


async def test_an_item_has_a_leg_for_each_endpoint_and_one_result() -> None:
    queue = MemoryQueue()
    batch = batch_of(b'[{"target":"t","userId":"a","arguments":[]},{"target":"t","arguments":[]}]')
    assert await with_legs(queue)("chat", batch, STRICT) == Stored(["o.0", "o.1"], "o")
    legs = [(each.entry.message_id, each.entry.place, each.list_id) for each in queue.stored]
    assert legs == [("o.0", "chat", "0"), ("o.0", "chat@east", "0"), ("o.1", "chat", "1"), ("o.1", "chat@east", "1")]


async def test_of_the_legs_of_an_item_the_gravest_decides_and_targets_are_counted_once() -> None:
    batch = batch_of(b'[{"target":"t","userIds":["a","b"]},{"target":"t","userId":"c"},{"target":"t","messageId":"m"}]')
    queue = MemoryQueue()
    intake = with_legs(queue)
    first = await intake("chat", batch, STRICT)
    assert isinstance(first, Mixed)
    assert first.items[0].target_counts == {"accepted": 2}
    queue.outcomes = {1: Admission.FULL, 5: Admission.UNKNOWN}
    second = await intake("chat", batch, STRICT)
    assert isinstance(second, Mixed)
    assert [(item.status, item.targets, item.target_counts) for item in second.items] == [
        ("failed", 2, {"full": 1, "accepted": 1}),
        ("failed", 0, None),
        ("duplicate", 0, None),
    ]


def test_an_item_that_names_endpoints_has_legs_for_these_alone() -> None:
    calls = (a_message("a"),)
    batch = Batch((ParsedItem(0, calls, endpoints=("east",)), ParsedItem(1, calls)))
    submissions = submissions_of(batch, "chat", STRICT, ENDPOINTS)
    assert [(each.entry.message_id, each.entry.endpoint) for each in submissions] == [
        ("o.0", "east"), ("o.1", ""), ("o.1", "east"),
    ]  # fmt: skip
    receipts = [Receipt(each) for each in (Admission.ACCEPTED, Admission.ACCEPTED, Admission.DUPLICATE)]
    outcome = outcome_of(batch, submissions, receipts, "o", legs=2)
    assert isinstance(outcome, Mixed)
    assert [item.status for item in outcome.items] == ["accepted", "accepted"]
