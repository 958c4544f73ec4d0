"""A target that refuses is left alone: what it sees from then on, and what becomes of its requests."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals
from scrapy.core.engine import ExecutionEngine
from scrapy.exceptions import IgnoreRequest
from scrapy.spidermiddlewares.httperror import HttpError
from scrapy.utils.httpobj import urlparse_cached
from twisted.python.failure import Failure

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.core import (
    HealthState,
    NoProxyAvailableError,
    Pool,
    PoolPolicy,
    Proxy,
    ProxySnapshot,
)

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from loopback.origin import Handler
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from scrapy_proxybalance.plugin.context import CrawlContext

#: No test comes near it: a crawl that hangs is closed and fails on its finish reason.
_HANGING = 120


#: Scrapy before 2.19 leaves empty queue files of a resumed crawl to the garbage collector.
resumes_a_crawl = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


def refusal(status: int = 429, **headers: str) -> OriginResponse:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return OriginResponse(status, fields, b"not now")


class Script:
    """Answers its first requests as listed, in the order of their arrival, and serves the others."""

    def __init__(self, *answers: OriginResponse | None) -> None:
        self.answers = iter(answers)

    def __call__(self, request: OriginRequest) -> OriginResponse:
        return next(self.answers, None) or page(request)


class Together:
    """Keeps its first requests until ``size`` of them are there, so that none is still on the wire.

    The first one is then refused, and so are the others if ``all_refused``; if not, they are
    served once the crawler has the refusal. Everything after them is served.
    """

    def __init__(self, size: int, received: Received, *, all_refused: bool = False) -> None:
        self.size = size
        self.received = received
        self.all_refused = all_refused
        self.arrived = 0
        self.complete = asyncio.Event()

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        self.arrived += 1
        place = self.arrived
        if place > self.size:
            return page(request)
        if place == self.size:
            self.complete.set()
        await self.complete.wait()
        if place == 1 or self.all_refused:
            return refusal()
        await self.received.refusal.wait()
        return page(request)


class Received:
    """What the crawler has received so far: connected to it with ``prepare=``."""

    def __init__(self) -> None:
        self.refusal = asyncio.Event()
        self.refused_at: list[float] = []
        self.pages: list[tuple[str, str]] = []

    def __call__(self, crawler: Crawler) -> None:
        crawler.signals.connect(self._downloaded, signal=signals.response_downloaded)

    def _downloaded(self, response: Response) -> None:
        if response.status in (403, 429, 503):
            self.refused_at.append(time.monotonic())
            self.refusal.set()
        else:
            parts = urlparse_cached(response)
            self.pages.append((parts.hostname or "", parts.path))


@dataclass
class World:
    """Targets by host name, and the proxies that lead to them."""

    targets: dict[str, Origin] = field(default_factory=dict)
    proxies: list[ForwardProxy] = field(default_factory=list)

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "PROXYBALANCE_PROXIES": [
                {"url": proxy.url(), "name": proxy.name} for proxy in self.proxies
            ],
            "PROXYBALANCE_MAX_IN_FLIGHT": 32,
            "CLOSESPIDER_TIMEOUT": _HANGING,
            **changes,
        }

    def paths(self, target: str) -> list[str]:
        """Return what a target was asked for, in the order of arrival."""
        return [request.path for request in self.targets[target].requests]


@asynccontextmanager
async def world(**handlers: Handler) -> AsyncIterator[World]:
    """Start a target ``<name>.test`` for each handler, and two proxies."""
    made = World()
    async with AsyncExitStack() as stack:
        for name, handler in handlers.items():
            made.targets[f"{name}.test"] = await stack.enter_async_context(Origin(handler))
        resolve = {host: (origin.host, origin.port) for host, origin in made.targets.items()}
        for name in ("one", "two"):
            proxy = ForwardProxy(name, resolve=resolve)
            made.proxies.append(await stack.enter_async_context(proxy))
        yield made


def urls(target: str, count: int) -> list[str]:
    return [f"http://{target}/{number}" for number in range(count)]


def paths(count: int) -> list[str]:
    return [f"/{number}" for number in range(count)]


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition to hold; fail if that takes impossibly long."""
    give_up = time.monotonic() + _HANGING
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def crawling(
    requests: Sequence[str | Request],
    settings: dict[str, Any],
    received: Received | None = None,
    *,
    spider: type[UrlsSpider] = UrlsSpider,
) -> AsyncIterator[Crawler]:
    """Run a crawl during a block, and close it then."""
    crawlers: list[Crawler] = []

    def prepare(crawler: Crawler) -> None:
        crawlers.append(crawler)
        if received is not None:
            received(crawler)

    running = asyncio.ensure_future(crawl(requests, settings, spider=spider, prepare=prepare))
    try:
        await until(lambda: crawlers and crawlers[0].engine and crawlers[0].engine.spider)
        yield crawlers[0]
    finally:
        if crawlers[0].engine is not None and crawlers[0].engine.spider is not None:
            await crawlers[0].engine.close_spider_async(reason="seen enough")
        await running


