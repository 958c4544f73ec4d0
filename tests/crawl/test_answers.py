"""A proxy that answers with pages of its own in place of the site's is found out by what others get."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.reporting.standing import Standing, standing

from .crawling import crawl, crawl_test
from .judged import World, forwards, page, pages
from .scripted_proxy import ScriptedProxy, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy.crawler import Crawler

    from scrapy_proxybalance.core import ProxySnapshot


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
    "204": answer(204),
}
NAMES = "abcdefghijklmnopqrstuvwxyz"
tokens = count(0x5F3A9C)
#: Answers that look like pages of a site's, the first ones at least.
OWN_PAGES: dict[str, Callable[[], bytes]] = {
    "one page": lambda: answer(200, "<title>Portal</title> Please log in."),
    "a page with a token": lambda: answer(200, f"<title>Blocked</title> request {next(tokens):x}"),
    "a redirect on the same host": lambda: answer(302, Location="/blocked"),
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
    context = crawler.get_downloader_middleware(ProxyBalanceMiddleware).context
    return {one.proxy.name: one for one in context.pool.snapshot(context.clock())}


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
    used_up: list[float] = []

    def script(_method: str, _url: str) -> bytes | None:
        if next(seen) > 100 and not used_up:
            used_up.append(time.monotonic() + 1)
        return OWN_ANSWERS["402"] if used_up and time.monotonic() < used_up[0] else None

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
    # By chance one may meet several of the first ones in a row: that is taken back.
    assert judged.cooldowns == judged.taken_back
    assert all(standing(one) is Standing.HEALTHY for one in judged.proxies.values())


@pytest.mark.parametrize("bad", [1, 3])
@pytest.mark.parametrize("own", OWN_PAGES)
@crawl_test
async def test_proxies_that_give_one_page_for_all_are_found_by_their_first_pages(
    own: str, bad: int
) -> None:
    numbers = count()

    def site(_: OriginRequest) -> OriginResponse:
        return OriginResponse(body=f"<title>{NAMES[next(numbers) % 26]}</title>".encode())

    async with AsyncExitStack() as stack:
        world = World(stack)
        scripts: list[Callable[[str, str], bytes | None]] = [lambda *_: OWN_PAGES[own]()] * bad
        await world.start([*scripts, *[forwards] * 4], handler=site, latency=0.02)
        judged = await world.crawl(f"http://shop.example/{number}" for number in range(500))

    delivered = sum(number for body, number in judged.pages.items() if body[7:8] in NAMES)
    assert delivered >= 500 - 40 * bad
    asked = [len(proxy.requests) for proxy in world.proxies]
    assert sum(asked[:bad]) <= 40 * bad
    assert not any(judged.cooldowns[f"p{number}"] for number in range(bad, bad + 4))


@crawl_test
async def test_a_page_that_a_site_gives_for_all_urls_costs_no_proxy() -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards] * 5, handler=lambda _: OriginResponse(body=b"the same"))
        judged = await world.crawl(f"http://shop.example/{number}" for number in range(300))

    assert judged.pages == {"the same": 300}
    assert sum(len(proxy.requests) for proxy in world.proxies) <= 340
    assert all(standing(one) is Standing.HEALTHY for one in judged.proxies.values())
