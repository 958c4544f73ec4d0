"""Proxies that fail lose the crawl no page, and get next to no traffic once they are known."""

from __future__ import annotations

import logging
import socket
from collections import Counter
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.core.events import AttemptStarted, CooldownStarted

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from scrapy_proxybalance.core.events import Event


#: Scrapy 2.14 leaves empty queue files open when it resumes a job.
resumes_a_job = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


def pages(origin: Origin, number: int) -> list[str]:
    return [f"http://127.0.0.1:{origin.port}/{page}" for page in range(number)]


def bodies(crawler: Crawler) -> list[str]:
    return sorted(response.text for response in crawler.spider.responses)


def paths(number: int) -> list[str]:
    return sorted(f"/{page}" for page in range(number))


@contextmanager
def closed_port() -> Iterator[str]:
    """Give the URL of a proxy that refuses every connection."""
    with socket.socket() as bound:  # bound, so that nobody else gets the port, but not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def subscribe(observer: Callable[[Event], None]) -> Callable[[Crawler], None]:
    """Return what connects an observer to a crawl's pool, to be given to ``crawl`` as ``prepare``."""

    def prepare(crawler: Crawler) -> None:
        def opened() -> None:
            middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
            middleware.context.pool.events.subscribe(observer)

        crawler.signals.connect(opened, signal=signals.spider_opened, weak=False)

    return prepare


class Scheduled:
    """The paths that a crawl has put into its queue before it began to close: given as ``prepare``.

    A slow machine may still be taking pages from the spider then; of these Scrapy keeps some.
    """

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def __call__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        crawler.signals.connect(self._scheduled, signal=signals.request_scheduled)

    def _scheduled(self, request: Request) -> None:
        if self._crawler.engine._slot.closing is None:
            self.paths.add(urlsplit(request.url).path)

    def were_kept(self, resumed: Crawler) -> bool:
        """Whether a crawl that was resumed has fetched them all, and nothing twice."""
        fetched = bodies(resumed)
        return self.paths <= set(fetched) and len(fetched) == len(set(fetched))


class GoesOn(UrlsSpider):
    """Follows every page with another one of ``site`` until it is ``done``, or for very long."""

    site: str
    done: Callable[[], bool]
    asked_for = 0

    def keep(self, response: Response) -> Request | None:  # type: ignore[override]
        super().keep(response)
        if self.done() or self.asked_for >= 6_000:
            return None
        self.asked_for += 1
        return Request(
            f"{self.site}/more/{self.asked_for}", callback=self.keep, errback=self.keep_failure
        )


class TrafficAfterWarmUp:
    """Counts leases by proxy, but for the first ones, with which the pool gets to know them."""

    def __init__(self, first: int) -> None:
        self.leases: Counter[str] = Counter()
        self._first = first

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptStarted):
            if self._first:
                self._first -= 1
            else:
                self.leases[event.attempt.proxy.name] += 1


@crawl_test
async def test_bad_proxies_lose_no_page_and_get_next_to_no_traffic_once_known() -> None:
    bad = {"refuses-1", "refuses-2", "hangs-1", "hangs-2"}
    traffic = TrafficAfterWarmUp(first=300)
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(echo))
        urls = {f"refuses-{n}": stack.enter_context(closed_port()) for n in (1, 2)}
        for proxy in (
            *(ForwardProxy(f"hangs-{n}", behaviour=Behaviour.HANG) for n in (1, 2)),
            *(ForwardProxy(f"good-{n}") for n in range(1, 17)),
        ):
            await stack.enter_async_context(proxy)
            urls[proxy.name] = proxy.url()
        crawler = await crawl(
            pages(origin, 32),
            {
                "CONCURRENT_REQUESTS": 32,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 32,
                "DOWNLOAD_TIMEOUT": 1,
                "PROXYBALANCE_COOLDOWN": 1,  # short, so that they are tried again
                "PROXYBALANCE_PROXIES": [{"url": url, "name": name} for name, url in urls.items()],
            },
            spider=GoesOn,
            prepare=subscribe(traffic),
            site=f"http://127.0.0.1:{origin.port}",
            done=lambda: traffic.leases.total() >= 800,
        )
    spider = crawler.spider
    assert len({response.url for response in spider.responses}) == 32 + spider.asked_for
    assert spider.failures == []
    assert traffic.leases.total() >= 800
    assert sum(traffic.leases[name] for name in bad) / traffic.leases.total() < 0.03


