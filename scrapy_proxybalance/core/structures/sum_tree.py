"""Numbers in a row, with their sums kept in a binary tree: sampling by weight in O(log n).

A parent is always the exact sum of its two children as floats go, so nothing drifts.
"""

from __future__ import annotations


class SumTree:
    """Non-negative weights at the indices 0, 1, 2 ...; all are 0 until set."""

    __slots__ = ("_capacity", "_sums")

    def __init__(self) -> None:
        self._capacity = 1
        self._sums = [0.0, 0.0]

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return self._sums[1]

    def __getitem__(self, index: int) -> float:
        return self._sums[self._capacity + index] if index < self._capacity else 0.0

    def __setitem__(self, index: int, weight: float) -> None:
        if index >= self._capacity:
            self._grow(index)
        sums = self._sums
        node = self._capacity + index
        if sums[node] == weight:
            return
        sums[node] = weight
        node >>= 1
        while node:
            sums[node] = sums[2 * node] + sums[2 * node + 1]
            node >>= 1

    def find(self, point: float) -> int:
        """Return the index whose stretch of the total holds ``point`` (0 <= point < total).

        An index of weight 0 is never returned while the total is above 0.
        """
        sums = self._sums
        node, capacity = 1, self._capacity
        while node < capacity:
            node *= 2
            left = sums[node]
            if point >= left and sums[node + 1] > 0:
                point -= left
                node += 1
        return node - capacity

    def sum_before(self, index: int) -> float:
        """Return the sum of the weights at the indices below ``index``."""
        if index >= self._capacity:
            return self.total
        sums = self._sums
        node, total = self._capacity + index, 0.0
        while node > 1:
            if node & 1:
                total += sums[node - 1]
            node >>= 1
        return total

    def _grow(self, index: int) -> None:
        weights = self._sums[self._capacity :]
        capacity = self._capacity
        while capacity <= index:
            capacity *= 2
        sums = [0.0] * capacity + weights + [0.0] * (capacity - len(weights))
        for node in range(capacity - 1, 0, -1):
            sums[node] = sums[2 * node] + sums[2 * node + 1]
        self._capacity, self._sums = capacity, sums
