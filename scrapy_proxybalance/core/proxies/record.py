"""What is known of how one proxy, or a group of them, has been doing: sums that fade.

Told of attempts, weighed as somebody else has judged them; judges nothing and knows no state.
"""

from __future__ import annotations

from math import exp

# What is known fades with this time constant, in seconds, and newer outcomes replace it as well:
# a proxy's state changes within minutes.
_FADES_IN = 200.0


class Record:
    """Faded sums and means over attempts.

    ``successes`` and ``failures`` are counts, and so is ``forgiven``, of failures that were
    attributed to others. ``slowness`` is the mean of how long each success took, relative to what is
    usual for its target; ``lost`` the sum of how long each failure took, in the same unit. ``at`` is
    when it was last updated.
    """

    __slots__ = ("at", "failures", "forgiven", "lost", "slowness", "successes")

    def __init__(self) -> None:
        self.at = 0.0
        self.successes = 0.0
        self.failures = 0.0
        self.slowness = 0.0
        self.lost = 0.0
        self.forgiven = 0.0

    def succeeded(self, slowness: float, now: float, window: int, weight: float = 1.0) -> None:
        """Count a success.

        :param slowness: how long it took, relative to what is usual for its target.
        :param window: outcomes that are remembered, about.
        :param weight: for how much it counts.
        """
        self._age(now, window)
        self.successes += weight
        self.slowness += weight / self.successes * (slowness - self.slowness)

    def failed(
        self, share: float, lost: float, now: float, window: int, weight: float = 1.0
    ) -> None:
        """Count a failure.

        :param share: the part of it that is attributed to this one, 0 to 1.
        :param lost: the time that it took, relative to what is usual for its target.
        :param window: outcomes that are remembered, about.
        :param weight: for how much it counts.
        """
        self._age(now, window)
        self.failures += weight * share
        self.lost += weight * share * lost
        self.forgiven += weight * (1.0 - share)

    def acquit(self, share: float) -> None:
        """Take back a failure, or what is left of it: it was not the proxy's."""
        share = min(share, self.failures)
        if share:
            self.lost *= 1.0 - share / self.failures
        self.failures -= share
        self.forgiven += share

    def worth(self, now: float) -> float:
        """Return what the counts are worth by now, as a factor."""
        return exp((self.at - now) / _FADES_IN)

    def fade(self, kept: float) -> None:
        """Let what is known count for so much of what it did, 0 to 1."""
        self.successes *= kept
        self.failures *= kept
        self.lost *= kept
        self.forgiven *= kept

    def _age(self, now: float, window: int) -> None:
        kept = (1.0 - 1.0 / window) * exp((self.at - now) / _FADES_IN)
        self.at = now
        self.successes *= kept  # not by fade(): this is done for every outcome
        self.failures *= kept
        self.lost *= kept
        self.forgiven *= kept
