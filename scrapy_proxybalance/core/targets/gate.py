"""The target gate: how much a target may get now, and who has asked to be left alone until when.

A target is open, paused until a moment, probing (one request finds out), ramping (its traffic grows
back), or suspended. The gate is told what was sent and what targets said, and answers how many
requests may go; it sends, waits for and drops nothing.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

from ..events import (
    TargetPaused,
    TargetPauseExtended,
    TargetProbing,
    TargetRamping,
    TargetReleased,
    TargetReopened,
    TargetSuspended,
)
from .ramp import Ramp
from .record import (
    OPEN,
    PAUSED,
    PROBING,
    RAMPING,
    SUSPENDED,
    TargetMemory,
    TargetRecord,
    TargetState,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from ..events import EventBus
    from .policy import TargetRules

#: What :meth:`TargetGate.available` returns for a target without any limit.
UNLIMITED = sys.maxsize

# Of so many targets at most something is kept although there is nothing to say of them.
_QUIET_TARGETS = 10_000
# What was learned within moments is learned again sooner: the ramp is no longer than the target had
# been crawled, but at least the policy's divided by this.
_SHORT_RAMP = 12
# A target that asks for less than this is paused for this long, in seconds; so it is after a failed
# probe, and after each further one for twice as long.
_MOMENT = 1.0


class TargetGate:
    """Keeps every target's state.

    :param rules: what holds for which target.
    :param rng: jitters the pauses.
    :param events: is told of every change.
    """

    def __init__(self, rules: TargetRules, rng: Random, events: EventBus) -> None:
        self._rules = rules
        self._rng = rng
        self._events = events
        self._targets: OrderedDict[str, TargetRecord] = OrderedDict()
        self._not_open: dict[str, TargetRecord] = {}

    def state(self, target: str) -> TargetState:
        """Return a target's state."""
        known = self._targets.get(target)
        return known.state if known is not None else OPEN

    def __iter__(self) -> Iterator[tuple[str, TargetState, float]]:
        """Give every target that is paused, probing or suspended, with the end of its pause."""
        for name, target in self._not_open.items():
            yield name, target.state, target.until

    # What may go

    def available(self, target: str, now: float) -> int:
        """Return how many requests may go to ``target`` now; changes nothing."""
        known = self._targets.get(target)
        if known is None:
            policy = self._rules.policy_of(target)
            burst = UNLIMITED if policy.rate is None else policy.rate.burst
            return min(burst, policy.max_in_flight or UNLIMITED)
        left = UNLIMITED
        if known.state is not OPEN and known.state is not RAMPING:
            if now < known.probe_at or known.probe_out:
                return 0
            left = 1
        if known.limiter is not None:
            left = min(left, known.limiter.available(now))
        if known.policy.max_in_flight is not None:
            left = min(left, known.policy.max_in_flight - known.in_flight)
        if known.ramp is not None:
            if now < known.ramp.ready_at():
                return 0
            left = min(left, 1, known.ramp.max_in_flight(now) - known.in_flight)
        return max(0, left)

    def may_send(self, target: str, now: float) -> bool:
        """Return whether a request may go to ``target`` now; changes nothing."""
        return self.available(target, now) > 0

    def ready_at(self, target: str, now: float) -> float | None:
        """Return from when a request may go, as far as time alone decides.

        :return: seconds; infinity for a suspended target; ``None`` if a request to the target has
            to end first.
        """
        known = self._targets.get(target)
        if known is None:
            return now
        if known.state is SUSPENDED:
            return float("inf")
        if known.probe_out:
            return None
        when = max(now, known.probe_at)
        limit = known.policy.max_in_flight
        if known.limiter is not None:
            when = max(when, known.limiter.ready_at())
        if known.ramp is not None:
            when = max(when, known.ramp.ready_at())
            ramped = known.ramp.max_in_flight(when)
            limit = ramped if limit is None else min(limit, ramped)
        return None if limit is not None and known.in_flight >= limit else when

    def limit(self, target: str, now: float) -> tuple[float, int]:
        """Return how many requests may be in flight to ``target`` at once, and how many are."""
        known = self._targets.get(target)
        if known is None:
            return self._rules.policy_of(target).max_in_flight or float("inf"), 0
        if known.state is not OPEN and known.state is not RAMPING:
            return 0.0, known.in_flight
        limit = float(known.policy.max_in_flight or "inf")
        if known.ramp is not None:
            limit = min(limit, known.ramp.max_in_flight(now))
        return limit, known.in_flight

    # What was sent, and what came of it

    def send(self, target: str, now: float) -> bool:
        """Take note that a request goes to ``target`` now; return whether it is the probe.

        Call it only where :meth:`may_send` holds, and :meth:`ended` when the request has ended.
        """
        known = self._known(target, now)
        if known.limiter is not None:
            known.limiter.take(now)
        if known.ramp is not None:
            known.ramp.take(now, known.in_flight)
        known.in_flight += 1
        known.traffic.peak = max(known.traffic.peak, known.in_flight)
        if known.state is OPEN or known.state is RAMPING:
            return False
        if known.state is PAUSED:
            known.state = PROBING
            self._events.emit(TargetProbing(now=now, target=target))
        known.probe_out = True
        return True

    def ended(self, target: str) -> None:
        """Take note that a request to ``target`` is not in flight any more, however it ended."""
        self._targets[target].in_flight -= 1

    def probe_lost(
        self, target: str, now: float, *, arrived: bool, started_at: float = float("inf")
    ) -> None:
        """Take note that the probe ended without the target having said anything.

        :param arrived: whether it may have come as far as the target, which then is left alone for a
            moment before the next one, and longer with each.
        :param started_at: when it went out. One of before a pause or a release says nothing of the next.
        """
        known = self._targets[target]
        if started_at < known.until:
            return
        known.probe_out = False
        if arrived and known.state is PROBING:
            wait = _MOMENT * 2.0 ** min(known.lost_probes, 60)
            known.lost_probes += 1
            known.probe_at = now + min(wait, known.policy.pause)

    def answered(self, target: str, started_at: float, now: float) -> None:
        """Take note that the target answered as usual a request sent at ``started_at``."""
        known = self._known(target, now)
        known.traffic.answered(now)
        known.forbidden_in_a_row = 0
        if known.state is PROBING and started_at >= known.until:
            self._reopen(target, known, now)
            return
        if started_at < known.until:
            known.sustained.answers += 1.0  # it was on its way when another one was refused
        if known.state is RAMPING:
            if known.ramp is None or now >= known.ramp.ends_at:
                known.state = OPEN
                self._events.emit(TargetReopened(now=now, target=target))
        elif known.state is not OPEN:
            return
        if known.pauses_in_a_row:
            # The backoff is forgotten when the target has answered traffic as long as it was paused.
            # Rare answers are no traffic.
            known.back_for += min(now - known.seen_at, known.policy.pause)
            known.seen_at = now
            if known.back_for > known.pause:
                known.pauses_in_a_row = 0

    def _reopen(self, target: str, known: TargetRecord, now: float) -> None:
        known.state = RAMPING
        known.probe_out = False
        known.back_for = 0.0
        known.seen_at = now
        sustained = known.sustained
        known.ramp = ramp = Ramp(
            sustained.rate,
            sustained.peak,
            min(known.policy.ramp, max(sustained.observed, known.policy.ramp / _SHORT_RAMP)),
            now,
        )
        del self._not_open[target]
        self._events.emit(
            TargetRamping(now=now, target=target, until=ramp.ends_at, rate=ramp.rate(now))
        )

    # Refusals

    def refused(
        self, target: str, *, started_at: float, now: float, reason: str, wait: float | None = None
    ) -> bool:
        """Take note of a refusal: pause the target at once.

        Refusals of requests that were sent before the pause began are the same refusal: they may
        lengthen the pause, up to what they ask for, but do not count as a further step.

        :param started_at: when the refused request went out, in seconds.
        :param reason: what the target said, in words.
        :param wait: seconds that the target asked for.
        :return: whether a new pause began.
        """
        known = self._known(target, now)
        policy = known.policy
        if known.state is SUSPENDED:
            return False
        asked = max(wait, min(_MOMENT, policy.pause)) if wait and wait > 0 else None
        if started_at < known.until:
            if known.state is PAUSED and asked is not None:
                self._extend(target, known, now + asked, now, reason)
            return False
        known.pauses_in_a_row += 1
        if known.pauses_in_a_row > policy.max_pauses:
            self.suspend(target, now, f"{reason}, after {policy.max_pauses} pauses in a row")
            return True
        backoff = asked or policy.pause
        if known.pauses_in_a_row > 1:
            backoff = max(backoff, 2.0 * known.pause)
        known.pause = min(policy.pause_max, backoff)
        pause = min(policy.pause_max, backoff * self._rng.uniform(1.0, 1.1))
        self._pause(target, known, now + pause, now, reason)
        return True

    def _pause(
        self, target: str, known: TargetRecord, until: float, now: float, reason: str
    ) -> None:
        self._measure(known, now)
        known.state = PAUSED
        known.by_hand = False
        self._not_open[target] = known
        known.paused_at = now
        known.until = known.probe_at = known.told_until = until
        known.lost_probes = 0
        known.forbidden_in_a_row = 0
        known.probe_out = False
        known.ramp = None
        known.traffic.start_over(now)
        self._events.emit(
            TargetPaused(
                now=now,
                target=target,
                until=until,
                step=known.pauses_in_a_row,
                reason=reason,
            )
        )

    def _extend(
        self, target: str, known: TargetRecord, until: float, now: float, reason: str
    ) -> None:
        """Make a pause longer, up to the longest; tell of it if that is by more than a moment."""
        until = min(until, known.paused_at + known.policy.pause_max)
        if until <= known.until:
            return
        known.until = known.probe_at = until
        known.pause = max(known.pause, until - known.paused_at)
        if until > known.told_until + _MOMENT:
            known.told_until = until
            self._events.emit(
                TargetPauseExtended(now=now, target=target, until=until, reason=reason)
            )

    @staticmethod
    def _measure(known: TargetRecord, now: float) -> None:
        """Measure the rate that the target sustained before it refused, to begin below it afterwards.

        That is its recent rate; but if it refuses again soon after a pause, the mean rate since that
        pause began: a site with a quota per hour answers much, and then nothing.
        """
        if known.state is PROBING:
            return  # it has answered nothing since, and what was measured then still holds
        known.sustained = known.traffic.sustained(now, lately=known.pauses_in_a_row == 1)
        if known.ramp is not None:
            known.sustained.ceiling = known.ramp.rate(now)

    def forbidden(self, target: str, *, started_at: float, now: float) -> bool:
        """Take note of a 403; return whether it counts as a refusal: enough in a row, or a probe's."""
        known = self._known(target, now)
        if started_at < known.until:
            return False  # it belongs to the refusal that the target was paused for
        known.forbidden_in_a_row += 1
        probed = known.state is PROBING
        return probed or known.forbidden_in_a_row >= known.policy.forbidden_threshold

    def suspend(self, target: str, now: float, reason: str) -> bool:
        """Let no more request go to ``target``; return whether that is new."""
        known = self._known(target, now)
        if known.state is SUSPENDED:
            return False
        known.state = SUSPENDED
        known.suspended_because = reason
        known.probe_out = False
        self._not_open[target] = known
        known.until = known.probe_at = float("inf")
        self._events.emit(TargetSuspended(now=now, target=target, reason=reason))
        return True

    # What an operator says

    def pause(self, target: str, seconds: float, now: float, reason: str) -> bool:
        """Leave a target alone, which has not refused; a pause that is running gets no shorter.

        :param seconds: for how long, whatever the policy.
        :return: whether it is left alone for longer than it would have been.
        """
        known = self._known(target, now)
        until = now + seconds
        if known.state is SUSPENDED or until <= known.until:
            return False
        if known.state is PAUSED:
            known.until = known.probe_at = known.told_until = until
            self._events.emit(
                TargetPauseExtended(now=now, target=target, until=until, reason=reason)
            )
        else:
            known.pause = max(known.pause, min(seconds, known.policy.pause))
            self._pause(target, known, until, now, reason)
        known.by_hand = True
        return True

    def release(self, target: str, now: float) -> bool:
        """End a target's pause, or its suspension: one request tries it, then its traffic grows back.

        :return: whether there was one.
        """
        known = self._targets.get(target)
        if known is None or known.state is OPEN or known.state is RAMPING:
            return False
        if known.state is SUSPENDED:
            known.state = PAUSED
            known.suspended_because = None
            known.pauses_in_a_row = 0
            known.paused_at = now
        known.until = min(known.until, now)
        known.probe_at = now
        self._events.emit(TargetReleased(now=now, target=target))
        return True

    def withdraw(self, target: str, now: float) -> bool:
        """Cancel a refusal that was not the target's: it is as open as before.

        :return: whether it was paused for that.
        """
        known = self._targets.get(target)
        if known is None or known.state not in (PAUSED, PROBING) or known.by_hand:
            return False
        known.state = OPEN
        known.pauses_in_a_row = max(0, known.pauses_in_a_row - 1)
        known.until = known.probe_at = now
        known.probe_out = False
        del self._not_open[target]
        self._events.emit(TargetReopened(now=now, target=target))
        return True

    # From one crawl to its continuation

    def memories(self, now: float) -> Iterator[TargetMemory]:
        """Give what has to be known later of every target that is paused, suspended or in backoff."""
        for name, known in self._targets.items():
            if known.pauses_in_a_row or known.state in (PAUSED, PROBING, SUSPENDED):
                yield known.memory(name, now)

    def recall(self, memory: TargetMemory, now: float) -> None:
        """Take up a target where an earlier crawl has left it.

        A suspension, or a pause that is still running, is told of as if it began now. One that is
        over is not; but as after any pause one request tries the target first. Of several memories
        of one target the first counts, with the most pauses in a row, and any suspension.
        """
        known = self._known(memory.target, now)
        if memory.suspended is not None:
            self.suspend(memory.target, now, f"{memory.suspended}, in an earlier run of this job")
            known.suspended_because = memory.suspended
            return
        known.pauses_in_a_row = max(known.pauses_in_a_row, memory.step)
        if known.state is not OPEN:
            return
        known.pause_again(memory, now)
        self._not_open[memory.target] = known
        if memory.left <= 0:
            return
        self._events.emit(
            TargetPaused(
                now=now,
                target=memory.target,
                until=known.until,
                step=memory.step,
                reason="paused before the crawl was resumed",
            )
        )

    def _known(self, target: str, now: float) -> TargetRecord:
        known = self._targets.get(target)
        if known is not None:
            return known
        for _ in range(2 if len(self._targets) >= _QUIET_TARGETS else 0):
            name, oldest = self._targets.popitem(last=False)
            if not oldest.is_quiet(now):
                self._targets[name] = oldest  # among the youngest, to be looked at later
        known = self._targets[target] = TargetRecord(self._rules.policy_of(target), now)
        return known
