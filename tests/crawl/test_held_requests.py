"""Held requests in a crawl: what is held holds nobody else, leaves as soon as it may, and costs little.

Here belongs what is seen of it from outside, at the origins and in the stats. What a queue does by
itself is in ``test_admission.py``; a full set-aside is here because both ways to see it are short.
No test gets any help from Scrapy's heartbeat: what goes on must have been woken by its own cause.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.core.engine import ExecutionEngine
from scrapy.core.scheduler import Scheduler

from scrapy_proxybalance import ProxyBalanceQueue
from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.plugin import context
from scrapy_proxybalance.plugin.scheduling import waiting as set_aside

from ..core.helpers import acquire
from .crawling import UrlsSpider, crawl, crawl_test
from .test_admission import land, make_queue, opened, pop_all, session_requests
from .test_admission import urls as by_url
from .test_target_gate import (
    World,
    all_stats,
    context_of,
    crawling,
    finish_reason,
    page,
    paths,
    refusal,
    until,
    urls,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy.crawler import Crawler
    from scrapy.http import Response


@pytest.fixture(autouse=True)
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the engine ask its queue only when it is told to."""
    monkeypatch.setattr(ExecutionEngine, "_SLOT_HEARTBEAT_INTERVAL", 3600.0)


@pytest.fixture
def no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing looked after once a second: that would find a forgotten request, too, but late."""
    monkeypatch.setattr(context, "_TICK_SECONDS", 3600.0)


@pytest.fixture
def pops(monkeypatch: pytest.MonkeyPatch) -> list[Request | None]:
    """Give what every ``pop()`` of a queue has returned."""
    calls: list[Request | None] = []
    pop = ProxyBalanceQueue.pop

    def counted(queue: ProxyBalanceQueue) -> Request | None:
        calls.append(pop(queue))
        return calls[-1]

    monkeypatch.setattr(ProxyBalanceQueue, "pop", counted)
    return calls


class Kept:
    """A handler that answers nothing before ``release`` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        await self.release.wait()
        return page(request)


