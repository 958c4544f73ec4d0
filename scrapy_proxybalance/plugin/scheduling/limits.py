"""What holds the requests of a queue: asked of the pool, of the budgets and of the admissions.

It answers for slots and targets by name, and for the gate that every retry has to pass; which request
goes next is not its business.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from ...core import Want
from ...core.dispatcher import ANY_PROXY
from .queue_order import EVERYTHING

if TYPE_CHECKING:
    from ...core import Blocked
    from ..context import CrawlContext

#: The gate of the queues of retries: no target is called so.
RETRIES = "#retries"

# Of the targets that wait for one of the proxies that they may use, so many are looked at per pop.
_WAITING_PER_POP = 16
# What is asked of so many targets is kept.
_WANTS = 10_000


class AdmissionLimits:
    """What holds slots, targets and retries at this moment, from all that is known."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self.active = context.admissions.in_slot
        self.slot_ready_at = context.slots.ready_at
        #: Targets that were found to have no proxy of their rule's free, the longest waiting first.
        self.waiting_for_proxy: dict[str, None] = {}
        #: How many of them have not been looked at since something changed.
        self.unseen = 0
        self._want = lru_cache(maxsize=_WANTS)(_want)

    def some_that_wait(self) -> list[str]:
        """Take some of the targets that wait for a proxy, to look whether there is one now."""
        waiting = self.waiting_for_proxy
        some = list(islice(waiting, _WAITING_PER_POP))
        for target in some:
            del waiting[target]
        self.unseen -= len(some)
        return some

    def held_by(self, target: str, now: float) -> str | None:
        """Return what holds a request to a target, or every retry, now; see :class:`Limits`."""
        context = self._context
        if target == RETRIES:
            return target if self.target_room(target, now) <= 0 else None
        admissions = context.admissions
        if target in context.asking_robots and target not in context.dropped_targets:
            return target
        try:
            blocked = context.dispatcher.blocked(
                self._want(target),
                now,
                admissions.on_the_way_to(target),
                ahead_of_all=admissions.unleased,
            )
        except Exception:  # for the middleware to raise: the request is to fail, not the queue
            return None
        if blocked is None:
            return None
        if blocked.waits_for == ANY_PROXY:
            return EVERYTHING
        return None if target in context.dropped_targets else target

    def target_room(self, target: str, now: float) -> int:
        """Return how many requests may be let out to a target now."""
        context = self._context
        if target == RETRIES:
            return context.retries.budget.room(now) - context.admissions.retries
        on_the_way = context.admissions.on_the_way_to(target)
        room = context.pool.targets.available(target, now) - on_the_way
        if target in context.dropped_targets:
            return max(1, room)  # its requests come out to be dropped
        if target in context.asking_robots:
            return 0
        if room > 0 and self._narrows_proxies(target):
            return 0 if self._hold(target, now) else 1
        return room

    def target_ready_at(self, target: str, now: float) -> float | None:
        """Return from when there may be room."""
        if target == RETRIES:
            return self._context.retries.budget.ready_at(now)
        ready_at = self._context.pool.targets.ready_at(target, now)
        if ready_at is not None and ready_at <= now:
            hold = None
            if self._narrows_proxies(target):
                hold = self._hold(target, now)
            if hold is not None:
                self.waiting_for_proxy[target] = None
                return hold.retry_at
        return ready_at

    def _narrows_proxies(self, target: str) -> bool:
        """Return whether not every free proxy may be used for a target."""
        return self._context.pool.narrows(target)

    def _hold(self, target: str, now: float) -> Blocked | None:
        besides = self._context.admissions.on_the_way_to(target)
        try:
            return self._context.pool.blocked(self._want(target), now, besides)
        except Exception:  # for the middleware to raise: the request is to fail, not the queue
            return None


def _want(target: str) -> Want:
    return Want(target=target)
