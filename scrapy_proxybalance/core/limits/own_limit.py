"""The limit of requests at once of a single proxy that closes, or refuses, excess connections.

Some proxies, such as nginx with ``limit_conn`` or HAProxy with a full queue, close what is too much
without a byte: much of what ends then was closed, as what is closed ends at once. Squid's ``maxconn``
says 403. The limit is halved then, and grows by one after a while of answers: additive increase,
multiplicative decrease (Chiu and Jain, 1989). A proxy that also closes a connection that is the only one
has another reason, such as a bad exit: then there is no limit for a while. Knows no proxies: it is told
of one.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

# Answers for each request that it may carry, after which it may carry one more.
_GROWS_AFTER = 10
# Of so many requests that ended last, so many have to have been closed before it is for their number.
_ENDED, _CLOSED = 8, 3
_RECENT = (1 << _ENDED) - 1
# For so many seconds there is no limit when the number was not the reason.
_LIFTED = 60.0
# For so many seconds after a cut, connections that are gone may be counted yet by the proxy.
_SETTLES = 0.1
# Seconds after which what was carried, or closed, is too long ago.
_LATELY = 60.0
# So many refusals at a number that it is known to carry, and no answer at it: it does not carry it.
_DOUBTS = 2
# So many failures of a proxy in a row are excused as being for the number; and of one that shares its
# gateway, whose limit is of another size.
_EXCUSED, _EXCUSED_SHARING = 20, 5


class Proven:
    """What a proxy or a gateway carries at once: what is out, and what has been answered of late."""

    __slots__ = ("_at", "_closed", "_doubts", "_excused", "_most", "_out", "_too_many_at")

    def __init__(self) -> None:
        self._most = 0
        self._at = -inf
        self._closed = 0  # a bit for each of the last requests to end, 1 for a closed one
        self._doubts = 0
        self._excused = 0
        self._too_many_at = -inf
        self._out: dict[Hashable, float] | None = None  # with when each was granted

    def granted(self, attempt: Hashable, started_at: float) -> None:
        """Take note that a request goes out."""
        if self._out is None:
            self._out = {}
        self._out[attempt] = started_at

    def ended(self, attempt: Hashable) -> None:
        """Take note that it is back."""
        if self._out is not None:
            self._out.pop(attempt, None)

    def out_before(self, started_at: float) -> int:
        """Return how many are out that had gone by a moment, and may be carried yet."""
        return sum(one <= started_at for one in (self._out or {}).values())

    def excuses(self, *, sharing: bool) -> bool:
        """Return whether a failure that may be for the number is excused: so many in a row are.

        :param sharing: whether the proxy shares its gateway.
        """
        self._excused += 1
        return self._excused <= (_EXCUSED_SHARING if sharing else _EXCUSED)

    def closed(self) -> None:
        """Take note that a connection was closed without a word."""
        self._closed = (self._closed << 1 | 1) & _RECENT

    @property
    def often_closed(self) -> bool:
        """Whether so many were closed of late that it may be for their number."""
        return self._closed.bit_count() >= _CLOSED

    def too_many(self, now: float) -> None:
        """Take note that a connection was closed or refused for their number."""
        self._too_many_at = now

    def was_too_many(self, now: float) -> bool:
        """Return whether that happened of late."""
        return now - self._too_many_at <= _LATELY

    def refused(self, in_flight: int) -> None:
        """Take note of a refusal with no more in flight than are known to be carried.

        :param in_flight: how many were in flight when that request went, that one included.
        """
        self._doubts += 1
        if self._doubts >= _DOUBTS:
            self._doubts = 0
            self._most = min(self._most, in_flight - 1)

    def carried(self) -> None:
        """Take note that something has come back."""
        self._excused = 0

    def answered(self, in_flight: int, now: float) -> None:
        """Take note that a request was answered.

        :param in_flight: how many were in flight when it went, that one included.
        """
        self.carried()
        self._closed = self._closed << 1 & _RECENT
        if in_flight >= self._most or now - self._at > _LATELY:
            self._most = in_flight
            self._at = now
            self._doubts = 0

    def most(self, now: float) -> int:
        """Return how many that were, 0 if it is not known."""
        return self._most if now - self._at <= _LATELY else 0


class OwnLimit:
    """The limit of one proxy, below its cap; there is none until it is cut."""

    __slots__ = ("_answers", "_cut_at", "_lifted_until", "limit")

    def __init__(self) -> None:
        #: How many it carries at once; infinite while there is no limit.
        self.limit: float = inf
        self._lifted_until = -inf
        self._cut_at = -inf
        self._answers = 0

    def closed(self, started_at: float, in_flight: int, now: float, *, proven: int = 0) -> bool:
        """Take note that a connection was closed or refused; return whether it may be for the number.

        :param started_at: when that request was let go: one of before the last cut says nothing new.
        :param in_flight: how many were in flight when it went, that one included.
        :param proven: how many it is known to carry.
        """
        if now < self._lifted_until:
            return False
        if started_at < self._cut_at:
            return True
        if in_flight < 2:
            self.limit = inf
            self._lifted_until = now + _LIFTED
            return False
        self.cut(max(proven, int(min(self.limit, in_flight)) // 2), now)
        return True

    def is_new_to(self, started_at: float) -> bool:
        """Return whether a request went before the last cut, or too soon after it to show anything."""
        return started_at < self._cut_at + _SETTLES

    def cut(self, limit: int, now: float) -> None:
        """Carry no more than so many at once."""
        self.limit = min(self.limit, max(1, limit))
        self._cut_at = now
        self._answers = 0

    def answered(self) -> None:
        """Take note of an answer."""
        self._answers += 1
        if self._answers >= _GROWS_AFTER * self.limit:
            self._answers = 0
            self.limit += 1

    def is_over(self, cap: int, now: float) -> bool:
        """Return whether nothing is left of it, for a proxy that may carry so many."""
        return self.limit >= cap and now >= self._lifted_until
