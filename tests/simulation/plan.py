"""What one seed stands for: the size of the world, who appends what, and which faults happen when.

Rule guarded: a plan is a value made of the seed alone, so that it can be printed, compared and replayed. What happens
by chance later (latencies, which process runs next) is drawn from generators of the same seed.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from fanout.queue.entry import Entry, Submission
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from tests.simulation.service_model import TROUBLE

LASTS = 4.0  # seconds of faults; then everything heals
_SLOW_TO_CONNECT = 2.5  # seconds: longer than most leases of the simulation live
_DESTINATIONS = (
    (Scope.USER, "ada"),
    (Scope.GROUP, "g"),
    (Scope.BROADCAST, ""),
    (Scope.USER, "bob"),
    (Scope.CONNECTION, "c1"),
)
WORKER_FAULTS = ("kill", "kill", "freeze", "freeze", "stop", "start", "clock")
STORE_FAULTS = ("cut", "down", "pause", "failover", "flush", "jump", "noise", "forget", "full", "slow")
SERVICE_FAULTS = ("service", "service", "lane")


@dataclass(frozen=True)
class Fault:
    """One fault: `who` picks its target, the meaning of `amount` depends on the kind, `lasts` is in seconds."""

    at: float
    kind: str
    who: int
    amount: float
    lasts: float
    what: str = ""


@dataclass(frozen=True)
class Batch:
    """What a producer appends at once, `gap` seconds after the batch before."""

    gap: float
    submissions: tuple[Submission, ...] = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """One world."""

    seed: int
    settings: dict[str, Any]
    workers: int
    producers: tuple[tuple[Batch, ...], ...] = field(repr=False)
    doomed: dict[str, str]
    poison: tuple[float, ...]
    executes: bool  # the service runs :execute
    tick: float  # resolution of the store's clock in seconds
    service_noise: float
    service_latency: float
    store_latency: float
    faults: tuple[Fault, ...]
    scene: str = "any"
    quotas: dict[str, int] = field(default_factory=dict)  # calls the service takes in a second, by class
    over_quota: str = "429"  # the answer to the others
    newer: float = 0.0  # the part of the entries that are of a newer format, which some of the workers read
    prunes: bool = False  # streams are deleted soon after they are empty

    @property
    def connect(self) -> float:
        """The longest that connecting to the service takes, in seconds.

        The number of the seed decides. A draw would change all that is drawn after it, and so every named world.
        """
        return _SLOW_TO_CONNECT if self.seed % 10 == 8 else 0.0


def plan_at_large(seed: int) -> Plan:
    """Draw the plan of a seed."""
    random = Random(f"plan {seed}")
    producers, tags = _producers(random)
    faults = _faults(random, busy_times(producers))
    return Plan(
        seed=seed,
        settings=_settings(random),
        workers=random.choice((1, 2, 2, 2, 3)),
        producers=producers,
        doomed={tag: random.choice(("400", "413", "400", "413")) for tag in tags if random.random() < 0.03},
        poison=tuple(random.random() * LASTS for _ in range(random.choice((0, 0, 0, 1, 2)))),
        executes=random.random() < 0.7,
        tick=_tick(random, faults),
        service_noise=random.choice((0.0, 0.0, 0.1, 0.3)),
        service_latency=random.choice((0.002, 0.01, 0.05)),
        store_latency=random.choice((0.0002, 0.001, 0.005, 0.03)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _settings(random: Random) -> dict[str, Any]:
    return {
        "partitions": random.choice((1, 2, 3)),
        "concurrency": random.choice((1, 2, 4)),
        "read_ahead_bytes": random.choice((1500, 3500, 20_000)),
        "max_bytes": random.choice((1 << 20, 1 << 20, 1 << 20, 1200)),
        "lease_seconds": random.choice((1.0, 2.0)),
        "attempt_timeout": 1.0,
        "order_wait": 0.3,
        "retry_base": 0.05,
        "retry_cap": 0.5,
        "retry_max_age": random.choice((3600.0, 3600.0, 3600.0, 3.0)),
        "max_dead_age": 0.0,
        "outcome_unknown": random.choice(("retry", "retry", "dead")),
        "retry_max_attempts": random.choice((200, 200, 200, 4)),
        "shutdown_grace": random.choice((4.0, 4.0, 0.3)),
        "execute": random.choice((False, True)),
        "send_rate": random.choice((0.0, 0.0, 0.0, 20.0)),
        "broadcast_rate": random.choice((0.0, 0.0, 0.0, 10.0)),
    }


def _producers(random: Random) -> tuple[tuple[tuple[Batch, ...], ...], list[str]]:
    destinations = _DESTINATIONS[: random.choice((2, 3, 5))]
    tags: list[str] = []
    changes: list[GroupAction] = []
    producers = []
    for _ in range(random.choice((1, 2, 3))):
        batches = []
        count = random.randint(3, 10)
        for _ in range(count):
            submissions = []
            for _ in range(random.choice((1, 2, 4))):
                tags.append(f"n{len(tags)}n")
                submissions.append(_submission(random, changes, tags[-1], random.choice(destinations)))
            batches.append(Batch(random.random() * 1.6 * LASTS / count, tuple(submissions)))
        producers.append(tuple(batches))
    return tuple(producers), tags


def _change(random: Random, changes: list[GroupAction], member: str, group: str) -> GroupAction:
    """Return a change of a new or an old member. No two changes make the same request."""
    if changes and random.random() < 0.6:
        member = random.choice(changes).member
    kinds = [(Verb.ADD, None), (Verb.REMOVE, None), (Verb.ADD, 60), (Verb.ADD, 61)]
    kinds = [kind for kind in kinds if kind not in {(old.verb, old.ttl) for old in changes if old.member == member}]
    verb, ttl = random.choice(kinds) if kinds else (Verb.ADD, 100 + len(changes))
    changes.append(GroupAction(verb, Scope.USER, member, group, ttl))
    return changes[-1]


def _submission(random: Random, changes: list[GroupAction], tag: str, destination: tuple[Scope, str]) -> Submission:
    scope, to = destination
    item: Item
    if scope is Scope.GROUP and random.random() < 0.5:
        item = _change(random, changes, tag, to)
    elif scope is Scope.CONNECTION and random.random() < 0.3:
        item = CloseConnections(scope, to, reason=tag)
    else:
        ttl = random.choice((None, None, None, None, 0.5, 2.0))
        body = b'{"target":"t","arguments":["%s",1.10]}' % tag.encode()
        collapse, once = random.choice(("", "", "", "k")), random.choice((None, None, None, True, False))
        item = Message(scope, to, body, ttl=ttl, collapse=collapse, at_most_once=once)
    return Submission(Entry("chat", tag, item), dedup_id=tag, fingerprint=tag.encode().ljust(16, b"."))


def _tick(random: Random, faults: list[Fault]) -> float:
    # A coarse clock stands for a busy server with many entries in a millisecond. Together with FLUSHALL it would stand
    # for new entries in the very millisecond of the flush, which does not happen.
    tick = random.choice((0.001, 0.001, 0.001, 0.05, 0.5))
    return 0.001 if any(fault.kind == "flush" for fault in faults) else tick


def busy_times(producers: tuple[tuple[Batch, ...], ...]) -> list[float]:
    """Return when something is appended while the faults last."""
    times = []
    for batches in producers:
        at = 0.0
        for batch in batches:
            at += batch.gap
            times.append(at)
    return [at for at in times if at < LASTS]


def _faults(random: Random, busy: list[float]) -> list[Fault]:
    families = [family for family in (WORKER_FAULTS, STORE_FAULTS, SERVICE_FAULTS) if random.random() < 0.6]
    if not families:
        return []
    kinds = [random.choice(random.choice(families)) for _ in range(random.choice((1, 1, 2, 3, 4, 6)))]
    return [_fault(random, kind, busy) for kind in kinds]


def _fault(random: Random, kind: str, busy: list[float]) -> Fault:
    lasts = random.choice((0.05, 0.3, 1.0, 3.0)) * (0.5 + random.random())
    what = random.choice(TROUBLE) if kind in ("service", "lane") else ""
    # Most of the time nothing is in flight, so most faults come just after something was appended.
    at = random.choice(busy) + random.expovariate(20) if random.random() < 0.7 else random.random() * LASTS
    return Fault(min(at, LASTS), kind, random.randrange(100), random.random(), lasts, what)
