"""Drawing indices at random, in proportion to weights: what random choices are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.index_set import IndexSet
from ..structures.sum_tree import SumTree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

# So often one is drawn blindly, before it is done the long way.
_TRIES = 8
# So few can be looked through several times.
_FEW = 50


class WeightedDraw:
    """Indices with weights; one with the weight 0 is never drawn.

    A draw is blind, and counts with a probability in proportion to the weight: that takes one or two
    where the weights are much alike. Where they are not, it is exact by a tree, in O(log n).
    """

    def __init__(self) -> None:
        self._usable = IndexSet()
        self._weights = SumTree()
        self._heaviest = 0.0

    def __setitem__(self, index: int, weight: float) -> None:
        if self._weights[index] == weight:
            return
        self._weights[index] = weight
        if weight:
            self._usable.add(index)
            self._heaviest = max(self._heaviest, weight)
        else:
            self._usable.discard(index)

    def draw(self, rng: Random, among: Sequence[int] | None) -> int | None:
        """Return one, or ``None`` if there is none.

        Among some only, it takes long where few of them have a weight.
        """
        if among is not None:
            return self._draw_among(rng, among)
        usable, weights = self._usable, self._weights
        if not usable:
            return None
        for _ in range(_TRIES):
            index = usable.draw(rng)
            if rng.random() * self._heaviest < weights[index]:
                return index
        return weights.find(rng.random() * weights.total)

    def draw_two(self, rng: Random, among: Sequence[int] | None) -> list[int]:
        """Return two different ones, or one or none if there are no more.

        Where one outweighs all others by far, or few of some have a weight, it may be one.
        """
        first = self.draw(rng, among)
        if first is None:
            return []
        for _ in range(_TRIES if among is None or len(among) <= _FEW else 1):
            second = self.draw(rng, among)
            if second is not None and second != first:
                return [first, second]
        return [first]

    def _draw_among(self, rng: Random, among: Sequence[int]) -> int | None:
        weights, size = self._weights, len(among)
        if size > _TRIES:
            for _ in range(_TRIES):
                index = among[int(rng.random() * size)]
                if rng.random() * self._heaviest < weights[index]:
                    return index
        usable = [index for index in among if weights[index]]
        if not usable:
            return None
        return rng.choices(usable, [weights[index] for index in usable])[0]
