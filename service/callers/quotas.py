"""Whether a caller may send now, and what the answer says of its limits.

Each ingress takes a tenth of a second's worth from the bucket in Redis at a time and spends it without asking again, so
that few messages wait for a round trip of their own. All ingresses together let through what the limit says, and each
at most that tenth more at one moment.

Rules guarded: a caller without a limit costs nothing and gets no header. One that is refused learns when to come again,
and until then, for at most a fifth of a second, it is refused without asking Redis.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Protocol

from starlette.types import Message, Receive

from fanout.caller_metrics import CallerMetrics
from fanout.clock import Clock
from fanout.errors import RateLimitedError
from fanout.queue.allowances import Taken, Wanted
from fanout.quota import Limits, Quota

_SHARE: Final = 0.1  # of a second's worth that is taken at a time
_CLOSED: Final = 0.2  # seconds for which a refusal counts for the next ones
_MAX_CALLERS: Final = 1024
_MAX_DIGITS: Final = 12  # of an announced length; a longer one is refused elsewhere


class Store(Protocol):
    """The buckets that all ingresses share; a call raises QueueError when it does not answer."""

    async def take(self, caller: str, limits: Limits, requests: Wanted, size: Wanted) -> Taken:
        """Take what is needed from the bucket of a caller, or nothing."""


class Quotas:
    """The limits of one process. `default` are those of callers without limits of their own.

    Without a `store` nobody is limited.
    """

    def __init__(
        self, store: Store | None, clock: Clock, metrics: CallerMetrics, default: Limits | None = None
    ) -> None:
        self.default = default
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._allowances: OrderedDict[tuple[str, Limits], _Allowance] = OrderedDict()

    async def spend(self, caller: str, limits: Limits, size: int) -> Mapping[str, str]:
        """Spend a request of so many bytes, and return the headers of its answer.

        Raise RateLimitedError when the caller may not send it now.
        """
        if self._store is None:
            return {}
        allowance = self._of(caller, limits)
        if not allowance.spend(size):
            async with allowance.lock:
                if not allowance.spend(size):
                    await self._ask(self._store, caller, allowance, size)
        return allowance.headers(self._clock.monotonic())

    def owe(self, caller: str, limits: Limits, size: int) -> None:
        """Count bytes that came and were not announced, or the other way round: they are missing in what comes next."""
        self._of(caller, limits).size -= size

    async def _ask(self, store: Store, caller: str, allowance: "_Allowance", size: int) -> None:
        now = self._clock.monotonic()
        if now >= allowance.closed_until:
            taken = await store.take(caller, allowance.limits, *allowance.wanted(size))
            now = self._clock.monotonic()
            allowance.take(taken, now)
        if now < allowance.closed_until or not allowance.spend(size):
            self._metrics.limited(caller)
            # To the millisecond: what floats add would become a whole second when rounded up.
            wait = max(round(allowance.opens_at - now, 3), 0.001)
            raise RateLimitedError(
                f"This caller may send {allowance.limits.text}. It may send again in {math.ceil(wait)} s.",
                retry_after=wait,
                headers=allowance.headers(now),
            )

    def _of(self, caller: str, limits: Limits) -> "_Allowance":
        key = caller, limits
        found = self._allowances.get(key)
        if found is None:
            found = self._allowances[key] = _Allowance(limits)
            if len(self._allowances) > _MAX_CALLERS:
                self._allowances.popitem(last=False)
        else:
            self._allowances.move_to_end(key)
        return found


class _Allowance:
    """What one caller may still send here without asking, and what is known of its bucket."""

    __slots__ = ("_at", "_policy", "_shared", "closed_until", "limits", "lock", "opens_at", "requests", "size")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.lock = asyncio.Lock()
        self.requests = math.inf if limits.requests is None else 0.0
        self.size = math.inf if limits.size is None else 0.0
        self.closed_until = self.opens_at = float("-inf")
        self._policy = policy_of(limits)
        self._shared = (0, 0)
        self._at = 0.0

    def spend(self, size: int) -> bool:
        """Spend a request of so many bytes, if both are here."""
        if self.requests < 1 or self.size < size:
            return False
        self.requests -= 1
        self.size -= size
        return True

    def wanted(self, size: int) -> tuple[Wanted, Wanted]:
        """Return what has to be asked for."""
        requests, whole = self.limits.requests, self.limits.size
        return (
            Wanted(max(0.0, 1 - self.requests), 0.0 if requests is None else math.floor(requests.rate * _SHARE)),
            Wanted(max(0.0, size - self.size), 0.0 if whole is None else math.floor(whole.rate * _SHARE)),
        )

    def take(self, taken: Taken, now: float) -> None:
        """Add what was taken; where nothing was, close until there may be something."""
        self.requests += taken.requests
        self.size += taken.size
        self._shared, self._at = (taken.requests_left, taken.size_left), now
        if taken.wait:
            self.opens_at = now + taken.wait
            self.closed_until = now + min(taken.wait, _CLOSED)

    def headers(self, now: float) -> dict[str, str]:
        """Return what an answer says of the limits (draft-ietf-httpapi-ratelimit-headers)."""
        passed = now - self._at
        parts = []
        for name, quota, here, shared in (
            ("requests", self.limits.requests, self.requests, self._shared[0]),
            ("bytes", self.limits.size, self.size, self._shared[1]),
        ):
            if quota is not None:
                left = min(quota.amount, max(0, math.floor(here + shared + passed * quota.rate)))
                parts.append(f'"{name}";r={left};t={math.ceil((quota.amount - left) / quota.rate)}')
        return {"RateLimit-Policy": self._policy, "RateLimit": ", ".join(parts)}


def policy_of(limits: Limits) -> str:
    """Return limits as the header names them."""
    parts = [_policy("requests", limits.requests, ""), _policy("bytes", limits.size, ';qu="content-bytes"')]
    return ", ".join(part for part in parts if part)


def _policy(name: str, quota: Quota | None, unit: str) -> str:
    return "" if quota is None else f'"{name}";q={quota.amount};w={quota.window}{unit}'


def announced_length(headers: Mapping[str, str]) -> int:
    """Return how many bytes a request says that its body has, 0 where it does not say."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else 0


class CountedBody:
    """Counts the bytes of a body that comes without having announced its length."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0

    async def __call__(self) -> Message:
        """Return the next part."""
        message = await self._receive()
        self.size += len(message.get("body", b""))
        return message
