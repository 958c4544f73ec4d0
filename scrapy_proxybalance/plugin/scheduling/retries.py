"""The retries of one crawl: how long each waits first, and whether one may go now.

Scrapy's ``RetryMiddleware`` decides what is retried and how often; here it is decided when. Knows
requests and the pool's budget for retries, and neither the queue nor the engine.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakSet

from ...core import NoProxyAvailableError
from ...core.limits.retry_budget import RetryBudget, equal_jitter, full_jitter
from ..requests import meta as request_meta

if TYPE_CHECKING:
    from random import Random

    from scrapy import Request

    from ..config.settings import Settings

logger = logging.getLogger(__name__)

# In seconds: what failed because nothing seems to get through waits by this base, whatever is set for
# retries, as time is what tells an outage from a few failures.
_SPARED_DELAY = 0.25
# After so many seconds for which retries were held back, the log says so.
_WORTH_A_WORD = 5.0


class Retries:
    """Draws their delays and keeps their budget. Times in seconds on the context's clock.

    Direct requests, and those through a proxy of the user's own, cost the pool nothing and are free.

    :param settings: whose ``PROXYBALANCE_RETRY_*`` hold.
    :param now: the time.
    :param rng: draws the delays.

    ``let_out``: how many retries went.
    """

    def __init__(self, settings: Settings, now: float, rng: Random) -> None:
        self._delay = settings.retry_delay
        self._budget = RetryBudget(
            share=settings.retry_budget, floor=settings.retry_budget_min, now=now
        )
        self._rng = rng
        self._under_way: WeakSet[Request] = WeakSet()
        self.let_out = 0
        self._seconds_held = 0.0
        self._held_since: float | None = None
        self._said = False

    def delay_of(self, request: Request) -> float:
        """Draw for how many seconds a request waits before it enters its queue: most do not.

        A retry does, and what comes back because nothing seems to get through, twice as long.
        """
        if request_meta.take_just_spared(request):
            base = max(_SPARED_DELAY, self._delay)
            return equal_jitter(request_meta.spared(request) + 1, base, self._rng)
        if self._delay and request_meta.is_retry(request):
            return full_jitter(request_meta.retry_of(request), self._delay, self._rng)
        return 0.0

    def room(self, now: float) -> int:
        """Return how many retries may go now. To be asked only if there is one that would go."""
        room = self._budget.room(now)
        if room:
            self._seconds_held, self._held_since = self.seconds_held(now), None
        elif self._held_since is None:
            self._held_since = now
        return room

    def ready_at(self, now: float) -> float:
        """Return from when on one may go, even if nothing else is sent before."""
        return self._budget.ready_at(now)

    def check_room(self, now: float) -> None:
        """Raise :class:`NoProxyAvailableError` if a retry may not go now."""
        if not self.room(now):
            raise NoProxyAvailableError("retries are held back", self.ready_at(now))

    def seconds_held(self, now: float) -> float:
        """Return for how long, in all, there were retries that only the budget held back."""
        so_far = 0.0 if self._held_since is None else now - self._held_since
        return self._seconds_held + so_far

    def goes(self, request: Request, now: float) -> None:
        """Charge a retry that goes now."""
        if self._seconds_held >= _WORTH_A_WORD and not self._said:
            self._said = True
            logger.warning(
                "So much fails that retries are held back, for %.0f s so far, to spare the proxies. "
                "None is lost. The stats proxybalance/failure/... say what fails; the settings "
                "PROXYBALANCE_RETRY_BUDGET and PROXYBALANCE_RETRY_BUDGET_MIN say how many may go.",
                self._seconds_held,
            )
        self._budget.take(now)
        self._under_way.add(request)
        request_meta.mark_retried(request)
        self.let_out += 1

    def departs(self, request: Request, now: float) -> None:
        """Take note that a request is sent through the pool; one that is no retry earns a share."""
        if request not in self._under_way:
            self._budget.sent(now)

    def answered(self, request: Request, now: float) -> None:
        """Take note that a request got its answer: a retry that did costs nothing."""
        if request in self._under_way:
            self._under_way.discard(request)
            self._budget.give_back(now)
