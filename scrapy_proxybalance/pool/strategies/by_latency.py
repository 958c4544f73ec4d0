"""By latency: the faster of two for what they carry."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

from .interface import Strategy
from .weighted_draw import WeightedDraw

if TYPE_CHECKING:
    from random import Random

    from .interface import Pick, View

# What is known of a proxy fades with this time constant, in seconds (Finagle's default).
_FADES_IN = 10.0
# The usual duration takes on this part of each new one.
_STEP = 0.02
# In seconds, before anything has been answered.
_USUAL = 1.0
# A failure counts as an answer that took so many times as long as expected, or as usual if that is
# longer; a row of them counts as no more than so many times the usual.
_FAILURE = 4.0
_LONGEST = 64.0


class Latency(Strategy):
    """Of two that are drawn at random by weight, the one with the lower load: latency x (in flight + 1).

    The latency is a Peak EWMA, from Finagle (``PeakEwma.scala``) and tower (``load::peak_ewma``): it
    follows a longer duration at once, and shorter ones slowly; two choices: Mitzenmacher, 2001. What is
    not known, or was long ago, is taken to be as usual in the pool.

    A failure counts as a long duration, however fast it came, and further ones as longer still: else
    a proxy that fails fast would draw all requests. It is looked at again when that has faded.
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
        usual = self._usual or _USUAL
        if duration is None:
            expected = max(usual, self._expected(index, now))
            self._latency[index] = (min(_LONGEST * usual, _FAILURE * expected), now)
            return
        latency, at = self._latency.get(index, (usual, now))
        if duration < latency:
            kept = exp((at - now) / _FADES_IN)
            duration_counted = latency * kept + duration * (1.0 - kept)
        else:
            duration_counted = duration
        self._latency[index] = (duration_counted, now)
        self._usual = duration if self._usual is None else usual + _STEP * (duration - usual)

    def _load(self, index: int, now: float) -> float:
        return self._expected(index, now) * (self._in_flight[index] + 1)

    def _expected(self, index: int, now: float) -> float:
        usual = self._usual or _USUAL
        latency, at = self._latency.get(index, (usual, now))
        return usual + (latency - usual) * exp((at - now) / _FADES_IN)
