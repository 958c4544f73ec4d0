"""The limit of requests at once of a single proxy that closes excess connections.

Some proxies, such as nginx with ``limit_conn`` or HAProxy with a full queue, close what is too much
without a byte. The limit is halved then, and grows back by one after a while of answers: additive
increase, multiplicative decrease (Chiu and Jain, 1989). Knows no proxies: it is told of one.
"""

from __future__ import annotations

# Answers for each request that it may carry, after which it may carry one more.
_GROWS_AFTER = 10


class OwnLimit:
    """The limit of one proxy, below its cap.

    :param in_flight: how many requests it carried when it closed a connection, that one included.
    :param now: the time, in seconds.
    """

    __slots__ = ("_answers", "_cut_at", "limit")

    def __init__(self, in_flight: int, now: float) -> None:
        self.limit = max(1, in_flight // 2)
        self._cut_at = now
        self._answers = 0

    def closed(self, granted_at: float, in_flight: int, now: float) -> None:
        """Take note that it has closed another connection.

        :param granted_at: when that request was sent: one from before the last cut says nothing new.
        """
        if granted_at < self._cut_at:
            return
        self.limit = max(1, min(self.limit, in_flight) // 2)
        self._cut_at = now
        self._answers = 0

    def answered(self) -> None:
        """Take note of an answer."""
        self._answers += 1
        if self._answers >= _GROWS_AFTER * self.limit:
            self._answers = 0
            self.limit += 1
