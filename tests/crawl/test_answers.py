"""A proxy that answers with pages of its own in place of the site's is found out by what others get."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from bookshop.servers.forward_proxy import ForwardProxy
from bookshop.servers.origin import Origin, OriginRequest, OriginResponse

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.reporting.standing import Standing, standing

from .crawling import crawl, crawl_test
from .scripted_proxy import ScriptedProxy, answer

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from scrapy_proxybalance.pool import ProxySnapshot


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=f"page {request.path}".encode())


OWN_ANSWERS = {
    "503": answer(503, "the proxy says 503"),
    "500": answer(500, "the proxy says 500"),
    "502": answer(502, "the proxy says 502"),
    "404": answer(404, "the proxy says 404"),
    "402": answer(402, "no traffic left"),
    "594": answer(594, "Connection Refused"),
    "490": answer(490, "limit"),
    "empty": answer(200),
    "302": answer(302, Location="http://billing.example/pay"),
}


async def run(
    stack: AsyncExitStack,
    own: bytes,
    *,
    pages: int = 500,
    good: int = 4,
    **settings: Any,
) -> tuple[Crawler, ScriptedProxy]:
    """Crawl a site through good proxies at 50 ms and one that answers everything itself, at once."""
    origin = await stack.enter_async_context(Origin(page))
    bad = await stack.enter_async_context(ScriptedProxy("bad", lambda *_: own))
    proxies = [{"url": bad.url(), "name": "bad"}]
    for number in range(good):
        proxy = ForwardProxy(f"good-{number}", latency=0.05)
        await stack.enter_async_context(proxy)
        proxies.append({"url": proxy.url(), "name": proxy.name})
    crawler = await crawl(
        [f"http://127.0.0.1:{origin.port}/{number}" for number in range(pages)],
        {
            "PROXYBALANCE_PROXIES": proxies,
            "RETRY_TIMES": 2,
            "PROXYBALANCE_RETRY_DELAY": 0.25,
            "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
            "CONCURRENT_REQUESTS": 16,
            "CLOSESPIDER_TIMEOUT": 120,
            **settings,
        },
    )
    return crawler, bad


def snapshots(crawler: Crawler) -> dict[str, ProxySnapshot]:
    balancer = crawler.get_downloader_middleware(ProxyBalanceMiddleware).balancer
    return {one.proxy.name: one for one in balancer.pool.snapshot(balancer.clock())}


def fetched(crawler: Crawler) -> Counter[str]:
    return Counter(response.text for response in crawler.spider.responses if response.body)


@pytest.mark.parametrize("own", OWN_ANSWERS)
@crawl_test
async def test_a_proxy_that_answers_everything_itself_gets_next_to_nothing_and_costs_no_page(
    own: str,
) -> None:
    async with AsyncExitStack() as stack:
        crawler, bad = await run(stack, OWN_ANSWERS[own])

    assert fetched(crawler) == Counter(f"page /{number}" for number in range(500))
    attempts = crawler.stats.get_value("downloader/request_count")
    assert len(bad.requests) - 20 <= 0.05 * attempts
    assert standing(snapshots(crawler)["bad"]) is not Standing.HEALTHY