def context_of(crawler: Crawler) -> CrawlContext:
    middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
    assert middleware is not None
    return middleware.context


def snapshots(crawler: Crawler) -> list[ProxySnapshot]:
    context = context_of(crawler)
    return context.pool.snapshot(context.clock())


def retry_stats(crawler: Crawler) -> dict[str, Any]:
    return {key: value for key, value in all_stats(crawler) if key.startswith("retry/")}


def all_stats(crawler: Crawler) -> Iterator[tuple[str, Any]]:
    yield from crawler.stats.get_stats().items()


def finish_reason(crawler: Crawler) -> str:
    return str(crawler.stats.get_value("finish_reason"))


def sent_in_vain(crawler: Crawler, crawled: World) -> int:
    """Return how many requests have left the scheduler and reached no target.

    Those who had just left it when the pause began may; none may go round and round.
    """
    arrived = sum(len(origin.requests) for origin in crawled.targets.values())
    return int(crawler.stats.get_value("scheduler/dequeued")) - arrived


# From the signal on


@crawl_test
async def test_after_a_429_the_target_sees_nothing_more_and_the_other_target_is_crawled() -> None:
    received = Received()

    async def other(request: OriginRequest) -> OriginResponse:
        await received.refusal.wait()
        return page(request)

    async with world(a=Together(8, received), b=other) as w:
        settings = w.settings(CONCURRENT_REQUESTS=16, PROXYBALANCE_PAUSE=600)
        async with crawling(urls("a.test", 30) + urls("b.test", 100), settings, received) as run:
            await until(lambda: sum(host == "b.test" for host, _ in received.pages) == 100)
            # The seven that were under way with the refused one are not thrown away.
            await until(lambda: sum(host == "a.test" for host, _ in received.pages) == 7)
        assert len(w.targets["a.test"].requests) == 8
        assert sorted(w.paths("b.test")) == sorted(paths(100))
        [refused_at] = received.refused_at
        # Eight of them had been sent before; every other one was sent and served in the pause.
        assert sum(one.time > refused_at for one in w.targets["b.test"].requests) >= 92
        assert all(one.time < refused_at for one in w.targets["a.test"].requests)
        assert len(run.spider.responses) == 107


@crawl_test
async def test_a_paused_target_takes_up_no_concurrent_request() -> None:
    received = Received()
    async with world(a=Together(4, received), b=page) as w:
        # The 50 of a.test come first, so they fill all four places before any of b.test is known.
        first, then = urls("a.test", 50), urls("b.test", 60)
        settings = w.settings(CONCURRENT_REQUESTS=4, PROXYBALANCE_PAUSE=600)
        async with crawling(first + then, settings, received) as run:
            await until(lambda: len(w.targets["b.test"].requests) == 60)
            await until(lambda: not run.engine.downloader.active)
            assert run.engine._slot.scheduler.has_pending_requests()
        assert len(w.targets["a.test"].requests) == 4
        assert sent_in_vain(run, w) <= 4
        assert sorted(w.paths("b.test")) == sorted(paths(60))


