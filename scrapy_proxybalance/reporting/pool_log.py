"""One log line every now and then, next to Scrapy's LogStats: how the pool is doing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.utils.asyncio import create_looping_call

from .pool_view import PoolView

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.utils.asyncio import AsyncioLoopingCall
    from twisted.internet.task import LoopingCall

    from .figures import Figures
    from .observed import ObservedCrawl

logger = logging.getLogger("scrapy_proxybalance.summary")


class PoolLog:
    """Logs the line every ``LOGSTATS_INTERVAL`` seconds; 0 stands for never, as with LogStats."""

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        self._interval = context.crawler.settings.getfloat("LOGSTATS_INTERVAL")
        self._loop: AsyncioLoopingCall | LoopingCall | None = None
        if self._interval > 0:
            context.crawler.signals.connect(self.start, signal=signals.spider_opened)
            context.crawler.signals.connect(self.stop, signal=signals.spider_closed)

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
        logger.info("%s", PoolView(self._context, self._figures).line(), extra={"spider": spider})
