"""What is kept of one target, and what of that is worth keeping until the crawl goes on later.

The state and the numbers; what changes them, and when, is the gate's business.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import attrs

from ..limits.rate import RateLimiter
from .ramp import Ramp, Sustained, Traffic

if TYPE_CHECKING:
    from .policy import TargetPolicy


class TargetState(Enum):
    """Where a target is in its life."""

    OPEN = "open"
    PAUSED = "paused"
    PROBING = "probing"
    RAMPING = "ramping"
    SUSPENDED = "suspended"

    @property
    def gets_traffic(self) -> bool:
        """Whether more goes there than a probe."""
        return self is OPEN or self is RAMPING


#: The states by name: to look one up in its class takes 0.1 us on Python 3.10 and 3.11.
OPEN, PAUSED, PROBING, RAMPING, SUSPENDED = TargetState


@attrs.frozen(kw_only=True)
class TargetMemory:
    """What has to be known of a target when a crawl goes on later.

    :param left: seconds of its pause that are left; 0 or less when it is over.
    :param step: pauses in a row.
    :param pause: seconds that the last pause was to last in all.
    :param rate: requests per second that it sustained before.
    :param peak: the most requests at once before.
    :param observed: seconds for which it had been crawled before.
    :param suspended: why it gets nothing more; ``None`` if it does.
    :param by_hand: whether somebody said how long the pause is to be, whatever the policy.
    """

    target: str
    left: float
    step: int
    pause: float
    rate: float
    peak: int
    observed: float
    suspended: str | None = None
    by_hand: bool = False


class TargetRecord:
    """One target's state, budget and past. The gate changes it."""

    __slots__ = (
        "back_for",
        "by_hand",
        "forbidden_in_a_row",
        "in_flight",
        "limiter",
        "lost_probes",
        "pause",
        "paused_at",
        "pauses_in_a_row",
        "policy",
        "probe_at",
        "probe_out",
        "ramp",
        "seen_at",
        "state",
        "suspended_because",
        "sustained",
        "told_until",
        "traffic",
        "until",
    )

    def __init__(self, policy: TargetPolicy, now: float) -> None:
        self.policy = policy
        self.state = OPEN
        self.paused_at = float("-inf")
        self.until = self.told_until = float("-inf")  # when the pause ends, and was said to end
        self.probe_at = float("-inf")  # from when on a probe may go: not before that
        self.pause = 0.0  # how long the last one was to be, without the jitter, in seconds
        self.by_hand = False  # whether somebody said when it ends
        self.pauses_in_a_row = 0
        self.lost_probes = 0  # since it began
        self.back_for = 0.0  # seconds of traffic since it ended
        self.seen_at = now  # when it last answered since then
        self.forbidden_in_a_row = 0
        self.probe_out = False
        self.suspended_because: str | None = None
        self.in_flight = 0
        self.limiter = RateLimiter(policy.rate) if policy.rate is not None else None
        self.traffic = Traffic(now)
        self.ramp: Ramp | None = None
        self.sustained = Sustained(
            answers=0.0, seconds=1.0, peak=1, observed=0.0
        )  # before it refused

    def is_quiet(self, now: float) -> bool:
        """Whether nothing would be lost if all of this were forgotten."""
        return (
            self.state is OPEN
            and not self.in_flight
            and not self.pauses_in_a_row
            and not self.forbidden_in_a_row
            and self.ramp is None
            and (self.limiter is None or self.limiter.arrival <= now)
        )

    def memory(self, target: str, now: float) -> TargetMemory:
        """Return what has to be known of it when a crawl goes on later."""
        sustained = self.sustained
        return TargetMemory(
            target=target,
            left=max(0.0, self.until - now) if self.until < float("inf") else 0.0,
            step=self.pauses_in_a_row,
            pause=self.pause,
            rate=sustained.rate,
            peak=sustained.peak,
            observed=sustained.observed,
            suspended=self.suspended_because,
            by_hand=self.by_hand,
        )

    def pause_again(self, memory: TargetMemory, now: float) -> None:
        """Take up a pause where an earlier crawl has left it."""
        seconds = max(1.0, 1.0 / memory.rate)
        self.sustained = Sustained(
            answers=memory.rate * seconds,
            seconds=seconds,
            peak=memory.peak,
            observed=memory.observed,
        )
        longest = memory.left if memory.by_hand else self.policy.pause_max
        self.until = self.probe_at = now + min(memory.left, longest)
        self.by_hand = memory.by_hand
        self.told_until = self.until
        self.pause = min(memory.pause, self.policy.pause_max)
        self.paused_at = self.until - self.pause
        self.state = PAUSED