@crawl_test
async def test_when_the_pause_ends_one_request_tries_and_the_others_follow_its_answer() -> None:
    received = Received()
    together = Together(8, received)
    probe_may_end = asyncio.Event()

    async def target(request: OriginRequest) -> OriginResponse:
        response = await together(request)
        if together.arrived == 9:
            await probe_may_end.wait()
        return response

    async with world(a=target, b=page) as w:
        origin = w.targets["a.test"]
        settings = w.settings(PROXYBALANCE_PAUSE=0.3)
        async with crawling(urls("a.test", 30), settings, received) as run:
            await until(lambda: len(origin.requests) == 9)
            # The engine goes on all the while; what it could send to a.test, it would.
            for number in range(20):
                response = await run.engine.download_async(Request(f"http://b.test/{number}"))
                assert response.status == 200
            assert len(origin.requests) == 9
            assert origin.in_flight == 1
            probe_may_end.set()
            await until(lambda: run.engine.spider is None)
        [refused_at] = received.refused_at
        assert origin.requests[8].time >= refused_at + 0.3
        assert sorted(w.paths("a.test")) == sorted([*paths(30), w.paths("a.test")[0]])
        assert finish_reason(run) == "finished"


@crawl_test
async def test_the_end_of_a_pause_wakes_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing else would: there is no heartbeat, and nothing under way that could end.
    monkeypatch.setattr(ExecutionEngine, "_SLOT_HEARTBEAT_INTERVAL", 3600.0)
    async with world(a=Script(refusal())) as w:
        settings = w.settings(CONCURRENT_REQUESTS=1, PROXYBALANCE_PAUSE=0.2, RETRY_TIMES=0)
        crawler = await crawl(urls("a.test", 3), settings)
        assert len(crawler.spider.responses) == 3
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_the_refused_request_is_fetched_later_and_costs_no_retry_and_no_health() -> None:
    received = Received()
    async with world(a=Script(None, refusal())) as w:
        settings = w.settings(RETRY_TIMES=0, CONCURRENT_REQUESTS=1, PROXYBALANCE_PAUSE=0.2)
        crawler = await crawl(urls("a.test", 10), settings, prepare=received)
        assert sorted(response.body.decode() for response in crawler.spider.responses) == paths(10)
        assert crawler.spider.failures == []
        assert finish_reason(crawler) == "finished"
        [refused_at] = received.refused_at
        assert w.targets["a.test"].requests[2].time >= refused_at + 0.2
        assert retry_stats(crawler) == {}
        stats = proxybalance_stats(crawler)
        per_proxy = {key: stats.pop(key) for key in list(stats) if key.startswith("proxy/")}
        assert sum(n for key, n in per_proxy.items() if key.endswith("/leases")) == 11
        assert stats.pop("target/a.test/seconds_paused") >= 0.2
        stats.pop("concurrency/estimate", None)
        assert stats == {
            "proxies": 2,
            "leases": 11,
            "in_flight/max": 1,
            "outcome/success": 10,
            "outcome/target_signal": 1,
            "failure/429": 1,
            "target/a.test/signals": 1,
            "target/a.test/pauses": 1,
            "target/a.test/reopened": 1,
            "target/a.test/held": 0,
            "target/a.test/held/max": 8,
        }
        (fresh,) = Pool([Proxy(host="fresh.test", port=1)], PoolPolicy(), rng=Random(1)).snapshot(0)
        for proxy in snapshots(crawler):
            assert proxy.state is HealthState.HEALTHY
            assert proxy.cooldowns == 0
            assert proxy.in_flight == 0
            # Every outcome, the refusal's too, counts as carried.
            assert proxy.success_rate >= fresh.success_rate
        carried = sum(proxy.outcomes for proxy in snapshots(crawler))
        assert 9 < carried <= 11  # they fade a little


