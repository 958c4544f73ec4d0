"""The strategies in use: each is made when it is first asked for, and told of everything from then on.

One that is never asked for costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..proxies.health import HEALTHY
from .custom import CustomStrategy
from .registry import STRATEGIES, strategy_class

if TYPE_CHECKING:
    from ..proxies.table import Node, Nodes
    from .registry import StrategyChoice
    from .strategy import Strategy, View


class Strategies:
    """The strategies of one pool.

    :param default: what is used where nothing else is asked for.
    :param nodes: whose state they are told.
    :param view: what they may ask.
    :raises ConfigurationError: for a default that is not a strategy.
    """

    def __init__(self, default: StrategyChoice, nodes: Nodes, view: View) -> None:
        self._nodes = nodes
        self._view = view
        self._made: dict[type[Strategy], Strategy] = {}
        #: Those that are to be told of every change.
        self.in_use: list[Strategy] = []
        self._default = self._get(default)

    def find(self, choice: StrategyChoice | None) -> Strategy:
        """Return the strategy that is asked for; without any, the default.

        :raises ConfigurationError: for a choice that is not a strategy.
        """
        return self._default if choice is None else self._get(choice)

    def _get(self, choice: StrategyChoice) -> Strategy:
        kind = strategy_class(choice)
        strategy = self._made.get(kind)
        if strategy is None:
            ours = kind in STRATEGIES.values()
            strategy = kind(self._view) if ours else CustomStrategy(kind, self._view)
            for node in self._nodes:
                tell(strategy, node)
            self._made[kind] = strategy
            self.in_use.append(strategy)
        return strategy


def tell(strategy: Strategy, node: Node) -> None:
    """Tell a strategy of a node's state."""
    strategy.set(
        node.index,
        usable=node.free > 0,
        on_trial=node.health.state is not HEALTHY,
        weight=node.proxy.weight,
        in_flight=node.in_flight,
    )
