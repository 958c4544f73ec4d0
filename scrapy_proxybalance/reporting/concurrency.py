"""How many requests have to be in flight at once to keep the pace: Little's law, on what was seen."""

from __future__ import annotations

from math import exp

# Seconds over which it is smoothed.
_MEMORY = 30.0


class Concurrency:
    """Little's law (1961): requests in flight = requests per second x seconds that each takes.

    Both are smoothed over half a minute or so. Time is seconds on the pool's clock.
    """

    def __init__(self) -> None:
        self._ended = 0
        self._seconds = 0.0
        self._sampled_at: float | None = None
        self._observed = 0.0
        self._rate = 0.0
        self._load = 0.0

    def ended(self, seconds: float) -> None:
        """Count a request that has ended, and how long it took in all."""
        self._ended += 1
        self._seconds += seconds

    def sample(self, now: float) -> None:
        """Take in what was counted since the last sample."""
        if self._sampled_at is None:
            self._sampled_at = now
        passed = now - self._sampled_at
        if passed <= 0:
            return
        # As a mean over the first seconds: a moving average from 0 would come too slowly.
        self._observed += passed
        part = 1.0 - exp(-passed / min(self._observed, _MEMORY))
        self._rate += part * (self._ended / passed - self._rate)
        self._load += part * (self._seconds / passed - self._load)
        self._ended, self._seconds, self._sampled_at = 0, 0.0, now

    @property
    def throughput(self) -> float:
        """Requests per second."""
        return self._rate

    @property
    def mean_seconds(self) -> float:
        """Seconds that a request takes; 0 while none has ended lately."""
        return self._load / self._rate if self._rate else 0.0

    @property
    def estimate(self) -> float:
        """The requests that have to be in flight for this throughput."""
        return self._rate * self.mean_seconds
