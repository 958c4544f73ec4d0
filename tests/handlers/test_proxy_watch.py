"""Nothing bypasses the pool: who does not use the leased proxy, handler or middleware, is found out."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.http import HtmlResponse, Response

from scrapy_proxybalance.core import NoProxyAvailableError

from ..crawl.crawling import crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGES = 20


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


@asynccontextmanager
async def world(proxies: int = 2) -> AsyncIterator[tuple[Origin, list[ForwardProxy]]]:
    """Give an origin and proxies, which are to be told apart by their addresses."""
    origin = Origin(echo)
    running = [ForwardProxy(f"proxy-{number}") for number in range(proxies)]
    try:
        await origin.start("127.0.0.2")
        for proxy in running:
            await proxy.start()
        yield origin, running
    finally:
        for server in (origin, *running):
            await server.close()


def urls(origin: Origin, count: int = PAGES) -> list[str]:
    return [f"http://127.0.0.2:{origin.port}/{page}" for page in range(count)]


def settings(proxies: list[ForwardProxy], handler: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "PROXYBALANCE_PROXIES": [proxy.url() for proxy in proxies],
        "DOWNLOAD_HANDLERS": {"http": handler} if handler is not None else {},
        "CLOSESPIDER_TIMEOUT": 60,
        **changes,
    }


def direct(origin: Origin) -> int:
    return sum(request.via is None for request in origin.requests)


def without_proxy(request: Request) -> Request:
    meta = {key: value for key, value in request.meta.items() if key != "proxy"}
    return request.replace(meta=meta)


class Drops(HTTP11DownloadHandler):
    """Knows no proxies, and does not say so."""

    async def download_request(self, request: Request) -> Response:
        return await super().download_request(without_proxy(request))


class Pops(HTTP11DownloadHandler):
    """Takes the proxy off the very request, and tells no address."""

    async def download_request(self, request: Request) -> Response:
        request.meta.pop("proxy", None)
        response = await super().download_request(request)
        return response.replace(ip_address=None)


class Careful(HTTP11DownloadHandler):
    """Somebody's own, which uses the proxy, and tells no address."""

    async def download_request(self, request: Request) -> Response:
        response = await super().download_request(request)
        return response.replace(ip_address=None)


class Foreign(HTTP11DownloadHandler):
    """Speaks SOCKS, or would."""

    async def download_request(self, request: Request) -> Response:
        assert request.meta["proxy"].startswith("socks5://")
        return HtmlResponse(request.url, body=b"over SOCKS", request=request)


class Unable(HTTP11DownloadHandler):
    """Says that it cannot, when it is asked."""

    async def download_request(self, request: Request) -> Response:
        raise NotImplementedError("no proxies here")


class Browser(HTTP11DownloadHandler):
    """As scrapy-playwright's: goes out by itself for some requests."""

    async def download_request(self, request: Request) -> Response:
        if request.meta.get("playwright"):
            return await super().download_request(without_proxy(request))
        return await super().download_request(request)


Browser.__module__, Browser.__qualname__ = (
    "scrapy_playwright.handler",
    "ScrapyPlaywrightDownloadHandler",
)


@pytest.mark.parametrize("handler", [Drops, Pops])
@crawl_test
async def test_a_handler_that_drops_the_proxy_sends_one_request_and_the_crawl_is_closed(
    handler: type, caplog: pytest.LogCaptureFixture
) -> None:
    async with world() as (origin, proxies):
        crawler = await crawl(urls(origin), settings(proxies, handler))
        assert direct(origin) == len(origin.requests) == 1
    assert crawler.stats.get_value("finish_reason") == "proxybalance_bypassed"
    assert proxybalance_stats(crawler)["failure/bypassed"] == 1
    assert "outcome/success" not in proxybalance_stats(crawler)
    assert "did not go through proxy" in caplog.text
    # What was held back is not given up: it would wait in the queue for the next run.
    assert not [one for one in crawler.spider.failures if one.check(NoProxyAvailableError)]


@crawl_test
async def test_a_handler_that_drops_a_proxy_with_a_name_is_found_out_by_looking_it_up() -> None:
    async with world() as (origin, proxies):
        crawler = await crawl(
            urls(origin),
            {
                **settings([], Drops),
                "PROXYBALANCE_PROXIES": [f"http://localhost:{proxies[0].port}"],
            },
        )
        assert direct(origin) == len(origin.requests) == 1
    assert crawler.stats.get_value("finish_reason") == "proxybalance_bypassed"


@crawl_test
async def test_a_handler_of_ones_own_that_uses_the_proxy_carries_every_page() -> None:
    async with world() as (origin, proxies):
        crawler = await crawl(urls(origin), settings(proxies, Careful))
        assert direct(origin) == 0
    assert len(crawler.spider.responses) == PAGES
    assert crawler.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_a_dead_first_proxy_does_not_keep_the_others_from_proving_the_handler() -> None:
    async with world(4) as (origin, proxies):
        proxies[0].behaviour = proxies[1].behaviour = Behaviour.REFUSE
        crawler = await crawl(urls(origin), settings(proxies, Careful))
    assert len(crawler.spider.responses) == PAGES


