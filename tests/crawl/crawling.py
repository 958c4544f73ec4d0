"""What the crawl tests share: real crawls, through real proxies, to real origins, all on loopback."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest_twisted
from scrapy import Request, Spider
from scrapy.crawler import CrawlerRunner
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure

#: Settings of every test crawl. Nothing on the machine may answer in the proxies' place.
BASE_SETTINGS: dict[str, Any] = {
    "ADDONS": {"scrapy_proxybalance.Addon": 500},
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
    "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
    "DOWNLOAD_TIMEOUT": 10,
    "RETRY_TIMES": 5,
    # What a test about something else need not sit out.
    "PROXYBALANCE_RAMP": 0.1,
    "PROXYBALANCE_RETRY_DELAY": 0,
    "LOG_ENABLED": False,
}


def crawl_test(test: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """Run a test that is a coroutine of asyncio, within the reactor."""

    @pytest_twisted.inlineCallbacks  # type: ignore[untyped-decorator, unused-ignore]
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        yield Deferred.fromFuture(asyncio.ensure_future(test(*args, **kwargs)))

    return run  # type: ignore[no-any-return, unused-ignore]


class UrlsSpider(Spider):
    """Fetches ``urls`` (texts or requests) and keeps what came back."""

    name = "urls"

    def __init__(self, urls: Sequence[str | Request] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.urls = urls
        self.responses: list[Response] = []
        self.failures: list[Failure] = []

    async def start(self) -> AsyncIterator[Request]:
        for url in self.urls:
            request = url if isinstance(url, Request) else Request(url)
            yield request.replace(callback=self.keep, errback=self.keep_failure)

    def keep(self, response: Response) -> None:
        self.responses.append(response)

    def keep_failure(self, failure: Failure) -> None:
        self.failures.append(failure)


async def crawl(
    urls: Sequence[str | Request],
    settings: dict[str, Any],
    *,
    spider: type[Spider] = UrlsSpider,
    prepare: Callable[[Crawler], None] | None = None,
    **spider_arguments: Any,
) -> Crawler:
    """Run one crawl to its end and return its crawler: ``crawler.spider``, ``crawler.stats``.

    :param settings: on top of :data:`BASE_SETTINGS`.
    :param prepare: called with the crawler before it starts, to connect signals.
    """
    runner = CrawlerRunner({**BASE_SETTINGS, **settings})
    crawler = runner.create_crawler(spider)
    if prepare is not None:
        prepare(crawler)
    await maybe_deferred_to_future(runner.crawl(crawler, urls=urls, **spider_arguments))
    return crawler


def proxybalance_stats(crawler: Crawler) -> dict[str, Any]:
    """Return the plugin's stats of a crawl, without their prefix."""
    return {
        key.removeprefix("proxybalance/"): value
        for key, value in crawler.stats.get_stats().items()
        if key.startswith("proxybalance/")
    }
