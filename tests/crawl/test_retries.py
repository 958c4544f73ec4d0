"""Retries on the wire: a sick pool gets few of them, and every page is fetched in the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin
from scrapy import Request, signals

from scrapy_proxybalance.plugin.scrapy_internals import scheduled

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats
from .test_target_gate import crawling, finish_reason, page, resumes_a_crawl, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response

PAGES = 40
#: A fifth of what is sent first, and twenty more per second; no proxy is put aside for its faults.
BUDGET: dict[str, Any] = {
    "PROXYBALANCE_RETRY_BUDGET": 0.2,
    "PROXYBALANCE_RETRY_BUDGET_MIN": 20,
    "PROXYBALANCE_STRATEGY": "round_robin",
    "PROXYBALANCE_FAILURE_THRESHOLD": 10_000,
    "RETRY_TIMES": 1000,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
}


@dataclass
class SickPool:
    """An origin, and a few proxies most of which answer every request with 502."""

    origin: Origin
    proxies: list[ForwardProxy]

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            **BUDGET,
            "PROXYBALANCE_PROXIES": [{"url": one.url(), "name": one.name} for one in self.proxies],
            **changes,
        }

    def urls(self, count: int = PAGES) -> list[str]:
        return [f"http://127.0.0.1:{self.origin.port}/{number}" for number in range(count)]

    def served(self) -> dict[str, int]:
        return dict(Counter(request.path for request in self.origin.requests))

    def seen(self) -> int:
        return sum(len(proxy.requests) for proxy in self.proxies)

    def recover(self) -> None:
        for proxy in self.proxies:
            proxy.behaviour = Behaviour.HEALTHY


@asynccontextmanager
async def sick_pool(*, healthy: int = 1, sick: int = 7) -> AsyncIterator[SickPool]:
    async with AsyncExitStack() as stack:
        made = SickPool(await stack.enter_async_context(Origin(page)), [])
        for number in range(healthy + sick):
            behaviour = Behaviour.HEALTHY if number < healthy else Behaviour.ERROR
            proxy = ForwardProxy(f"p{number}", behaviour=behaviour, error_status=502)
            made.proxies.append(await stack.enter_async_context(proxy))
        yield made


class Wire:
    """What leaves the crawler, first attempts and retries apart: connected to it with ``prepare=``."""

    def __init__(self, floor: float) -> None:
        self.began_at = time.monotonic()
        self.floor = floor
        self.first = self.retries = self.answered = 0
        self.excess = 0.0

    def __call__(self, crawler: Crawler) -> None:
        crawler.signals.connect(self._sent, signal=signals.request_reached_downloader)
        crawler.signals.connect(self._received, signal=signals.response_downloaded)

    def _sent(self, request: Request) -> None:
        if "retry_times" in request.meta:
            self.retries += 1
        else:
            self.first += 1
        seconds = time.monotonic() - self.began_at
        allowed = 0.2 * self.first + self.floor * seconds + self.floor
        self.excess = max(self.excess, self.retries - self.answered - allowed)

    def _received(self, request: Request, response: Response) -> None:
        self.answered += "retry_times" in request.meta and response.status == 200


def paths(count: int = PAGES) -> dict[str, int]:
    return {f"/{number}": 1 for number in range(count)}


def fetched(*crawlers: Crawler) -> list[str]:
    return sorted(response.url for one in crawlers for response in one.spider.responses)


@crawl_test
async def test_a_sick_pool_gets_few_retries_in_vain_and_no_page_is_lost() -> None:
    count = 16
    wire = Wire(floor=5)  # so little that a slow machine sends more retries than that, too
    async with sick_pool(sick=5) as pool:
        settings = pool.settings(PROXYBALANCE_RETRY_BUDGET_MIN=wire.floor)
        crawler = await crawl(pool.urls(count), settings, prepare=wire)
        assert fetched(crawler) == sorted(pool.urls(count))
        assert pool.served() == paths(count)
        assert pool.seen() == wire.first + wire.retries
    assert wire.first == count
    assert wire.excess <= 0
    stats = proxybalance_stats(crawler)
    assert stats["retries"] == wire.retries == crawler.stats.get_value("retry/count")
    assert stats["retries/seconds_held"] > 0


@crawl_test
async def test_retries_that_get_their_answer_are_charged_to_nobody() -> None:
    async with sick_pool(healthy=1, sick=1) as pool:
        settings = pool.settings(
            PROXYBALANCE_RETRY_BUDGET=0,  # of those in vain there may be one
            PROXYBALANCE_RETRY_BUDGET_MIN=0.001,
            PROXYBALANCE_MAX_IN_FLIGHT=100,  # the proxy that has not been tried is never busy
            CLOSESPIDER_TIMEOUT=120,
        )
        crawler = await crawl(pool.urls(), settings)
        assert pool.served() == paths()
    assert finish_reason(crawler) == "finished"
    assert proxybalance_stats(crawler)["retries"] > 10


@crawl_test
async def test_a_pool_that_is_not_sick_has_no_retry_held_back() -> None:
    async with sick_pool(healthy=7, sick=1) as pool:
        crawler = await crawl(pool.urls(), pool.settings())
        assert pool.served() == paths()
    stats = proxybalance_stats(crawler)
    assert stats["retries"] > 0
    assert "retries/seconds_held" not in stats


@pytest.mark.parametrize(
    "wait",
    [
        {"PROXYBALANCE_RETRY_DELAY": 1e6},
        {"PROXYBALANCE_RETRY_BUDGET": 0, "PROXYBALANCE_RETRY_BUDGET_MIN": 0.001},
    ],
    ids=["for their time", "for the budget"],
)
@resumes_a_crawl
@crawl_test
async def test_a_resumed_crawl_has_lost_no_retry_and_fetches_none_twice(
    tmp_path: Path, wait: dict[str, Any]
) -> None:
    async with sick_pool(healthy=0) as pool:
        kept = {"JOBDIR": str(tmp_path)}
        async with crawling(pool.urls(), pool.settings(**kept, **wait)) as first:
            await until(lambda: pool.seen() >= PAGES and scheduled(first.engine) == PAGES)
        assert pool.served() == {}
        assert first.spider.failures == []
        pool.recover()
        second = await crawl(pool.urls(), pool.settings(**kept))
        assert finish_reason(second) == "finished"
        assert fetched(second) == sorted(pool.urls())
        assert pool.served() == paths()
        assert proxybalance_stats(second)["retries"] == PAGES


class Bypasses(UrlsSpider):
    """Sends its ``bypassing`` past the scheduler, all at once."""

    bypassing: list[str]

    async def start(self) -> AsyncIterator[Request]:
        engine = self.crawler.engine
        waiting = [engine.download_async(Request(url)) for url in self.bypassing]
        self.responses += await asyncio.gather(*waiting)
        return
        yield


@crawl_test
async def test_a_retry_that_bypasses_the_scheduler_waits_for_a_while_and_goes() -> None:
    async with sick_pool(healthy=1, sick=1) as pool:
        crawler = await crawl(
            [],
            pool.settings(
                PROXYBALANCE_RETRY_BUDGET=0,
                PROXYBALANCE_RETRY_BUDGET_MIN=0.001,
                PROXYBALANCE_ACQUIRE_TIMEOUT=0.1,
            ),
            spider=Bypasses,
            bypassing=pool.urls(8),
        )
        assert pool.served() == paths(8)
    assert fetched(crawler) == sorted(pool.urls(8))
    stats = proxybalance_stats(crawler)
    assert stats["retries"] >= 4
    assert stats["retries/seconds_held"] > 0


@crawl_test
async def test_with_scrapys_queue_a_retry_waits_for_a_while_and_goes() -> None:
    async with sick_pool(healthy=1, sick=1) as pool:
        crawler = await crawl(
            pool.urls(8),
            pool.settings(
                SCHEDULER_PRIORITY_QUEUE="scrapy.pqueues.DownloaderAwarePriorityQueue",
                PROXYBALANCE_RETRY_BUDGET=0,
                PROXYBALANCE_RETRY_BUDGET_MIN=0.001,
                PROXYBALANCE_ACQUIRE_TIMEOUT=0.1,
            ),
        )
        assert pool.served() == paths(8)
    assert fetched(crawler) == sorted(pool.urls(8))
    assert proxybalance_stats(crawler)["retries/seconds_held"] > 0
