"""At random. Looks at no outcome and at no load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .strategy import Strategy
from .weighted_draw import WeightedDraw

if TYPE_CHECKING:
    from .strategy import Pick, View


class AtRandom(Strategy):
    """One drawn at random, with chances in proportion to the weights."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._draw = WeightedDraw()

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep the weight, and whether the proxy may be used."""
        self._draw[index] = weight if usable else 0.0

    def pick(self, pick: Pick) -> int | None:
        """Draw one."""
        return self._draw.draw(pick.rng, pick.among)
