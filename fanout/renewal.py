"""Keeps one value that runs out, such as an identity token, and renews it before it does.

Rules guarded: everybody who needs the value at the same time waits for one request for it. A renewal that fails leaves
the former value in force until it runs out, and is repeated with growing pauses. Whoever needs a value meanwhile and
finds none is told at once, so that an authority that is away is not asked once for each message.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from fanout.clock import Clock
from fanout.errors import FanoutError, TokenUnavailableError

T = TypeVar("T")

_LONGEST_FETCH: Final = 30.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between failed requests, doubled each time
_LOOK: Final = 60.0  # seconds after which the clock is looked at again: a machine may have been suspended
_AT_LEAST: Final = 30.0  # seconds that a value must have left to be used
_BETWEEN_REFUSALS: Final = 60.0  # seconds in which a second refusal brings no other value
_SHARE: Final = 0.75  # of the lifetime after which a value is renewed, where its source does not say


@dataclass(frozen=True, slots=True)
class Term(Generic[T]):
    """A value, when to renew it, and when it ends; times are unix seconds."""

    value: T = field(repr=False)
    renew_at: float
    ends_at: float

    @classmethod
    def of(cls, value: T, *, now: float, ends_at: float, renew_at: float | None = None) -> "Term[T]":
        """Return a term that is renewed when its source says, or after three quarters of what is left of it."""
        if renew_at is None or not now < renew_at < ends_at:
            renew_at = now + (ends_at - now) * _SHARE
        return cls(value, min(renew_at, ends_at - _AT_LEAST), ends_at)

    def is_usable(self, now: float) -> bool:
        """Return whether a call that begins now can rely on it."""
        return now < self.ends_at - _AT_LEAST


class Listener(Protocol):
    """Who is told what became of a renewal."""

    def renewed(self, what: str, seconds: float) -> None:
        """Note that a value is in force, which ends in `seconds`."""

    def failed(self, what: str, reason: str, seconds: float) -> None:
        """Note that it could not be renewed; the former value ends in `seconds`, 0 where there is none."""


def pause_after(failures: int) -> float:
    """Return how long to wait after so many failures in a row."""
    return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures - 1, 10)))


class Renewed(Generic[T]):
    """One value that is renewed. `what` names it in logs, `fetch` gets another one or raises a FanoutError."""

    def __init__(self, what: str, fetch: Callable[[], Awaitable[Term[T]]], clock: Clock, listener: Listener) -> None:
        self.what = what
        self._fetch = fetch
        self._clock = clock
        self._listener = listener
        self._lock = asyncio.Lock()
        self._term: Term[T] | None = None
        self._failures = 0
        self._reason = ""
        self._again_at = float("-inf")
        self._refusals_from = float("-inf")
        self._callbacks: list[Callable[[Term[T]], None]] = []

    def __repr__(self) -> str:
        return f"<Renewed {self.what} {self._term!r}>"

    def when_renewed(self, callback: Callable[[Term[T]], None]) -> None:
        """Run `callback` with each value that comes into force."""
        self._callbacks.append(callback)

    def current(self, now: float) -> Term[T] | None:
        """Return the value in force at `now` (unix seconds), None when there is none to rely on."""
        return self._term if self._term is not None and self._term.is_usable(now) else None

    @property
    def fails(self) -> bool:
        """Whether it could not be renewed the last time."""
        return self._failures > 0

    @property
    def seconds_left(self) -> float:
        """Seconds until the value in force ends, 0 without one."""
        return 0.0 if self._term is None else max(0.0, self._term.ends_at - self._clock.wall())

    async def get(self) -> Term[T]:
        """Return the value in force, waiting for one if need be; TokenUnavailableError when none can be had.

        One that is due is renewed first where nobody else is doing it; if that fails it is returned all the same.
        """
        now = self._clock.wall()
        term = self.current(now)
        if term is not None and (now < term.renew_at or self._lock.locked()):
            return term
        async with self._lock:
            await self._renew_if_due()
            term = self.current(self._clock.wall())
            if term is None:
                raise TokenUnavailableError(self._reason)
            return term

    def refuse(self, term: Term[T]) -> None:
        """Have the next caller get another value: this one was refused.

        Refusals in quick succession bring one value: where another one is refused as well, it is not the value that is
        wrong.
        """
        now = self._clock.monotonic()
        if term is self._term and now >= self._refusals_from:
            self._term = None
            self._refusals_from = now + _BETWEEN_REFUSALS

    async def run(self) -> None:
        """Renew the value ahead of its end, until cancelled."""
        while True:
            now = self._clock.wall()
            due = self._term.renew_at if self._term is not None else now
            pause = max(due - now, self._again_at - self._clock.monotonic())
            if pause > 0:
                await self._clock.sleep(min(pause, _LOOK))
                continue
            async with self._lock:
                await self._renew_if_due()

    async def _renew_if_due(self) -> None:
        if self._term is not None and self._clock.wall() < self._term.renew_at:
            return  # somebody who waited for the lock before did it
        try:
            await self._renew()
        except TokenUnavailableError:
            return  # the listener was told, the reason is kept, and it is tried again

    async def _renew(self) -> Term[T]:
        if self._clock.monotonic() < self._again_at:
            raise TokenUnavailableError(self._reason)
        try:
            async with self._clock.timeout(_LONGEST_FETCH):
                term = await self._fetch()
        except TimeoutError:
            raise self._failed(f"no answer within {_LONGEST_FETCH:g} s") from None
        except FanoutError as error:
            raise self._failed(str(error)) from None
        if not term.is_usable(self._clock.wall()):
            raise self._failed("the one that was given has ended already; is the clock of this machine right?")
        self._term, self._failures, self._again_at = term, 0, float("-inf")
        self._listener.renewed(self.what, self.seconds_left)
        for callback in self._callbacks:
            callback(term)
        return term

    def _failed(self, reason: str) -> TokenUnavailableError:
        self._failures += 1
        self._again_at = self._clock.monotonic() + pause_after(self._failures)
        self._reason = f"There is no {self.what}: {reason.rstrip('.')}."
        self._listener.failed(self.what, reason, self.seconds_left)
        return TokenUnavailableError(self._reason)
