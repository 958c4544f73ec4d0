"""The strategies: which of the proxies that may be used takes the next request.

A new strategy is a class here and one line in :data:`STRATEGIES`.
"""

from __future__ import annotations

from .registry import STRATEGIES, StrategyChoice, strategy_class
from .strategy import Pick, Strategy, View

__all__ = ["STRATEGIES", "Pick", "Strategy", "StrategyChoice", "View", "strategy_class"]
