"""How often in a row a gateway has said no of one proxy: what is kept for each proxy of a gateway."""

from __future__ import annotations


class Rejections:
    """Those since its last success, as the gateway counts them.

    ``by_chance``: how likely it is that the gateway has said no as often in a row, while others got
    through, for the load alone; ``at``: when it last did; ``answered_before``, ``rejected_before``: how
    many attempts it had answered and rejected by then.
    """

    __slots__ = ("answered_before", "at", "by_chance", "rejected_before")

    def __init__(self) -> None:
        self.by_chance = 1.0
        self.answered_before = self.rejected_before = 0
        self.at = float("-inf")
