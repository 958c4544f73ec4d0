"""Randomness that does not depend on who asks first: a stream for each proxy, from the world's seed.

Every attempt through a proxy takes as many numbers from the proxy's stream as any other, so that the
n-th attempt through it meets the same luck whatever rule has chosen it.
"""

from __future__ import annotations

from statistics import NormalDist

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_NORMAL = NormalDist()
_BITS = 52


def _mixed(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


class Stream:
    """Uniform numbers between 0 and 1, both excluded: SplitMix64 (Steele, Lea and Flood, 2014).

    :param seed: of the world.
    :param number: of the stream within it.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int, number: int) -> None:
        self._state = _mixed((seed * _STEP + number) & _MASK)

    def uniform(self) -> float:
        """Return the next number."""
        self._state = (self._state + _STEP) & _MASK
        # In the middle of its step: so neither 0 nor 1, and a normal deviate is always finite.
        return ((_mixed(self._state) >> (64 - _BITS)) + 0.5) / (1 << _BITS)

    def normal(self) -> float:
        """Return the next number as a standard normal deviate."""
        return _NORMAL.inv_cdf(self.uniform())
