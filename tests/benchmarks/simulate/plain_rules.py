"""Contenders that look at no outcome: in turn, and the least loaded."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from .contenders import Plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .plan import Scenario
    from .world import End


class RoundRobin(Plain):
    """One after the other, those that are at their cap left out."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self._last = -1

    def pick(self, now: float, tried: Sequence[int]) -> int | None:  # noqa: ARG002
        """Return the next one."""
        instead = None
        for step in range(1, self.size + 1):
            index = (self._last + step) % self.size
            if self.in_flight[index] >= self.cap:
                continue
            if index not in tried:
                self._last = index
                return index
            instead = index if instead is None else instead
        return instead


class LeastConnections(Plain):
    """The one with the fewest attempts in flight, of equal ones that which waited longest."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        first = self.rng.sample(range(self.size), self.size)
        self._key = [(0, turn) for turn in first]
        self._turn = self.size
        self._heap = [(key, index) for index, key in enumerate(self._key)]
        heapify(self._heap)

    def pick(self, now: float, tried: Sequence[int]) -> int | None:  # noqa: ARG002
        """Return the least loaded."""
        passed = []
        found = None
        while self._heap:
            key, index = self._heap[0]
            if key != self._key[index] or self.in_flight[index] >= self.cap:
                heappop(self._heap)
            elif index in tried:
                passed.append(heappop(self._heap))
            else:
                found = index
                break
        for entry in passed:
            heappush(self._heap, entry)
        if found is None and passed:
            found = passed[0][1]
        if found is not None:
            self._place(found, self.in_flight[found] + 1)
        return found

    def learn(self, index: int, end: End, now: float) -> None:  # noqa: ARG002
        """Count it down."""
        self._place(index, self.in_flight[index])

    def _place(self, index: int, in_flight: int) -> None:
        self._turn += 1
        self._key[index] = (in_flight, self._turn)
        heappush(self._heap, (self._key[index], index))
