"""By latency: the faster of two for what they carry."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

from .strategy import Strategy
from .weighted_draw import WeightedDraw

if TYPE_CHECKING:
    from random import Random

    from .strategy import Pick, View

# What is known of a proxy fades with this time constant, in seconds (Finagle's default).
_FADES_IN = 10.0
# The usual duration takes on this part of each new one.
_STEP = 0.02
# One that is not known, or was long ago, is hoped to be faster than usual: so it is tried.
_HOPED = 0.5
# In seconds, before anything has been answered.
_USUAL = 1.0
# A failure counts as an answer that took so many times as long as expected, or as usual if that is
# longer; a row of them counts as no more than so many times the usual.
_FAILURE = 4.0
_LONGEST = 64.0


class Latency(Strategy):
    """Of two that are drawn at random by weight, the one with the lower load: latency x (in flight + 1).

    The latency is a Peak EWMA, from Finagle (``PeakEwma.scala``) and tower (``load::peak_ewma``): it
    follows a longer duration at once, and shorter ones slowly; two choices: Mitzenmacher, 2001. As it
    fades, it approaches half of what is usual in the pool, and not 0 as in these two, so that slow
    proxies are tried again, but not all of the traffic goes to idle ones.

    A failure counts as a long duration, however fast it came, and further ones as longer still: else
    a proxy that fails fast would draw all requests. It is tried again when that has faded.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._draw = WeightedDraw()
        self._in_flight: dict[int, int] = {}
        self._latency: dict[int, tuple[float, float]] = {}
        self._usual: float | None = None

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep the load, the weight, and whether the proxy may be used."""
        self._draw[index] = weight if usable else 0.0
        self._in_flight[index] = in_flight

    def forget(self, index: int) -> None:
        """Forget how fast the proxy was."""
        self._draw[index] = 0.0
        self._in_flight.pop(index, None)
        self._latency.pop(index, None)

    def pick(self, pick: Pick) -> int | None:
        """Return the less loaded of two."""
        drawn = self._draw.draw_two(pick.rng, pick.among)
        return min(drawn, key=lambda index: self._load(index, pick.now), default=None)

    def ended(self, index: int, *, now: float, duration: float | None, rng: Random) -> None:
        """Take the duration, or what a failure counts as, into the latency."""
        if duration is None:
            usual = _USUAL if self._usual is None else self._usual
            expected = max(usual, self._expected(index, now))
            self._latency[index] = (min(_LONGEST * usual, _FAILURE * expected), now)
            return
        latency, at = self._latency.get(index, (duration, now))
        kept = exp((at - now) / _FADES_IN) if duration < latency else 0.0
        self._latency[index] = (latency * kept + duration * (1.0 - kept), now)
        usual = duration if self._usual is None else self._usual
        self._usual = usual + _STEP * (duration - usual)

    def _load(self, index: int, now: float) -> float:
        return self._expected(index, now) * (self._in_flight[index] + 1)

    def _expected(self, index: int, now: float) -> float:
        hoped = _HOPED * (_USUAL if self._usual is None else self._usual)
        known = self._latency.get(index)
        if known is None:
            return hoped
        latency, at = known
        return hoped + (latency - hoped) * exp((at - now) / _FADES_IN)