@crawl_test
async def test_several_429_at_once_are_one_pause() -> None:
    received = Received()
    async with world(a=Together(8, received, all_refused=True)) as w:
        # The second pause in a row would be the end of it.
        settings = w.settings(PROXYBALANCE_PAUSE=0.1, PROXYBALANCE_MAX_PAUSES=1, RETRY_TIMES=0)
        crawler = await crawl(urls("a.test", 20), settings, prepare=received)
        assert len(received.refused_at) == 8
        assert len(w.targets["a.test"].requests) == 28
        assert len(crawler.spider.responses) == 20
        stats = proxybalance_stats(crawler)
        assert stats["target/a.test/pauses"] == 1
        assert stats["target/a.test/reopened"] == 1
        assert stats["outcome/target_signal"] == 8
        assert "target/a.test/suspended" not in stats
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_retry_after_in_seconds_is_how_long_the_target_is_left_alone() -> None:
    received = Received()
    async with world(a=Script(refusal(Retry_After="1"))) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=0.01, RETRY_TIMES=0, CONCURRENT_REQUESTS=1)
        crawler = await crawl(urls("a.test", 3), settings, prepare=received)
        assert len(crawler.spider.responses) == 3
        [refused_at] = received.refused_at
        assert w.targets["a.test"].requests[1].time >= refused_at + 1
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_retry_after_as_a_date_is_until_when_the_target_is_left_alone() -> None:
    again_from = int(time.time()) + 2
    arrivals: list[float] = []
    script = Script(refusal(Retry_After=formatdate(again_from, usegmt=True)))

    def target(request: OriginRequest) -> OriginResponse:
        arrivals.append(time.time())
        return script(request)

    async with world(a=target) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=0.01, RETRY_TIMES=0, CONCURRENT_REQUESTS=1)
        crawler = await crawl(urls("a.test", 3), settings)
        assert len(crawler.spider.responses) == 3
        # The monotonic clock and the other one may drift apart by a little in two seconds.
        assert arrivals[1] >= again_from - 0.01
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_retry_after_zero_does_not_switch_the_pause_off() -> None:
    received = Received()
    async with world(a=Script(refusal(Retry_After="0"))) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=0.2, RETRY_TIMES=0, CONCURRENT_REQUESTS=1)
        crawler = await crawl(urls("a.test", 3), settings, prepare=received)
        assert len(crawler.spider.responses) == 3
        assert w.targets["a.test"].requests[1].time >= received.refused_at[0] + 0.2


@crawl_test
async def test_a_503_with_retry_after_pauses_and_costs_no_retry() -> None:
    received = Received()
    async with world(a=Script(refusal(503, Retry_After="1"))) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=0.01, RETRY_TIMES=0, CONCURRENT_REQUESTS=1)
        crawler = await crawl(urls("a.test", 3), settings, prepare=received)
        assert len(crawler.spider.responses) == 3
        assert w.targets["a.test"].requests[1].time >= received.refused_at[0] + 1
        assert proxybalance_stats(crawler)["target/a.test/pauses"] == 1
        assert retry_stats(crawler) == {}


@crawl_test
async def test_a_503_without_retry_after_is_the_sites_own_business_and_retried_as_usual() -> None:
    async with world(a=Script(refusal(503))) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=600, CONCURRENT_REQUESTS=1)
        crawler = await crawl(urls("a.test", 3), settings)
        assert len(crawler.spider.responses) == 3
        assert len(w.targets["a.test"].requests) == 4
        assert retry_stats(crawler) == {
            "retry/count": 1,
            "retry/reason_count/503 Service Unavailable": 1,
        }
        assert proxybalance_stats(crawler)["outcome/success"] == 4
        assert not any(key.startswith("target/") for key in proxybalance_stats(crawler))


