"""Attempts that hang are cut off early, no page is lost by it, and nobody's own timeout is changed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals

from scrapy_proxybalance import ProxyBalanceMiddleware

from .crawling import crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from loopback.origin import Handler
    from scrapy.crawler import Crawler

# So long that a crawl that waits for it once does not finish.
OWN = 600.0
HANGING = 120
FLOOR = 0.25
# More than the successes that it takes to know a target.
WARM_UP = 60


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


class World:
    """An origin, its proxies, and the timeouts that the downloader saw, by URL."""

    def __init__(self, origin: Origin, proxies: list[ForwardProxy]) -> None:
        self.origin = origin
        self.proxies = proxies
        self.seen: dict[str, list[float]] = {}

    def url(self, page: object) -> str:
        return f"http://127.0.0.1:{self.origin.port}/{page}"

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "PROXYBALANCE_PROXIES": [
                {"url": proxy.url(), "name": proxy.name} for proxy in self.proxies
            ],
            "PROXYBALANCE_ADAPTIVE_TIMEOUT_MIN": FLOOR,
            "DOWNLOAD_TIMEOUT": OWN,
            "CLOSESPIDER_TIMEOUT": HANGING,
            "RETRY_TIMES": 2,
            **changes,
        }

    def watch(self, crawler: Crawler) -> None:
        def reached(request: Request) -> None:
            self.seen.setdefault(request.url, []).append(request.meta["download_timeout"])

        crawler.signals.connect(reached, signal=signals.request_reached_downloader, weak=False)

    async def crawl(self, then: list[Request], **changes: Any) -> Crawler:
        """Fetch pages until the target is known, and then these requests."""
        first = [Request(self.url(f"warm-{page}"), priority=1) for page in range(WARM_UP)]
        return await crawl([*first, *then], self.settings(**changes), prepare=self.watch)


@asynccontextmanager
async def world(handler: Handler = echo, proxies: int = 4) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(handler))
        yield World(
            origin,
            [
                await stack.enter_async_context(ForwardProxy(f"proxy-{number}"))
                for number in range(proxies)
            ],
        )


def fetched(crawler: Crawler) -> set[str]:
    assert crawler.stats.get_value("finish_reason") == "finished"
    assert crawler.spider.failures == []
    return {response.url for response in crawler.spider.responses}


@crawl_test
async def test_attempts_through_proxies_that_begin_to_hang_are_cut_off_and_no_page_is_lost() -> (
    None
):
    def handler(request: OriginRequest) -> OriginResponse:
        if len(w.origin.requests) > WARM_UP:
            for proxy in w.proxies[:3]:
                proxy.behaviour = Behaviour.HANG
        return echo(request)

    async with world(handler, proxies=10) as w:
        pages = [w.url(page) for page in range(120)]
        crawler = await w.crawl([Request(url) for url in pages], PROXYBALANCE_COOLDOWN=0.5)
    assert fetched(crawler) >= set(pages)
    stats = proxybalance_stats(crawler)
    assert stats["timeouts/adaptive"] >= 1
    assert stats["timeouts/adaptive/rescued"] >= 1
    assert stats["failure/timeout"] == stats["timeouts/adaptive"]
    assert "retry/count" not in crawler.stats.get_stats()


@crawl_test
async def test_without_the_setting_no_timeout_is_changed() -> None:
    async with world() as w:
        await w.crawl([Request(w.url("page"))], PROXYBALANCE_ADAPTIVE_TIMEOUT=False)
    assert {timeout for seen in w.seen.values() for timeout in seen} == {OWN}


@pytest.mark.parametrize("retry_times", [1, 2])
@crawl_test
async def test_a_page_that_needs_20_times_the_usual_time_is_not_lost(retry_times: int) -> None:
    usual = 0.1

    def needed() -> float:
        """Return how long the page takes: where the machine stalls, all the others took longer."""
        return max(20 * usual, 2 * w.seen[slow][0])

    async def handler(request: OriginRequest) -> OriginResponse:
        await asyncio.sleep(needed() if request.path == "/slow" else usual)
        return echo(request)

    async with world(handler) as w:
        slow = w.url("slow")
        crawler = await w.crawl(
            [Request(slow)], RETRY_TIMES=retry_times, PROXYBALANCE_ADAPTIVE_TIMEOUT_MIN=usual
        )
    assert slow in fetched(crawler)
    timeouts = w.seen[slow]
    assert timeouts == sorted(timeouts)
    assert timeouts[0] < needed() < timeouts[-1]
    assert "retry/count" not in crawler.stats.get_stats()


@crawl_test
async def test_a_page_that_takes_its_time_gets_all_of_it_in_the_end_and_all_its_retries() -> None:
    answers = iter([None, None, None, 502, 502, 200])
    forever = asyncio.Event()

    async def handler(request: OriginRequest) -> OriginResponse:
        if request.path != "/slow":
            return echo(request)
        status = next(answers)
        if status is None:
            await forever.wait()
        return OriginResponse(status or 200)

    async with world(handler) as w:
        slow = w.url("slow")
        crawler = await w.crawl([Request(slow)])
    assert slow in fetched(crawler)
    first, second, third, *rest = w.seen[slow]
    assert FLOOR <= first < second < third < OWN
    assert rest == [OWN, OWN, OWN]
    assert crawler.stats.get_value("retry/count") == 2


@pytest.mark.parametrize(
    ("request_arguments", "settings"),
    [
        pytest.param({"meta": {"download_timeout": 500}}, {}, id="its own timeout"),
        pytest.param({"meta": {"dont_retry": True}}, {}, id="dont_retry"),
        pytest.param({"meta": {"max_retry_times": 0}}, {}, id="max_retry_times"),
        pytest.param({"meta": {"retry_times": 2}}, {}, id="the last retry"),
        pytest.param({"method": "POST"}, {}, id="POST"),
        pytest.param({"meta": {"proxy": None}}, {}, id="direct"),
        pytest.param({}, {"RETRY_ENABLED": False}, id="RETRY_ENABLED"),
        pytest.param({}, {"RETRY_TIMES": 0}, id="RETRY_TIMES"),
    ],
)
@crawl_test
async def test_a_request_that_would_not_be_sent_again_or_decides_itself_is_left_alone(
    request_arguments: dict[str, Any], settings: dict[str, Any]
) -> None:
    async with world() as w:
        page, control = w.url("page"), w.url("control")
        crawler = await w.crawl([Request(page, **request_arguments), Request(control)], **settings)
    assert page in fetched(crawler)
    own = request_arguments.get("meta", {}).get("download_timeout", OWN)
    assert w.seen[page] == [own]
    assert (w.seen[control] == [OWN]) is bool(settings)


@crawl_test
async def test_retries_redirects_and_the_spider_see_the_users_timeout() -> None:
    failed = set()

    def handler(request: OriginRequest) -> OriginResponse:
        if request.path == "/moved":
            return OriginResponse(302, headers=[("Location", "/fails")])
        if request.path == "/fails" and request.path not in failed:
            failed.add(request.path)
            return OriginResponse(503)
        return echo(request)

    passed: dict[str, list[float]] = {}

    class Watch:
        """Where a retry or a redirect, and what the cache keeps, is made of a request."""

        def process_response(self, request: Request, response: Any) -> Any:
            passed.setdefault(request.url, []).append(request.meta["download_timeout"])
            return response

    async with world(handler) as w:
        crawler = await w.crawl([Request(w.url("moved"))], DOWNLOADER_MIDDLEWARES={Watch: 735})
    assert w.url("fails") in fetched(crawler)
    for page in ("moved", "fails"):
        assert all(FLOOR <= timeout < OWN for timeout in w.seen[w.url(page)])
    assert len(w.seen[w.url("fails")]) == 2
    assert {timeout for seen in passed.values() for timeout in seen} == {OWN}
    assert {response.meta["download_timeout"] for response in crawler.spider.responses} == {OWN}


@crawl_test
async def test_a_timeout_of_ours_in_copied_meta_is_never_taken_for_the_users() -> None:
    copied: list[Request] = []

    class AnswersWithARequest:
        """A middleware nearer to the downloader than ours: it has the request as it was sent."""

        def process_response(self, request: Request, response: Any) -> Any:
            if request.url.endswith("/copied") and not copied:
                copied.append(request.copy())
                return request.replace(url=elsewhere, dont_filter=True)
            return response

    async with world() as w:
        elsewhere = w.url("page").replace("127.0.0.1", "localhost")  # of which nothing is known
        crawler = await w.crawl(
            [Request(w.url("copied"))], DOWNLOADER_MIDDLEWARES={AnswersWithARequest: 745}
        )
    assert elsewhere in fetched(crawler)
    assert w.seen[elsewhere] == [OWN]
    assert copied[0].meta["download_timeout"] < OWN
    assert {response.meta["download_timeout"] for response in crawler.spider.responses} == {OWN}


# How long an attempt took


async def durations(w: World, urls: list[str], **settings: Any) -> dict[str, list[Any]]:
    """Return the latency and the duration of each attempt, as the pool was told."""
    told: dict[str, list[Any]] = {"latency": [], "duration": []}

    def prepare(crawler: Crawler) -> None:
        def opened() -> None:
            pool = crawler.get_downloader_middleware(ProxyBalanceMiddleware).context.pool
            release: Callable[..., bool] = pool.release

            def spy(*args: Any, **what: Any) -> bool:
                for key, seen in told.items():
                    seen.append(what[key])
                return release(*args, **what)

            pool.release = spy

        crawler.signals.connect(opened, signal=signals.spider_opened, weak=False)

    await crawl(urls, w.settings(**settings), prepare=prepare)
    return told


@crawl_test
async def test_a_duration_leaves_out_the_wait_in_the_download_slot() -> None:
    delay = 1.0  # give or take a half
    async with world() as w:
        told = await durations(w, [w.url(page) for page in range(3)], DOWNLOAD_DELAY=delay)
        arrived = [request.time for request in w.origin.requests]
    assert arrived[-1] - arrived[0] > 0.9 * delay
    assert len(told["duration"]) == 3
    # Two have waited for half of it at least; a machine that stalls may make one attempt last as long.
    assert sorted(told["duration"])[1] < 0.4 * delay


@crawl_test
async def test_a_duration_lasts_until_the_end_of_the_body() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nha")
        await writer.drain()
        await asyncio.sleep(0.5)
        writer.write(b"lf")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, world() as w:
        port = server.sockets[0].getsockname()[1]
        told = await durations(
            w, [w.url("page")], PROXYBALANCE_PROXIES=[f"http://127.0.0.1:{port}"]
        )
    [latency], [duration] = told["latency"], told["duration"]
    assert duration >= latency + 0.4


@crawl_test
async def test_the_duration_of_an_attempt_that_timed_out_is_its_timeout() -> None:
    async with world(proxies=1) as w:
        w.proxies[0].behaviour = Behaviour.HANG
        told = await durations(
            w, [w.url("page")], DOWNLOAD_TIMEOUT=0.5, DOWNLOAD_DELAY=0.1, RETRY_TIMES=0
        )
    assert told["duration"] == [0.5]


@crawl_test
async def test_nobody_makes_up_how_long_an_attempt_took_that_may_have_waited_in_its_slot() -> None:
    async with world(proxies=1) as w:
        w.proxies[0].behaviour = Behaviour.REFUSE
        delayed = await durations(w, [w.url("page")], DOWNLOAD_DELAY=0.1, RETRY_TIMES=0)
        at_once = await durations(w, [w.url("page")], RETRY_TIMES=0)
    assert delayed["duration"] == [None]
    assert 0 < at_once["duration"][0] < HANGING
