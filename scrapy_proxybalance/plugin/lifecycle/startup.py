"""Messages at the start of a crawl: what would not work well, and what the real limit is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.downloadermiddlewares import robotstxt
from scrapy.utils.misc import load_object
from scrapy.utils.python import global_object_name

from ...util.wording import counted
from ..markers import HoldsRequests, HoldsUnfetchedRobots

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.settings import BaseSettings

    from ..context import CrawlContext

logger = logging.getLogger("scrapy_proxybalance")


class Announcement:
    """Says, once the spider is open, how much the pool carries and what holds it back."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        context.crawler.signals.connect(self.announce, signal=signals.spider_opened)

    def announce(self, spider: Spider) -> None:
        """Log it."""
        context = self._context
        settings = context.crawler.settings
        capacity = context.pool.capacity
        logger.info(
            "%s can carry %s at once; %s",
            counted(len(context.pool), "proxy", "proxies"),
            counted(capacity, "request"),
            _real_limit(settings, capacity),
            extra={"spider": spider},
        )
        if not context.admissions.in_use:
            logger.warning(
                "Requests that cannot be sent at once wait in the middleware, where each takes up one "
                "of CONCURRENT_REQUESTS: %s, so that a paused target does not slow others down.",
                _who_could_hold(settings),
                extra={"spider": spider},
            )
        robots = context.crawler.get_downloader_middleware(robotstxt.RobotsTxtMiddleware)
        if robots is not None and not isinstance(robots, HoldsUnfetchedRobots):
            kind = type(robots)
            logger.warning(
                "A host whose robots.txt could not be fetched, for whatever reason, is crawled as if "
                "it allowed everything: %s.%s deals with robots.txt, not RobotsTxtMiddleware of "
                "scrapy_proxybalance. Set DOWNLOADER_MIDDLEWARES[%r] = None and "
                'DOWNLOADER_MIDDLEWARES["scrapy_proxybalance.RobotsTxtMiddleware"] = 100, or derive '
                "your class from that one.",
                kind.__module__,
                kind.__qualname__,
                f"{kind.__module__}.{kind.__qualname__}",
                extra={"spider": spider},
            )


def _who_could_hold(settings: BaseSettings) -> str:
    """Say why no queue of ours holds requests, and what would."""
    queue = load_object(settings["SCHEDULER_PRIORITY_QUEUE"])
    if isinstance(queue, type) and issubclass(queue, HoldsRequests):
        scheduler = global_object_name(load_object(settings["SCHEDULER"]))
        return (
            f"SCHEDULER = {scheduler!r} does not use ProxyBalanceQueue. Scrapy's own scheduler "
            "holds them instead"
        )
    return (
        "ProxyBalanceQueue is not the scheduler's priority queue. "
        'ADDONS = {"scrapy_proxybalance.Addon": 500} holds them in the scheduler instead'
    )


def _real_limit(settings: BaseSettings, capacity: int) -> str:
    total = settings.getint("CONCURRENT_REQUESTS")
    per_domain = settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN")
    limits = []
    if 0 < total < capacity:
        limits.append(f"CONCURRENT_REQUESTS = {total}")
    if 0 < per_domain < capacity:
        limits.append(f"CONCURRENT_REQUESTS_PER_DOMAIN = {per_domain} (for one target)")
    delay = settings.getfloat("DOWNLOAD_DELAY")
    if delay > 0:
        limits.append(f"DOWNLOAD_DELAY = {delay:g} s (for one target)")
    if not limits:
        return "no Scrapy setting is below that"
    return f"the real limit is {' and '.join(limits)}"