@crawl_test
async def test_with_scrapys_cache_a_burst_of_429s_costs_no_page(tmp_path: Path) -> None:
    received = Received()
    async with world(a=Together(8, received, all_refused=True)) as w:
        settings = w.settings(
            HTTPCACHE_ENABLED=True,
            HTTPCACHE_DIR=str(tmp_path),
            PROXYBALANCE_PAUSE=0.1,
            PROXYBALANCE_MAX_PAUSES=1,
            RETRY_TIMES=0,
        )
        crawler = await crawl(urls("a.test", 20), settings, prepare=received)
        assert sorted(response.url for response in crawler.spider.responses) == sorted(
            urls("a.test", 20)
        )
        assert crawler.spider.failures == []
        assert len(w.targets["a.test"].requests) == 28
        assert proxybalance_stats(crawler)["target/a.test/pauses"] == 1
        assert finish_reason(crawler) == "finished"


# What comes to nothing


@crawl_test
async def test_probes_that_come_to_nothing_are_spaced_and_nothing_goes_out_beside_them() -> None:
    answers = Script(refusal(), *[refusal(502)] * 5)
    peak = 0

    async def target(request: OriginRequest) -> OriginResponse:
        nonlocal peak
        if len(w.targets["a.test"].requests) > 1:
            peak = max(peak, w.targets["a.test"].in_flight)
        return answers(request)

    async with world(a=target, b=page) as w:
        origin = w.targets["a.test"]
        settings = w.settings(PROXYBALANCE_PAUSE=0.4, RETRY_TIMES=9, CONCURRENT_REQUESTS=1)
        crawler = await crawl(urls("a.test", 4) + urls("b.test", 100), settings)
        tried = [request.time for request in origin.requests[1:7]]
        assert all(later - one >= 0.4 for one, later in pairwise(tried))
        assert peak == 1
        assert len(origin.requests) == 6 + 4
        assert len(crawler.spider.responses) == 104
        stats = proxybalance_stats(crawler)
        assert stats["target/a.test/pauses"] == 1
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_a_target_that_was_idle_while_it_ramped_sees_no_burst_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone_on = asyncio.Event()

    class Idling(UrlsSpider):
        async def start(self) -> AsyncIterator[Request]:
            async for request in super().start():
                yield request
            await gone_on.wait()
            for url in urls("a.test", 10)[4:]:
                yield Request(url, callback=self.keep)

    async with world(a=Script(None, None, None, refusal())) as w:
        origin = w.targets["a.test"]
        ramp = {"PROXYBALANCE_PAUSE": 0.2, "PROXYBALANCE_RAMP": 60}
        settings = w.settings(CONCURRENT_REQUESTS=1, **ramp)
        async with crawling(urls("a.test", 4), settings, spider=Idling) as run:
            await until(lambda: len(run.spider.responses) == 4)
            context = context_of(run)
            now = context.clock
            # As if the crawl had had nothing for it for so long.
            monkeypatch.setattr(context, "clock", lambda: now() + 1000)
            gone_on.set()
            await until(lambda: len(run.spider.responses) == 10)
        arrived = [request.time for request in origin.requests[-6:]]
        # It is not known to bear more than three a second.
        assert arrived[-1] - arrived[0] >= 1


# 403


@crawl_test
async def test_403s_in_a_row_pause_the_target_and_none_is_sent_again() -> None:
    received = Received()
    async with world(a=Script(*[refusal(403)] * 3)) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS=1,
            RETRY_HTTP_CODES=[403],
            PROXYBALANCE_FORBIDDEN_THRESHOLD=3,
            PROXYBALANCE_PAUSE=0.2,
        )
        crawler = await crawl(urls("a.test", 6), settings, prepare=received)
        assert w.paths("a.test") == paths(6)
        assert w.targets["a.test"].requests[3].time >= received.refused_at[2] + 0.2
        assert proxybalance_stats(crawler)["target/a.test/pauses"] == 1
        assert retry_stats(crawler) == {}
        # What was refused is told to the spider, as without us.
        failed = [failure.value.response.url for failure in crawler.spider.failures]
        assert failed == urls("a.test", 3)
        assert [response.url for response in crawler.spider.responses] == urls("a.test", 6)[3:]
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_403s_with_other_answers_in_between_do_not_pause() -> None:
    forbidden = refusal(403)
    script = Script(forbidden, forbidden, None, forbidden, forbidden, None, forbidden, forbidden)
    async with world(a=script) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS=1,
            RETRY_HTTP_CODES=[403],
            PROXYBALANCE_FORBIDDEN_THRESHOLD=3,
            PROXYBALANCE_PAUSE=600,
        )
        crawler = await crawl(urls("a.test", 9), settings)
        assert w.paths("a.test") == paths(9)
        stats = proxybalance_stats(crawler)
        assert stats["outcome/target_signal"] == 6
        assert stats["target/a.test/signals"] == 6
        assert "target/a.test/pauses" not in stats
        assert len(crawler.spider.responses) == 3
        assert len(crawler.spider.failures) == 6
        assert finish_reason(crawler) == "finished"


