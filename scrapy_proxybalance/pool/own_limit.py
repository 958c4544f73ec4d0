"""How many requests a single proxy carries at once, where it closes what is too much for it.

Some proxies, such as nginx with ``limit_conn`` or HAProxy with a full queue, close what is too much
without a byte. The limit is halved then, and grows back by one after a while of answers: additive
increase, multiplicative decrease (Chiu and Jain, 1989). One that closes a connection that is the only
one closes them for another reason: such as the proxy behind which another exit serves each connection,
and some exits are bad. Then there is no limit for a while. Knows no proxies: it is told of one.
"""

from __future__ import annotations

from math import inf

# Answers for each request that it may carry, after which it may carry one more.
_GROWS_AFTER = 10
# For so many seconds there is no limit when the number was not the reason.
_LIFTED = 60.0


class OwnLimit:
    """The limit of one proxy, below its cap.

    :param in_flight: how many requests it carried when it closed a connection, that one included.
    :param now: the time, in seconds.
    """

    __slots__ = ("_answers", "_cut_at", "_lifted_until", "limit")

    def __init__(self, in_flight: int, now: float) -> None:
        #: How many it carries at once; infinite while there is no limit.
        self.limit: float = max(1, in_flight // 2)
        self._lifted_until = float("-inf")
        self._cut_at = now
        self._answers = 0

    def closed(self, granted_at: float, in_flight: int, now: float) -> bool:
        """Take note that it has closed another connection; return whether that may be for the number.

        :param granted_at: when that request was let go: one of before the last cut says nothing new.
        """
        if now < self._lifted_until:
            return False
        if granted_at < self._cut_at:
            return True
        if in_flight < 2:
            self.limit = inf
            self._lifted_until = now + _LIFTED
            return False
        self.limit = max(1, min(self.limit, in_flight) // 2)
        self._cut_at = now
        self._answers = 0
        return True

    def is_over(self, cap: int, now: float) -> bool:
        """Return whether nothing is left of it, for a proxy that may carry so many."""
        return self.limit >= cap and now >= self._lifted_until

    def answered(self) -> None:
        """Take note of an answer."""
        self._answers += 1
        if self._answers >= _GROWS_AFTER * self.limit:
            self._answers = 0
            self.limit += 1
