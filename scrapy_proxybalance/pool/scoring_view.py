"""What the strategies may ask about the members. A score is kept for a moment: it is asked for often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .score import idle_score

if TYPE_CHECKING:
    from .members import Members
    from .proxy import Proxy

# A score holds for so many seconds, unless something happens to the proxy.
_PRICE_HOLDS = 5.0


class ScoringView:
    """Answers by index; see :class:`~.strategies.View`."""

    def __init__(self, members: Members) -> None:
        self._members = members.by_index

    def score(self, index: int, now: float) -> float:
        """Return how good a proxy is right now; more is better."""
        member = self._members[index]
        if now > member.priced_at + _PRICE_HOLDS:
            member.priced_at = now
            member.price = idle_score(
                member.proxy.weight, member.health, member.group.expectation, now
            )
        return member.price / member.load

    def proxy(self, index: int) -> Proxy:
        """Return a proxy."""
        return self._members[index].proxy
