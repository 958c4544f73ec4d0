"""One log line every now and then, next to Scrapy's LogStats: how the pool is doing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .pool_view import PoolView
from .scrapy_hooks import PeriodicCall, on_closed, on_opened

if TYPE_CHECKING:
    from .figures import Figures
    from .observed import ObservedCrawl
    from .scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance.summary")


class PoolLog:
    """Logs the line every ``LOGSTATS_INTERVAL`` seconds; 0 stands for never, as with LogStats."""

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        self._interval = context.crawler.settings.getfloat("LOGSTATS_INTERVAL")
        self._loop = PeriodicCall()
        if self._interval > 0:
            on_opened(context, self.start)
            on_closed(context, self.stop)

    def start(self, spider: Spider) -> None:
        """Begin to log."""
        self._loop.start(self._interval, self.log, spider)

    def stop(self) -> None:
        """End it."""
        self._loop.stop()

    def log(self, spider: Spider) -> None:
        """Log the line."""
        logger.info("%s", PoolView(self._context, self._figures).line(), extra={"spider": spider})
