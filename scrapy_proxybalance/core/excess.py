"""Whether an attempt failed for the number of others that were under way through the same proxy.

Some proxies close, or refuse, what is too much without saying so. Then fewer go, before anybody is
blamed: the limits of proxies and gateways are cut here, and nothing else is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .limits.own_limit import OwnLimit
from .outcome import HOST_REFUSED, MAY_BE_THE_LOAD, TOO_MANY, WITHOUT_A_WORD
from .structures.bounded_dict import BoundedDict

if TYPE_CHECKING:
    from .attempt import Attempt
    from .attribution.comparison import Comparison

# When a target's connections have been closed so often in a row, it is not for their number.
_CLOSED_IN_A_ROW = 8
_TARGETS = 1000


class Excess:
    """Judges failures by how many attempts were under way.

    :param comparison: knows who has had answers of which target.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        # How many connections were closed for each target since it last answered.
        self._closed: BoundedDict[str, int] = BoundedDict(_TARGETS)

    def got_through(self, attempt: Attempt, now: float) -> None:
        """Take note of a success: its proxy, or gateway, may carry more again."""
        node = attempt.node
        if self._closed:
            self._closed.pop(attempt.target, None)
        shared = node if attempt.gateway is None else attempt.gateway
        shared.proven.answered(attempt.in_flight, now)
        if attempt.gateway is not None:
            node.proven.carried()
        if node.own_limit is not None:
            node.own_limit.answered()
            if node.own_limit.is_over(node.cap, now):
                node.own_limit = None

    def was_too_many(self, attempt: Attempt, failure: str | None, now: float) -> bool:
        """Return whether a request may have failed for the number of others; have fewer then.

        It was refused with more in flight than the proxy, or its gateway, has carried of late.
        A refusal of the host is for the number only if the proxy is known to go there.
        """
        if failure in WITHOUT_A_WORD:
            return self._was_closed_for_number(attempt, now)
        refuses_host = failure == HOST_REFUSED
        if not refuses_host and failure not in MAY_BE_THE_LOAD:
            return False
        node, gateway = attempt.node, attempt.gateway
        known, sharing = (node if gateway is None else gateway).proven, gateway is not None
        proven, before = known.most(now), known.out_before(attempt.started_at)
        goes_there = self._goes_there(attempt) if refuses_host else node.answered
        says_so = refuses_host or (failure == TOO_MANY and not sharing)
        own = node.own_limit if gateway is None else None
        right_after_cut = says_so and own is not None and own.is_new_to(attempt.started_at)
        if attempt.in_flight <= max(1, proven):
            # Idle connections may count as well: fewer of these, first.
            may_go_there = says_so and (goes_there or right_after_cut)
            if not (may_go_there and node.proven.excuses(sharing=sharing)):
                return False
            known.refused(attempt.in_flight)
            known.too_many(now)
            return True
        may_be = before > 0 and (refuses_host or not sharing)
        if not goes_there and not (may_be and node.proven.excuses(sharing=sharing)):
            return right_after_cut
        if sharing and refuses_host and goes_there and not node.proven.excuses(sharing=True):
            return False
        known.too_many(now)
        if gateway is not None:
            return True
        if own is None:
            own = node.own_limit = OwnLimit()
        if not goes_there:
            own.cut(before, now)
            return True
        return own.closed(attempt.started_at, attempt.in_flight, now, proven=proven)

    def _was_closed_for_number(self, attempt: Attempt, now: float) -> bool:
        """Return whether a connection may have been closed for the number of others; have fewer then."""
        node, gateway = attempt.node, attempt.gateway
        shared = node if gateway is None else gateway
        shared.proven.closed()
        closed = self._closed[attempt.target] = self._closed.get(attempt.target, 0) + 1
        if not node.answered or closed > _CLOSED_IN_A_ROW:
            return False  # where the number is the reason, others are answered in between
        if gateway is None and node.own_limit is not None:
            for_number = node.own_limit.closed(attempt.started_at, attempt.in_flight, now)
        else:
            for_number = attempt.in_flight > 1 and shared.proven.often_closed
            if for_number and gateway is None:
                node.own_limit = OwnLimit()
                node.own_limit.closed(attempt.started_at, attempt.in_flight, now)
        if for_number:
            shared.proven.too_many(now)
        elif gateway is None and shared.proven.was_too_many(now):
            attempt.too_many = True  # it is judged as any failure, and gets another try
        return for_number

    def _goes_there(self, attempt: Attempt) -> bool:
        """Return whether a proxy, or the gateway that it shares, has had answers of a target."""
        comparison = self._comparison
        return comparison.got_through(attempt) or (
            attempt.gateway is not None and comparison.answers_others(attempt)
        )
