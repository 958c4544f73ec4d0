"""The limit of requests at once of a single proxy that closes excess connections.

Some proxies, such as nginx with ``limit_conn`` or HAProxy with a full queue, close what is too much
without a byte. The limit is halved then, and grows back by one after a while of answers: additive
increase, multiplicative decrease (Chiu and Jain, 1989). It is never cut below what the proxy has carried
of late, and a connection that is closed with no more in flight than that was closed for another reason:
a bad exit, a site. Knows no proxies: it is told of one.
"""

from __future__ import annotations

from math import inf

# Answers for each request that it may carry, after which it may carry one more.
_GROWS_AFTER = 10
# So many connections have to be closed before it is for their number.
_CLOSED = 2
# Seconds after which what was carried, or closed, is too long ago.
_LATELY = 60.0


class Proven:
    """The most requests that were in flight at once of late when one went that was answered."""

    __slots__ = ("_at", "_most")

    def __init__(self) -> None:
        self._most = 0
        self._at = -inf

    def answered(self, in_flight: int, now: float) -> None:
        """Take note that a request was answered.

        :param in_flight: how many were in flight when it went, that one included.
        """
        if in_flight >= self._most or now - self._at > _LATELY:
            self._most = in_flight
            self._at = now

    def most(self, now: float) -> int:
        """Return how many that were, 0 if it is not known."""
        return self._most if now - self._at <= _LATELY else 0


class OwnLimit:
    """The limit of one proxy, below its cap. There is none until a second connection was closed."""

    __slots__ = ("_answers", "_closed", "_closed_at", "_closed_with", "_cut_at", "limit")

    def __init__(self) -> None:
        #: How many it carries at once; infinite while there is no limit.
        self.limit: float = inf
        self._cut_at = -inf
        self._answers = 0
        self._closed, self._closed_with, self._closed_at = 0, 0, -inf

    def closed(self, granted_at: float, in_flight: int, proven: int, now: float) -> bool:
        """Take note that it has closed a connection; return whether that is for their number.

        :param granted_at: when that request was let go: one of before the last cut says nothing new.
        :param in_flight: how many were in flight when it went, that one included.
        :param proven: how many it has carried of late.
        """
        if granted_at < self._cut_at:
            return True
        if now - self._closed_at > _LATELY:
            self._closed = 0
        self._closed += 1
        self._closed_with, self._closed_at = in_flight, now
        if self.limit == inf and self._closed < _CLOSED:
            return False
        self.limit = max(1, proven, int(min(self.limit, in_flight)) // 2)
        self._cut_at = now
        self._answers = 0
        return True

    def answered(self, in_flight: int) -> None:
        """Take note of an answer.

        :param in_flight: how many were in flight when its request went, that one included.
        """
        if in_flight >= self._closed_with:
            self._closed = 0
        self._answers += 1
        if self._answers >= _GROWS_AFTER * self.limit:
            self._answers = 0
            self.limit += 1

    def is_over(self, cap: int, now: float) -> bool:
        """Return whether nothing is left of it, for a proxy that may carry so many."""
        return self.limit >= cap and (self._closed == 0 or now - self._closed_at > _LATELY)
