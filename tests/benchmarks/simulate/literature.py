"""Contenders after rules that others have published, each with its source.

They obey the caps of everybody, which some of them did not have; what a rule leaves open (which of
equal ones, what an unknown proxy counts as) is said where it is decided.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from math import exp
from typing import TYPE_CHECKING

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.core.structures.sum_tree import SumTree

from .contenders import Plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .plan import Scenario
    from .world import End


class TextbookScore(Plain):
    """A product of factors, and picks in proportion to it.

    ``success rate in a window of 50 x the pool's usual latency over its own, 0.1 to 4 x
    1 / (1 + in flight)^2 x 0.5^faults in a row``; none while it cools down: 30 s after 3 faults in a
    row, doubled by each further one up to 600 s. Faults are failures other than a target's refusal.
    """

    _WINDOW = 50
    _FAULTS = 3
    _COOLDOWN = (30.0, 600.0)
    _OWN_SMOOTHING = 0.2
    _POOL_SMOOTHING = 0.05

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self._outcomes: list[deque[bool]] = [deque(maxlen=self._WINDOW) for _ in range(self.size)]
        self._latency: list[float | None] = [None] * self.size
        self._usual: float | None = None
        self._faults = [0] * self.size
        self._rests_until = [0.0] * self.size
        self._rests: list[tuple[float, int]] = []
        self._scores = SumTree()
        for index in range(self.size):
            self._scores[index] = 1.0

    def pick(self, now: float, tried: Sequence[int]) -> int | None:
        """Draw in proportion to the score."""
        while self._rests and self._rests[0][0] <= now:
            self._rate(heappop(self._rests)[1], now)
        scores = self._scores
        kept = [(index, scores[index]) for index in set(tried)]
        for index, _ in kept:
            scores[index] = 0.0
        found = scores.find(self.rng.random() * scores.total) if scores.total > 0.0 else None
        for index, score in kept:
            scores[index] = score
        if found is None and scores.total > 0.0:
            found = scores.find(self.rng.random() * scores.total)
        if found is not None:
            self._rate(found, now, 1)
        return found

    def ready_at(self) -> float | None:
        """Return when the next cooldown ends."""
        return self._rests[0][0] if self._rests else None

    def learn(self, index: int, end: End, now: float) -> None:
        """Keep the outcome and the latency."""
        well = end.outcome in (Outcome.SUCCESS, Outcome.TARGET_SIGNAL)
        self._outcomes[index].append(well)
        if end.latency is not None:
            own, usual, latency = self._latency[index], self._usual, end.latency
            self._latency[index] = (
                latency if own is None else own + self._OWN_SMOOTHING * (latency - own)
            )
            self._usual = (
                latency if usual is None else usual + self._POOL_SMOOTHING * (latency - usual)
            )
        self._faults[index] = 0 if well else self._faults[index] + 1
        if self._faults[index] >= self._FAULTS and self._rests_until[index] <= now:
            first, longest = self._COOLDOWN
            step = min(self._faults[index] - self._FAULTS, 30)
            self._rests_until[index] = now + min(longest, first * 2.0**step)
            heappush(self._rests, (self._rests_until[index], index))
        self._rate(index, now)

    def _rate(self, index: int, now: float, besides: int = 0) -> None:
        in_flight = self.in_flight[index] + besides
        if in_flight >= self.cap or now < self._rests_until[index]:
            self._scores[index] = 0.0
            return
        outcomes = self._outcomes[index]
        score = sum(outcomes) / len(outcomes) if outcomes else 1.0
        score = max(score, 0.01) * 0.5 ** self._faults[index] / (1 + in_flight) ** 2
        own, usual = self._latency[index], self._usual
        if own is not None and usual is not None:
            score *= min(4.0, max(0.1, usual / own))
        self._scores[index] = score


class PeakEwma(Plain):
    """The lesser of two at random by peak-sensitive latency times load.

    Finagle's Peak EWMA as in tower (``tower::load::PeakEwma``, ``tower::balance::p2c``): a latency
    above the average becomes the average, one below draws it down with a time constant of 10 s, and
    so does time. Whatever comes back counts, failures included: there is no success in it.
    """

    _DECAY = 10.0
    _UNKNOWN = 1.0

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self._average = [self._UNKNOWN] * self.size
        self._updated_at = [0.0] * self.size

    def pick(self, now: float, tried: Sequence[int]) -> int | None:
        """Draw two."""
        one, other = self.drawn(tried), self.drawn(tried)
        return one if self._load(one, now) <= self._load(other, now) else other

    def learn(self, index: int, end: End, now: float) -> None:
        """Keep the peak."""
        self._update(index, end.seconds, now)

    def _load(self, index: int, now: float) -> float:
        self._update(index, 0.0, now)
        return self._average[index] * (self.in_flight[index] + 1)

    def _update(self, index: int, seconds: float, now: float) -> None:
        average = self._average[index]
        if seconds > average:
            self._average[index] = seconds
        else:
            kept = exp((self._updated_at[index] - now) / self._DECAY)
            self._average[index] = average * kept + seconds * (1.0 - kept)
        self._updated_at[index] = now


class RotatingProxies(Plain):
    """Any proxy that is good or unchecked; a failure bans it.

    As scrapy-rotating-proxies 0.6.2: the ban is an exponential backoff from 300 s to 3600 s with full
    jitter, by failures since the last success, after which the proxy is unchecked. When none is left,
    all are. Anything but a page is a failure, a refusal of the target included.
    """

    _BACKOFF = (300.0, 3600.0)

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self._failures = [0] * self.size
        self._usable = list(range(self.size))
        self._place: list[int | None] = list(range(self.size))
        self._bans: list[tuple[float, int]] = []
        self._banned_until = [0.0] * self.size

    def pick(self, now: float, tried: Sequence[int]) -> int | None:
        """Draw one that is not banned."""
        while self._bans and self._bans[0][0] <= now:
            until, banned = heappop(self._bans)
            if until == self._banned_until[banned]:
                self._allow(banned)
        if not self._usable:
            self._bans.clear()
            for index in range(self.size):
                self._allow(index)
        for _ in range(64):
            index = self._usable[self.rng.randrange(len(self._usable))]
            if self.in_flight[index] < self.cap and index not in tried:
                return index
        free = [index for index in self._usable if self.in_flight[index] < self.cap]
        fresh = [index for index in free if index not in tried]
        return self.rng.choice(fresh or free) if free else None

    def learn(self, index: int, end: End, now: float) -> None:
        """Ban after a failure, and clear after a success."""
        if end.outcome is Outcome.SUCCESS:
            self._failures[index] = 0
            self._allow(index)
            return
        first, longest = self._BACKOFF
        backoff = min(longest, first * 2.0 ** min(self._failures[index], 30))
        self._failures[index] += 1
        place = self._place[index]
        if place is not None:
            last = self._usable.pop()
            if last != index:
                self._usable[place] = last
                self._place[last] = place
            self._place[index] = None
        self._banned_until[index] = now + self.rng.uniform(0.0, backoff)
        heappush(self._bans, (self._banned_until[index], index))

    def _allow(self, index: int) -> None:
        if self._place[index] is None:
            self._place[index] = len(self._usable)
            self._usable.append(index)


class HotCold(Plain):
    """Of three at random the fastest that is not hot, or the least loaded if all are.

    Prequal's rule (Wydrowski et al., NSDI 2024): hot is what has more in flight than 0.84 of what was
    seen lately. Prequal probes; here the average over what came back stands for a probe, failures
    included, and an unknown proxy counts as the average of all.
    """

    _CHOICES = 3
    _QUANTILE = 0.84
    _SEEN = 128
    _SMOOTHING = 0.3

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self._latency: list[float | None] = [None] * self.size
        self._usual = 1.0
        self._seen: deque[int] = deque(maxlen=self._SEEN)

    def pick(self, now: float, tried: Sequence[int]) -> int | None:  # noqa: ARG002
        """Draw three."""
        drawn = [self.drawn(tried) for _ in range(self._CHOICES)]
        self._seen.extend(self.in_flight[index] for index in drawn)
        threshold = sorted(self._seen)[int(self._QUANTILE * (len(self._seen) - 1))]
        cold = [index for index in drawn if self.in_flight[index] <= threshold]
        if cold:
            return min(cold, key=self._known)
        return min(drawn, key=self.in_flight.__getitem__)

    def learn(self, index: int, end: End, now: float) -> None:  # noqa: ARG002
        """Average."""
        known = self._known(index)
        self._latency[index] = known + self._SMOOTHING * (end.seconds - known)
        self._usual += 0.01 * (end.seconds - self._usual)

    def _known(self, index: int) -> float:
        latency = self._latency[index]
        return self._usual if latency is None else latency
