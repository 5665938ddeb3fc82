"""How fast one class of calls may go: the pause the service asked for, and a rate that follows what it takes. Pure.

Rules guarded: a rate limit is not a concurrency limit, so both exist apart (window.py is the other one). The rate is
for all workers together; each takes its share by demand. It is unlimited until the service refuses while more waits
than is sent; limit.py searches for it, doubt.py says whether refusals come from the rate at all, and second.py when the
service counts anew. A refusal while hardly anything is sent, or far less than was taken before, costs its pause and
nothing else. What one worker learns it tells the others as a `Slowdown`.

    refused:  expected (doubt.py)                 -> nothing is held back
              more than expected, share measured  -> a pause, and a cut; the share is expected still
              late: its call began before a pause -> a longer pause, and what it says beside the refusal
              little sent                         -> a pause
              no rate yet, others under way       -> a pause; what becomes of them tells whether a limit was met
              far below what was accepted before  -> a pause; the third of them is a reason to doubt
              else                                -> a pause, and a cut (limit.py)

A worker that does not know yet what the others know, because it has just started, has them pause and nothing else.

As in BBR (Cardwell and others, 2016) the most that was taken lately is remembered, and what was sent while little
waited shows no limit.
"""

from dataclasses import replace
from math import inf

from workers.doubt import Doubt, Finding, Run, Stage
from workers.limit import FAR_BELOW, LEAST, LESS, PAUSE, REMEMBERED, SECOND, Found, Limit, Phase, Taken
from workers.second import Second
from workers.slowdown import IDLE, Slowdown

_LEAD = 0.03  # seconds who was refused tries again before the others: they hear of it when it was too early
_BURST = 0.02  # seconds a call may come early to make up for late ones; after a rest, twice that is made up for
_EPOCH = 0.2  # seconds: refusals closer to each other than this count as one
_SAMPLE = 10  # calls of one worker that show a rate
_ALONE = 0.9  # share of a rate: what the others had accepted makes no difference
_SLOWEST = 0.05  # calls a second of one worker: it learns of a greater share when it asks for it
_NO_PROBE, _PROBE_DUE, _PROBE_OUT = range(3)


