"""What is said and refused when a crawl starts: what would not work, and what the real limit is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.downloadermiddlewares import robotstxt
from scrapy.utils.misc import load_object

from .pool import ConfigurationError
from .wording import counted

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.settings import BaseSettings

    from .balancer import Balancer
    from .settings import Settings

logger = logging.getLogger(__name__)


def refuse_unworkable(scrapy_settings: BaseSettings, settings: Settings) -> None:
    """Refuse what this crawl's download handler cannot do.

    :raises ConfigurationError: for the first proxy of which that is so.
    """
    if not scrapy_settings.getbool("HTTPPROXY_ENABLED"):
        with_credentials = [proxy for proxy in settings.proxies if proxy.username is not None]
        if with_credentials:
            raise ConfigurationError(
                f"HTTPPROXY_ENABLED = False: proxy {with_credentials[0].name} has credentials, and "
                "HttpProxyMiddleware is what sends them; enable it"
            )
    handlers = scrapy_settings.getwithbase("DOWNLOAD_HANDLERS")
    for scheme in ("http", "https"):
        path = handlers.get(scheme)
        if path is None or not _is_default_handler(path):
            continue
        for proxy in settings.proxies:
            if proxy.scheme.startswith("socks"):
                raise ConfigurationError(
                    f"proxy {proxy.name} speaks {proxy.scheme}, which Scrapy's default download "
                    f"handler does not; set DOWNLOAD_HANDLERS[{scheme!r}] to a handler that does, "
                    "such as the HttpxDownloadHandler of newer Scrapy versions"
                )
    https = handlers.get("https")
    if https is not None and _is_default_handler(https):
        for proxy in settings.proxies:
            if proxy.scheme == "https":
                logger.warning(
                    "Proxy %s is reached over https: Scrapy's default download handler can use it "
                    "for http:// pages and fails for https:// ones.",
                    proxy.name,
                )


def _is_default_handler(path: object) -> bool:
    try:
        handler = load_object(path)  # type: ignore[arg-type]
    except (ImportError, NameError, TypeError, ValueError):
        return False  # Scrapy says so itself, and better
    return isinstance(handler, type) and issubclass(handler, HTTP11DownloadHandler)


class Announcement:
    """Says, once the spider is open, how much the pool carries and what holds it back."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        balancer.crawler.signals.connect(self.announce, signal=signals.spider_opened)

    def announce(self, spider: Spider) -> None:
        """Log it."""
        balancer = self._balancer
        settings = balancer.crawler.settings
        capacity = balancer.pool.capacity
        logger.info(
            "%s can carry %s at once; %s",
            counted(len(balancer.pool), "proxy", "proxies"),
            counted(capacity, "request"),
            _real_limit(settings, capacity),
            extra={"spider": spider},
        )
        if not balancer.book.in_use:
            logger.warning(
                "Requests that cannot be sent at once wait in the middleware, where each takes up "
                "one of CONCURRENT_REQUESTS: ProxyBalanceQueue is not the scheduler's priority "
                'queue. ADDONS = {"scrapy_proxybalance.Addon": 500} holds them in the scheduler '
                "instead, so that a paused target slows nobody else down.",
                extra={"spider": spider},
            )
        robots = balancer.crawler.get_downloader_middleware(robotstxt.RobotsTxtMiddleware)
        if robots is not None and not _holds(robots):
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


def _holds(robots: robotstxt.RobotsTxtMiddleware) -> bool:
    # Not above: it builds on the middleware, which imports this module.
    from .robots import RobotsTxtMiddleware

    return isinstance(robots, RobotsTxtMiddleware)


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
