"""The strategies: which of the proxies that may be used takes the next request.

A new strategy is a class here and one line in :data:`STRATEGIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .by_load import LeastConnections
from .by_score import Weighted
from .in_turn import RoundRobin, WeightedRoundRobin
from .interface import Pick, Strategy, View

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STRATEGIES", "Pick", "Strategy", "View", "make_strategy"]

STRATEGIES: dict[str, Callable[[View], Strategy]] = {
    "weighted": Weighted,
    "round_robin": RoundRobin,
    "weighted_round_robin": WeightedRoundRobin,
    "least_connections": LeastConnections,
}


def make_strategy(name: str, view: View) -> Strategy:
    """Return a new strategy by its name.

    :raises ConfigurationError: for an unknown one.
    """
    try:
        return STRATEGIES[name](view)
    except KeyError:
        raise ConfigurationError(
            f"unknown strategy {name!r}; use one of {', '.join(STRATEGIES)}"
        ) from None