@crawl_test
async def test_a_handler_that_is_derived_from_the_default_one_may_speak_socks() -> None:
    crawler = await crawl(
        ["http://site.example/"],
        {
            "PROXYBALANCE_PROXIES": ["socks5://127.0.0.1:1080"],
            "DOWNLOAD_HANDLERS": {"http": Foreign, "https": Foreign},
        },
    )
    assert [response.text for response in crawler.spider.responses] == ["over SOCKS"]


@crawl_test
async def test_a_handler_that_says_it_cannot_use_proxies_closes_the_crawl_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world() as (origin, proxies):
        crawler = await crawl(urls(origin), settings(proxies, Unable))
        assert origin.requests == []
    assert crawler.stats.get_value("finish_reason") == "proxybalance_proxy_not_supported"
    assert "no proxies here" in caplog.text
    assert proxybalance_stats(crawler)["leases"] == 1


@crawl_test
async def test_a_request_for_a_browser_that_ignores_the_proxy_is_not_sent() -> None:
    async with world() as (origin, proxies):
        plain, rendered, on_purpose = urls(origin, 3)
        crawler = await crawl(
            [
                Request(plain),
                Request(on_purpose, meta={"playwright": True, "proxy": None}),
                Request(rendered, meta={"playwright": True}, priority=-1),
            ],
            settings(proxies, Browser, CONCURRENT_REQUESTS=1),
        )
        assert {request.path for request in origin.requests} == {"/0", "/2"}
        assert direct(origin) == 1
    assert crawler.stats.get_value("finish_reason") == "proxybalance_proxy_not_supported"


class Without:
    """A middleware behind ours that takes the proxy off."""

    def process_request(self, request: Request) -> None:
        del request.meta["proxy"]


class Another:
    """A middleware behind ours with a list of its own."""

    url = ""

    def process_request(self, request: Request) -> None:
        request.meta["proxy"] = self.url


@crawl_test
async def test_a_middleware_that_takes_the_proxy_off_closes_the_crawl() -> None:
    async with world() as (origin, proxies):
        crawler = await crawl(
            urls(origin), settings(proxies, DOWNLOADER_MIDDLEWARES={Without: 745})
        )
        assert direct(origin) < PAGES
    assert crawler.stats.get_value("finish_reason") == "proxybalance_bypassed"


@crawl_test
async def test_a_middleware_that_writes_over_the_proxy_is_named_once_and_the_pool_learns_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world(2) as (origin, [ours, theirs]):
        Another.url = theirs.url()
        crawler = await crawl(urls(origin), settings([ours], DOWNLOADER_MIDDLEWARES={Another: 745}))
        assert len(theirs.requests) == PAGES
    assert len(crawler.spider.responses) == PAGES
    stats = proxybalance_stats(crawler)
    assert stats["outcome/ignored"] == stats["failure/overwritten"] == PAGES
    assert caplog.text.count("has overwritten meta['proxy']") == 1


@pytest.mark.parametrize(("pages", "times"), [(49, 0), (60, 1)])
@crawl_test
async def test_a_crawl_that_never_uses_the_pool_says_so_after_50_requests(
    pages: int, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with world(2) as (origin, [ours, theirs]):
        Another.url = theirs.url()
        crawler = await crawl(
            urls(origin, pages), settings([ours], DOWNLOADER_MIDDLEWARES={Another: 600})
        )
    assert len(crawler.spider.responses) == pages
    assert caplog.text.count("none through the pool") == times


class OwnError(Exception):
    """Of a handler: Scrapy does not know it."""


class Wraps(HTTP11DownloadHandler):
    """Raises exceptions of its own, as handlers from elsewhere do."""

    async def download_request(self, request: Request) -> Response:
        try:
            return await super().download_request(request)
        except Exception as error:
            raise OwnError("something went wrong") from None if error else error


@crawl_test
async def test_a_handler_with_exceptions_of_its_own_loses_nothing_to_dead_proxies() -> None:
    async with world(20) as (origin, proxies):
        for proxy in proxies[:5]:
            await proxy.close()
        crawler = await crawl(
            urls(origin, 500),
            settings(proxies, Wraps, RETRY_TIMES=2, CONCURRENT_REQUESTS_PER_DOMAIN=16),
        )
    stats = proxybalance_stats(crawler)
    dead = [f"127.0.0.1:{proxy.port}" for proxy in proxies[:5]]
    attempts = sum(stats.get(f"proxy/{name}/leases", 0) for name in dead)
    assert len(crawler.spider.responses) == 500
    assert stats["failure/OwnError"] == attempts
    assert crawler.stats.get_value("retry/count") == attempts
    # Once each has been tried, as nothing is known of it before that.
    assert attempts - len(dead) <= 0.03 * stats["leases"]
