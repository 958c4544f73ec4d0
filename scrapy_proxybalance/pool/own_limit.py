"""The limit of requests at once of a single proxy that closes excess connections.

Some proxies, such as nginx with ``limit_conn`` or HAProxy with a full queue, close what is too much
without a byte: much of what ends then was closed, as what is closed ends at once. The limit is halved,
and grows by one after a while of answers: additive increase, multiplicative decrease (Chiu and Jain,
1989). A proxy that also closes a connection that is the only one has another reason, such as a bad
exit: then there is no limit for a while. Knows no proxies: it is told of one.
"""

from __future__ import annotations

from math import inf

# Of so many requests that ended last, so many have to have been closed before it is for their number.
_ENDED, _CLOSED = 8, 3
_RECENT = (1 << _ENDED) - 1
# Answers for each request that it may carry, after which it may carry one more.
_GROWS_AFTER = 10
# For so many seconds there is no limit when the number was not the reason.
_LIFTED = 60.0


def after_closed(recent: int) -> int:
    """Return what is to be remembered of the endings of late after one more was closed.

    :param recent: what was to be remembered before, 0 at first.
    """
    return (recent << 1 | 1) & _RECENT


def after_answered(recent: int) -> int:
    """Return what is to be remembered of the endings of late after one more was answered."""
    return recent << 1 & _RECENT


def often_closed(recent: int) -> bool:
    """Return whether so many were closed of late that it may be for their number."""
    return recent.bit_count() >= _CLOSED


class OwnLimit:
    """The limit of one proxy, below its cap.

    :param in_flight: how many requests were in flight when one went that was closed for their number.
    :param now: the time, in seconds.
    """

    __slots__ = ("_answers", "_cut_at", "_lifted_until", "limit")

    def __init__(self, in_flight: int, now: float) -> None:
        #: How many it carries at once; infinite while there is no limit.
        self.limit: float = max(1, in_flight // 2)
        self._lifted_until = -inf
        self._cut_at = now
        self._answers = 0

    def closed(self, granted_at: float, in_flight: int, now: float) -> bool:
        """Take note that it has closed another connection; return whether that may be for the number.

        :param granted_at: when that request was let go: one of before the last cut says nothing new.
        :param in_flight: how many were in flight when it went, that one included.
        """
        if now < self._lifted_until:
            return False
        if granted_at < self._cut_at:
            return True
        if in_flight < 2:
            self.limit = inf
            self._lifted_until = now + _LIFTED
            return False
        self.limit = max(1, int(min(self.limit, in_flight)) // 2)
        self._cut_at = now
        self._answers = 0
        return True

    def answered(self) -> None:
        """Take note of an answer."""
        self._answers += 1
        if self._answers >= _GROWS_AFTER * self.limit:
            self._answers = 0
            self.limit += 1

    def is_over(self, cap: int, now: float) -> bool:
        """Return whether nothing is left of it, for a proxy that may carry so many."""
        return self.limit >= cap and now >= self._lifted_until