def unreachable(stack: AsyncExitStack, number: int) -> list[dict[str, str]]:
    """Return the entries of so many proxies that refuse every connection."""
    return [{"url": stack.enter_context(closed_port()), "name": f"dead-{n}"} for n in range(number)]


@resumes_a_job
@crawl_test
async def test_when_every_proxy_refuses_nothing_goes_direct_and_what_is_left_is_kept(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(echo))
        healthy = await stack.enter_async_context(ForwardProxy("healthy"))
        settings = {
            "JOBDIR": str(tmp_path / "job"),
            "PROXYBALANCE_EXHAUSTED_TIMEOUT": 0.5,
            "CLOSESPIDER_TIMEOUT": 120,
        }
        scheduled = Scheduled()
        crawler = await crawl(
            pages(origin, 40),
            {**settings, "PROXYBALANCE_PROXIES": unreachable(stack, 3)},
            prepare=scheduled,
        )
        assert origin.requests == []
        assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
        assert crawler.spider.responses == []
        assert crawler.spider.failures == []

        resumed = await crawl([], {**settings, "PROXYBALANCE_PROXIES": [healthy.url()]})
        assert scheduled.were_kept(resumed)
        assert resumed.stats.get_value("finish_reason") == "finished"


@resumes_a_job
@crawl_test
async def test_when_every_proxy_wants_other_credentials_nothing_goes_direct_and_all_is_kept(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(echo))
        healthy = await stack.enter_async_context(ForwardProxy("healthy"))
        locked = [
            await stack.enter_async_context(ForwardProxy(name, behaviour=Behaviour.UNAUTHORIZED))
            for name in ("one", "two", "three")
        ]
        settings = {"JOBDIR": str(tmp_path / "job"), "CLOSESPIDER_TIMEOUT": 120}
        scheduled = Scheduled()
        crawler = await crawl(
            pages(origin, 40),
            {**settings, "PROXYBALANCE_PROXIES": [proxy.url() for proxy in locked]},
            prepare=scheduled,
        )
        assert origin.requests == []
        assert all(proxy.requests for proxy in locked)
        assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
        assert crawler.spider.responses == []
        assert crawler.spider.failures == []
        assert "retry/count" not in crawler.stats.get_stats()
        # Each is out, is asked again after a while, and is out again.
        assert proxybalance_stats(crawler)["proxies_out"] == 6

        resumed = await crawl([], {**settings, "PROXYBALANCE_PROXIES": [healthy.url()]})
        assert scheduled.were_kept(resumed)


@pytest.mark.parametrize("addon", [True, False])
@crawl_test
async def test_a_dead_pool_closes_the_spider_with_and_without_the_queue(addon: bool) -> None:
    without: dict[str, Any] = {
        "ADDONS": {},
        "DOWNLOADER_MIDDLEWARES": {ProxyBalanceMiddleware: 740},
    }
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(echo))
        crawler = await crawl(
            pages(origin, 40),
            {
                **({} if addon else without),
                "PROXYBALANCE_EXHAUSTED_TIMEOUT": 0.5,
                "CLOSESPIDER_TIMEOUT": 120,
                "PROXYBALANCE_ACQUIRE_TIMEOUT": 20,
                "PROXYBALANCE_PROXIES": unreachable(stack, 3),
            },
        )
        assert origin.requests == []
    assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
    assert crawler.spider.responses == []


