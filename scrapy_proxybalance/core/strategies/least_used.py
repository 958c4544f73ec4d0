"""By use: what has been used least so far goes next. Looks at no outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.lazy_heap import LazyHeap
from .strategy import Strategy

if TYPE_CHECKING:
    from .strategy import Pick, View


class LeastUsed(Strategy):
    """The one with the fewest leases so far for its weight.

    All leases count, those of sessions, of filters and of other strategies too, from the moment at
    which the strategy was first used. So a proxy that sat out, or was not asked for, catches up, within
    its cap. One that joins begins with as many as the least used of those that are there.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._uses = LazyHeap()
        self._used: dict[int, float] = {}
        self._in_flight: dict[int, int] = {}
        self._least = 0.0

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Count an attempt if there is one more in flight, and keep whether the proxy may be used."""
        used = self._used.get(index)
        if used is None:
            used = self._least_of_all() * weight
        else:
            used += max(0, in_flight - self._in_flight[index])
        self._used[index] = used
        self._in_flight[index] = in_flight
        if not usable:
            self._uses.discard(index)
        elif self._uses.keys.get(index) != (used / weight, index):
            self._uses[index] = (used / weight, index)

    def forget(self, index: int) -> None:
        """Forget how often the proxy was used."""
        self._uses.discard(index)
        self._used.pop(index, None)
        self._in_flight.pop(index, None)

    def pick(self, pick: Pick) -> int | None:
        """Return the least used index."""
        index = self._uses.first(pick.among)
        if index is not None and pick.among is None:
            self._least = self._uses.keys[index][0]
        return index

    def _least_of_all(self) -> float:
        """Return the fewest leases for its weight that one has; while all are busy, had."""
        first = self._uses.first(None)
        return self._least if first is None else self._uses.keys[first][0]
