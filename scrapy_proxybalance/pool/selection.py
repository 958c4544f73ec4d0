"""The strategies: which of the proxies that may be used takes the next request.

A strategy sees indices, scores and counts; it knows nothing of caps, rates, cooldowns or sessions.
The pool tells it of every change with :meth:`Strategy.set` and asks it to :meth:`Strategy.pick`.
A new strategy is one class here and one line in :data:`STRATEGIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from .errors import ConfigurationError
from .sum_tree import SumTree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from random import Random


class Strategy(ABC):
    """Chooses among proxies, which it knows by index."""

    @abstractmethod
    def set(self, index: int, *, score: float, weight: float, in_flight: int) -> None:
        """Take note of a proxy's state; a ``score`` of 0 means that it may not be picked."""

    @abstractmethod
    def pick(self, rng: Random, among: Collection[int] | None = None) -> int | None:
        """Return the index of the proxy to use next, or ``None`` if none may be used.

        :param rng: the source of randomness.
        :param among: choose among these indices only.
        """

    def forget(self, index: int) -> None:
        """Take note that a proxy is gone and that its index may be given to another one."""
        self.set(index, score=0.0, weight=1.0, in_flight=0)

    def learned(self) -> None:
        """Take note that the outcome of one more request has been learned by the pool."""
        return


class RoundRobin(Strategy):
    """One after the other, in the order of the pool, whatever their weight."""

    def __init__(self) -> None:
        self._usable = SumTree()
        self._last = -1

    def set(self, index: int, *, score: float, weight: float, in_flight: int) -> None:  # noqa: ARG002
        """Keep whether the proxy may be used."""
        self._usable[index] = 1.0 if score > 0 else 0.0

    def pick(self, rng: Random, among: Collection[int] | None = None) -> int | None:  # noqa: ARG002
        """Return the next index after the last one."""
        if among is not None:
            usable = [index for index in among if self._usable[index]]
            if not usable:
                return None
            after = [index for index in usable if index > self._last]
            self._last = min(after or usable)
            return self._last
        total = self._usable.total
        if not total:
            return None
        rank = self._usable.sum_before(self._last + 1)
        self._last = self._usable.find(rank if rank < total else 0.0)
        return self._last


class _LazyHeap:
    """Indices by their keys, smallest first; what has changed is dropped as it surfaces."""

    def __init__(self) -> None:
        self.keys: dict[int, tuple[float, int]] = {}
        self._heap: list[tuple[tuple[float, int], int]] = []

    def __setitem__(self, index: int, key: tuple[float, int]) -> None:
        self.keys[index] = key
        heappush(self._heap, (key, index))
        if len(self._heap) > 4 * len(self.keys) + 64:
            self._heap = [(key, index) for index, key in self.keys.items()]
            heapify(self._heap)

    def discard(self, index: int) -> None:
        """Take an index out, if it is in."""
        self.keys.pop(index, None)

    def first(self, among: Collection[int] | None) -> int | None:
        """Return the index with the smallest key (among some only), or ``None``."""
        if among is not None:
            usable = [index for index in among if index in self.keys]
            return min(usable, key=self.keys.__getitem__, default=None)
        heap = self._heap
        while heap:
            key, index = heap[0]
            if self.keys.get(index) == key:
                return index
            heappop(heap)
        return None


