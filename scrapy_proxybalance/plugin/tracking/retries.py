"""The retries of one crawl: how long each waits before it enters its queue.

Scrapy's ``RetryMiddleware`` decides what is retried and how often; here it is decided when. How many may
go at once is the core's budget.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ...core.limits.retry_budget import RetryBudget, equal_jitter, full_jitter
from .. import request_meta

if TYPE_CHECKING:
    from random import Random

    from scrapy import Request

    from ..config.settings import Settings

logger = logging.getLogger("scrapy_proxybalance")

# In seconds: what failed because nothing seems to get through waits by this base, whatever is set for
# retries, as time is what tells an outage from a few failures.
_SPARED_DELAY = 0.25
# After so many seconds for which retries were held back, the log says so.
_WORTH_A_WORD = 5.0


class Retries:
    """Draws their delays. Times in seconds on the crawl's clock.

    Direct requests, and those through a proxy of the user's own, cost the pool nothing and are free.

    :param settings: whose ``PROXYBALANCE_RETRY_*`` hold.
    :param now: the time.
    :param rng: draws the delays.

    ``budget``: how many may go.
    """

    def __init__(self, settings: Settings, now: float, rng: Random) -> None:
        self._delay = settings.retry_delay
        self._rng = rng
        self._said = False
        self.budget = RetryBudget(
            share=settings.retry_budget, floor=settings.retry_budget_min, now=now
        )

    def delay_of(self, request: Request) -> float:
        """Draw for how many seconds a request waits before it enters its queue: most do not.

        A retry does, and what comes back because nothing seems to get through, twice as long.
        """
        if request_meta.take_delayed(request):
            base = max(_SPARED_DELAY, self._delay)
            spared = request_meta.history_of(request).spared
            return equal_jitter(spared + 1, base, self._rng)
        if self._delay and request_meta.is_retry(request):
            return full_jitter(request_meta.retry_of(request), self._delay, self._rng)
        return 0.0

    def went(self, request: Request, now: float) -> None:
        """Take note that a retry was sent."""
        request_meta.mark_retried(request)
        seconds = self.budget.seconds_held(now)
        if seconds >= _WORTH_A_WORD and not self._said:
            self._said = True
            logger.warning(
                "So much fails that retries are held back, for %.0f s so far, to spare the proxies. "
                "None is lost. The stats proxybalance/failure/... say what fails; the settings "
                "PROXYBALANCE_RETRY_BUDGET and PROXYBALANCE_RETRY_BUDGET_MIN say how many may go.",
                seconds,
            )