# Stopping


#: Lets a resumed crawl come back at once to what was paused when it was closed.
SOON = {"PROXYBALANCE_PAUSE": 0.1, "PROXYBALANCE_PAUSE_MAX": 0.1, "PROXYBALANCE_RAMP": 0.1}


@resumes_a_crawl
@pytest.mark.parametrize(
    ("setting", "status", "reason"),
    [
        ("PROXYBALANCE_ON_RATE_LIMITED", 429, "proxybalance_rate_limited: a.test"),
        ("PROXYBALANCE_ON_FORBIDDEN", 403, "proxybalance_forbidden: a.test"),
    ],
)
@crawl_test
async def test_close_spider_names_the_target_and_a_resumed_crawl_fetches_all_that_was_held(
    setting: str, status: int, reason: str, tmp_path: Path
) -> None:
    def target(request: OriginRequest) -> OriginResponse:
        refusing = len(w.targets["a.test"].requests) > 10
        return refusal(status) if refusing else page(request)

    async with world(a=target, b=page) as w:
        requested = urls("a.test", 60) + urls("b.test", 60)
        settings = w.settings(
            JOBDIR=str(tmp_path), PROXYBALANCE_FORBIDDEN_THRESHOLD=1, **{setting: "close_spider"}
        )
        first = await crawl(requested, settings)
        assert finish_reason(first) == reason
        refused = w.paths("a.test")[10:]
        assert refused
        assert len(w.targets["a.test"].requests) < 60

        w.targets["a.test"]._handler = page
        second = await crawl(requested, {**settings, **SOON})
        assert finish_reason(second) == "finished"
        arrived = [response.url for run in (first, second) for response in run.spider.responses]
        failed = [failure.value for run in (first, second) for failure in run.spider.failures]
        if status == 403:
            # A 403 is an answer; whether to ask again some day is the spider's decision.
            assert all(isinstance(error, HttpError) for error in failed)
            assert sorted(urlparse_cached(error.response).path for error in failed) == sorted(
                refused
            )
            arrived += [error.response.url for error in failed]
        else:
            assert failed == []
        assert sorted(arrived) == sorted(requested)
        # None was fetched twice: only what was refused with 429 was asked for again.
        again = refused if status == 429 else []
        assert sorted(w.paths("a.test")) == sorted(paths(60) + again)
        assert sorted(w.paths("b.test")) == sorted(paths(60))