class WeightedRoundRobin(Strategy):
    """In turn, with turns in proportion to the weights, in O(log n).

    Stride scheduling (Waldspurger and Weihl, 1995): each pick moves a proxy on by ``1 / weight`` and
    the one that is furthest behind goes next. A proxy that comes back joins where the others are.
    """

    def __init__(self) -> None:
        self._positions = _LazyHeap()
        self._weights: dict[int, float] = {}
        self._left_at: dict[int, float] = {}
        self._clock = 0.0

    def set(self, index: int, *, score: float, weight: float, in_flight: int) -> None:  # noqa: ARG002
        """Keep the weight, and whether the proxy may be used."""
        usable = self._positions.keys.get(index)
        if score <= 0:
            if usable is not None:
                self._left_at[index] = usable[0]
                self._positions.discard(index)
            return
        before = self._weights.get(index, weight)
        self._weights[index] = weight
        if usable is None:
            position = max(self._left_at.pop(index, 0.0), self._clock)
        elif before != weight:
            position = usable[0]
        else:
            return
        if before != weight and position > self._clock:
            position = self._clock + (position - self._clock) * before / weight
        self._positions[index] = (position, index)

    def forget(self, index: int) -> None:
        """Forget where the proxy stood."""
        self._positions.discard(index)
        self._weights.pop(index, None)
        self._left_at.pop(index, None)

    def pick(self, rng: Random, among: Collection[int] | None = None) -> int | None:  # noqa: ARG002
        """Return the index that is furthest behind its share."""
        index = self._positions.first(among)
        if index is not None:
            position = self._positions.keys[index][0]
            self._clock = max(self._clock, position)
            self._positions[index] = (position + 1 / self._weights[index], index)
        return index


class LeastConnections(Strategy):
    """The one with the fewest requests in flight for its weight; the longest unused among equals."""

    def __init__(self) -> None:
        self._loads = _LazyHeap()
        self._turn = 0

    def set(self, index: int, *, score: float, weight: float, in_flight: int) -> None:
        """Keep the load, and whether the proxy may be used."""
        if score <= 0:
            self._loads.discard(index)
            return
        self._turn += 1
        self._loads[index] = (in_flight / weight, self._turn)

    def pick(self, rng: Random, among: Collection[int] | None = None) -> int | None:  # noqa: ARG002
        """Return the least loaded index."""
        return self._loads.first(among)


class Weighted(Strategy):
    """Each with a probability proportional to its score, exactly, in O(log n).

    While the pool has learned next to nothing (fewer than two outcomes per proxy, 1,000 at most), it
    goes in turn by weight instead, so that every proxy is tried before any is preferred.
    """

    _OUTCOMES_PER_PROXY = 2
    _OUTCOMES_AT_MOST = 1000

    def __init__(self) -> None:
        self._scores = SumTree()
        self._size = 0
        self._outcomes = 0
        self._cold: WeightedRoundRobin | None = WeightedRoundRobin()

    def set(self, index: int, *, score: float, weight: float, in_flight: int) -> None:
        """Keep the score."""
        self._scores[index] = score
        if self._cold is not None:
            self._size = max(self._size, index + 1)
            self._cold.set(index, score=score, weight=weight, in_flight=in_flight)

    def forget(self, index: int) -> None:
        """Forget the proxy."""
        self._scores[index] = 0.0
        if self._cold is not None:
            self._cold.forget(index)

    def learned(self) -> None:
        """Count towards the end of the cold start."""
        if self._cold is None:
            return
        self._outcomes += 1
        enough = min(self._OUTCOMES_PER_PROXY * self._size, self._OUTCOMES_AT_MOST)
        if self._outcomes >= enough:
            self._cold = None

    def pick(self, rng: Random, among: Collection[int] | None = None) -> int | None:
        """Return an index drawn by score, or during the cold start the next one in turn."""
        if self._cold is not None:
            return self._cold.pick(rng, among)
        scores = self._scores
        if among is not None:
            indices = list(among)
            weights = [scores[index] for index in indices]
            if not any(weights):
                return None
            return rng.choices(indices, weights)[0]
        total = scores.total
        return scores.find(rng.random() * total) if total > 0 else None


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "weighted": Weighted,
    "round_robin": RoundRobin,
    "weighted_round_robin": WeightedRoundRobin,
    "least_connections": LeastConnections,
}


def make_strategy(name: str) -> Strategy:
    """Return a new strategy by its name.

    :raises ConfigurationError: for an unknown one.
    """
    try:
        return STRATEGIES[name]()
    except KeyError:
        raise ConfigurationError(
            f"unknown strategy {name!r}; use one of {', '.join(STRATEGIES)}"
        ) from None
