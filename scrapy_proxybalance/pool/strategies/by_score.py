"""By score: the best of a few that are drawn from the proxies at work.

The few make it cheap in pools of any size, keep requests from crowding on one proxy, and leave room
for what is not known well: power of d choices (Mitzenmacher, 2001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .index_set import IndexSet
from .interface import Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .interface import Pick, View

# So many are drawn.
_CHOICES = 8
# The aperture (Finagle): the proxies at work are so many times what is in flight, and so many at least.
_APERTURE = 4.0
_SMALLEST = 64
# What is in flight is taken to be its peak, which is forgotten over so many picks.
_MEMORY = 2000.0
# The share of picks that go to a proxy outside, to find better ones; and to one that is on its way back.
_EXPLORED = 0.02
_TRIED_AGAIN = 0.005
# That in pools that have nobody outside.
_TRIED_AGAIN_IN_SMALL_POOLS = 0.04


class Weighted(Strategy):
    """The best by score of a few that are drawn at random, in proportion to their weights.

    In a big pool the few come from the *aperture*: a part of the pool, some times larger than the
    number of requests in flight, so that what is learned of a proxy is still true when its turn comes
    again. Few picks go to others; one that does well takes the place of one that does worse.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._inside = IndexSet()
        self._proven = IndexSet()
        self._outside = IndexSet()
        self._on_trial = IndexSet()
        self._aperture: set[int] = set()
        self._did_well: set[int] = set()
        self._in_flight: dict[int, int] = {}
        self._places = (self._inside, self._proven, self._outside, self._on_trial)
        self._load = 0
        self._peak = 0.0

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep whether the proxy may be used, and what it carries."""
        before = self._in_flight.get(index)
        if before != in_flight:
            self._load += in_flight - (before or 0)
            self._in_flight[index] = in_flight
        for place in self._places:
            place.discard(index)
        if not usable:
            return
        if on_trial:
            self._on_trial.add(index)
        elif index in self._aperture:
            self._inside.add(index)
        elif len(self._aperture) < _SMALLEST:
            self._aperture.add(index)
            self._inside.add(index)
        elif index in self._did_well:
            self._proven.add(index)
        else:
            self._outside.add(index)

    def forget(self, index: int) -> None:
        """Forget the proxy."""
        self._load -= self._in_flight.pop(index, 0)
        self._aperture.discard(index)
        self._did_well.discard(index)
        for place in self._places:
            place.discard(index)

    def pick(self, pick: Pick) -> int | None:
        """Return the best of those drawn."""
        rng, inside = pick.rng, self._inside
        self._peak = max(float(self._load), self._peak * (1.0 - 1.0 / _MEMORY))
        if pick.among is not None:
            return self._best_among(pick, pick.among)
        if len(self._aperture) < self._size():
            self._take_in(rng)
        place = self._explored(rng.random(), must=not inside)
        if place:
            return place.draw(rng)
        if not inside:
            return None
        return self._best(pick, [inside.draw(rng) for _ in range(_CHOICES)])

    def ended(self, index: int, *, now: float, duration: float | None, rng: Random) -> None:
        """Let a proxy in that did well, and one out that did badly."""
        if index in self._aperture:
            if duration is None and self._proven:
                self._swap(self._proven.draw(rng), index, now)
        elif duration is None:
            self._did_well.discard(index)
            self._move(index, self._proven, self._outside)
        else:
            self._did_well.add(index)
            self._move(index, self._outside, self._proven)
            if self._inside:
                self._swap(index, self._inside.draw(rng), now)

    def _explored(self, chance: float, *, must: bool) -> IndexSet | None:
        """Return where to look for a proxy outside the aperture this time, if anywhere."""
        outside, on_trial = self._outside or self._proven, self._on_trial
        if outside and (must or chance < _EXPLORED):
            return outside
        tried_again = _EXPLORED + _TRIED_AGAIN if outside else _TRIED_AGAIN_IN_SMALL_POOLS
        if on_trial and (must or chance < tried_again):
            return on_trial
        return None

    def _size(self) -> int:
        return max(_SMALLEST, int(_APERTURE * self._peak))

    def _take_in(self, rng: Random) -> None:
        """Take one more into the aperture."""
        place = self._proven or self._outside
        if place:
            index = place.draw(rng)
            self._aperture.add(index)
            self._did_well.discard(index)
            self._move(index, place, self._inside)

    def _swap(self, newcomer: int, leaver: int, now: float) -> None:
        """Put one that is outside in the place of one that is inside, if it is better."""
        if self._view.score(newcomer, now) <= self._view.score(leaver, now):
            return
        self._aperture.discard(leaver)
        self._aperture.add(newcomer)
        self._did_well.discard(newcomer)
        self._move(newcomer, self._proven, self._inside)
        self._move(leaver, self._inside, self._outside)

    @staticmethod
    def _move(index: int, source: IndexSet, destination: IndexSet) -> None:
        if index in source:
            source.discard(index)
            destination.add(index)

    def _best(self, pick: Pick, drawn: Sequence[int]) -> int:
        score, now = self._view.score, pick.now
        best, most = drawn[0], -1.0
        for index in drawn:
            value = score(index, now)
            if value > most:
                best, most = index, value
        return best

    def _best_among(self, pick: Pick, among: Sequence[int]) -> int | None:
        rng, size = pick.rng, len(among)
        drawn = []
        if size > _CHOICES:
            inside, proven, outside, _ = self._places
            for _ in range(_CHOICES):
                index = among[int(rng.random() * size)]
                if index in inside or index in proven or index in outside:
                    drawn.append(index)
        if not drawn:
            usable = [index for index in among if any(index in place for place in self._places)]
            if not usable:
                return None
            drawn = usable if len(usable) <= _CHOICES else rng.sample(usable, _CHOICES)
        return self._best(pick, drawn)