@pytest.mark.parametrize(
    ("setting", "status"),
    [("PROXYBALANCE_ON_RATE_LIMITED", 429), ("PROXYBALANCE_ON_FORBIDDEN", 403)],
)
@crawl_test
async def test_drop_gives_up_the_target_and_only_the_target(setting: str, status: int) -> None:
    async with world(a=Script(None, None, refusal(status)), b=page) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS=4,
            CONCURRENT_REQUESTS_PER_DOMAIN=1,
            PROXYBALANCE_FORBIDDEN_THRESHOLD=1,
            **{setting: "drop"},
        )
        # Few of a.test: Scrapy 2.14 takes a break of 0.1 s for each exception.
        crawler = await crawl(urls("a.test", 10) + urls("b.test", 50), settings)
        assert w.paths("a.test") == paths(3)
        assert sorted(w.paths("b.test")) == sorted(paths(50))
        assert len(crawler.spider.responses) == 52
        failures = crawler.spider.failures
        ignored = [failure for failure in failures if type(failure.value) is IgnoreRequest]
        assert len(failures) == 8
        assert len(ignored) == (8 if status == 429 else 7)
        assert all("a.test" in str(failure.value) for failure in ignored)
        stats = proxybalance_stats(crawler)
        assert stats["target/a.test/suspended"] is True
        assert stats["leases"] == 53
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_a_target_that_refuses_for_ever_ends_the_crawl_with_a_reason() -> None:
    async with world(a=lambda _: refusal(), b=page) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS_PER_DOMAIN=1,
            RETRY_TIMES=0,
            PROXYBALANCE_PAUSE=0.02,
            PROXYBALANCE_MAX_PAUSES=3,
        )
        crawler = await crawl(urls("a.test", 10) + urls("b.test", 40), settings)
        assert finish_reason(crawler) == "proxybalance_suspended: a.test"
        # The first one, and a probe after each pause.
        assert len(w.targets["a.test"].requests) == 4
        assert len(w.targets["b.test"].requests) == 40
        assert len(crawler.spider.responses) == 40
        stats = proxybalance_stats(crawler)
        assert stats["target/a.test/pauses"] == 3
        assert stats["target/a.test/suspended"] is True


@crawl_test
async def test_a_suspended_target_that_has_all_its_requests_behind_it_is_no_reason_to_name() -> (
    None
):
    async with world(a=lambda _: refusal(403), b=page) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS_PER_DOMAIN=1,
            PROXYBALANCE_FORBIDDEN_THRESHOLD=1,
            PROXYBALANCE_PAUSE=0.02,
            PROXYBALANCE_MAX_PAUSES=1,
        )
        # The second one is the probe, whose 403 goes to the spider.
        crawler = await crawl(urls("a.test", 2) + urls("b.test", 10), settings)
        assert w.paths("a.test") == paths(2)
        assert len(crawler.spider.failures) == 2
        assert proxybalance_stats(crawler)["target/a.test/suspended"] is True
        assert finish_reason(crawler) == "finished"
        crawler = await crawl(urls("a.test", 3), settings)
        assert finish_reason(crawler) == "proxybalance_suspended: a.test"


# What is not an ordinary request


@crawl_test
async def test_a_429_through_the_users_own_proxy_pauses_the_target_as_well() -> None:
    received = Received()
    async with world(a=Script(refusal())) as w, ForwardProxy("own") as own:
        own.resolve = w.proxies[0].resolve
        requests = [Request("http://a.test/mine", meta={"proxy": own.url()}), *urls("a.test", 5)]
        settings = w.settings(CONCURRENT_REQUESTS=1, RETRY_TIMES=0, PROXYBALANCE_PAUSE=0.2)
        crawler = await crawl(requests, settings, prepare=received)
        assert len(crawler.spider.responses) == 6
        [refused_at] = received.refused_at
        assert w.targets["a.test"].requests[1].time >= refused_at + 0.2
        assert proxybalance_stats(crawler)["target/a.test/pauses"] == 1
        assert proxybalance_stats(crawler)["target/a.test/reopened"] == 1
        # It is tried again through the proxy that the user chose, and through no other.
        assert [request.url for request in own.requests] == ["http://a.test/mine"] * 2
        assert proxybalance_stats(crawler)["leases"] == 5
        assert finish_reason(crawler) == "finished"


