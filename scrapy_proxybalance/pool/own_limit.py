"""The limit of requests at once of a single proxy that closes, or refuses, excess connections.

Some proxies, such as nginx with ``limit_conn`` or HAProxy with a full queue, close what is too much
without a byte; Squid's ``maxconn`` says 403. The limit is halved then, and grows back by one after a
while of answers: additive increase, multiplicative decrease (Chiu and Jain, 1989). It is never cut below
what the proxy has carried of late, and a connection that is closed with no more in flight than that was
closed for another reason: a bad exit, a site. Knows no proxies: it is told of one.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lease import Lease

# Answers for each request that it may carry, after which it may carry one more.
_GROWS_AFTER = 10
#: So many connections have to be closed before it is for their number.
CLOSED_FOR_THEIR_NUMBER = 2
# Seconds after which what was carried, or closed, is too long ago.
_LATELY = 60.0
# So many refusals at a number that it is known to carry, and no answer at it: it does not carry it.
_DOUBTS = 2
# So many failures of a proxy in a row are excused as being for the number; and of one that shares its
# gateway, whose limit is of another size.
_EXCUSED, _EXCUSED_SHARING = 20, 5


class Proven:
    """What a proxy or a gateway carries at once: what is out, and what has been answered of late."""

    __slots__ = ("_at", "_doubts", "_excused", "_most", "_out", "_too_many_at")

    def __init__(self) -> None:
        self._most = 0
        self._at = -inf
        self._doubts = 0
        self._excused = 0
        self._too_many_at = -inf
        self._out: dict[Lease, None] = {}

    def granted(self, lease: Lease) -> None:
        """Take note that a request goes out."""
        self._out[lease] = None

    def ended(self, lease: Lease) -> None:
        """Take note that it is back."""
        self._out.pop(lease, None)

    def out_before(self, lease: Lease) -> int:
        """Return how many are out that had gone before a request, and may be carried yet."""
        return sum(one.granted_at <= lease.granted_at for one in self._out)

    def excuses(self, *, sharing: bool) -> bool:
        """Return whether a failure that may be for the number is excused: so many in a row are.

        :param sharing: whether the proxy shares its gateway.
        """
        self._excused += 1
        return self._excused <= (_EXCUSED_SHARING if sharing else _EXCUSED)

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
        if in_flight >= self._most or now - self._at > _LATELY:
            self._most = in_flight
            self._at = now
            self._doubts = 0

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

    def closed(
        self,
        granted_at: float,
        in_flight: int,
        proven: int,
        now: float,
        *,
        enough: int = CLOSED_FOR_THEIR_NUMBER,
    ) -> bool:
        """Take note that it has closed a connection; return whether that is for their number.

        :param granted_at: when that request was let go: one of before the last cut says nothing new.
        :param in_flight: how many were in flight when it went, that one included.
        :param proven: how many it has carried of late.
        :param enough: so many have to be closed before it is for their number.
        """
        if granted_at < self._cut_at:
            return True
        if now - self._closed_at > _LATELY:
            self._closed = 0
        self._closed += 1
        self._closed_with, self._closed_at = in_flight, now
        if self.limit == inf and self._closed < enough:
            return False
        self.cut(max(proven, int(min(self.limit, in_flight)) // 2), now)
        return True

    def cut(self, limit: int, now: float) -> None:
        """Carry no more than so many at once."""
        self.limit = min(self.limit, max(1, limit))
        self._cut_at = now
        self._answers = 0

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
