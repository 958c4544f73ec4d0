"""In turn: round robin, plain and by weight. Looks at no outcome and at no load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.lazy_heap import LazyHeap
from ..structures.sum_tree import SumTree
from .strategy import Strategy

if TYPE_CHECKING:
    from .strategy import Pick, View


class RoundRobin(Strategy):
    """One after the other, in the order of the pool, whatever their weight."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._usable = SumTree()
        self._last = -1

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep whether the proxy may be used."""
        self._usable[index] = 1.0 if usable else 0.0

    def pick(self, pick: Pick) -> int | None:
        """Return the next index after the last one."""
        if pick.among is not None:
            usable = [index for index in pick.among if self._usable[index]]
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


class WeightedRoundRobin(Strategy):
    """In turn, with turns in proportion to the weights, in O(log n).

    Stride scheduling (Waldspurger and Weihl, 1995): each pick moves a proxy on by ``1 / weight`` and
    the one that is furthest behind goes next. A proxy that comes back joins where the others are.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._positions = LazyHeap()
        self._weights: dict[int, float] = {}
        self._left_at: dict[int, float] = {}
        self._clock = 0.0

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep the weight, and whether the proxy may be used."""
        key = self._positions.keys.get(index)
        if not usable:
            if key is not None:
                self._left_at[index] = key[0]
                self._positions.discard(index)
            return
        before = self._weights.get(index, weight)
        self._weights[index] = weight
        if key is None:
            position = max(self._left_at.pop(index, 0.0), self._clock)
        elif before != weight:
            position = key[0]
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

    def pick(self, pick: Pick) -> int | None:
        """Return the index that is furthest behind its share."""
        index = self._positions.first(pick.among)
        if index is not None:
            position = self._positions.keys[index][0]
            self._clock = max(self._clock, position)
            self._positions[index] = (position + 1 / self._weights[index], index)
        return index
