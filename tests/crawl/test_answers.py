"""A proxy that answers with pages of its own in place of the site's is found out by what others get."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from bookshop.servers.forward_proxy import ForwardProxy
from bookshop.servers.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.reporting.standing import Standing, standing

from .crawling import crawl, crawl_test
from .judged import World, forwards, page, pages
from .scripted_proxy import ScriptedProxy, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy.crawler import Crawler

    from scrapy_proxybalance.pool import ProxySnapshot


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
        [f"http://127.0.0.1:{origin.port}/{number}" for number in range(500)],
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


@crawl_test
async def test_an_account_that_is_used_up_has_its_pages_held_and_none_of_its_answers_delivered() -> (
    None
):
    seen = count(1)

    def script(_method: str, _url: str) -> bytes | None:
        return OWN_ANSWERS["402"] if 100 < next(seen) <= 130 else None

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([script] * 5)
        judged = await world.crawl(
            (f"http://shop.example/{number}" for number in range(300)), PROXYBALANCE_COOLDOWN=0.2
        )

    assert judged.pages == pages(range(300))


@pytest.mark.parametrize("every", [5, 50])
@crawl_test
async def test_pages_that_a_site_wants_to_be_paid_for_are_delivered_and_cost_no_proxy(
    every: int,
) -> None:
    def site(request: OriginRequest) -> OriginResponse:
        if int(request.path[1:]) % every == 0:
            return OriginResponse(status=402, body=b"pay first")
        return page(request)

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards] * 5, handler=site)
        judged = await world.crawl(f"http://shop.example/{number}" for number in range(1, 301))

    assert judged.pages == pages(number for number in range(1, 301) if number % every)
    assert judged.failures == {"HttpError": 300 // every}
    assert all(standing(one) is Standing.HEALTHY for one in judged.proxies.values())


TINY = {"Server": "tinyproxy/1.11.1"}


def two_sites(front: dict[str, str]) -> Callable[[OriginRequest], OriginResponse]:
    """Return a handler of two sites, the front end of one of which denies a page of ten."""

    def handler(request: OriginRequest) -> OriginResponse:
        if request.headers["host"] == "denied.example" and request.path.endswith("0"):
            return OriginResponse(403, list(front.items()), b"denied by the front")
        return page(request)

    return handler


@crawl_test
async def test_a_host_that_all_proxies_filter_over_http_is_not_blamed_for_that() -> None:
    def filters(_method: str, url: str) -> bytes | None:
        return answer(403, "filtered", **TINY) if "denied.example" in url else None

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([filters] * 4, hosts=("denied.example", "fine.example"))
        fine = [Request(f"http://fine.example/{n}", priority=n // 20) for n in range(40)]
        denied = [Request(f"http://denied.example/{number}") for number in range(40)]
        judged = await world.crawl([*fine, *denied])

    stats = judged.crawler.stats.get_stats()
    assert judged.pages == pages(range(40))
    assert set(judged.failures) <= {"TargetRefusedError", "HttpError"}
    assert judged.failures["TargetRefusedError"] >= 36
    assert not any("/pauses" in key for key in stats)


@crawl_test
async def test_what_a_sites_own_front_end_denies_is_asked_for_again_by_nobody() -> None:
    front = {"Server": "tinyproxy/1.11.1", "Via": "1.1 front (tinyproxy/1.11.1)"}
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [forwards] * 5, hosts=("denied.example", "fine.example"), handler=two_sites(front)
        )
        await world.crawl(
            f"http://{host}.example/{n}" for n in range(100) for host in ("denied", "fine")
        )

    refused = Counter(
        one.path
        for one in world.origin.requests
        if one.headers["host"] == "denied.example" and one.path.endswith("0")
    )
    # Those under way at first are asked for twice: the second one shows that the mark is the site's.
    assert len(refused) == 10
    assert sum(refused.values()) <= 16
