"""A set of indices that one can be drawn from at random, in O(1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random


class IndexSet:
    """Indices in no particular order."""

    __slots__ = ("_places", "indices")

    def __init__(self) -> None:
        #: All of them: to be looked at, not to be changed.
        self.indices: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def __contains__(self, index: int) -> bool:
        return index in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def add(self, index: int) -> None:
        """Put an index in, if it is not."""
        if index not in self._places:
            self._places[index] = len(self.indices)
            self.indices.append(index)

    def discard(self, index: int) -> None:
        """Take an index out, if it is in."""
        place = self._places.pop(index, None)
        if place is None:
            return
        last = self.indices.pop()
        if last != index:
            self.indices[place] = last
            self._places[last] = place

    def draw(self, rng: Random) -> int:
        """Return one at random; there has to be one."""
        return self.indices[int(rng.random() * len(self.indices))]

    def draw_some(self, rng: Random, count: int) -> list[int]:
        """Return so many at random, some of them perhaps twice; there has to be one."""
        return rng.choices(self.indices, k=count)
