"""By score: the best of a few that are drawn from the proxies at work.

The few make it cheap in pools of any size, keep requests from crowding on one proxy, and leave room
for what is not known well: power of d choices (Mitzenmacher, 2001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.index_set import IndexSet
from .strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .strategy import Pick, View

# So many are drawn.
_CHOICES = 8
# The aperture (Finagle): the proxies at work are so many times what is in flight, and so many at least.
_APERTURE = 2.5
_SMALLEST = 128
# What is in flight is taken to be its peak, which is forgotten over so many picks.
_MEMORY = 2000.0
# The share of picks that go to a proxy outside, to find better ones; and to one on trial.
_EXPLORED = 0.015
_TRIED = 0.005
# Such picks have no more than so many of the requests in flight: there, answers may take forever.
_EXPLORING = 0.04
# Where nobody is outside: to the one of those drawn that was unused for longest, and to one on trial.
_LOOKED_AT = 0.01
_TRIED_INSIDE = 0.04
# Of those drawn, a proxy that was never used is taken with this chance.
_NEWCOMER = 0.1
# Of those drawn, the best that was used once only is taken with this chance, unless it scores less than
# so many times the best: once may be chance.
_ASKED_AGAIN = 0.1
# Scores that differ by no more than this factor are as good as equal: what they rest on is not exact.
_NEAR = 0.85
# A warm one may be worse by such a factor: without TCP, CONNECT and TLS a request takes a half at most.
_NEAR_AND_WARM = 0.5
# It is compared with so many.
_COMPARED = 4
# A trial that succeeds brings on so many others: who comes back seldom comes back alone. If, that is, it
# scores more than so many times as much as one of those at work.
_MORE_TRIALS = 8
_GOOD_AGAIN = 0.2
# But these, too, have no more than so many of the requests in flight.
_TRIALS = 0.25


class Weighted(Strategy):
    """The best by score of a few that are drawn at random; of near-equals the one unused for longest.

    One with an idle connection to the target goes before, unless it is worse by a factor of two.

    In a big pool the few come from the *aperture*: a part of the pool, some times larger than the
    number of requests in flight, so that what is learned of a proxy is still true when its turn comes
    again. Few picks go to others; one that does well takes the place of one that does worse. Few go to
    proxies on trial, too: they are back from a cooldown.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._aperture: set[int] = set()
        self._did_well: set[int] = set()
        # Where those are that may be used: in the aperture, or outside and known to have done well, or
        # outside, or on trial.
        self._inside = IndexSet()
        self._proven = IndexSet()
        self._outside = IndexSet()
        self._on_trial = IndexSet()
        self._places: dict[int, IndexSet] = {}
        self._tried: set[int] = set()
        # Who was picked last to find out; and who of them got the request, until one of theirs ends.
        self._explorer = -1
        self._exploring: set[int] = set()
        self._trials_due = 0
        self._in_flight: dict[int, int] = {}
        # When each was last used, in picks.
        self._used: dict[int, int] = {}
        self._used_once: set[int] = set()
        self._turn = 0
        self._load = 0
        self._peak = 0.0

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep whether the proxy may be used, and what it carries."""
        before = self._in_flight.setdefault(index, 0)
        if before != in_flight:
            self._load += in_flight - before
            self._in_flight[index] = in_flight
            if in_flight > before:
                self._turn += 1
                if index not in self._used:
                    self._used_once.add(index)
                else:
                    self._used_once.discard(index)
                self._used[index] = self._turn
                if index == self._explorer:
                    self._exploring.add(index)
            if not in_flight:
                self._exploring.discard(index)
        if usable and not on_trial and self._places.get(index) is self._inside:
            return  # as nearly always
        if not usable:
            self._put(index, None)
        elif on_trial:
            self._put(index, self._on_trial)
        else:
            if len(self._aperture) < _SMALLEST:
                self._aperture.add(index)
            self._put(index, self._home(index))

    def forget(self, index: int) -> None:
        """Forget the proxy."""
        self._load -= self._in_flight.pop(index, 0)
        self._aperture.discard(index)
        self._did_well.discard(index)
        self._tried.discard(index)
        self._exploring.discard(index)
        self._used.pop(index, None)
        self._used_once.discard(index)
        self._put(index, None)

    def pick(self, pick: Pick) -> int | None:
        """Return the best of those drawn."""
        rng, inside = pick.rng, self._inside
        self._explorer = -1
        if pick.among is not None:
            return self._pick_among(pick, pick.among)
        self._peak = max(float(self._load), self._peak * (1.0 - 1.0 / _MEMORY))
        if (self._outside.indices or self._proven.indices) and len(self._aperture) < max(
            _SMALLEST, int(_APERTURE * self._peak)
        ):
            self._widen(rng)
        place = self._explored(rng.random())
        if place is not None:
            index = place.draw(rng)
            if place is self._on_trial:
                self._tried.add(index)
            self._explorer = index
            return index
        if not inside.indices:
            return None
        drawn = inside.draw_some(rng, _CHOICES)
        if self._used_once and rng.random() < _ASKED_AGAIN:
            again = self._used_once_but_good(pick, drawn)
            if again is not None:
                self._explorer = again
                return again
        if not self._outside.indices and rng.random() < _LOOKED_AT and self._may_explore():
            self._explorer = min(drawn, key=self._last_used)
            return self._explorer
        return self._best(pick, drawn)

    def ended(self, index: int, *, now: float, duration: float | None, rng: Random) -> None:
        """Let a proxy in that did well, and one out that did badly."""
        did_well = duration is not None
        if not did_well:
            self._used_once.discard(index)
        self._exploring.discard(index)
        if index in self._tried:
            self._tried.discard(index)
            if did_well and self._is_good_again(index, now, rng):
                self._trials_due += _MORE_TRIALS
        if index in self._aperture:
            if not did_well and self._proven:
                self._swap(self._proven.draw(rng), index, now)
            return
        if did_well:
            self._did_well.add(index)
        else:
            self._did_well.discard(index)
        self._settle(index)
        if did_well and self._inside:
            self._swap(index, self._inside.draw(rng), now)

    # Who is where

    def _home(self, index: int) -> IndexSet:
        if index in self._aperture:
            return self._inside
        return self._proven if index in self._did_well else self._outside

    def _put(self, index: int, place: IndexSet | None) -> None:
        before = self._places.get(index)
        if before is place:
            return
        if before is not None:
            before.discard(index)
        if place is None:
            del self._places[index]
        else:
            place.add(index)
            self._places[index] = place

    def _settle(self, index: int) -> None:
        """Put a proxy where it belongs now, unless it may not be used, or is on trial."""
        if self._places.get(index, self._on_trial) is not self._on_trial:
            self._put(index, self._home(index))

    def _widen(self, rng: Random) -> None:
        index = (self._proven or self._outside).draw(rng)
        self._aperture.add(index)
        self._did_well.discard(index)
        self._settle(index)

    def _swap(self, newcomer: int, leaver: int, now: float) -> None:
        """Put one that is outside in the place of one that is inside, if it is better."""
        if self._view.score(newcomer, now) <= self._view.score(leaver, now):
            return
        self._aperture.discard(leaver)
        self._aperture.add(newcomer)
        self._did_well.discard(newcomer)
        self._settle(newcomer)
        self._settle(leaver)

    # Who is picked

    def _explored(self, chance: float) -> IndexSet | None:
        """Return where else than in the aperture to look this time, ``None`` for nowhere."""
        must = not self._inside.indices
        if chance >= _TRIED_INSIDE and not must and not self._trials_due:
            return None  # as nearly always
        outside, on_trial = self._outside or self._proven, self._on_trial
        if self._trials_due and len(self._exploring) < _TRIALS * self._load:
            self._trials_due -= 1
            if on_trial:
                return on_trial
        if not must and not self._may_explore():
            return None
        if outside and (must or chance < _EXPLORED):
            return outside
        if on_trial and (must or chance < (_EXPLORED + _TRIED if outside else _TRIED_INSIDE)):
            return on_trial
        return None

    def _may_explore(self) -> bool:
        return len(self._exploring) <= _EXPLORING * self._load

    def _is_good_again(self, index: int, now: float, rng: Random) -> bool:
        if not self._inside:
            return True
        score, at_work = self._view.score, self._inside.draw(rng)
        return score(index, now) > _GOOD_AGAIN * score(at_work, now)

    def _last_used(self, index: int) -> int:
        return self._used.get(index, 0)

    def _used_once_but_good(self, pick: Pick, drawn: Sequence[int]) -> int | None:
        """Return the best of those used once only, ``None`` if that is not good enough to ask again."""
        if len(self._exploring) > _TRIALS * self._load:
            return None
        scores = self._view.scores(drawn, pick.now)
        best, most = None, _GOOD_AGAIN * max(scores)
        once, in_flight = self._used_once, self._in_flight
        for index, score in zip(drawn, scores, strict=True):
            if score > most and index in once and not in_flight[index]:
                best, most = index, score
        return best

    def _best(self, pick: Pick, drawn: Sequence[int]) -> int:
        if pick.warm:
            warm = self._warm(pick, drawn)
            if warm is not None:
                return warm
        used = self._used
        scores = self._view.scores(drawn, pick.now)
        near = _NEAR * max(scores)
        best, oldest = drawn[0], self._turn + 1
        if len(used) < len(self._in_flight):
            for index in drawn:
                if index not in used and pick.rng.random() < _NEWCOMER:
                    return index
        for index, score in zip(drawn, scores, strict=True):
            if score >= near:
                turn = used.get(index, 0)
                if turn < oldest:
                    best, oldest = index, turn
        return best

    def _warm(self, pick: Pick, drawn: Sequence[int]) -> int | None:
        """Return the best that has a connection, if it compares well with those drawn."""
        view, now = self._view.score, pick.now
        best, score = -1, 0.0
        for index in pick.warm:
            its = view(index, now)
            if its > score:
                best, score = index, its
        if best < 0:
            return None
        enough = score / _NEAR_AND_WARM
        for index in drawn[:_COMPARED]:
            if view(index, now) > enough:
                return None
        return best

    def _pick_among(self, pick: Pick, among: Sequence[int]) -> int | None:
        """Return the best of a few of these; in a big pool, too, all of them are at work."""
        rng, size, places = pick.rng, len(among), self._places
        drawn = among
        if size > _CHOICES:
            drawn = [among[int(rng.random() * size)] for _ in range(_CHOICES)]
        usable = [index for index in drawn if index in places]
        if not usable and size > _CHOICES:
            usable = [index for index in among if index in places]
            if len(usable) > _CHOICES:
                usable = rng.sample(usable, _CHOICES)
        if not usable:
            return None
        on_trial = self._on_trial
        settled = [index for index in usable if places[index] is not on_trial]
        if len(settled) < len(usable) and (not settled or rng.random() < _TRIED_INSIDE):
            return next(index for index in usable if places[index] is on_trial)
        return self._best(pick, settled)
