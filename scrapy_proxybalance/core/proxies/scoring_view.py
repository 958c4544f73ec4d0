"""What the strategies may ask about the members. A score is kept for a moment: it is asked often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .score import idle_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .proxy import Proxy
    from .table import Member, Members

# A score holds for so many seconds, unless something happens to the proxy: as long as what is expected
# of its group does. Within seconds a fast crawl learns much of all others.
_PRICE_HOLDS = 0.5


class ScoringView:
    """Answers by index; see :class:`View`."""

    def __init__(self, members: Members) -> None:
        self._members = members.by_index

    def score(self, index: int, now: float) -> float:
        """Return how good a proxy is right now; more is better."""
        member = self._members[index]
        self._price(member, now)
        return member.price / member.load

    def scores(self, indices: Sequence[int], now: float) -> list[float]:
        """Return the scores of several proxies."""
        members, outdated = self._members, now - _PRICE_HOLDS
        scores = []
        for index in indices:
            member = members[index]
            if member.priced_at < outdated:
                self._price(member, now)
            scores.append(member.price / member.load)
        return scores

    def expected(self, member: Member, now: float) -> tuple[float, float, float]:
        """Return what to expect of an attempt through a proxy, see :func:`expected`."""
        self._price(member, now)
        return member.expected

    @staticmethod
    def _price(member: Member, now: float) -> None:
        """Work out a price, unless there is one that still holds."""
        if now <= member.priced_at + _PRICE_HOLDS:
            return
        member.priced_at = now
        member.price, member.expected = idle_score(
            member.proxy.weight, member.health, member.group.expectation, now
        )

    def proxy(self, index: int) -> Proxy:
        """Return a proxy."""
        return self._members[index].proxy
