"""The target gate: how much a target may get now, and who has asked to be left alone until when.

A target is open, paused until a moment, probing (one request finds out), ramping (its traffic grows
back), or suspended. The gate is told what was sent and what targets said, and answers how many
requests may go; it sends, waits for and drops nothing.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from enum import Enum
from typing import TYPE_CHECKING

import attrs

from .events import (
    TargetPaused,
    TargetProbing,
    TargetRamping,
    TargetReopened,
    TargetSuspended,
)
from .limits import RateLimiter
from .ramp import Borne, Ramp, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .events import EventBus
    from .target_policy import TargetPolicy, TargetRules

#: What :meth:`TargetGate.available` returns for a target without any limit.
UNLIMITED = sys.maxsize

# An ambiguous failure is laid at the target's door when most of so many recent attempts through
# other proxies failed there too.
_EVIDENCE_WINDOW = 20
_EVIDENCE_MIN = 4
# Of so many targets at most something is kept although there is nothing to say of them.
_QUIET_TARGETS = 10_000
# What was learned within moments is found out anew sooner: the ramp is no longer than the target had
# been crawled, but at least the policy's divided by this.
_SHORT_RAMP = 12
# A target that asks for less than a moment is left alone for a moment, in seconds.
_SHORTEST_PAUSE = 1.0


class TargetState(Enum):
    """Where a target is in its life."""

    OPEN = "open"
    PAUSED = "paused"
    PROBING = "probing"
    RAMPING = "ramping"
    SUSPENDED = "suspended"


@attrs.frozen(kw_only=True)
class TargetMemory:
    """What has to be known of a target when a crawl goes on later.

    :param left: seconds of its pause that are left; 0 or less when it is over.
    :param step: pauses in a row.
    :param pause: seconds that the last pause lasted in all.
    :param rate: requests per second that it bore before.
    :param peak: requests at once that it bore before.
    :param observed: seconds for which it had been crawled before.
    :param suspended: why it gets nothing more; ``None`` if it does.
    """

    target: str
    left: float
    step: int
    pause: float
    rate: float
    peak: int
    observed: float
    suspended: str | None = None


class _Target:
    __slots__ = (
        "borne",
        "forbidden_in_a_row",
        "in_flight",
        "limiter",
        "paused_at",
        "pauses_in_a_row",
        "policy",
        "probe_out",
        "ramp",
        "recent",
        "reopened_at",
        "state",
        "suspended_because",
        "traffic",
        "until",
    )

    def __init__(self, policy: TargetPolicy, now: float) -> None:
        self.policy = policy
        self.state = TargetState.OPEN
        self.until = float("-inf")
        self.paused_at = float("-inf")
        self.reopened_at = float("-inf")
        self.pauses_in_a_row = 0
        self.forbidden_in_a_row = 0
        self.probe_out = False
        self.suspended_because: str | None = None
        self.in_flight = 0
        self.limiter = RateLimiter(policy.rate) if policy.rate is not None else None
        self.traffic = Traffic(now)
        self.ramp: Ramp | None = None
        self.borne = Borne(answers=0.0, seconds=1.0, peak=1, observed=0.0)  # before it refused
        self.recent: deque[tuple[str, bool]] | None = None

    def is_quiet(self, now: float) -> bool:
        """Whether nothing would be lost if all of this were forgotten."""
        return (
            self.state is TargetState.OPEN
            and not self.in_flight
            and not self.pauses_in_a_row
            and not self.forbidden_in_a_row
            and self.ramp is None
            and (self.limiter is None or self.limiter.arrival <= now)
        )


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
        self._targets: OrderedDict[str, _Target] = OrderedDict()
        self._not_open: dict[str, _Target] = {}

    def state(self, target: str) -> TargetState:
        """Return a target's state."""
        known = self._targets.get(target)
        return known.state if known is not None else TargetState.OPEN

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
        if known.state is not TargetState.OPEN and known.state is not TargetState.RAMPING:
            paused = known.state is TargetState.PAUSED and now < known.until
            if paused or known.probe_out or known.state is TargetState.SUSPENDED:
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
        if known.state is TargetState.SUSPENDED:
            return float("inf")
        if known.probe_out:
            return None
        when = max(now, known.until) if known.state is TargetState.PAUSED else now
        limit = known.policy.max_in_flight
        if known.limiter is not None:
            when = max(when, known.limiter.ready_at())
        if known.ramp is not None:
            when = max(when, known.ramp.ready_at())
            ramped = known.ramp.max_in_flight(when)
            limit = ramped if limit is None else min(limit, ramped)
        return None if limit is not None and known.in_flight >= limit else when

    # What was sent, and what came of it

    def send(self, target: str, now: float) -> bool:
        """Take note that a request goes to ``target`` now; return whether it is the probe.

        Call it only where :meth:`may_send` holds, and :meth:`ended` when the request has ended.
        """
        known = self._known(target, now)
        known.in_flight += 1
        known.traffic.peak = max(known.traffic.peak, known.in_flight)
        if known.limiter is not None:
            known.limiter.take(now)
        if known.ramp is not None:
            known.ramp.take(now)
            if known.ramp.is_over(now):
                known.ramp = None
        if known.state is TargetState.OPEN or known.state is TargetState.RAMPING:
            return False
        if known.state is TargetState.PAUSED:
            known.state = TargetState.PROBING
            self._events.emit(TargetProbing(now=now, target=target))
        known.probe_out = True
        return True

    def ended(self, target: str) -> None:
        """Take note that a request to ``target`` is not in flight any more, however it ended."""
        self._targets[target].in_flight -= 1

    def probe_lost(self, target: str) -> None:
        """Take note that the probe ended without the target having said anything."""
        self._targets[target].probe_out = False

    def answered(self, target: str, proxy: str, sent_at: float, now: float) -> None:
        """Take note that the target answered as usual a request sent at ``sent_at``."""
        known = self._known(target, now)
        known.traffic.answered(now)
        known.forbidden_in_a_row = 0
        if known.recent is not None:
            known.recent.append((proxy, True))
        if known.state is TargetState.PROBING and sent_at >= known.until:
            self._reopen(target, known, now)
            return
        if sent_at < known.until:
            known.borne.answers += 1.0  # it was on its way when another one was refused
        if known.state is TargetState.RAMPING:
            if known.ramp is None or now >= known.ramp.ends_at:
                known.state = TargetState.OPEN
                self._events.emit(TargetReopened(now=now, target=target))
        elif known.state is not TargetState.OPEN:
            return
        if known.pauses_in_a_row and now - known.reopened_at > known.until - known.paused_at:
            # The backoff is forgotten when the target has borne traffic as long as it was paused.
            known.pauses_in_a_row = 0

    def _reopen(self, target: str, known: _Target, now: float) -> None:
        known.state = TargetState.RAMPING
        known.probe_out = False
        known.reopened_at = now
        borne = known.borne
        known.ramp = ramp = Ramp(
            borne.rate,
            borne.peak,
            min(known.policy.ramp, max(borne.observed, known.policy.ramp / _SHORT_RAMP)),
            now,
        )
        del self._not_open[target]
        self._events.emit(
            TargetRamping(now=now, target=target, until=ramp.ends_at, rate=ramp.rate(now))
        )

    def failed(self, target: str, proxy: str, now: float) -> None:
        """Take note that an attempt at the target through ``proxy`` came to nothing."""
        known = self._known(target, now)
        if known.recent is None:
            known.recent = deque(maxlen=_EVIDENCE_WINDOW)
        known.recent.append((proxy, False))

    def fails_through_others(self, target: str, proxy: str) -> bool:
        """Return whether most recent attempts at the target through other proxies failed."""
        known = self._targets.get(target)
        if known is None or known.recent is None:
            return False
        others = [answered for name, answered in known.recent if name != proxy]
        return len(others) >= _EVIDENCE_MIN and 2 * sum(others) < len(others)

    def answers_through_others(self, target: str, proxy: str) -> bool:
        """Return whether the target has lately answered through another proxy."""
        known = self._targets.get(target)
        return (
            known is not None
            and known.recent is not None
            and any(answered for name, answered in known.recent if name != proxy)
        )

    # Refusals

    def refused(
        self, target: str, *, sent_at: float, now: float, reason: str, wait: float | None = None
    ) -> bool:
        """Take note of a refusal: pause the target at once.

        Refusals of requests that were sent before the pause began are the same refusal: they may
        lengthen the pause, up to what they ask for, but do not count as a further step.

        :param sent_at: when the refused request went out, in seconds.
        :param reason: what the target said, in words.
        :param wait: seconds that the target asked for.
        :return: whether a new pause began.
        """
        known = self._known(target, now)
        policy = known.policy
        if known.state is TargetState.SUSPENDED:
            return False
        asked = max(wait, min(_SHORTEST_PAUSE, policy.pause)) if wait and wait > 0 else None
        if sent_at < known.until:
            if known.state is TargetState.PAUSED and asked is not None:
                latest = known.paused_at + policy.pause_max
                known.until = max(known.until, min(now + asked, latest))
            return False
        known.pauses_in_a_row += 1
        if known.pauses_in_a_row > policy.max_pauses:
            self.suspend(target, now, f"{reason}, after {policy.max_pauses} pauses in a row")
            return True
        backoff = (asked or policy.pause) * 2.0 ** min(known.pauses_in_a_row - 1, 60)
        pause = min(policy.pause_max, backoff * self._rng.uniform(1.0, 1.1))
        self._measure(known, now)
        known.state = TargetState.PAUSED
        self._not_open[target] = known
        known.paused_at = now
        known.until = now + pause
        known.forbidden_in_a_row = 0
        known.probe_out = False
        known.ramp = None
        known.traffic.start_over(now)
        self._events.emit(
            TargetPaused(
                now=now,
                target=target,
                until=known.until,
                step=known.pauses_in_a_row,
                reason=reason,
            )
        )
        return True

    @staticmethod
    def _measure(known: _Target, now: float) -> None:
        """Find out what the target bore before it refused, to begin below that after the pause.

        What it bore lately; but if it refuses again soon after a pause, then what it bore on the
        whole since that pause began: a site with a quota an hour bears much, and then nothing.
        """
        if known.state is TargetState.PROBING:
            return  # it bore nothing since, and what was measured then still stands
        known.borne = known.traffic.borne(now, lately=known.pauses_in_a_row == 1)
        if known.ramp is not None:
            known.borne.ceiling = known.ramp.rate(now)

    def forbidden(self, target: str, *, sent_at: float, now: float) -> bool:
        """Take note of a 403; return whether it counts as a refusal: enough in a row, or a probe's."""
        known = self._known(target, now)
        if sent_at < known.until:
            return False  # it belongs to the refusal that the target was paused for
        known.forbidden_in_a_row += 1
        probed = known.state is TargetState.PROBING
        return probed or known.forbidden_in_a_row >= known.policy.forbidden_threshold

    def suspend(self, target: str, now: float, reason: str) -> bool:
        """Let no more request go to ``target``; return whether that is new."""
        known = self._known(target, now)
        if known.state is TargetState.SUSPENDED:
            return False
        known.state = TargetState.SUSPENDED
        known.suspended_because = reason
        known.probe_out = False
        self._not_open[target] = known
        known.until = float("inf")
        self._events.emit(TargetSuspended(now=now, target=target, reason=reason))
        return True

    # From one crawl to its continuation

    def memories(self, now: float) -> Iterator[TargetMemory]:
        """Give what has to be known later of every target that is paused, suspended or in backoff."""
        for name, known in self._targets.items():
            borne = known.borne
            if known.pauses_in_a_row or known.state is TargetState.SUSPENDED:
                finite = known.until < float("inf")
                yield TargetMemory(
                    target=name,
                    left=max(0.0, known.until - now) if finite else 0.0,
                    step=known.pauses_in_a_row,
                    pause=known.until - known.paused_at if finite else 0.0,
                    rate=borne.rate,
                    peak=borne.peak,
                    observed=borne.observed,
                    suspended=known.suspended_because,
                )

    def recall(self, memory: TargetMemory, now: float) -> None:
        """Take up a target where an earlier crawl has left it.

        A suspension, or a pause that is still running, is told of as if it began now. One that is
        over is not; but as after any pause one request tries the target first.
        """
        known = self._known(memory.target, now)
        if memory.suspended is not None:
            self.suspend(memory.target, now, memory.suspended)
            return
        known.pauses_in_a_row = memory.step
        seconds = max(1.0, 1.0 / memory.rate)
        known.borne = Borne(
            answers=memory.rate * seconds,
            seconds=seconds,
            peak=memory.peak,
            observed=memory.observed,
        )
        known.until = now + min(memory.left, known.policy.pause_max)
        known.paused_at = known.until - memory.pause
        known.state = TargetState.PAUSED
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

    def _known(self, target: str, now: float) -> _Target:
        known = self._targets.get(target)
        if known is not None:
            return known
        for _ in range(2 if len(self._targets) >= _QUIET_TARGETS else 0):
            name, oldest = self._targets.popitem(last=False)
            if not oldest.is_quiet(now):
                self._targets[name] = oldest  # among the youngest, to be looked at later
        known = self._targets[target] = _Target(self._rules.policy_of(target), now)
        return known
