"""Whose fault it looks like: a failure is split among the suspects by how often each fails elsewhere.

Keeps a rate for each target and each gateway and answers questions; what follows from them is decided
elsewhere. A proxy's own rate is passed in.

A noisy-or (Pearl, Probabilistic Reasoning in Intelligent Systems, 1988): each suspect fails an attempt
by itself with its own probability, and the blame for a failure is shared in proportion to these::

    the proxy's part = q_proxy / (q_proxy + q_target + q_gateway)

``q_proxy`` is ``1 - p`` of the score, as known before the attempt; the other two are what this module
keeps. The rates are learned from the shares, an attempt at a time, as in expectation maximisation. The
rest of a failure is forgiven: it counts as a success of the proxy, without a duration.
"""

from __future__ import annotations

from math import exp

from ..structures.bounded_dict import BoundedDict

# A target or gateway that has ever answered is taken to fail so often, with the weight of so many
# attempts; and one that has not.
_ANSWERING = (0.02, 4.0)
_UNHEARD_OF = (0.5, 2.0)
# About so many attempts are remembered, and for about so many seconds.
_WINDOW = 20.0
_SECONDS = 60.0
# The records of so many targets and gateways are kept, the youngest.
_SUSPECTS = 10_000


class _Rate:
    """How often one suspect has failed an attempt lately."""

    __slots__ = ("_at", "_attempts", "_blamed", "prior")

    def __init__(self, prior: tuple[float, float]) -> None:
        self.prior = prior
        self._at = 0.0
        self._attempts = 0.0
        self._blamed = 0.0

    def value(self, now: float) -> float:
        kept = exp((self._at - now) / _SECONDS)
        rate, attempts = self.prior
        return (kept * self._blamed + attempts * rate) / (kept * self._attempts + attempts)

    def count(self, share: float, now: float) -> None:
        kept = (1.0 - 1.0 / _WINDOW) * exp((self._at - now) / _SECONDS)
        self._at = now
        self._attempts = self._attempts * kept + 1.0
        self._blamed = self._blamed * kept + share


class Blame:
    """Remembers how the targets, and the gateways, that have ever failed are doing."""

    def __init__(self) -> None:
        self._rates: BoundedDict[str, _Rate] = BoundedDict(_SUSPECTS)
        self._answering: BoundedDict[str, None] = BoundedDict(_SUSPECTS)

    def succeeded(self, suspects: tuple[str, ...], now: float) -> None:
        """Take note that an attempt that these were part of went well."""
        for suspect in suspects:
            rate = self._rates.get(suspect)
            if rate is not None:
                rate.count(0.0, now)
                rate.prior = _ANSWERING
            if suspect not in self._answering:
                self._answering[suspect] = None

    def failed(self, suspects: tuple[str, ...], proxy_rate: float, now: float) -> float:
        """Take note that an attempt failed, and return the proxy's part of the blame, 0 to 1.

        :param suspects: the target, and the gateway if it is shared, as far as they come into question.
        :param proxy_rate: how often the proxy fails, 0 to 1, as known before this attempt.
        """
        rates = [self._rate_of(suspect) for suspect in suspects]
        values = [rate.value(now) for rate in rates]
        total = proxy_rate + sum(values)
        for rate, value in zip(rates, values, strict=True):
            rate.count(value / total, now)
        return proxy_rate / total

    def rate(self, suspect: str, now: float) -> float:
        """Return how often a target or a gateway has failed by itself lately, 0 to 1."""
        rate = self._rates.get(suspect)
        return self._prior(suspect)[0] if rate is None else rate.value(now)

    def _prior(self, suspect: str) -> tuple[float, float]:
        return _ANSWERING if suspect in self._answering else _UNHEARD_OF

    def _rate_of(self, suspect: str) -> _Rate:
        rate = self._rates.get(suspect)
        if rate is None:
            rate = self._rates[suspect] = _Rate(self._prior(suspect))
        return rate
