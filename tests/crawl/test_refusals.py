"""A refusal is the site's, unless two sites say the same through one proxy: that is the proxy's."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack

from loopback.origin import OriginRequest, OriginResponse

from .crawling import crawl_test, proxybalance_stats
from .judged import World, forwards, page, pages
from .scripted_proxy import answer

BUSY = answer(503, "the gate is busy", Retry_After="1")
SITES = ("one.example", "two.example")


def both(number: int) -> list[str]:
    return [f"http://{SITES[page % 2]}/{page}" for page in range(number)]


@crawl_test
async def test_what_one_proxy_says_for_two_sites_pauses_neither() -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([lambda *_: BUSY, *[forwards] * 4], hosts=SITES)
        judged = await world.crawl(both(400))

    assert judged.pages == pages(range(400))
    assert proxybalance_stats(judged.crawler).get("target/suspended", 0) == 0
    attempts = judged.crawler.stats.get_value("downloader/request_count")
    assert len(world.proxies[0].requests) <= 0.1 * attempts


@crawl_test
async def test_a_gateway_that_says_429_above_its_limit_gets_less_and_no_site_is_suspended() -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards], hosts=SITES, latency=0.02)
        gate = world.proxies[0]
        gate.credentials = {f"user-{number}": "right" for number in range(8)}
        gate.script = lambda *_: answer(429, "slow down, gate") if gate.in_flight > 10 else None
        judged = await world.crawl(
            both(600),
            PROXYBALANCE_PROXIES=[gate.url(user) for user in gate.credentials],
            CONCURRENT_REQUESTS=32,
            CONCURRENT_REQUESTS_PER_DOMAIN=32,
            RETRY_TIMES=5,
            PROXYBALANCE_RETRY_BUDGET_MIN=1000,
        )

    assert judged.pages == pages(range(600))
    assert not judged.cooldowns


@crawl_test
async def test_two_sites_that_refuse_through_all_proxies_are_both_paused() -> None:
    arrivals: Counter[str] = Counter()

    def refuses(request: OriginRequest) -> OriginResponse:
        arrivals[request.headers["host"]] += 1
        if arrivals[request.headers["host"]] > 30:
            return OriginResponse(429, [("Retry-After", "60")], b"slow down")
        return page(request)

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards] * 5, hosts=SITES, handler=refuses)
        judged = await world.crawl(both(200), CLOSESPIDER_TIMEOUT=8)

    assert sum(judged.pages.values()) == 60
    # What was in flight when the refusal came, and no more: rotation did not press on.
    assert all(count <= 30 + 16 for count in arrivals.values())


@crawl_test
async def test_an_exit_that_a_site_always_refuses_is_kept_away_from_that_site() -> None:
    def refuses(request: OriginRequest) -> OriginResponse:
        if request.headers.get("via", "").endswith(" p0"):
            return OriginResponse(429, [("Retry-After", "1")], b"you again")
        return page(request)

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards] * 8, handler=refuses, hosts=("shop.example",))
        judged = await world.crawl(
            [f"http://shop.example/{number}" for number in range(300)], CLOSESPIDER_TIMEOUT=120
        )

    assert judged.pages == pages(range(300))
    assert len(world.proxies[0].requests) <= 10
