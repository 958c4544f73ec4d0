"""One log line every now and then, next to Scrapy's LogStats: how the pool is doing."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.utils.asyncio import create_looping_call

from ..pool import HealthState, TargetState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy import Spider
    from scrapy.utils.asyncio import AsyncioLoopingCall
    from twisted.internet.task import LoopingCall

    from ..balancer import Balancer
    from .figures import Figures

logger = logging.getLogger(__name__)

# So many targets are named.
_NAMED = 3


class PoolLog:
    """Logs the line every ``LOGSTATS_INTERVAL`` seconds; 0 stands for never, as with LogStats."""

    def __init__(self, balancer: Balancer, figures: Figures) -> None:
        self._balancer = balancer
        self._figures = figures
        self._interval = balancer.crawler.settings.getfloat("LOGSTATS_INTERVAL")
        self._loop: AsyncioLoopingCall | LoopingCall | None = None
        if self._interval > 0:
            balancer.crawler.signals.connect(self.start, signal=signals.spider_opened)
            balancer.crawler.signals.connect(self.stop, signal=signals.spider_closed)

    def start(self, spider: Spider) -> None:
        """Begin to log."""
        self._loop = create_looping_call(self.log, spider)
        self._loop.start(self._interval, now=False)

    def stop(self) -> None:
        """End it."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()

    def log(self, spider: Spider) -> None:
        """Log the line."""
        logger.info("%s", pool_line(self._balancer, self._figures), extra={"spider": spider})


def pool_line(balancer: Balancer, figures: Figures) -> str:
    """Return the line, as of now."""
    pool, now = balancer.pool, balancer.clock()
    figures.sample(now)
    states = Counter(state for _, state, _ in pool.overview(now))
    shown = [f"{states[state]} {state.value}" for state in HealthState if states[state]]
    parts = [
        f"Proxies: {', '.join(shown) or 'none'}",
        f"in flight {pool.in_flight} of {pool.capacity}",
    ]
    held = sum(target.held for _, target in figures.refusing())
    if held:
        parts.append(f"held {held}")
    paused = list(_paused(balancer, figures, now))
    if paused:
        more = f" and {len(paused) - _NAMED} more" if len(paused) > _NAMED else ""
        parts.append(f"paused: {', '.join(paused[:_NAMED])}{more}")
    return "; ".join(parts)


def _paused(balancer: Balancer, figures: Figures, now: float) -> Iterator[str]:
    targets = balancer.pool.targets
    for name, _ in figures.refusing():
        state = targets.state(name)
        if state is TargetState.PAUSED:
            ready_at = targets.ready_at(name, now)
            left = f" ({ready_at - now:.0f} s left)" if ready_at is not None else ""
            yield f"{name}{left}"
        elif state is TargetState.SUSPENDED:
            yield f"{name} (suspended)"
