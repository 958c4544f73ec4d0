"""How well one proxy has been doing: its rolling window, its latency, and its cooldown.

A state machine that is told outcomes and times. It knows nothing of other proxies, of leases in
flight or of selection; what an ambiguous outcome counts as has been decided before it comes here.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import attrs

from .errors import ConfigurationError

if TYPE_CHECKING:
    from random import Random

# A proxy that nobody has tried is taken to succeed 8 times in 10, with the weight of 5 outcomes.
_PRIOR_SUCCESSES = 4.0
_PRIOR_OUTCOMES = 5.0
_LATENCY_SMOOTHING = 0.2
_FIRST_RECOVERY = 0.125


class HealthState(Enum):
    """Where a proxy is in its life."""

    HEALTHY = "healthy"
    COOLING = "cooling"
    PROBING = "probing"
    RECOVERING = "recovering"
    OUT = "out"


@attrs.frozen(kw_only=True)
class HealthPolicy:
    """When a proxy is sent out and for how long.

    :param window: outcomes remembered per proxy.
    :param failure_threshold: consecutive faults of its own that start a cooldown.
    :param cooldown: seconds of the first cooldown; each further one doubles.
    :param cooldown_max: seconds that no cooldown exceeds.
    """

    window: int = 50
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

    A lease carries the generation it was granted in, so that faults that were already in flight
    when a cooldown began count once.
    """

    __slots__ = (
        "_outcomes",
        "_window_bits",
        "cooldown_until",
        "cooldowns",
        "faults_in_a_row",
        "generation",
        "latency",
        "recovery",
        "state",
    )

    def __init__(self) -> None:
        self._window_bits = 0
        self._outcomes = 0
        self.latency: float | None = None
        self.faults_in_a_row = 0
        self.cooldowns = 0
        self.cooldown_until = 0.0
        self.recovery = 1.0
        self.generation = 0
        self.state = HealthState.HEALTHY

    @property
    def outcomes(self) -> int:
        """How many outcomes the window holds."""
        return self._outcomes

    def success_rate(self) -> float:
        """Return the share of successes in the window, drawn towards the prior while it is short."""
        successes = self._window_bits.bit_count()
        return (successes + _PRIOR_SUCCESSES) / (self._outcomes + _PRIOR_OUTCOMES)

    def succeeded(self, latency: float | None, generation: int, policy: HealthPolicy) -> bool:
        """Record a success; return whether it was the probe's and brought the proxy back."""
        self._remember(1, policy.window)
        if latency is not None:
            known = self.latency
            self.latency = (
                latency if known is None else known + _LATENCY_SMOOTHING * (latency - known)
            )
        if generation != self.generation:
            return False
        self.faults_in_a_row = 0
        if self.state is HealthState.PROBING:
            self.state = HealthState.RECOVERING
            self.recovery = _FIRST_RECOVERY
            return True
        if self.state is HealthState.RECOVERING:
            self.recovery *= 2
            if self.recovery >= 1:
                self.recovery = 1.0
                self.cooldowns = 0
                self.state = HealthState.HEALTHY
        return False

    def failed(self, generation: int, now: float, policy: HealthPolicy, rng: Random) -> bool:
        """Record a fault of the proxy's own; return whether a cooldown began."""
        self._remember(0, policy.window)
        if generation != self.generation or self.state in (HealthState.COOLING, HealthState.OUT):
            return False
        self.faults_in_a_row += 1
        if self.state is HealthState.HEALTHY and self.faults_in_a_row < policy.failure_threshold:
            return False
        self.cooldowns += 1
        self.generation += 1
        self.state = HealthState.COOLING
        self.cooldown_until = now + policy.cooldown_seconds(self.cooldowns, rng)
        return True

    def blemished(self, policy: HealthPolicy) -> None:
        """Record a failure that lowers the success rate and nothing else."""
        self._remember(0, policy.window)

    def put_out(self) -> None:
        """Take the proxy out until it is replaced."""
        self.generation += 1
        self.state = HealthState.OUT

    def begin_probe(self) -> None:
        """The cooldown is over: the next lease is the probe."""
        self.state = HealthState.PROBING

    def _remember(self, success: int, window: int) -> None:
        self._window_bits = ((self._window_bits << 1) | success) & ((1 << window) - 1)
        if self._outcomes < window:
            self._outcomes += 1
