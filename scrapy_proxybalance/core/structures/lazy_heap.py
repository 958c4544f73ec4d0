"""A heap whose keys change: what the strategies that always take the smallest are made of."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


class LazyHeap:
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