@resumes_a_crawl
@crawl_test
async def test_requests_in_a_download_slots_queue_are_stopped_unsent(tmp_path: Path) -> None:
    ready = asyncio.Event()

    async def target(_: OriginRequest) -> OriginResponse:
        await ready.wait()
        return refusal()

    async with world(a=target) as w:
        patient = {"delay": 20.0, "concurrency": 8}
        settings = w.settings(PROXYBALANCE_PAUSE=600, JOBDIR=str(tmp_path))
        slow = {**settings, "DOWNLOAD_SLOTS": {"a.test": patient}}
        async with crawling(urls("a.test", 20), slow) as first:
            slots = first.engine.downloader.slots
            await until(lambda: "a.test" in slots and slots["a.test"].queue)
            ready.set()
            await until(lambda: not first.engine.downloader.active)
            assert not slots["a.test"].queue
        assert len(w.targets["a.test"].requests) == 1
        assert first.spider.responses == []
        assert first.spider.failures == []
        stats = proxybalance_stats(first)
        assert stats["outcome/target_signal"] == 1
        assert stats["outcome/ignored"] == stats["leases"] - 1 >= 1

        w.targets["a.test"]._handler = page
        second = await crawl(urls("a.test", 20), {**settings, **SOON})
        assert len(second.spider.responses) == 20
        assert sorted(w.paths("a.test")) == sorted([*paths(20), w.paths("a.test")[0]])


@crawl_test
async def test_a_paused_target_holds_no_other_one_of_the_same_download_slot() -> None:
    received = Received()
    async with world(a=Together(4, received, all_refused=True), b=page) as w:
        both = zip(urls("a.test", 40), urls("b.test", 40), strict=True)
        requests = [Request(url, meta={"download_slot": "shared"}) for pair in both for url in pair]
        settings = w.settings(CONCURRENT_REQUESTS_PER_DOMAIN=8, PROXYBALANCE_PAUSE=600)
        async with crawling(requests, settings, received) as run:
            await until(lambda: sum(host == "b.test" for host, _ in received.pages) == 40)
            await until(lambda: not run.engine.downloader.active)
        assert 4 <= len(w.targets["a.test"].requests) <= 8
        assert sent_in_vain(run, w) <= 8
        [pause] = [v for k, v in proxybalance_stats(run).items() if k == "target/a.test/pauses"]
        assert pause == 1
        assert set(run.engine.downloader.slots) == {"shared"}


class BypassingSpider(UrlsSpider):
    """Fetches another page from within its callback, past the scheduler."""

    bypassing = "http://a.test/bypassing"

    async def keep(self, response: Response) -> None:  # type: ignore[override]  # noqa: ARG002
        try:
            self.responses.append(await self.crawler.engine.download_async(Request(self.bypassing)))
        except NoProxyAvailableError:
            self.failures.append(Failure())


@crawl_test
async def test_a_bypassing_request_to_a_paused_target_waits_and_then_succeeds() -> None:
    received = Received()

    async def other(request: OriginRequest) -> OriginResponse:
        await received.refusal.wait()
        return page(request)

    async with world(a=Script(refusal()), b=other) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=0.3, PROXYBALANCE_ACQUIRE_TIMEOUT=20)
        requests = ["http://a.test/0", "http://b.test/0"]
        crawler = await crawl(requests, settings, spider=BypassingSpider, prepare=received)
        assert [response.body for response in crawler.spider.responses] == [b"/bypassing"] * 2
        [refused_at] = received.refused_at
        assert all(r.time >= refused_at + 0.3 for r in w.targets["a.test"].requests[1:])
        assert sorted(w.paths("a.test")) == ["/0", "/0", "/bypassing", "/bypassing"]
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_a_bypassing_request_fails_when_its_time_is_up_and_is_not_sent() -> None:
    received = Received()

    async def other(request: OriginRequest) -> OriginResponse:
        await received.refusal.wait()
        return page(request)

    async with world(a=Script(refusal()), b=other) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=600, PROXYBALANCE_ACQUIRE_TIMEOUT=0.2)
        requests = ["http://a.test/0", "http://b.test/0"]
        async with crawling(requests, settings, received, spider=BypassingSpider) as run:
            await until(lambda: run.spider.failures)
        assert w.paths("a.test") == ["/0"]
        [failure] = run.spider.failures
        assert "a.test is paused" in str(failure.value)
        assert run.spider.responses == []
