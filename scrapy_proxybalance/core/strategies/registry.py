"""What a strategy is asked for by: the names of ours, and classes of the user's own."""

from __future__ import annotations

from inspect import isabstract
from typing import TypeAlias

from ..errors import ConfigurationError
from .first_available import FirstAvailable
from .latency import Latency
from .least_connections import LeastConnections
from .least_used import LeastUsed
from .random import AtRandom
from .round_robin import RoundRobin, WeightedRoundRobin
from .sticky import Sticky
from .strategy import Strategy
from .weighted import Weighted

STRATEGIES: dict[str, type[Strategy]] = {
    "weighted": Weighted,
    "round_robin": RoundRobin,
    "weighted_round_robin": WeightedRoundRobin,
    "least_connections": LeastConnections,
    "least_used": LeastUsed,
    "latency": Latency,
    "random": AtRandom,
    "sticky": Sticky,
    "first_available": FirstAvailable,
}

#: What a strategy is asked for by: a name, or a class of the user's own.
StrategyChoice: TypeAlias = "str | type[Strategy]"


def strategy_class(choice: object) -> type[Strategy]:
    """Return the class of a strategy.

    :param choice: see :data:`StrategyChoice`.
    :raises ConfigurationError: for anything else.
    """
    if isinstance(choice, str) and choice in STRATEGIES:
        return STRATEGIES[choice]
    if not (isinstance(choice, type) and issubclass(choice, Strategy)):
        raise ConfigurationError(
            f"unknown strategy {choice!r}; use one of {', '.join(map(repr, STRATEGIES))}, or a class "
            "derived from scrapy_proxybalance.core.Strategy"
        )
    if isabstract(choice):
        missing = ", ".join(sorted(choice.__abstractmethods__))
        raise ConfigurationError(f"strategy {choice!r} does not say how to {missing}; define that")
    return choice
