"""What the strategies may ask about the nodes. A score is kept for a moment: it is asked often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .score import idle_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .proxy import Proxy
    from .table import Node, Nodes

# A score holds for so many seconds, unless something happens to the proxy: as long as what is expected
# of its group does. Within seconds a fast crawl learns much of all others.
_PRICE_HOLDS = 0.5


class ScoringView:
    """Answers by index; see :class:`View`."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes.by_index

    def score(self, index: int, now: float) -> float:
        """Return how good a proxy is right now; more is better."""
        node = self._nodes[index]
        self._price(node, now)
        return node.price / node.load

    def scores(self, indices: Sequence[int], now: float) -> list[float]:
        """Return the scores of several proxies."""
        nodes, outdated = self._nodes, now - _PRICE_HOLDS
        scores = []
        for index in indices:
            node = nodes[index]
            if node.priced_at < outdated:
                self._price(node, now)
            scores.append(node.price / node.load)
        return scores

    def expected(self, node: Node, now: float) -> tuple[float, float, float]:
        """Return what to expect of an attempt through a proxy, see :func:`expected`."""
        self._price(node, now)
        return node.expected

    @staticmethod
    def _price(node: Node, now: float) -> None:
        """Work out a price, unless there is one that still holds."""
        if now <= node.priced_at + _PRICE_HOLDS:
            return
        node.priced_at = now
        node.price, node.expected = idle_score(
            node.proxy.weight, node.health, node.group.expectation, now
        )

    def proxy(self, index: int) -> Proxy:
        """Return a proxy."""
        return self._nodes[index].proxy