class Pace:
    """The pace of one class in one worker. `ceiling` is the configured rate for all workers, None without one.

    `cap` is the longest pause that is obeyed to its end. After it, one call at a time is made until one is accepted.
    """

    def __init__(self, ceiling: float | None = None, *, cap: float = inf) -> None:
        self._cap = cap
        self._probe = _NO_PROBE
        self.limit = Limit(ceiling)
        self.doubt = Doubt()
        self.share = self._next_share = 1.0
        self.paused_until = -inf
        self._former = self.limit.found  # before the refusals that are doubted
        self._run = Run()
        self._back = self.limit.found  # what a test that showed nothing goes back to
        self._tried = self._tried_taken = 0.0  # the rate at which a share of refusals was measured
        self._last_at = -inf  # when the last call would have gone, had it come neither early nor late
        self._first_at = -inf  # the next does not go before it
        self._slowed_at = self._cut_at = self._told_until = -inf
        self._led_until = -inf
        self._refused_at = -inf
        self._found_until = -inf  # the first rate that is found may be corrected
        self.part = 0  # calls accepted here in the second before a rate was found, until it has been tried
        self._spent = 0
        self._second = Second()
        self._taken = Taken()
        self.taken_at = self._taken.at  # times of accepted calls, in order: who need not call `accepted` adds them here

    def __repr__(self) -> str:
        rate = "unlimited" if self.rate == inf else f"{self.rate:.1f}/s"
        return f"<Pace {rate}, share {self.share:.2f}>"

    @property
    def rate(self) -> float:
        """Calls a second of all workers together."""
        return self.limit.found.rate

    @property
    def ceiling(self) -> float:
        """The configured rate."""
        return self.limit.ceiling

    @property
    def opens_at(self) -> float:
        """When the next call may go: at once, if that is past; infinity while a probe is in flight."""
        if self._probe == _PROBE_OUT:
            return inf
        if self.rate == inf:
            return self.paused_until
        return max(self.paused_until, self._next_at - _BURST)

    @property
    def is_probing(self) -> bool:
        """Whether one call at a time is made, to find out whether a pause is over that was longer than the cap."""
        return self._probe != _NO_PROBE

    @property
    def _next_at(self) -> float:
        # Reckoned anew each time: a worker whose share grows goes faster at once.
        return max(self._first_at, self._last_at + 1.0 / max(_SLOWEST, self.rate * self.share))

    @property
    def is_listening(self) -> bool:
        """Whether `accepted` has to be called for each call the service takes; else its time is enough."""
        return self._probe != _NO_PROBE or not self.doubt.is_idle or self._second.awaits

    @property
    def expects_refusals(self) -> bool:
        """Whether calls are refused that would be at any rate."""
        return self.doubt.stage is not Stage.LIMIT

    def take_share(self, share: float) -> None:
        """Take a share; a greater one only when it is given twice, for then the others have heard of our demand."""
        self.share, self._next_share = min(share, self._next_share), share

    def take_parts(self, others: float, now: float) -> None:
        """Learn how many calls the other workers had accepted in the second before the last refusal."""
        self._taken.look(now, self._look)  # here because this happens twice a second
        if now < self._found_until:
            self.limit.correct(max(LEAST, self.part + others))

    def spend(self, now: float) -> None:
        """Count one call that goes out at `now`."""
        if self._probe == _PROBE_DUE:
            self._probe = _PROBE_OUT
        if self.rate == inf:
            return
        self._spent += 1
        self._last_at = max(self._next_at, now - _BURST)
        if self.limit.is_due(now) and not self.doubt.is_testing:
            self._advance(now)

    def accepted(self, now: float, *, took: float = 0.0) -> Slowdown | None:
        """Count one call the service took; return what the others should know, if it shows anything."""
        self._probe = _NO_PROBE
        self._second.accepted(now - took, now)
        self.taken_at.append(now)
        return None if self.doubt.is_idle else self._conclude(self.doubt.taken(now), now)

    def unanswered(self) -> None:
        """Count out a call that the service neither took nor refused for its speed; a probe is made again."""
        if self._probe == _PROBE_OUT:
            self._probe = _PROBE_DUE

    def resume(self) -> None:
        """End the pause, because an operator lifted it."""
        self.paused_until = self._first_at = -inf
        self._probe = _NO_PROBE

    def refused(
        self, now: float, retry_after: float | None, *, took: float = 0.0, pressed: bool = True, beside: int = 0
    ) -> Slowdown | None:
        """Slow down after a 429; return what the others should know, None when they know it already.

        `took` is how long the call was under way: one that began before we last slowed down says nothing new.
        `pressed`: more waits than may be sent. Without that, the rate of the calls is not the most that is taken.
        `beside`: how many other calls are under way.
        """
        self.unanswered()
        was_expected = self.doubt.stage is not Stage.LIMIT
        finding = self.doubt.refused(now)
        if was_expected and finding is not Finding.SHUT:
            return self._conclude(finding, now)
        if was_expected:
            if not self.doubt.is_measured:
                self.doubt.end()
            self._slowed_at = -inf
        elif finding is Finding.OPEN and now >= self.paused_until:
            return self._conclude(finding, now)
        asked, capped = retry_after is not None, retry_after is not None and retry_after > self._cap
        if not asked:
            self._second.refused(now - took, now)
        pause = self._pause(retry_after, now, pressed=pressed)
        slowdown = self._stated(pause=pause, asked=asked, capped=capped)
        if now < self.paused_until or now - took < self._slowed_at:
            longer = self._lengthen(slowdown, now)
            shown = self._conclude(finding, now)
            return longer if shown is None else replace(shown, pause=pause, asked=asked, capped=capped)
        return self._slow_down(slowdown, now, pressed=pressed, beside=0 if was_expected else beside)

    def _slow_down(self, slowdown: Slowdown, now: float, *, pressed: bool, beside: int) -> Slowdown:
        """Slow down after a refusal that says something new."""
        self._taken.refused(now)
        again, self._refused_at = now - self._refused_at < REMEMBERED, now
        has_taken = self._taken.last_at > self._cut_at
        may_cut = pressed and has_taken and (self.rate < inf or self._taken.is_telling(now, again=again))
        self._begin_run(now)
        if may_cut or (pressed and beside and self.rate == inf):
            self.doubt.watch(now, now + slowdown.pause, beside if self.rate == inf else 0)
        is_odd = may_cut and self._count_refusal(now, is_own=True)
        if may_cut and not is_odd and not (self.rate == inf and beside):
            slowdown = replace(slowdown, found=self._cut(now, is_dear=slowdown.asked))
        self._apply(slowdown, now)
        self.doubt.shut(self.paused_until)
        if self.doubt.is_vain and (self._run.is_strange or self._run.is_vain(self.rate)):
            self._doubt()
            slowdown = self._stated(pause=slowdown.pause, asked=slowdown.asked, capped=slowdown.capped)
        if slowdown.asked:
            self._told_until = self.paused_until
            return slowdown
        self._led_until = self.paused_until
        return replace(slowdown, pause=slowdown.pause + _LEAD)

    def heard(self, slowdown: Slowdown, now: float) -> None:
        """Keep to what another worker was refused, or learned."""
        if self._knows_more(slowdown):
            slowdown = self._stated(pause=slowdown.pause, asked=slowdown.asked, capped=slowdown.capped)
        if slowdown.share > 0.0:
            if now - self._cut_at < _EPOCH and self.doubt.stage is Stage.LIMIT:
                return  # what is refused beside that many refusals is no chance
            self.doubt.follow(slowdown.share, now, is_test=slowdown.is_test)
            if slowdown.is_test or not slowdown.pause:
                self.limit.keep(slowdown.found)
            if not slowdown.pause:
                return
            self.doubt.shut(now + slowdown.pause)
        else:
            self._follow_limit(slowdown, now)
        if self._knows_better(slowdown.found, now):
            slowdown = replace(slowdown, found=self.limit.found)
        lead = 0.0 if slowdown.asked or not slowdown.pause else _LEAD
        if lead and now < self._led_until:  # both were refused, and both try first
            slowdown, lead = replace(slowdown, pause=slowdown.pause - lead), 0.0
        self._apply(slowdown, now, lead)

    def _follow_limit(self, slowdown: Slowdown, now: float) -> None:
        """Take refusals for those of a limit, as another worker does."""
        if self.doubt.stage is not Stage.LIMIT:
            self.doubt.end()
        elif self.rate == inf and slowdown.found.rate < inf:
            self.doubt.trust()
        if slowdown.pause > 0.0 and now >= self.paused_until:
            self._taken.refused(now)
            self._begin_run(now)
            self._count_refusal(now, is_own=False)
            self.doubt.count(now)

    def _knows_more(self, slowdown: Slowdown) -> bool:
        """Return whether a worker was refused that does not know yet what we know."""
        is_new = slowdown.pause > 0.0 and slowdown.share == 0.0 and slowdown.found.refused == inf
        is_doubting = self.doubt.stage is not Stage.LIMIT and (slowdown.found.rate == inf or self.doubt.is_measured)
        return is_new and (self.limit.phase is not Phase.FREE or is_doubting)

    def _knows_better(self, found: Found, now: float) -> bool:
        """Return whether what we know is kept: another worker met a limit first, or we were cut deeper just now."""
        is_first = found.refused == inf and found.rate < inf and self.rate < inf
        return is_first or (now - self._cut_at < _EPOCH and found.rate > self.rate)

    def _lengthen(self, slowdown: Slowdown, now: float) -> Slowdown | None:
        """Keep a pause that ends later than the one we know of; the others hear of it when that is worth it."""
        if not slowdown.asked or now + slowdown.pause <= self.paused_until:
            return None
        self._apply(slowdown, now)
        if self.paused_until <= self._told_until + _LEAD:
            return None
        self._told_until = self.paused_until
        return slowdown

    def _doubt(self) -> None:
        """Test whether refusals come from the rate."""
        self._back = self.limit.found
        self.doubt.begin(self.paused_until)
        self._run = Run()

    def _begin_run(self, now: float) -> None:
        """Begin a run of refusals, if the rate that is refused is one that was taken, or a step beyond it."""
        if self.limit.phase is Phase.BEYOND or (self._run.count == 0 and self.limit.is_trusted):
            if not self.doubt.is_watching(now):
                self.doubt.trust()
            self._former, self._run = self.limit.found, Run(self.rate)
        elif self.limit.is_trusted:
            self._run.own, self._run.first = 0, self.rate

    def _count_refusal(self, now: float, *, is_own: bool) -> bool:
        """Count a refusal of a rate; return whether it says little about the limit."""
        if self.rate == inf or self._taken.last_at <= self._cut_at or self.limit.phase is Phase.BEYOND:
            return False
        share, found = max(self.share, IDLE), self.limit.found
        accepted = self._taken.count(now, self._look, self.paused_until) / self._look / share
        # After a shorter pause a service that saves up calls has saved too few to say this.
        counts_anew = self.paused_until - self._slowed_at >= SECOND - _BURST and found.taken * share >= _SAMPLE
        is_first = self.limit.phase is Phase.SEARCHING and found.refused == inf
        taken = found.taken if counts_anew or is_first else 0.0
        is_lone = self.doubt.stage is Stage.LIMIT and self._taken.streak == 1
        is_odd = is_lone and self._run.is_odd(accepted, taken) and not (is_own and self._is_spent(now))
        self._run.add(accepted, is_own=is_own, is_odd=is_odd)
        return is_odd

    def _cut(self, now: float, *, is_dear: bool = False) -> Found:
        """Return what a refusal shows of the rate."""
        count, share, quota = self._taken.count(now, self._look), max(self.share, IDLE), None
        if is_dear and self.limit.is_first and share > _ALONE:
            quota = self._taken.in_a_second(now, of_all=2 * self.limit.found.taken, share=share)
        elif not is_dear and self._is_spent(now):
            least, most = self._in_this_second(now)
            quota = (least / share, (most + 1) / share) if least >= _SAMPLE else None
        is_known = self.rate == inf or count >= _SAMPLE
        return self.limit.cut(count / self._look / share / (1 - self.doubt.share) if is_known else None, quota)

    def _stated(self, *, pause: float = 0.0, asked: bool = False, capped: bool = False) -> Slowdown:
        share, is_test = self.doubt.share, self.doubt.is_testing
        return Slowdown(pause, self.limit.found, share=share, asked=asked, capped=capped, is_test=is_test)

    def _apply(self, slowdown: Slowdown, now: float, lead: float = 0.0) -> None:
        """Keep to a slowdown; `lead` is the part of its pause that only others get, so that all step on together."""
        if slowdown.capped:
            self._probe = _PROBE_DUE
        if slowdown.pause > 0.0:
            self._slowed_at = now
            self.paused_until = max(self.paused_until, now + slowdown.pause)
        until = max(now, self.paused_until)
        start, pause = until - lead, max(0.0, until - lead - now)
        if pause and (slowdown.asked or slowdown.found.refused == inf):
            pause = max(pause, SECOND)  # who starts meanwhile hears of the rest of it
        if slowdown.found == self.limit.found:
            self.limit.try_again(until, pause, is_asked=slowdown.asked)
        else:
            self._cut_at = now
            if self.rate == inf:
                self.part, self._found_until = self._taken.begin(now), until + SECOND / 2  # each tells twice a second
                self._run = Run(slowdown.found.rate, 1)
                self.doubt.recount(until)
            self.limit.follow(slowdown.found, start, pause, is_asked=slowdown.asked)
        self._first_at = max(self._first_at, until + _BURST)
        self._spent = 0

    def _conclude(self, finding: Finding, now: float) -> Slowdown | None:
        """Do what follows from a finding, and return it for the others."""
        match finding:
            case Finding.NOTHING:
                return None
            case Finding.SHUT:
                self.doubt.trust()
                if self.rate < inf or self._taken.count(now, SECOND) < LEAST:
                    return None  # another worker told of a rate in the meantime, or will
                self._apply(Slowdown(0.0, self._cut(now)), now)
            case Finding.OPEN:
                self.doubt.begin(max(now, self.paused_until))
                self._back = self._former
                self.limit.keep(self._former)
            case Finding.MEASURED:
                self._go_slower(now)
            case Finding.RANDOM:
                self.limit.keep(self._former)
            case _:
                self._end_test(finding, now)
        return self._stated()

    def _go_slower(self, now: float) -> None:
        """Go below the rate that was accepted, to see whether fewer are refused then."""
        sample = self.doubt.sample
        self._tried = sample.count / (now - sample.since) / max(self.share, IDLE)
        self._tried_taken = self._tried * (1 - sample.share)
        part = self.doubt.go_slower(now, sample.share)
        rate = min(self.rate, part * self._tried)
        self.limit.keep(Found(rate, min(rate, self.limit.found.taken)))

    def _end_test(self, finding: Finding, now: float) -> None:
        """Take refusals for those of the rate again, with or without a limit."""
        if finding is Finding.LIMIT:
            self._spent = 0
            self.limit.follow(self.limit.tested(self._tried_taken, self._tried), now, PAUSE)
        elif self.doubt.stage is Stage.SLOWER:
            self.limit.keep(self._back)
        self.doubt.end()

    def _pause(self, retry_after: float | None, now: float, *, pressed: bool) -> float:
        if retry_after is not None:
            return min(retry_after, self._cap)
        if self.rate == inf and pressed and len(self._taken.at) >= LEAST:
            return SECOND  # by then the service counts anew
        left = self._second.left(now)
        if left is None or not (self._taken.streak or self._is_spent(now)):
            left = min(SECOND, PAUSE * 2.0 ** min(self._taken.streak, 10))
        return max(left, min(SECOND, 1.0 / self.rate))  # less than one call later nothing can have changed

    def _in_this_second(self, now: float) -> tuple[int, int]:
        """Return the least and the most of the calls accepted here in this second of the service; none: not known."""
        begun = self._second.begun(now)
        if begun is None:
            return 0, 0
        earliest, latest = (self._taken.count(now, self._look, since) for since in begun)
        return latest, earliest

    def _is_spent(self, now: float) -> bool:
        """Return whether so much was accepted in this second of the service that a limit is met; False: not known."""
        least = max(LESS * self.limit.found.taken, FAR_BELOW * self.rate) * max(self.share, IDLE)
        return self._in_this_second(now)[1] >= max(1.0, least)

    def _advance(self, now: float) -> None:
        self.limit.advance(now, self._spent / max(self.share, IDLE), is_sure=not self.doubt.is_measured)
        self._spent = self.part = 0
        if self.limit.is_trusted:
            self.doubt.trust()
            self._run = Run()

    @property
    def _look(self) -> float:
        """Seconds that are looked back on for what was taken."""
        return SECOND if self.rate == inf else min(5.0, max(SECOND, _SAMPLE / (self.rate * max(self.share, IDLE))))
