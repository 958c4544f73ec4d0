"""What a target may get holds as its origin sees it, through however many proxies; the rest is held."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request

from scrapy_proxybalance import ProxyBalanceQueue
from scrapy_proxybalance.core import NoProxyMatchesError

from .crawling import crawl, crawl_test
from .test_caps_and_rates import INSTALLATIONS, UNLIMITED, Waves, too_soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from loopback.origin import Handler
    from scrapy.crawler import Crawler

#: No test comes near it: a crawl that hangs is closed and fails on its finish reason.
_HANGING = 120


@attrs.frozen
class World:
    """Origins that are reached by their hosts' names, through any of some proxies."""

    origins: dict[str, Origin]
    proxies: list[ForwardProxy]

    async def crawl(
        self, urls: Sequence[str | Request], targets: Mapping[str, Any], **settings: Any
    ) -> Crawler:
        """Crawl to the end with budgets for targets and no other limit."""
        entries = [{"url": proxy.url(), "name": proxy.name} for proxy in self.proxies]
        crawler = await crawl(
            urls,
            {
                **UNLIMITED,
                "CLOSESPIDER_TIMEOUT": _HANGING,
                "PROXYBALANCE_MAX_IN_FLIGHT": 50,
                "PROXYBALANCE_PROXIES": entries,
                "PROXYBALANCE_TARGETS": targets,
                **settings,
            },
        )
        assert crawler.stats.get_value("finish_reason") == "finished"
        return crawler

    def seen(self, proxy: ForwardProxy, host: str) -> list[float]:
        """Return when a proxy was used for a host."""
        return [seen.time for seen in proxy.requests if urlsplit(seen.url).hostname == host]


@asynccontextmanager
async def world(proxies: int = 3, **handlers: Handler) -> AsyncIterator[World]:
    """Serve hosts, by names in which ``_`` stands for a dot."""
    async with AsyncExitStack() as stack:
        origins = {
            name.replace("_", "."): await stack.enter_async_context(Origin(handler))
            for name, handler in handlers.items()
        }
        resolve = {host: (origin.host, origin.port) for host, origin in origins.items()}
        yield World(
            origins,
            [
                await stack.enter_async_context(ForwardProxy(f"p{number}", resolve=resolve))
                for number in range(proxies)
            ],
        )


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=f"{request.headers['host']}{request.path}".encode())


def pages(number: int, *hosts: str) -> list[str]:
    return [f"http://{host}/{page}" for page in range(number) for host in hosts]


@pytest.mark.parametrize("installation", INSTALLATIONS)
@crawl_test
async def test_a_target_sees_no_more_over_time_than_its_rate_through_however_many_proxies(
    installation: dict[str, Any],
) -> None:
    async with world(proxies=5, shop_test=page) as made:
        began_at = time.monotonic()
        crawler = await made.crawl(
            pages(30, "shop.test"), {"shop.test": {"rate": "20/s"}}, **installation
        )
        received = made.origins["shop.test"].requests
    assert len(crawler.spider.responses) == len(received) == 30
    assert too_soon((request.time for request in received), began_at, rate=20) == []
    assert sum(bool(proxy.requests) for proxy in made.proxies) > 1


@pytest.mark.parametrize("installation", INSTALLATIONS)
@crawl_test
async def test_a_target_sees_no_more_at_once_than_its_budget_through_however_many_proxies(
    installation: dict[str, Any],
) -> None:
    async with world(proxies=5, shop_test=Waves(3)) as made:
        crawler = await made.crawl(
            pages(30, "shop.test"), {"shop.test": {"in_flight": 3}}, **installation
        )
        assert made.origins["shop.test"].peak_in_flight == 3
    assert len(crawler.spider.responses) == 30


@crawl_test
async def test_a_domain_and_its_subdomains_share_one_budget() -> None:
    handler = Waves(4)
    peak, at_once = 0, 0

    async def counted(request: OriginRequest) -> OriginResponse:
        nonlocal peak, at_once
        at_once += 1
        peak = max(peak, at_once)
        response = await handler(request)
        at_once -= 1
        return response

    async with world(shop_test=counted, a_shop_test=counted, b_shop_test=counted) as made:
        crawler = await made.crawl(
            pages(16, "shop.test", "a.shop.test", "b.shop.test"), {".shop.test": {"in_flight": 4}}
        )
        assert all(len(origin.requests) == 16 for origin in made.origins.values())
    assert peak == 4
    assert len(crawler.spider.responses) == 48


@crawl_test
async def test_each_host_of_a_pattern_has_a_budget_of_its_own() -> None:
    handler = Waves(4)
    async with world(a_shop_test=handler, b_shop_test=handler) as made:
        crawler = await made.crawl(
            pages(20, "a.shop.test", "b.shop.test"), {"?.shop.test": {"in_flight": 2}}
        )
        assert [origin.peak_in_flight for origin in made.origins.values()] == [2, 2]
    assert len(crawler.spider.responses) == 40


