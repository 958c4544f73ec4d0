"""How well one proxy does: its record, its long-term means, its faults in a row, and its cooldown.

A state machine that is told outcomes and times. It knows nothing of other proxies, of leases in
flight or of selection; what an ambiguous outcome counts as has been decided before it comes here.
"""

from __future__ import annotations

from copy import copy
from enum import Enum
from math import ceil, log
from typing import TYPE_CHECKING

import attrs

from ..errors import ConfigurationError
from .long_term import LongTerm
from .record import Record

if TYPE_CHECKING:
    from random import Random

_FIRST_RECOVERY = 0.5
# A proxy that has been slower than usual lately, by more than such a factor, is taken to be in trouble;
# each answer that is nearer to the usual says that this is over, and lately counts so much less.
_IN_TROUBLE = 1.5
_OVER = 0.5
# A run of failures this unlikely is not chance; the share that fails is assumed to be within bounds.
_HARDLY_BY_CHANCE = 1e-6
_FAILS_LEAST, _FAILS_MOST = 0.05, 0.5
#: A failure of which so much is the proxy's is a whole fault of its own; with less, it is no fault.
MOSTLY = 0.5


class HealthState(Enum):
    """Where a proxy is in its life."""

    HEALTHY = "healthy"
    COOLING = "cooling"
    PROBING = "probing"
    RECOVERING = "recovering"
    OUT = "out"


#: The states by name: to look one up in its class takes 0.1 us on Python 3.10 and 3.11.
HEALTHY, COOLING, PROBING, RECOVERING, OUT = HealthState


@attrs.frozen(kw_only=True)
class HealthPolicy:
    """When a proxy is sent out and for how long.

    :param window: outcomes remembered per proxy.
    :param failure_threshold: faults of its own, with no success between them, that start a
        cooldown.
    :param cooldown: seconds of the first cooldown; each further one doubles.
    :param cooldown_max: seconds that no cooldown exceeds.
    """

    window: int = 20
    failure_threshold: int = 3
    cooldown: float = 30.0
    cooldown_max: float = 600.0

    def __attrs_post_init__(self) -> None:
        if self.window < 1:
            raise ConfigurationError(f"window {self.window!r} is below 1")
        if self.failure_threshold < 1:
            raise ConfigurationError(f"failure_threshold {self.failure_threshold!r} is below 1")
        if not 0 < self.cooldown <= self.cooldown_max:
            raise ConfigurationError(
                f"cooldown {self.cooldown!r} s has to be above 0 and no longer than cooldown_max "
                f"({self.cooldown_max!r} s)"
            )

    def cooldown_seconds(self, step: int, rng: Random) -> float:
        """Return the length of the ``step``-th cooldown in a row (from 1), jittered by a tenth."""
        doubled = self.cooldown * 2.0 ** min(step - 1, 60)
        return min(self.cooldown_max, doubled * rng.uniform(0.9, 1.1))


class Health:
    """One proxy's recent past. ``generation`` goes up with every cooldown that begins.

    A attempt carries the generation it was granted in, so that faults that were already in flight
    when a cooldown began count once.
    """

    __slots__ = (
        "cooldown_until",
        "cooldowns",
        "faults_in_a_row",
        "generation",
        "last_fault_at",
        "long_term",
        "record",
        "recovery",
        "state",
        "times_out",
    )

    def __init__(self) -> None:
        self.record = Record()
        self.long_term = LongTerm()
        self.faults_in_a_row = 0
        self.last_fault_at = 0.0
        self.cooldowns = 0
        self.cooldown_until = 0.0
        self.recovery = 1.0
        self.generation = 0
        self.state = HEALTHY
        #: How often in a row it was taken out.
        self.times_out = 0

    def __copy__(self) -> Health:
        """Return one that goes its own way from here on, record included."""
        twin = Health()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.record = copy(self.record)
        twin.long_term = copy(self.long_term)
        return twin

    def succeeded(self, slowness: float, generation: int, now: float, policy: HealthPolicy) -> bool:
        """Record a success; return whether it was the probe's and brought the proxy back.

        :param slowness: how long it took, relative to what is usual for its target.
        """
        lately, usual = self.record.slowness, self.long_term.slowness
        if self.long_term.successes == 1.0:
            slowness = self.record.slowness = min(usual, slowness)
        elif lately > _IN_TROUBLE * usual and slowness * slowness < lately * usual:
            self.record.fade(_OVER)
        self.record.succeeded(slowness, now, policy.window)
        self.long_term.succeeded(slowness)
        if generation != self.generation:
            return False
        self.faults_in_a_row = 0
        self.times_out = 0
        if self.state is PROBING:
            self.state = RECOVERING
            self.recovery = _FIRST_RECOVERY
            return True
        if self.state is RECOVERING:
            self.recovery *= 2
            if self.recovery >= 1:
                self.recovery = 1.0
                self.cooldowns = 0
                self.state = HEALTHY
        return False

    def failed(
        self,
        share: float,
        lost: float,
        generation: int,
        now: float,
        policy: HealthPolicy,
        rng: Random,
        *,
        varied: bool = False,
    ) -> bool:
        """Record a failure; return whether a cooldown began.

        :param share: the proxy's part of the blame, 0 to 1.
        :param lost: the time that it took, relative to what is usual for its target.
        :param varied: whether its failures say little of its next attempt, as each may have another
            exit: then only so many in a row start a cooldown as would hardly come by chance.
        """
        self.record.failed(share, lost, now, policy.window)
        self.long_term.failed(share)
        if generation != self.generation or self.state in (COOLING, OUT):
            return False
        if share < MOSTLY:
            return False
        self.faults_in_a_row += 1
        self.last_fault_at = now
        if varied and self.faults_in_a_row < max(policy.failure_threshold, self._by_chance):
            return False
        if self.state is HEALTHY and self.faults_in_a_row < policy.failure_threshold:
            return False
        self.cooldowns += 1
        self.generation += 1
        self.state = COOLING
        self.cooldown_until = now + policy.cooldown_seconds(self.cooldowns, rng)
        return True

    @property
    def _by_chance(self) -> int:
        """How many failures in a row hardly come by chance where as many fail as usual."""
        usual = min(_FAILS_MOST, max(_FAILS_LEAST, 1.0 - self.long_term.success))
        return ceil(log(_HARDLY_BY_CHANCE) / log(usual))

    def acquit(self, part: float, generation: int) -> bool:
        """Take back a failure that was not the proxy's; return whether a cooldown is over by that.

        So is the first one, which would not have begun without that failure; one that a failed probe
        began goes on.

        :param part: what was charged for it, 0 to 1.
        :param generation: that of its attempt.
        """
        self.record.acquit(part)
        self.long_term.acquit(part)
        if part < MOSTLY or not self.faults_in_a_row:
            return False
        if generation == self.generation and self.state is not OUT:
            self.faults_in_a_row -= 1
        elif generation == self.generation - 1 and self.state is COOLING and self.cooldowns == 1:
            self.faults_in_a_row -= 1
            self.generation = generation  # nothing was granted since
            self.cooldowns = 0
            self.state = HEALTHY
            return True
        return False

    def put_out(self, now: float, policy: HealthPolicy, rng: Random) -> None:
        """Take the proxy out, because its credentials are refused; it is asked again after a while.

        That is half a cooldown at first, and twice as long each further time.
        """
        self.generation += 1
        self.times_out += 1
        self.state = OUT
        self.cooldown_until = now + 0.5 * policy.cooldown_seconds(self.times_out, rng)

    def begin_probe(self) -> None:
        """The cooldown is over: the next attempt is the probe."""
        self.state = PROBING
