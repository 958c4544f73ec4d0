"""By load: what carries least goes next. Looks at no outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.lazy_heap import LazyHeap
from .strategy import Strategy

if TYPE_CHECKING:
    from .strategy import Pick, View


class LeastConnections(Strategy):
    """The one with the fewest requests in flight for its weight; the longest unused among equals."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._loads = LazyHeap()
        self._turn = 0

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep the load, and whether the proxy may be used."""
        if not usable:
            self._loads.discard(index)
            return
        self._turn += 1
        self._loads[index] = (in_flight / weight, self._turn)

    def pick(self, pick: Pick) -> int | None:
        """Return the least loaded index."""
        return self._loads.first(pick.among)