class KeptThenRefusing(Kept):
    """Its first page is kept and then served; afterwards it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        self.arrived += 1
        return await super().__call__(request) if self.arrived == 1 else refusal()


class KeptRobots(Kept):
    """Its robots.txt is kept; its pages are kept as well, until ``release_pages`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.release_pages = asyncio.Event()

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        if request.path != "/robots.txt":
            await self.release_pages.wait()
            return page(request)
        await self.release.wait()
        return OriginResponse(body=b"User-agent: *\nDisallow: /private\n")


def settings(w: World, count: int, **changes: Any) -> dict[str, Any]:
    """Return settings with so many proxies, ``p0`` and so on, that take one request at a time."""
    way = w.proxies[0]
    way.credentials = {f"p{number}": "secret" for number in range(count)}
    proxies = [{"url": way.url(name), "name": name} for name in way.credentials]
    return w.settings(PROXYBALANCE_PROXIES=proxies, PROXYBALANCE_MAX_IN_FLIGHT=1, **changes)


def by_filter(*names: str) -> dict[str, Any]:
    return {"proxy_filter": {"name": list(names)}}


#: What two requests have in common that have to share a proxy.
WISHES = [
    pytest.param({"session": "s"}, id="session"),
    pytest.param(by_filter("p0"), id="filter"),
]


def requests(target: str, count: int, meta: dict[str, Any] | None = None) -> list[Request]:
    return [Request(url, meta=meta) for url in urls(target, count)]


def add(run: Crawler, more: Iterable[Request]) -> None:
    """Have the engine schedule more requests, as if a callback had yielded them at once."""
    engine, spider = run.engine, spider_of(run)
    assert engine is not None
    for request in more:
        engine.crawl(request.replace(callback=spider.keep, errback=spider.keep_failure))


def spider_of(run: Crawler) -> UrlsSpider:
    assert isinstance(run.spider, UrlsSpider)
    return run.spider


def queue_of(run: Crawler) -> ProxyBalanceQueue:
    assert run.engine is not None
    assert run.engine._slot is not None
    scheduler = run.engine._slot.scheduler
    assert isinstance(scheduler, Scheduler)
    queue: Any = scheduler.mqs
    assert isinstance(queue, ProxyBalanceQueue)
    return queue


async def until_set_aside(run: Crawler, count: int) -> None:
    """Wait until so many requests have left their queues and are kept aside."""
    await until(lambda: queue_of(run)._aside.count == count)


async def until_fetched(run: Crawler, target: str, count: int) -> None:
    await until(lambda: fetched(run, target) == count)


def fetched(run: Crawler, target: str) -> int:
    return sum(
        response.url.startswith(f"http://{target}/") for response in spider_of(run).responses
    )


def stat(run: Crawler, name: str) -> Any:
    return dict(all_stats(run)).get(name)


# What waits for one target


@pytest.mark.parametrize("wish", WISHES)
@crawl_test
async def test_those_set_aside_for_a_paused_target_hold_no_others_of_their_proxy(
    wish: dict[str, Any],
) -> None:
    a = KeptThenRefusing()
    async with world(a=a, b=page) as w:
        both = [*requests("a.test", 6, wish), *requests("b.test", 6, wish)]
        async with crawling(both, settings(w, 3, PROXYBALANCE_PAUSE=600)) as run:
            await until_set_aside(run, 11)
            a.release.set()
            await until_fetched(run, "b.test", 6)
        assert sorted(w.paths("b.test")) == paths(6)
        assert len(w.targets["a.test"].requests) == 2


@pytest.mark.parametrize("wish", WISHES)
@crawl_test
async def test_those_set_aside_for_a_suspended_target_hold_no_others_and_the_crawl_ends(
    wish: dict[str, Any],
) -> None:
    a = KeptThenRefusing()
    async with world(a=a, b=page) as w:
        soon = {"pause": 0.02, "pause_max": 0.02, "max_pauses": 1}
        changed = settings(w, 3, PROXYBALANCE_TARGETS={"a.test": soon}, RETRY_TIMES=0)
        both = [*requests("a.test", 6, wish), *requests("b.test", 6, wish)]
        async with crawling(both, changed) as run:
            await until_set_aside(run, 11)
            a.release.set()
            await until(lambda: run.engine.spider is None)
        assert finish_reason(run) == "proxybalance_suspended: a.test"
        assert sorted(w.paths("b.test")) == paths(6)
        assert fetched(run, "b.test") == 6
        assert fetched(run, "a.test") == 1


@crawl_test
async def test_a_full_set_aside_of_a_paused_target_starves_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(set_aside, "_AT_MOST", 10)
    refuse = asyncio.Event()

    async def a(_: OriginRequest) -> OriginResponse:
        await refuse.wait()
        return refusal()

    async with world(a=a, b=page) as w:
        crowd = requests("a.test", 30, {"session": "s"})
        async with crawling(crowd, settings(w, 2, PROXYBALANCE_PAUSE=600)) as run:
            await until(lambda: stat(run, "scheduler/enqueued") == 30)
            await until_set_aside(run, 10)
            refuse.set()
            await until(lambda: stat(run, "downloader/response_count") == 1)
            add(run, [*requests("b.test", 15), *requests("b.test", 30, {"session": "s"})[15:]])
            await until_fetched(run, "b.test", 30)
            assert queue_of(run).held("a.test") == 30
        assert w.paths("a.test") == ["/0"]
        assert sorted(w.paths("b.test")) == sorted(paths(30))


def test_a_queue_that_finds_no_room_aside_is_left_out_until_there_is_some() -> None:
    with opened(
        PROXYBALANCE_PROXIES=["http://one.test:8080", "http://two.test:8080"],
        PROXYBALANCE_MAX_IN_FLIGHT=50,
    ) as crawler:
        shared = context_of(crawler)
        queue = make_queue(crawler, ProxyBalanceQueue)
        busy = [acquire(shared.pool, shared.clock(), session="s") for _ in range(50)]
        crowd, late = session_requests(1000, "a.test"), session_requests(3, "b.test")
        for request in crowd:
            queue.push(request)
        assert queue.pop() is None
        free = [Request(f"http://c.test/{number}") for number in range(5)]
        for request in [*late, *free]:
            queue.push(request)
        popped = pop_all(crawler, queue)
        assert by_url(popped) == by_url(free)
        assert len(queue) == 1003
        # Those of b.test are where they were: there was no room for them.
        assert {key: len(held) for key, held in queue.pqueues.items()} == {"b.test": 3}

        for attempt in busy:
            shared.pool.release(attempt, Outcome.SUCCESS, shared.clock())
        land(crawler, popped)
        rounds = []
        while some := pop_all(crawler, queue):
            land(crawler, some)
            rounds.append(some)
            popped += some
        # As soon as there was room they went aside, and got their turn there.
        assert not any("//b.test/" in request.url for request in rounds[0])
        assert sum("//b.test/" in request.url for request in rounds[1]) == 3
        assert len(queue) == 0
        assert by_url(popped) == by_url([*crowd, *late, *free])
        queue.close()


# What may go is told of


@pytest.mark.usefixtures("no_tick")
@crawl_test
async def test_a_rate_lets_the_next_request_out_in_time_while_no_page_has_been_answered() -> None:
    a = Kept()
    async with world(a=a) as w:
        rate = {"PROXYBALANCE_TARGETS": {"a.test": {"rate": "50/s"}}}
        changed = w.settings(CONCURRENT_REQUESTS=30, CONCURRENT_REQUESTS_PER_DOMAIN=30, **rate)
        async with crawling(urls("a.test", 25), changed) as run:
            # All at once: so no page was answered, and no other end of a request has helped.
            await until(lambda: w.targets["a.test"].in_flight == 25)
            assert spider_of(run).responses == []
            a.release.set()
            await until(lambda: run.engine.spider is None)
        assert finish_reason(run) == "finished"


@pytest.mark.usefixtures("no_tick")
@crawl_test
async def test_direct_requests_are_all_sent_at_once_while_the_only_proxy_is_idle() -> None:
    kept = Kept()
    async with world() as w, Origin(kept) as origin:
        direct = [
            Request(f"http://{origin.host}:{origin.port}/{number}", meta={"proxy": None})
            for number in range(7)
        ]
        async with crawling(direct[:1], settings(w, 1)) as run:
            await until(lambda: origin.in_flight == 1)
            add(run, direct[1:])
            await until(lambda: origin.in_flight == 7)
            assert context_of(run).pool.in_flight == 0
            kept.release.set()
            await until(lambda: run.engine.spider is None)
        assert len(spider_of(run).responses) == 7
        assert w.proxies[0].requests == []


@pytest.mark.usefixtures("no_tick")
@crawl_test
async def test_when_robots_txt_is_there_all_that_waited_leave_though_it_forbids_the_first() -> None:
    a = KeptRobots()
    async with world(a=a) as w:
        pages = ["http://a.test/private", *urls("a.test", 7)]
        async with crawling(pages, w.settings(ROBOTSTXT_OBEY=True)) as run:
            await until(lambda: stat(run, "scheduler/enqueued") == 8)
            await until(lambda: w.paths("a.test") == ["/robots.txt"])
            assert stat(run, "scheduler/dequeued") == 1
            a.release.set()
            # At once: none of them was woken by the end of another.
            await until(lambda: w.targets["a.test"].in_flight == 7)
            a.release_pages.set()
            await until(lambda: run.engine.spider is None)
        assert sorted(w.paths("a.test")) == sorted(["/robots.txt", *paths(7)])
        assert stat(run, "robotstxt/forbidden") == 1
        assert finish_reason(run) == "finished"


# What is held is not asked for again and again

#: In seconds. Asked for as often as time allows, it would be asked for 50 times or more.
_SPAN = 0.5
_FEW = 5


@crawl_test
async def test_what_waits_aside_for_robots_txt_is_not_spun(pops: list[Request | None]) -> None:
    a, b = Kept(), KeptRobots()
    b.release_pages.set()

    async def page_kept(request: OriginRequest) -> OriginResponse:
        return OriginResponse() if request.path == "/robots.txt" else await a(request)

    async with world(a=page_kept, b=b) as w:
        first = Request("http://a.test/0", meta={"session": "s"})
        async with crawling([first], settings(w, 4, ROBOTSTXT_OBEY=True)) as run:
            await until(lambda: "/0" in w.paths("a.test"))
            add(run, [Request("http://b.test/aside", meta={"session": "s"})])
            await until_set_aside(run, 1)
            add(run, [Request("http://b.test/asks")])
            await until(lambda: w.paths("b.test") == ["/robots.txt"])
            # Now its proxy is free, and only robots.txt is in its way.
            a.release.set()
            await until_fetched(run, "a.test", 1)
            pops.clear()
            await asyncio.sleep(_SPAN)
            assert len(pops) <= _FEW
            assert w.paths("b.test") == ["/robots.txt"]
            b.release.set()
            await until(lambda: run.engine.spider is None)
        assert sorted(w.paths("b.test")) == ["/aside", "/asks", "/robots.txt"]
        assert finish_reason(run) == "finished"


class Delaying:
    """A middleware before ours that keeps the page ``/slow`` until ``release`` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.keeps: list[str] = []

    async def process_request(self, request: Request) -> None:
        if request.url.endswith("/slow"):
            self.keeps.append(request.url)
            await self.release.wait()


@crawl_test
async def test_what_waits_aside_for_a_budget_that_is_taken_but_not_used_is_not_spun(
    pops: list[Request | None],
) -> None:
    a = Kept()
    async with world(a=a, b=page, c=page) as w:
        changed = settings(
            w,
            4,
            DOWNLOADER_MIDDLEWARES={Delaying: 500},
            PROXYBALANCE_TARGETS={"b.test": {"in_flight": 1}},
        )
        first = Request("http://a.test/0", meta={"session": "s"})
        async with crawling([first], changed) as run:
            middleware = run.get_downloader_middleware(Delaying)
            assert middleware is not None
            await until(lambda: w.paths("a.test") == ["/0"])
            add(run, [Request("http://b.test/aside", meta={"session": "s"})])
            await until_set_aside(run, 1)
            add(run, [Request("http://b.test/slow")])
            await until(lambda: middleware.keeps)
            a.release.set()
            await until_fetched(run, "a.test", 1)
            add(run, requests("c.test", 1))
            await until_fetched(run, "c.test", 1)
            pops.clear()
            await asyncio.sleep(_SPAN)
            assert len(pops) <= _FEW
            assert w.paths("b.test") == []
            middleware.release.set()
            await until(lambda: run.engine.spider is None)
        assert sorted(w.paths("b.test")) == ["/aside", "/slow"]
        assert w.targets["b.test"].peak_in_flight == 1
        assert finish_reason(run) == "finished"


# Many that wait


@pytest.mark.usefixtures("no_tick")
@crawl_test
async def test_many_filters_that_wait_for_a_busy_proxy_do_not_delay_those_for_a_free_one() -> None:
    a, y = Kept(), Kept()
    async with world(a=a, y=y, z=page) as w:
        busy = [
            Request("http://y.test/", meta=by_filter("p1")),
            Request("http://a.test/", meta=by_filter("p0")),
        ]
        async with crawling(busy, settings(w, 3)) as run:
            await until(lambda: w.paths("y.test") == w.paths("a.test") == ["/"])
            add(
                run,
                [
                    Request(url, meta=by_filter("p0", f"x{number}"))
                    for number, url in enumerate(urls("a.test", 500))
                ],
            )
            add(run, requests("z.test", 20, by_filter("p1")))
            await until_set_aside(run, 520)
            y.release.set()
            await until_fetched(run, "z.test", 20)
            assert w.paths("a.test") == ["/"]
            assert len(queue_of(run)) == 500
            a.release.set()


@pytest.mark.usefixtures("no_tick")
@crawl_test
async def test_many_targets_that_wait_for_a_busy_proxy_do_not_delay_those_for_a_free_one() -> None:
    a, y = Kept(), Kept()
    async with world(a=a, y=y, z=page) as w:
        changed = settings(
            w,
            3,
            PROXYBALANCE_TARGETS={
                "*.a.test": {"filter": {"name": "p0"}},
                "y.test": {"filter": {"name": "p1"}},
                "z.test": {"filter": {"name": "p1"}},
            },
        )
        hosts = [f"h{number}.a.test" for number in range(200)]
        origin = w.targets["a.test"]
        address = (origin.host, origin.port)
        w.proxies[0].resolve = {**(w.proxies[0].resolve or {}), **dict.fromkeys(hosts, address)}
        busy = ["http://y.test/", f"http://{hosts[0]}/"]
        async with crawling(busy, changed) as run:
            await until(lambda: len(w.paths("y.test")) == len(origin.requests) == 1)
            add(run, [Request(f"http://{host}/more") for host in hosts])
            add(run, requests("z.test", 20))
            await until(lambda: stat(run, "scheduler/enqueued") == 222)
            y.release.set()
            await until_fetched(run, "z.test", 20)
            assert len(origin.requests) == 1
            assert len(queue_of(run)) == 200
            a.release.set()


@pytest.mark.parametrize("wish", WISHES)
@crawl_test
async def test_what_waits_for_one_proxy_leaves_the_scheduler_only_to_be_sent(
    wish: dict[str, Any],
) -> None:
    async with world(a=page) as w:
        crawler = await crawl(requests("a.test", 60, wish), settings(w, 4))
        assert len(w.targets["a.test"].requests) == 60
        assert stat(crawler, "scheduler/dequeued") == stat(crawler, "scheduler/enqueued") == 60
        assert w.targets["a.test"].peak_in_flight == 1
        assert finish_reason(crawler) == "finished"


# What comes back by a way that nobody tells of


class Again:
    """A middleware behind ours that answers every page of a.test once with its request itself."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def process_response(self, request: Request, response: Response) -> Request | Response:
        if "//a.test/" in request.url and request.url not in self.seen:
            self.seen.add(request.url)
            return request
        return response


@pytest.mark.parametrize("at_once", [1, 8])
@crawl_test
async def test_the_same_request_sent_again_is_counted_once_while_others_bypass_the_scheduler(
    at_once: int,
) -> None:
    async with world(a=page, p=lambda _: refusal()) as w:
        changed = w.settings(
            PROXYBALANCE_MAX_IN_FLIGHT=4,
            PROXYBALANCE_PAUSE=600,
            PROXYBALANCE_ACQUIRE_TIMEOUT=600,
            CONCURRENT_REQUESTS=32,
            CONCURRENT_REQUESTS_PER_DOMAIN=at_once,
            DOWNLOADER_MIDDLEWARES={Again: 800},
        )
        async with crawling(["http://p.test/"], changed) as run:
            shared, downloader = context_of(run), run.engine.downloader
            await until(lambda: queue_of(run).held("p.test") == 1 and not downloader.active)
            bypassing = [
                asyncio.ensure_future(run.engine.download_async(Request(url)))
                for url in urls("p.test", 12)
            ]
            await until(lambda: len(downloader.active) == 12)
            add(run, [one.replace(dont_filter=True) for one in requests("a.test", 30)])
            await until_fetched(run, "a.test", 30)
            assert shared.pool.in_flight == 0
            assert len(shared.admissions) == 0
            assert len(downloader.active) == 12
        await asyncio.gather(*bypassing, return_exceptions=True)
        assert sorted(w.paths("a.test")) == sorted(paths(30) * 2)
        assert w.targets["a.test"].peak_in_flight <= at_once
        assert w.paths("p.test") == ["/"]
