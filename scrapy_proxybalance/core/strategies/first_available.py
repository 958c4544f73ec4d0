"""In a fixed order: the next one only where the one before it will not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.sum_tree import SumTree
from .strategy import Strategy

if TYPE_CHECKING:
    from .strategy import Pick, View


class FirstAvailable(Strategy):
    """The first that may be used, in the order of the pool, whatever the weights.

    A proxy that is added later takes the place of one that has left, or else the last place.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._usable = SumTree()

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep whether the proxy may be used."""
        self._usable[index] = 1.0 if usable else 0.0

    def pick(self, pick: Pick) -> int | None:
        """Return the lowest index."""
        if pick.among is not None:
            return min((index for index in pick.among if self._usable[index]), default=None)
        return self._usable.find(0.0) if self._usable.total else None
