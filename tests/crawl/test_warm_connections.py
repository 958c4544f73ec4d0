"""Connections through proxies are used again: fewer handshakes, the same pages, nobody overused."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.utils.misc import build_from_crawler

from .certificates import server_context
from .crawling import crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import AsyncIterator
    from pathlib import Path

    from loopback.listener import Connection
    from scrapy.crawler import Crawler

# Of the oldest versions of Scrapy, which would hang on it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning"
)

HOSTS = ("books.shop.example", "music.shop.example")
PROXIES = 30
PAGES = 300


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


class CountingOrigin(Origin):
    """Counts its connections; with TLS there is none before its handshake is done."""

    handshakes = 0

    def opened(self, connection: Connection) -> Task[None]:
        self.handshakes += 1
        return super().opened(connection)


class World:
    """A site with two names, and proxies that reach it."""

    def __init__(self, origin: CountingOrigin, proxies: list[ForwardProxy]) -> None:
        self.origin = origin
        self.proxies = proxies

    async def crawl(self, scheme: str = "https", **settings: Any) -> Crawler:
        """Fetch all pages, of the sites in turn."""
        self.origin.handshakes = 0
        return await crawl(
            [Request(f"{scheme}://{HOSTS[number % 2]}/{number}") for number in range(PAGES)],
            {
                "PROXYBALANCE_PROXIES": [proxy.url() for proxy in self.proxies],
                "CONCURRENT_REQUESTS": 4,
                **settings,
            },
        )


@asynccontextmanager
async def world(directory: Path | None) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        context = server_context(directory, "*.shop.example") if directory is not None else None
        origin = await stack.enter_async_context(CountingOrigin(echo, ssl_context=context))
        port = 80 if context is None else 443
        resolve = {f"{host}:{port}": (origin.host, origin.port) for host in HOSTS}
        proxies = [ForwardProxy(f"p{number}", resolve=resolve) for number in range(PROXIES)]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        yield World(origin, proxies)


class Unknown:
    """A download handler that nobody knows, with Scrapy's behind it."""

    lazy = True

    def __init__(self, handler: HTTP11DownloadHandler) -> None:
        self.download_request = handler.download_request
        self.close = handler.close

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Unknown:
        return cls(build_from_crawler(HTTP11DownloadHandler, crawler))


@crawl_test
async def test_there_are_far_fewer_handshakes_with_warm_connections(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        on = await w.crawl()
        handshakes = w.origin.handshakes
        off = await w.crawl(PROXYBALANCE_WARM_CONNECTIONS=False)
    for crawler in (on, off):
        assert len(crawler.spider.responses) == PAGES
        assert not crawler.spider.failures
    # Without, there is one for each proxy and site, once each was used.
    assert handshakes * 2 < w.origin.handshakes
    # It is not claimed of any that was opened; what a proxy has left after a run is not counted on,
    # nor is what the origin has closed, or not yet given back, on a slow machine.
    reused = proxybalance_stats(on)["connections/reused"]
    assert PAGES - 3 * handshakes <= reused <= PAGES - handshakes
    assert "connections/reused" not in proxybalance_stats(off)


@crawl_test
async def test_no_proxy_is_used_much_more_than_a_run_at_a_time(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        crawler = await w.crawl()
    used = Counter(response.meta["proxy_name"] for response in crawler.spider.responses)
    # A run or three times the even share, whichever is more; and what it got without preference.
    assert max(used.values()) <= max(30, 3 * PAGES / PROXIES) + 10


@pytest.mark.parametrize(
    "settings",
    [
        {"PROXYBALANCE_GATEWAYS": {"*": {"rotating": True}}},
        {"DOWNLOAD_HANDLERS": {"https": f"{__name__}.Unknown"}},
    ],
    ids=["rotating", "another handler"],
)
@crawl_test
async def test_nothing_is_preferred_where_that_is_no_use(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with world(tmp_path) as w:
        crawler = await w.crawl(**settings)
    assert len(crawler.spider.responses) == PAGES
    assert "connections/reused" not in proxybalance_stats(crawler)


@crawl_test
async def test_plain_http_is_left_alone() -> None:
    async with world(None) as w:
        crawler = await w.crawl("http")
    assert len(crawler.spider.responses) == PAGES
    assert "connections/reused" not in proxybalance_stats(crawler)