@crawl_test
async def test_a_proxy_rests_at_a_target_with_a_spacing_and_at_no_other() -> None:
    spacing = 0.5
    async with world(proxies=2, slow_test=page, quick_test=page) as made:
        began_at = time.monotonic()
        crawler = await made.crawl(
            [*pages(6, "slow.test"), *pages(40, "quick.test")], {"slow.test": {"spacing": spacing}}
        )
        for proxy in made.proxies:
            times = made.seen(proxy, "slow.test")
            assert len(times) == 3
            assert too_soon(times, began_at, rate=1 / spacing) == []
            assert min(made.seen(proxy, "quick.test")) < times[-1]  # it did not rest there
    assert len(crawler.spider.responses) == 46


@crawl_test
async def test_a_session_at_a_target_with_a_spacing_stays_on_its_proxy_and_waits() -> None:
    spacing = 0.4
    async with world(proxies=3, slow_test=page) as made:
        urls = [Request(url, meta={"session": "s"}) for url in pages(4, "slow.test")]
        began_at = time.monotonic()
        crawler = await made.crawl(urls, {"slow.test": {"spacing": spacing}})
        used = [times for proxy in made.proxies if (times := made.seen(proxy, "slow.test"))]
    assert [len(times) for times in used] == [4]
    assert too_soon(used[0], began_at, rate=1 / spacing) == []
    assert len(crawler.spider.responses) == 4


@crawl_test
async def test_each_target_gets_only_the_proxies_that_its_filter_accepts() -> None:
    async with world(proxies=3, one_test=page, two_test=page, free_test=page) as made:
        crawler = await made.crawl(
            pages(20, "one.test", "two.test", "free.test"),
            {
                "one.test": {"filter": {"name": "p0"}},
                "two.test": {"filter": {"name": ["p1", "p2"]}},
            },
        )
        used = {
            host: {proxy.name for proxy in made.proxies if made.seen(proxy, host)}
            for host in made.origins
        }
    assert used["one.test"] == {"p0"}
    assert used["two.test"]
    assert used["two.test"] <= {"p1", "p2"}
    assert used["free.test"]
    assert len(crawler.spider.responses) == 60


@crawl_test
async def test_a_request_that_the_filters_leave_no_proxy_fails_and_is_sent_nowhere() -> None:
    async with world(proxies=2, one_test=page) as made:
        urls = [
            Request("http://one.test/both", meta={"proxy_filter": {"name": ["p0", "p1"]}}),
            Request("http://one.test/none", meta={"proxy_filter": {"name": "p1"}}),
        ]
        crawler = await made.crawl(urls, {"one.test": {"filter": {"name": "p0"}}})
        assert [request.path for request in made.origins["one.test"].requests] == ["/both"]
    assert [failure.type for failure in crawler.spider.failures] == [NoProxyMatchesError]


@crawl_test
async def test_requests_over_budget_wait_in_the_scheduler_and_are_not_spun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pops = 0
    pop = ProxyBalanceQueue.pop

    def counted(queue: ProxyBalanceQueue) -> Request | None:
        nonlocal pops
        pops += 1
        return pop(queue)

    monkeypatch.setattr(ProxyBalanceQueue, "pop", counted)
    targets = {
        "rate.test": {"rate": "10/s"},
        "space.test": {"spacing": 0.5},
        "few.test": {"in_flight": 1},
    }
    async with world(proxies=4, rate_test=page, space_test=page, few_test=page) as made:
        crawler = await made.crawl(pages(12, "rate.test", "space.test", "few.test"), targets)
    stats = crawler.stats.get_stats()
    assert len(crawler.spider.responses) == 36
    assert stats["scheduler/enqueued"] == stats["scheduler/dequeued"] == 36
    assert stats["downloader/request_count"] == 36
    assert pops < 36 * 10


@crawl_test
async def test_what_is_over_its_budget_takes_no_place_of_what_may_be_sent() -> None:
    free_was_served = asyncio.Event()
    served = 0

    def free(request: OriginRequest) -> OriginResponse:
        nonlocal served
        served += 1
        if served == 30:
            free_was_served.set()
        return page(request)

    async def busy(request: OriginRequest) -> OriginResponse:
        await free_was_served.wait()
        return page(request)

    async with world(busy_test=busy, free_test=free) as made:
        crawler = await made.crawl(
            [*pages(10, "busy.test"), *pages(30, "free.test")],
            {"busy.test": {"in_flight": 1}},
            CONCURRENT_REQUESTS=2,
        )
        assert made.origins["busy.test"].peak_in_flight == 1
    assert len(crawler.spider.responses) == 40