@crawl_test
async def test_a_retry_goes_to_a_proxy_that_has_not_failed_the_url_yet() -> None:
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(echo))
        cutting = [
            await stack.enter_async_context(
                ForwardProxy(f"cuts-{n}", behaviour=Behaviour.FLAKY, fail_rate=1.0)
            )
            for n in range(4)
        ]
        healthy = await stack.enter_async_context(ForwardProxy("healthy"))
        crawler = await crawl(
            pages(origin, 60),
            {
                "RETRY_TIMES": len(cutting),
                # None of them is ever at its cap or sits out: they stay to be chosen.
                "PROXYBALANCE_MAX_IN_FLIGHT": 100,
                "PROXYBALANCE_FAILURE_THRESHOLD": 10_000,
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_PROXIES": [
                    {"url": proxy.url(), "name": proxy.name} for proxy in (*cutting, healthy)
                ],
            },
        )
        assert bodies(crawler) == paths(60)
        for proxy in cutting:
            visits = Counter(request.url for request in proxy.requests)
            assert len(visits) >= 10
            assert set(visits.values()) == {1}
        assert crawler.stats.get_value("retry/count") == sum(
            len(proxy.requests) for proxy in cutting
        )


@crawl_test
async def test_a_407_costs_no_retry_and_puts_the_proxy_out_with_one_line_of_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        Origin(echo) as origin,
        ForwardProxy("locked", behaviour=Behaviour.UNAUTHORIZED) as locked,
        ForwardProxy("open") as other,
    ):
        crawler = await crawl(
            pages(origin, 60),
            {
                "RETRY_TIMES": 0,
                "PROXYBALANCE_PROXIES": [
                    {"url": locked.url(), "name": "locked", "max_in_flight": 3},
                    {"url": other.url(), "name": "open"},
                ],
            },
        )
        assert 1 <= len(locked.requests) <= 4  # what was let go at once
        seen = len(locked.requests)
    assert bodies(crawler) == paths(60)
    assert {response.status for response in crawler.spider.responses} == {200}
    assert "retry/count" not in crawler.stats.get_stats()
    assert "retry/max_reached" not in crawler.stats.get_stats()
    stats = proxybalance_stats(crawler)
    assert stats["proxies_out"] == 1
    assert stats["failure/proxy_auth"] == seen
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "locked" in errors[0]
    assert "credentials" in errors[0]


@crawl_test
async def test_a_407_to_connect_costs_no_retry_and_puts_the_proxy_out() -> None:
    async with (
        ForwardProxy("locked", behaviour=Behaviour.UNAUTHORIZED) as locked,
        ForwardProxy("gone", behaviour=Behaviour.UNAUTHORIZED) as gone,
    ):
        crawler = await crawl(
            [f"https://secure.example/{page}" for page in range(20)],
            {"PROXYBALANCE_PROXIES": [locked.url(), gone.url()]},
        )
        assert {request.method for request in (*locked.requests, *gone.requests)} == {"CONNECT"}
    assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
    assert crawler.spider.failures == []
    assert "retry/count" not in crawler.stats.get_stats()
    assert proxybalance_stats(crawler)["proxies_out"] == 4


@crawl_test
async def test_a_proxy_that_recovers_gets_traffic_again_after_its_cooldown() -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("ill", behaviour=Behaviour.REFUSE) as ill,
        ForwardProxy("well", latency=0.005) as well,
    ):
        requests_during_cooldown: list[int] = []

        def recover(event: Event) -> None:
            if isinstance(event, CooldownStarted):
                requests_during_cooldown.append(len(ill.requests))
                ill.behaviour = Behaviour.HEALTHY

        crawler = await crawl(
            pages(origin, 4),
            {
                "PROXYBALANCE_COOLDOWN": 0.3,
                "PROXYBALANCE_FAILURE_THRESHOLD": 1,
                "PROXYBALANCE_PROXIES": [
                    {"url": ill.url(), "name": "ill"},
                    {"url": well.url(), "name": "well"},
                ],
            },
            spider=GoesOn,
            prepare=subscribe(recover),
            site=f"http://127.0.0.1:{origin.port}",
            done=lambda: len(ill.requests) >= 5,
        )
        assert len(ill.requests) >= 5
    assert requests_during_cooldown == [0]
    assert crawler.spider.failures == []
    stats = proxybalance_stats(crawler)
    assert (stats["cooldowns"], stats["probes"], stats["recoveries"]) == (1, 1, 1)
