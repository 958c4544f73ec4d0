"""How much proxies differ in speed, compared with the answers of the same proxy.

If the answers of two proxies differ no more than two answers of one do, that one of them was slower says
next to nothing: the next time it is the other. Told of answers; knows no proxy.
"""

from __future__ import annotations

from math import sqrt

# It is told by so many answers, the latest of all.
_ANSWERS = 1000.0
# What all have in common, such as that a crawl has just begun, is no difference: the mean is over so
# many.
_LATELY = 30.0
# With fewer, each by its weight, nothing is said.
_ENOUGH = 3.0
#: What holds before anything is known, and the bounds.
USUAL_WEIGHT = 6.0
_LEAST, _MOST = 1.0, 120.0


class Differences:
    """Two variances, of the logarithms of times: of all answers, and within the answers of one proxy.

    ``weight``: so many answers of its own count for as much as what is usual does, in what to expect of
    a proxy. It is the variance within by the variance between proxies (empirical Bayes: Efron and
    Morris, 1975).
    """

    __slots__ = ("_all", "_counted", "_lately", "_mean", "_within")

    def __init__(self) -> None:
        self._counted = 0.0
        self._lately = 0.0
        self._mean = 0.0
        self._all = 0.0
        self._within = 0.0

    def add(self, value: float, before: float, weight: float) -> None:
        """Take note of an answer.

        :param value: the logarithm of the time that it took, relative to what is usual for its target.
        :param before: that of the answer before through the same proxy.
        :param weight: for how much it counts.
        """
        counted = self._counted = self._counted * (1.0 - 1.0 / _ANSWERS) + weight
        lately = self._lately = self._lately * (1.0 - 1.0 / _LATELY) + weight
        step = weight / counted
        off = value - self._mean
        self._mean += weight / lately * off
        self._all += step * (off * (value - self._mean) - self._all)
        change = value - before
        self._within += step * (change * change / 2.0 - self._within)

    @property
    def weight(self) -> float:
        """How many answers of a proxy count for as much as what is usual."""
        if self._counted < _ENOUGH:
            return USUAL_WEIGHT
        # What chance makes of a variance is no difference: one standard error.
        between = self._all - self._within * (1.0 + sqrt(2.0 / self._counted))
        if self._within >= _MOST * between:
            return _MOST
        return max(_LEAST, self._within / between)
