"""Worlds made for one part of the promise each: limits, a dead service, joined calls, late messages, lost leases, ...

Rule guarded: in a plan drawn at large a breaker opens once in hundreds of worlds, and a kill hits a joined call once in
thousands. Seeds that never meet what they are about prove nothing. `make simulate` prints what was met.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from fanout.queue.entry import Entry, Submission
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from tests.simulation.plan import LASTS, Batch, Fault, Plan, busy_times, plan_at_large
from tests.simulation.service_model import REFUSING_JOINED

SCENES = (
    "any", "pruned", "joined", "quota", "dead", "joined", "late", "fence", "failover", "versions", "sweeps", "handover",
    "dead", "aged",
)  # fmt: skip
_FAILING = ("500", "503", "503 wait", "not sent", "lost before", "500 after", "lost after", "403", "302", "html")
_LOSSES = ("jump", "jump", "jump", "failover", "flush")  # the store's clock jumps past the end of every lease
_FIRST_MOVEMENT = 1000  # number of the first tag of movements beside other messages
_OFTEN = ("kill", "kill", "freeze", "stop", "start", "pause", "pause", "down", "cut", "noise", "slow", "failover")


@dataclass(frozen=True)
class Load:
    """What is appended: `count` batches by each of `producers`, of up to `most` items, in `within` seconds.

    Each message has one of `ttls`.
    """

    producers: int
    count: int
    most: int
    within: float
    ttls: Sequence[float | None] = (None, None, None, None, None, None, 0.5, 1.5, 3.0)


def plan_of(seed: int, scene: str | None = None) -> Plan:
    """Draw the plan of a seed; `scene` takes the place of the scene that the seed draws."""
    plan, random = plan_at_large(seed), Random(f"scene {seed}")
    make = _SCENES.get(scene or Random(f"which {seed}").choice(SCENES))
    return plan if make is None else make(plan, random)


def _quota(plan: Plan, random: Random) -> Plan:
    """A service with a quota, several workers, and a store that does not always answer."""
    quotas = {"send": random.choice((3, 10, 30)), "broadcast": random.choice((2, 5)), "action": random.choice((2, 10))}
    settings = {
        **plan.settings, "partitions": 3, "concurrency": 4, "read_ahead_bytes": 20_000, "max_bytes": 1 << 20,
        "execute": False,
        "retry_max_attempts": random.choice((200, 2)), "send_rate": random.choice((0.0, 0.0, 5.0, 10.0)),
        "broadcast_rate": random.choice((0.0, 0.0, 2.0, 5.0)),
    }  # fmt: skip
    load = Load(random.choice((2, 3)), random.randint(4, 8), random.choice((4, 10)), random.choice((0.3, 1.0, 3.0)))
    faults = _trouble(random, _OFTEN, random.choice((0, 0, 0, 1, 2, 3)))
    if random.random() < 0.3:  # it refuses every call, then it fails: what was refused had no attempt yet
        at = random.random()
        storm = (
            Fault(at, "service", 0, 0.9, 1.0, "429"),
            Fault(at + 1.0, "service", 0, 0.9, 0.3, random.choice(_FAILING)),
        )
        faults = tuple(sorted((*faults, *storm), key=_time_of))
    return replace(
        plan, scene="quota", settings=settings, workers=random.choice((2, 2, 3)), faults=faults,
        producers=_producers(random, load, _crowd(random)), quotas={} if random.random() < 0.2 else quotas,
        over_quota=random.choice(("429", "429 wait", "429 wait", "429 date")), doomed={},
        store_latency=_latency(random), service_noise=random.choice((0.0, 0.1, 0.3)),
    )  # fmt: skip


def _dead(plan: Plan, random: Random) -> Plan:
    """A service that fails every call for a while, when many destinations wait for it."""
    settings = {
        **plan.settings, "concurrency": random.choice((2, 4, 8)), "read_ahead_bytes": 20_000, "max_bytes": 1 << 20,
        "retry_max_attempts": random.choice((200, 200, 12)), "retry_cap": random.choice((0.3, 0.5)), "send_rate": 0.0,
        "outcome_unknown": random.choice(("retry", "retry", "retry", "dead")),
    }  # fmt: skip
    load = Load(2, random.randint(4, 8), random.choice((4, 6)), random.choice((0.5, 2.0)))
    at, kind = 0.05 + random.random() * 0.5, random.choice(("service", "service", "hub"))
    amount, lasts = 0.7 + random.random() * 0.3, random.choice((1.8, 2.5, 3.0, 4.0))
    dead = Fault(at, kind, 0, amount, lasts, random.choice(_FAILING))
    others = _trouble(random, (*_OFTEN, "lane", "service", "hub"), random.choice((0, 0, 1, 2)))
    return replace(
        plan, scene="dead", settings=settings, workers=random.choice((1, 1, 2)), doomed={},
        producers=_producers(random, load, _crowd(random)), faults=tuple(sorted((dead, *others), key=_time_of)),
        store_latency=_latency(random),
    )  # fmt: skip


def _joined(plan: Plan, random: Random) -> Plan:
    """A service that runs `:execute`, few destinations, and workers that are killed in the middle of a call."""
    settings = {
        **plan.settings, "execute": True, "max_bytes": 1 << 20, "read_ahead_bytes": random.choice((7000, 20_000)),
        "outcome_unknown": random.choice(("retry", "dead")), "send_rate": random.choice((0.0, 0.0, 0.0, 10.0)),
    }  # fmt: skip
    lanes = [("chat", Scope.USER, "ada"), ("chat", Scope.BROADCAST, ""), ("news", Scope.USER, "o'hara")]
    load = Load(random.choice((2, 3)), random.randint(5, 9), random.choice((3, 6)), random.choice((1.0, 3.0)))
    producers = _producers(random, load, lanes[: random.choice((1, 2, 3))])
    tags = [one.entry.message_id for batches in producers for batch in batches for one in batch.submissions]
    refusal = Fault(random.random() * 3, "refuse", 0, 0.0, random.random() * 3, random.choice(REFUSING_JOINED))
    faults = _trouble(random, (*_OFTEN, "service", "service", "lane"), random.choice((0, 1, 2, 3)))
    service_latency = random.choice((0.02, 0.1, 0.2))
    busy = [at + service_latency * 3 * random.random() for at in busy_times(producers)]
    kills = [
        Fault(random.choice(busy), "kill", 0, random.random() * 0.2, 0.3, "") for _ in range(random.choice((0, 1, 3)))
    ]
    refusals = (refusal,) if random.random() < 0.5 else ()
    return replace(
        plan, scene="joined", settings=settings, workers=random.choice((1, 2, 2)), producers=producers,
        doomed={tag: random.choice(("400", "413", "400")) for tag in tags if random.random() < 0.005},
        executes=random.random() < 0.95, service_latency=service_latency,
        faults=tuple(sorted((*refusals, *kills, *faults), key=_time_of)),
    )  # fmt: skip


def _late(plan: Plan, random: Random) -> Plan:
    """A limit or a dead service, messages that are about to expire, and a store that is slow or set back."""
    ttl = random.choice((0.3, 0.5, 1.0, 1.5))
    staged = random.choice((_quota, _dead))(plan, random)
    load = Load(2, random.randint(4, 8), random.choice((4, 6)), random.choice((0.5, 1.0)), (None, *[ttl] * 4))
    faults = (
        Fault(random.random() * 2, "jump", 0, 0.3 + random.random() * 0.2, 0.0),
        Fault(random.random() * 2, "slow", 0, random.random(), 2.0),
    )
    return replace(
        staged, scene="late", producers=_producers(random, load, _crowd(random)),
        faults=tuple(sorted((*staged.faults, *faults), key=_time_of)), store_latency=random.choice((0.005, 0.03, 0.06)),
    )  # fmt: skip


def _fence(plan: Plan, random: Random) -> Plan:
    """A store that loses leases which their holders still rely on, and other workers that take the partitions."""
    settings = {
        **plan.settings, "partitions": random.choice((2, 3)), "concurrency": 4, "read_ahead_bytes": 20_000,
        "max_bytes": 1 << 20, "lease_seconds": 3.0, "send_rate": 0.0, "broadcast_rate": 0.0,
    }  # fmt: skip
    load = Load(3, random.randint(8, 12), 5, random.choice((1.5, 3.0)))
    producers = _producers(random, load, _crowd(random))
    losses = []
    for _ in range(random.choice((1, 2, 3))):
        at = random.choice(busy_times(producers)) + random.random() * 0.1
        losses.append(Fault(at, random.choice(_LOSSES), 0, 0.95 + random.random() * 0.05, 0.3))
    return replace(
        plan, scene="fence", settings=settings, workers=random.choice((2, 3)), producers=producers, doomed={},
        faults=tuple(sorted(losses, key=_time_of)), service_latency=random.choice((0.05, 0.15)),
        store_latency=random.choice((0.0005, 0.005)), service_noise=0.0, tick=0.001,
    )  # fmt: skip


def _failover(plan: Plan, random: Random) -> Plan:
    """Servers that take over with their clocks behind, while few destinations get many messages."""
    settings = {
        **plan.settings, "partitions": random.choice((1, 2)), "concurrency": 4, "read_ahead_bytes": 20_000,
        "max_bytes": 1 << 20, "lease_seconds": 10.0, "send_rate": 0.0, "broadcast_rate": 0.0,
    }  # fmt: skip
    load = Load(3, random.randint(10, 14), 3, 3.0, (None,))
    producers = _producers(random, load, _crowd(random)[:3])
    losses = [
        Fault(0.3 + random.random() * 2, "failover", random.randint(1, 3), random.random(), 0.1 + random.random() * 0.8)
        for _ in range(random.choice((1, 2)))
    ]
    return replace(
        plan, scene="failover", settings=settings, workers=random.choice((1, 2)), producers=producers, doomed={},
        faults=tuple(sorted(losses, key=_time_of)), service_latency=0.01, store_latency=0.0005, service_noise=0.0,
    )  # fmt: skip


def _versions(plan: Plan, random: Random) -> Plan:
    """Entries of a newer format among older ones, and workers of both versions that come and go."""
    settings = {
        **plan.settings, "partitions": 3, "concurrency": 4, "max_bytes": 1 << 20, "send_rate": 0.0,
        "broadcast_rate": 0.0, "lease_seconds": random.choice((1.0, 2.0)), "retry_max_attempts": 200,
    }  # fmt: skip
    load = Load(random.choice((2, 3)), random.randint(4, 8), random.choice((3, 6)), random.choice((1.0, 3.0)))
    kinds = ("start", "start", "stop", "stop", "kill", "freeze", "cut", "pause", "lane", "failover")
    return replace(
        plan, scene="versions", settings=settings, workers=random.choice((1, 2, 3)), doomed={},
        producers=_producers(random, load, _crowd(random)), faults=_trouble(random, kinds, random.choice((1, 2, 4, 6))),
        newer=random.choice((0.1, 0.3, 0.6)), store_latency=_latency(random),
    )  # fmt: skip


def _sweeps(plan: Plan, random: Random) -> Plan:
    """Members who join, leave, are taken out of everything and closed, in several partitions, with any fault."""
    settings = {
        **plan.settings, "partitions": random.choice((2, 3, 3)), "concurrency": random.choice((2, 4)),
        "max_bytes": 1 << 20, "send_rate": 0.0, "broadcast_rate": 0.0, "order_wait": random.choice((0.1, 0.3, 1.0)),
        "retry_max_attempts": random.choice((200, 200, 4)),
    }  # fmt: skip
    faults = _trouble(random, (*_OFTEN, "service", "lane", "lane", "flush"), random.choice((0, 0, 1, 2, 3)))
    return replace(
        plan, scene="sweeps", settings=settings, workers=random.choice((1, 2, 2, 3)), doomed={}, poison=(),
        producers=_movements(random), faults=faults, tick=0.001, service_latency=random.choice((0.002, 0.01, 0.05)),
        store_latency=_latency(random), service_noise=random.choice((0.0, 0.0, 0.1, 0.3)),
    )  # fmt: skip


def _pruned(plan: Plan, random: Random) -> Plan:
    """Any faults, while hubs that come and go leave streams which are deleted and made anew."""
    settings = {**plan.settings, "max_bytes": 1 << 20, "read_ahead_bytes": 20_000, "retry_max_attempts": 200}
    load = Load(random.choice((2, 3)), random.randint(12, 20), 2, 3.0, (None, None, None, 1.5))
    crowd = _crowd(random)
    return replace(
        plan, scene="pruned", settings=settings, prunes=True, doomed={}, executes=True,
        producers=_producers(random, load, random.sample(crowd, min(4, len(crowd)))),
        service_latency=random.choice((0.002, 0.01)), store_latency=random.choice((0.005, 0.03, 0.06)),
    )  # fmt: skip


def _aged(plan: Plan, random: Random) -> Plan:
    """Many dead letters that are kept for a moment, a store that loses leases and answers, workers that come and go."""
    settings = {
        **plan.settings, "partitions": random.choice((2, 3)), "max_bytes": 1 << 20, "send_rate": 0.0,
        "broadcast_rate": 0.0, "lease_seconds": 3.0, "max_dead_age": random.choice((0.1, 0.1, 0.3, 1.0)),
    }  # fmt: skip
    load = Load(3, random.randint(8, 12), 4, 3.0, (None,))
    producers = _producers(random, load, _crowd(random))
    tags = [one.entry.message_id for batches in producers for batch in batches for one in batch.submissions]
    losses = [
        Fault(at + random.random() * 0.1, random.choice(_LOSSES), 0, 0.95 + random.random() * 0.05, 0.3)
        for at in random.sample(busy_times(producers), random.choice((0, 1, 2)))
    ]
    others = _trouble(random, ("kill", "freeze", "stop", "start", "pause", "cut", "noise"), random.choice((0, 1, 2)))
    return replace(
        plan, scene="aged", settings=settings, workers=random.choice((1, 2, 3)), producers=producers,
        doomed={tag: random.choice(("400", "413")) for tag in tags if random.random() < 0.5},
        faults=tuple(sorted((*losses, *others), key=_time_of)), store_latency=_latency(random), tick=0.001,
    )  # fmt: skip


def _movements(random: Random, first: int = 0) -> tuple[tuple[Batch, ...], ...]:
    producers, count = [], first
    for number in range(random.choice((1, 2))):
        batches = []
        for _ in range(random.randint(3, 7)):
            submissions = []
            for _ in range(random.choice((1, 2, 2, 4, 6))):
                tag, count = f"n{count}n", count + 1
                submissions.append(_movement(random, tag, f"m{number}{random.randint(1, 2)}", count))
            batches.append(Batch(random.choice((0.0, 0.05, 0.5)), tuple(submissions)))
        producers.append(tuple(batches))
    return tuple(producers)


def _movement(random: Random, tag: str, member: str, number: int) -> Submission:
    group, kind = f"g{random.randint(0, 3)}", random.random()
    item: Item
    if kind < 0.4:  # the lifetime tells the requests of two joins apart
        item = GroupAction(Verb.ADD, Scope.USER, member, group, 100 + number)
    elif kind < 0.65:
        item = CloseConnections(Scope.USER, member, reason=tag)
    else:
        item = Message(Scope.GROUP, group, b'{"target":"t","arguments":["%s",1.10]}' % tag.encode())
    return Submission(Entry("chat", tag, item), dedup_id=tag, fingerprint=tag.encode().ljust(16, b"."))


def _handover(plan: Plan, random: Random) -> Plan:
    """Slow calls, while workers come and go; in most worlds members are taken out of everything and closed meanwhile.

    The bound of what waits for these is larger than a call takes, or past it before the first has ended.
    """
    settings = {
        **plan.settings, "partitions": random.choice((2, 3)), "concurrency": 8, "read_ahead_bytes": 20_000,
        "max_bytes": 1 << 20, "send_rate": 0.0, "broadcast_rate": 0.0, "lease_seconds": random.choice((1.0, 2.0)),
        "retry_max_attempts": 200, "shutdown_grace": random.choice((4.0, 4.0, 4.0, 0.3)),
        "order_wait": random.choice((0.3, 2.0, 2.0)),
    }  # fmt: skip
    load = Load(2, random.randint(4, 8), random.choice((3, 5)), 3.0, (None,))
    kinds = ("start", "start", "stop", "stop", "start", "stop", "kill", "freeze", "cut", "pause", "lane")
    movements = _movements(random, _FIRST_MOVEMENT) if random.random() < 0.7 else ()
    return replace(
        plan, scene="handover", settings=settings, workers=random.choice((1, 2, 3)), doomed={},
        producers=(*_producers(random, load, _crowd(random)), *movements),
        faults=_trouble(random, kinds, random.choice((2, 4, 6))),
        service_latency=random.choice((0.1, 0.3, 0.6)), service_noise=0.0, store_latency=_latency(random),
    )  # fmt: skip


def _latency(random: Random) -> float:
    return random.choice((0.0005, 0.001, 0.005, 0.03))


def _crowd(random: Random) -> list[tuple[str, Scope, str]]:
    users = [("chat", Scope.USER, f"u{number}") for number in range(random.choice((3, 6)))]
    shared = [("chat", Scope.BROADCAST, ""), *(("chat", Scope.GROUP, f"g{number}") for number in range(4))]
    others = [(hub, scope, to) for hub in ("news", "live") for scope, to in ((Scope.USER, "u0"), (Scope.BROADCAST, ""))]
    return users + shared[: random.choice((2, 2, 5))] + others[: random.choice((0, 2, 4))]


def _producers(random: Random, load: Load, lanes: Sequence[tuple[str, Scope, str]]) -> tuple[tuple[Batch, ...], ...]:
    producers, count = [], 0
    for _ in range(load.producers):
        batches = []
        for _ in range(load.count):
            once = random.choice((None, None, True, False))
            submissions = []
            for _ in range(random.randint(1, load.most)):
                submissions.append(
                    _submission(random, f"n{count}n", random.choice(lanes), (once, random.choice(load.ttls)))
                )
                count += 1
            batches.append(Batch(random.random() * 2 * load.within / load.count, tuple(submissions)))
        producers.append(tuple(batches))
    return tuple(producers)


def _submission(
    random: Random, tag: str, lane: tuple[str, Scope, str], terms: tuple[bool | None, float | None]
) -> Submission:
    (hub, scope, to), (once, ttl) = lane, terms
    item: Item
    if scope is Scope.GROUP and random.random() < 0.7:
        item = GroupAction(random.choice((Verb.ADD, Verb.REMOVE)), Scope.USER, tag, to, None)
    else:
        body = b'{"target":"t","arguments":["%s",1.10]}' % tag.encode()
        wanted: dict[str, Any] = {"at_most_once": once, "collapse": random.choice(("", "", "", "", "", "k", "j"))}
        item = Message(scope, to, body, ttl=ttl, **wanted)
    return Submission(Entry(hub, tag, item), dedup_id=tag, fingerprint=tag.encode().ljust(16, b"."))


def _trouble(random: Random, kinds: Sequence[str], count: int) -> tuple[Fault, ...]:
    faults = []
    for _ in range(count):
        kind = random.choice(kinds)
        lasts = random.choice((0.1, 0.5, 1.0, 2.0)) * (0.5 + random.random())
        what = random.choice((*_FAILING, "hang", "429", "429 wait")) if kind in ("service", "lane", "hub") else ""
        faults.append(Fault(random.random() * LASTS, kind, random.randrange(100), random.random(), lasts, what))
    return tuple(sorted(faults, key=_time_of))


def _time_of(fault: Fault) -> float:
    return fault.at


_SCENES: Mapping[str, Callable[[Plan, Random], Plan]] = {
    "quota": _quota,
    "dead": _dead,
    "joined": _joined,
    "late": _late,
    "fence": _fence,
    "failover": _failover,
    "versions": _versions,
    "sweeps": _sweeps,
    "pruned": _pruned,
    "handover": _handover,
    "aged": _aged,
}
