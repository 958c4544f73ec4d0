"""A attempt ends exactly once, whatever becomes of its request, and its capacity is free again."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals
from scrapy.exceptions import IgnoreRequest, StopDownload
from scrapy.http import HtmlResponse

from scrapy_proxybalance import Outcome, ProxyBalanceMiddleware
from scrapy_proxybalance.core.events import AttemptEnded, AttemptStarted

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from scrapy_proxybalance.core.events import Event
    from scrapy_proxybalance.plugin.context import CrawlContext

PAGES = 30

#: A crawl that would hang is closed, with another reason and without its pages.
IN_THE_END = {"CLOSESPIDER_TIMEOUT": 30}


class LeaseCount:
    """How often each attempt of a crawl was granted, and with what it ended."""

    def __init__(self) -> None:
        self.granted: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.outcomes: Counter[Outcome] = Counter()
        self.context: CrawlContext | None = None
        self._leases: list[object] = []  # kept, so that no two of them have the same id

    def watch(self, crawler: Crawler) -> None:
        """Start counting when the spider opens; to be given to ``crawl`` as ``prepare``."""

        def opened() -> None:
            middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
            self.context = middleware.context
            self.context.pool.events.subscribe(self)

        crawler.signals.connect(opened, signal=signals.spider_opened, weak=False)

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptStarted):
            self._leases.append(event.attempt)
            self.granted[id(event.attempt)] += 1
        elif isinstance(event, AttemptEnded):
            self.ended[id(event.attempt)] += 1
            self.outcomes[event.outcome] += 1

    def assert_each_ended_once(self) -> None:
        """Fail unless every attempt ended once and nothing is left of any."""
        assert set(self.granted.values()) <= {1}
        assert self.ended == self.granted
        context = self.context
        assert context is not None
        assert context.pool.in_flight == 0
        snapshots = context.pool.snapshot(context.clock())
        assert {snapshot.proxy.name: snapshot.in_flight for snapshot in snapshots} == {
            snapshot.proxy.name: 0 for snapshot in snapshots
        }
        assert context.attempts() == []


class SwallowFirstResponse:
    """Answers the first response to each URL with the request once more."""

    def process_response(self, request: Request, response: Response) -> Request | Response:
        if "swallowed" in request.meta:
            return response
        return request.replace(meta={**request.meta, "swallowed": True}, dont_filter=True)


class SwallowFirstRequest:
    """Sends each request back once, before it goes out."""

    def process_request(self, request: Request) -> Request | None:
        if "swallowed" in request.meta:
            return None
        return request.replace(meta={**request.meta, "swallowed": True}, dont_filter=True)


class Refuse:
    """Lets no request pass."""

    def process_request(self, request: Request) -> None:
        raise IgnoreRequest(f"{request.url} is not wanted")


class Break:
    """Fails on every request."""

    def process_request(self, request: Request) -> None:
        raise RuntimeError(f"{request.url} is too much")


class Answer:
    """Answers every request itself."""

    def process_request(self, request: Request) -> HtmlResponse:
        return HtmlResponse(request.url, body=b"from the middleware", request=request)


@asynccontextmanager
async def servers(
    handler: Callable[[OriginRequest], Any] = lambda request: OriginResponse(
        body=request.path.encode()
    ),
    proxies: int = 2,
) -> AsyncIterator[tuple[Origin, list[ForwardProxy], dict[str, Any], list[str]]]:
    """Give an origin, proxies, settings that name these proxies, and URLs of the origin."""
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(handler))
        running = [
            await stack.enter_async_context(ForwardProxy(f"proxy-{number}"))
            for number in range(1, proxies + 1)
        ]
        settings = {
            "PROXYBALANCE_PROXIES": [{"url": proxy.url(), "name": proxy.name} for proxy in running]
        }
        urls = [f"http://127.0.0.1:{origin.port}/{number}" for number in range(PAGES)]
        yield origin, running, settings, urls


def bodies(crawler: Crawler) -> list[str]:
    return sorted(response.text for response in crawler.spider.responses)


def paths(numbers: Sequence[int] | range) -> list[str]:
    return sorted(f"/{number}" for number in numbers)


@crawl_test
async def test_leases_of_pages_that_arrive_end_once_as_successes() -> None:
    leases = LeaseCount()
    async with servers() as (_, _, settings, urls):
        crawler = await crawl(urls, settings, prepare=leases.watch)
    assert bodies(crawler) == paths(range(PAGES))
    assert leases.outcomes == {Outcome.SUCCESS: PAGES}
    leases.assert_each_ended_once()


@crawl_test
async def test_leases_of_swallowed_responses_end_once_as_ignored() -> None:
    leases = LeaseCount()
    async with servers() as (origin, _, settings, urls):
        crawler = await crawl(
            urls,
            {**settings, **IN_THE_END, "DOWNLOADER_MIDDLEWARES": {SwallowFirstResponse: 800}},
            prepare=leases.watch,
        )
        assert len(origin.requests) == 2 * PAGES
    assert bodies(crawler) == paths(range(PAGES))
    assert leases.outcomes == {Outcome.SUCCESS: PAGES, Outcome.IGNORED: PAGES}
    leases.assert_each_ended_once()


@crawl_test
async def test_leases_of_requests_that_a_later_middleware_sends_back_end_once_as_ignored() -> None:
    leases = LeaseCount()
    async with servers() as (origin, _, settings, urls):
        crawler = await crawl(
            urls,
            {**settings, **IN_THE_END, "DOWNLOADER_MIDDLEWARES": {SwallowFirstRequest: 800}},
            prepare=leases.watch,
        )
        assert len(origin.requests) == PAGES
    assert bodies(crawler) == paths(range(PAGES))
    assert leases.outcomes == {Outcome.SUCCESS: PAGES, Outcome.IGNORED: PAGES}
    leases.assert_each_ended_once()


@pytest.mark.parametrize("swallower", [SwallowFirstRequest, SwallowFirstResponse])
@crawl_test
async def test_swallowed_requests_take_no_capacity_from_a_pool_of_one_proxy(
    swallower: type,
) -> None:
    leases = LeaseCount()
    async with servers(proxies=1) as (_, [proxy], settings, urls):
        crawler = await crawl(
            urls,
            {
                **settings,
                **IN_THE_END,
                "PROXYBALANCE_MAX_IN_FLIGHT": 2,
                "DOWNLOADER_MIDDLEWARES": {swallower: 800},
            },
            prepare=leases.watch,
        )
        assert 1 <= proxy.peak_in_flight <= 2
    assert bodies(crawler) == paths(range(PAGES))
    assert crawler.stats.get_value("finish_reason") == "finished"
    assert leases.outcomes == {Outcome.SUCCESS: PAGES, Outcome.IGNORED: PAGES}
    leases.assert_each_ended_once()


@pytest.mark.parametrize(
    ("swallower", "order"),
    [(SwallowFirstRequest, 100), (SwallowFirstRequest, 800), (SwallowFirstResponse, 800)],
)
@crawl_test
async def test_swallowed_requests_do_not_count_towards_the_domain_cap(
    swallower: type, order: int
) -> None:
    leases = LeaseCount()
    async with servers(proxies=10) as (_, _, settings, urls):
        crawler = await crawl(
            urls,
            {
                **settings,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 2,  # far below what the pool carries
                "DOWNLOADER_MIDDLEWARES": {swallower: order},
                # Two at a time and then nothing until the engine's heartbeat would take 150 s.
                "CLOSESPIDER_TIMEOUT": 15,
            },
            prepare=leases.watch,
        )
    assert crawler.stats.get_value("finish_reason") == "finished"
    assert bodies(crawler) == paths(range(PAGES))
    leases.assert_each_ended_once()


@pytest.mark.parametrize("swallower", [SwallowFirstRequest, SwallowFirstResponse])
@crawl_test
async def test_swallowed_requests_take_no_capacity_without_the_queue_either(
    swallower: type,
) -> None:
    leases = LeaseCount()
    async with servers(proxies=1) as (_, [proxy], settings, urls):
        crawler = await crawl(
            urls[:6],
            {
                **settings,
                **IN_THE_END,
                "ADDONS": {},
                "PROXYBALANCE_MAX_IN_FLIGHT": 2,
                "DOWNLOADER_MIDDLEWARES": {ProxyBalanceMiddleware: 740, swallower: 800},
            },
            prepare=leases.watch,
        )
        assert 1 <= proxy.peak_in_flight <= 2
    assert bodies(crawler) == paths(range(6))
    assert leases.outcomes == {Outcome.SUCCESS: 6, Outcome.IGNORED: 6}
    leases.assert_each_ended_once()


@pytest.mark.parametrize(("middleware", "error"), [(Refuse, IgnoreRequest), (Break, RuntimeError)])
@crawl_test
async def test_leases_end_once_when_a_later_middleware_raises(
    middleware: type, error: type[Exception]
) -> None:
    leases = LeaseCount()
    async with servers() as (_, proxies, settings, urls):
        crawler = await crawl(
            urls,
            {**settings, "DOWNLOADER_MIDDLEWARES": {middleware: 800}},
            prepare=leases.watch,
        )
        assert [proxy.requests for proxy in proxies] == [[], []]
    assert [failure.type for failure in crawler.spider.failures] == [error] * PAGES
    assert leases.outcomes == {Outcome.IGNORED: PAGES}
    leases.assert_each_ended_once()


@crawl_test
async def test_pages_from_the_cache_cause_no_traffic_and_their_leases_are_ignored(
    tmp_path: Any,
) -> None:
    first, second = LeaseCount(), LeaseCount()
    async with servers() as (_, proxies, settings, urls):
        settings |= {"HTTPCACHE_ENABLED": True, "HTTPCACHE_DIR": str(tmp_path)}
        await crawl(urls, settings, prepare=first.watch)
        seen = [len(proxy.requests) for proxy in proxies]
        crawler = await crawl(urls, settings, prepare=second.watch)
        assert [len(proxy.requests) for proxy in proxies] == seen
    assert sum(seen) == PAGES
    assert bodies(crawler) == paths(range(PAGES))
    assert all("cached" in response.flags for response in crawler.spider.responses)
    assert first.outcomes == {Outcome.SUCCESS: PAGES}
    assert second.outcomes == {Outcome.IGNORED: PAGES}
    first.assert_each_ended_once()
    second.assert_each_ended_once()


@crawl_test
async def test_leases_of_downloads_over_the_size_limit_end_once_and_no_proxy_is_blamed() -> None:
    leases = LeaseCount()
    page = OriginResponse(body=b"x" * 5000)
    async with servers(lambda _: page) as (_, proxies, settings, urls):
        crawler = await crawl(urls, {**settings, "DOWNLOAD_MAXSIZE": 1000}, prepare=leases.watch)
        # Twisted may send one again by itself that was given a connection just being closed.
        seen = {request.url for proxy in proxies for request in proxy.requests}
        assert seen == set(urls)
    assert crawler.spider.responses == []
    assert len(crawler.spider.failures) == PAGES
    assert leases.outcomes == {Outcome.IGNORED: PAGES}
    assert "cooldowns" not in proxybalance_stats(crawler)
    leases.assert_each_ended_once()


@pytest.mark.parametrize(("fail", "outcome"), [(True, Outcome.IGNORED), (False, Outcome.SUCCESS)])
@crawl_test
async def test_leases_of_downloads_that_a_signal_handler_stops_end_once(
    fail: bool, outcome: Outcome
) -> None:
    leases = LeaseCount()

    def stop_download() -> None:
        raise StopDownload(fail=fail)

    def prepare(crawler: Crawler) -> None:
        leases.watch(crawler)
        crawler.signals.connect(stop_download, signal=signals.headers_received)

    page = OriginResponse(body=b"x" * 5000)
    async with servers(lambda _: page) as (_, _, settings, urls):
        crawler = await crawl(urls, settings, prepare=prepare)
    assert len(crawler.spider.failures) == (PAGES if fail else 0)
    assert len(crawler.spider.responses) == (0 if fail else PAGES)
    assert leases.outcomes == {outcome: PAGES}
    leases.assert_each_ended_once()


@pytest.mark.parametrize(("middleware", "failures"), [(Refuse, PAGES), (Break, PAGES), (Answer, 0)])
@crawl_test
async def test_what_an_earlier_middleware_settles_gets_no_lease(
    middleware: type, failures: int
) -> None:
    leases = LeaseCount()
    async with servers() as (_, proxies, settings, urls):
        crawler = await crawl(
            urls,
            {**settings, "DOWNLOADER_MIDDLEWARES": {middleware: 100}},
            prepare=leases.watch,
        )
        assert [proxy.requests for proxy in proxies] == [[], []]
    assert len(crawler.spider.failures) == failures
    assert len(crawler.spider.responses) == PAGES - failures
    assert leases.granted == {}
    leases.assert_each_ended_once()


@crawl_test
async def test_requests_that_an_earlier_middleware_sends_back_are_leased_only_when_they_go_out() -> (
    None
):
    leases = LeaseCount()
    async with servers() as (origin, _, settings, urls):
        crawler = await crawl(
            urls,
            {**settings, "DOWNLOADER_MIDDLEWARES": {SwallowFirstRequest: 100}},
            prepare=leases.watch,
        )
        assert len(origin.requests) == PAGES
    assert bodies(crawler) == paths(range(PAGES))
    assert leases.outcomes == {Outcome.SUCCESS: PAGES}
    leases.assert_each_ended_once()


class ClosesInTheMiddle(UrlsSpider):
    """Closes itself on its first response, once enough other requests are on the wire."""

    origin: Origin
    closing: asyncio.Event

    async def keep(self, response: Response) -> None:  # type: ignore[override]
        self.responses.append(response)
        if response.url.endswith("/0"):
            while self.origin.in_flight < 4:
                await asyncio.sleep(0)
            self.closed = asyncio.ensure_future(
                self.crawler.engine.close_spider_async(reason="enough")
            )
            self.closing.set()


@crawl_test
async def test_leases_end_once_when_the_spider_is_closed_while_requests_are_on_the_wire() -> None:
    leases = LeaseCount()
    closing = asyncio.Event()

    async def handler(request: OriginRequest) -> OriginResponse:
        if request.path != "/0":
            await closing.wait()
        return OriginResponse(body=request.path.encode())

    async with servers(handler) as (origin, _, settings, urls):
        crawler = await crawl(
            urls,
            settings,
            prepare=leases.watch,
            spider=ClosesInTheMiddle,
            origin=origin,
            closing=closing,
        )
        sent = len(origin.requests)
    assert crawler.stats.get_value("finish_reason") == "enough"
    assert 5 <= sent < PAGES
    assert leases.outcomes == {Outcome.SUCCESS: sent}
    assert len(crawler.spider.responses) == sent
    leases.assert_each_ended_once()


@crawl_test
async def test_leases_end_once_when_the_spider_is_closed_while_its_proxies_hang() -> None:
    leases = LeaseCount()
    forever = asyncio.Event()
    closing = asyncio.Event()

    async def handler(request: OriginRequest) -> OriginResponse:
        if request.path != "/0":
            await forever.wait()
        return OriginResponse(body=request.path.encode())

    async with servers(handler) as (origin, _, settings, urls):
        crawler = await crawl(
            urls,
            {**settings, "DOWNLOAD_TIMEOUT": 1},
            prepare=leases.watch,
            spider=ClosesInTheMiddle,
            origin=origin,
            closing=closing,
        )
        sent = len(origin.requests)
    assert crawler.stats.get_value("finish_reason") == "enough"
    assert 5 <= sent < PAGES
    assert leases.outcomes == {Outcome.SUCCESS: 1, Outcome.AMBIGUOUS: sent - 1}
    leases.assert_each_ended_once()
