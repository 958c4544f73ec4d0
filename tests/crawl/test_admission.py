"""``ProxyBalanceQueue`` by itself: nothing is lost where it is held. Its order is tested elsewhere.

The queues are real, in memory and on disk, and so are the engine and the downloader they look at.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginResponse
from scrapy import Request
from scrapy.crawler import CrawlerRunner
from scrapy.pqueues import DownloaderAwarePriorityQueue
from scrapy.squeues import (
    FifoMemoryQueue,
    LifoMemoryQueue,
    PickleFifoDiskQueue,
    PickleLifoDiskQueue,
)
from scrapy.utils.misc import build_from_crawler

from scrapy_proxybalance import ProxyBalanceMiddleware, ProxyBalanceQueue
from scrapy_proxybalance.core import Outcome

from ..core.helpers import acquire
from .crawling import BASE_SETTINGS, UrlsSpider, crawl, crawl_test

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrapy.crawler import Crawler

    from scrapy_proxybalance.plugin.context import CrawlContext

#: Scrapy before 2.19 leaves empty queue files that it opens again to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

HOSTS = ("a.test", "b.test", "c.test")

#: ``("push", host, priority, whether it is a start request)``, or one of the others alone.
Step: TypeAlias = "tuple[Any, ...]"

PUSHES = st.tuples(st.just("push"), st.sampled_from(HOSTS), st.integers(-2, 2), st.booleans())
STEPS = st.lists(
    st.one_of(PUSHES, PUSHES, st.sampled_from([("pop",), ("pop",), ("done",), ("reopen",)])),
    max_size=40,
)


@contextmanager
def opened(**changes: Any) -> Iterator[Crawler]:
    """Give a crawler with a spider and an engine, whose crawl is never started."""
    unlimited = {
        "PROXYBALANCE_PROXIES": ["http://proxy.test:8080"],
        "PROXYBALANCE_MAX_IN_FLIGHT": 1_000_000,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1_000_000,
    }
    crawler = CrawlerRunner({**BASE_SETTINGS, **unlimited, **changes}).create_crawler(UrlsSpider)
    crawler._apply_settings()
    crawler.spider = crawler._create_spider()
    crawler.engine = crawler._create_engine()
    try:
        yield crawler
    finally:
        crawler.engine.downloader.close()


def context_of(crawler: Crawler) -> CrawlContext:
    middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
    assert middleware is not None
    return middleware.context


def pin(crawler: Crawler, session: str = "s") -> None:
    """Give a session its proxy: of a new one no more than one request is let out."""
    pool, now = context_of(crawler).pool, context_of(crawler).clock()
    pool.release(acquire(pool, now, session=session), Outcome.SUCCESS, now)


def make_queue(
    crawler: Crawler,
    kind: type[DownloaderAwarePriorityQueue],
    directory: Path | None = None,
    state: Any = (),
) -> Any:
    """Build a queue as Scrapy's scheduler does: on disk if there is a ``directory``."""
    return build_from_crawler(
        kind,
        crawler,
        downstream_queue_cls=PickleLifoDiskQueue if directory else LifoMemoryQueue,
        key=str(directory) if directory else "",
        startprios=state or None,
        start_queue_cls=PickleFifoDiskQueue if directory else FifoMemoryQueue,
    )


class Twins:
    """Scrapy's queue and ours, fed the same, with a downloader that is busy with what they gave."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        self.kinds = (DownloaderAwarePriorityQueue, ProxyBalanceQueue)
        self.queues = [make_queue(crawler, kind) for kind in self.kinds]
        self.pushed = 0
        self.under_way: list[Request] = []

    def take(self, step: Step) -> None:
        """Do one step with both and compare."""
        getattr(self, step[0])(*step[1:])
        theirs, ours = self.queues
        assert len(ours) == len(theirs)

    def push(self, host: str, priority: int, start: bool) -> None:
        self.pushed += 1
        request = Request(f"http://{host}/{self.pushed}", priority=priority)
        if start:
            request.meta["is_start_request"] = True
        for queue in self.queues:
            queue.push(request.copy())

    def pop(self) -> Request | None:
        theirs, ours = (queue.pop() for queue in self.queues)
        assert (theirs and theirs.url) == (ours and ours.url)
        if ours is not None:
            downloader = self.crawler.engine.downloader
            downloader.active.add(ours)
            downloader._get_slot(ours)[1].active.add(ours)
            self.under_way.append(ours)
        return ours

    def done(self) -> None:
        """End the longest of what is under way."""
        if self.under_way:
            request, downloader = self.under_way.pop(0), self.crawler.engine.downloader
            downloader._get_slot(request)[1].active.remove(request)
            downloader.active.remove(request)

    def reopen(self) -> None:
        """Close both and open them again; in memory that loses all."""
        theirs, ours = (queue.close() for queue in self.queues)
        assert theirs == ours
        self.queues = [make_queue(self.crawler, kind) for kind in self.kinds]

    def close(self) -> None:
        while self.pop() is not None:
            pass
        for queue in self.queues:
            queue.close()


@given(steps=STEPS)
@settings(max_examples=50, deadline=None)
def test_without_the_middleware_it_is_scrapys_queue(steps: list[Step]) -> None:
    with opened(ADDONS={}) as crawler:
        twins = Twins(crawler)
        for step in steps:
            twins.take(step)
        twins.close()


@crawl_test
async def test_without_the_middleware_a_crawl_is_as_ever() -> None:
    async with (
        Origin(lambda request: OriginResponse(body=request.path.encode())) as origin,
        ForwardProxy("mine") as mine,
    ):
        requests = [
            Request(f"http://127.0.0.1:{origin.port}/{number}", meta={"proxy": mine.url()})
            for number in range(30)
        ]
        crawler = await crawl(
            requests, {"ADDONS": {}, "SCHEDULER_PRIORITY_QUEUE": ProxyBalanceQueue}
        )
        assert crawler.get_downloader_middleware(ProxyBalanceMiddleware) is None
        assert len(crawler.spider.responses) == len(origin.requests) == len(mine.requests) == 30
        assert crawler.stats.get_value("finish_reason") == "finished"


# What is held


def session_requests(count: int, host: str = "a.test") -> list[Request]:
    return [Request(f"http://{host}/{number}", meta={"session": "s"}) for number in range(count)]


def urls(requests: list[Request]) -> list[str]:
    return sorted(request.url for request in requests)


def pop_all(crawler: Crawler, queue: Any) -> list[Request]:
    """Take what there is as the engine does: each is in the downloader before the next is asked for."""
    popped = []
    while (request := queue.pop()) is not None:
        crawler.engine.downloader.active.add(request)
        popped.append(request)
    return popped


def land(crawler: Crawler, requests: list[Request]) -> None:
    """Have requests be over, as the middleware and the downloader take note of it."""
    for request in requests:
        context_of(crawler).untrack(request)
        crawler.engine.downloader.active.remove(request)


ONE_AT_A_TIME = {
    "PROXYBALANCE_PROXIES": ["http://one.test:8080", "http://two.test:8080"],
    "PROXYBALANCE_MAX_IN_FLIGHT": 1,
}


def test_len_counts_what_is_set_aside() -> None:
    with opened(**ONE_AT_A_TIME) as crawler:
        pool = context_of(crawler).pool
        queue = make_queue(crawler, ProxyBalanceQueue)
        acquire(pool, context_of(crawler).clock(), session="s")
        for request in session_requests(5):
            queue.push(request)
        assert queue.pop() is None
        assert sum(len(one) for one in queue.pqueues.values()) == 0
        assert len(queue) == 5
        queue.close()


def test_close_puts_back_what_was_set_aside_and_a_resumed_queue_has_it_all(tmp_path: Path) -> None:
    with opened(**ONE_AT_A_TIME) as crawler:
        context = context_of(crawler)
        acquire(context.pool, context.clock(), session="s")
        queue = make_queue(crawler, ProxyBalanceQueue, tmp_path)
        pushed = [*session_requests(5, "a.test"), *session_requests(3, "b.test")]
        for request in pushed:
            queue.push(request)
        assert queue.pop() is None
        state = queue.close()
        assert set(state) == {"a.test", "b.test"}

    with opened() as crawler:
        queue = make_queue(crawler, ProxyBalanceQueue, tmp_path, state)
        assert len(queue) == 8
        pin(crawler)
        resumed = pop_all(crawler, queue)
        assert urls(resumed) == urls(pushed)
        assert all(request.meta["session"] == "s" for request in resumed)
        queue.close()


def test_a_resumed_queue_of_which_a_hosts_part_is_empty_serves_the_others_at_once(
    tmp_path: Path,
) -> None:
    pushed = [Request(f"http://{host}/{number}") for host in HOSTS[1:] for number in range(2)]
    with opened() as crawler:
        queue = make_queue(crawler, ProxyBalanceQueue, tmp_path)
        for request in pushed:
            queue.push(request)
        state = queue.close()

    with opened() as crawler:
        # As after a crash: the state knows of requests that never came to the disk.
        state = {"a.test": [0, 1], **state}
        queue = make_queue(crawler, ProxyBalanceQueue, tmp_path, state)
        assert len(queue) == 4
        assert urls(pop_all(crawler, queue)) == urls(pushed)
        assert queue.close() == {}


def test_what_was_set_aside_goes_when_its_proxy_is_free() -> None:
    with opened(**ONE_AT_A_TIME) as crawler:
        context = context_of(crawler)
        queue = make_queue(crawler, ProxyBalanceQueue)
        attempt = acquire(context.pool, context.clock(), session="s")
        for request in session_requests(2):
            queue.push(request)
        assert queue.pop() is None
        context.pool.release(attempt, Outcome.SUCCESS, context.clock())
        assert queue.pop().url == "http://a.test/1"
        assert len(queue) == 1
        queue.close()


def test_len_does_not_count_what_waits_for_a_suspended_target(tmp_path: Path) -> None:
    with opened(**ONE_AT_A_TIME) as crawler:
        context = context_of(crawler)
        acquire(context.pool, context.clock(), session="s")
        queue = make_queue(crawler, ProxyBalanceQueue, tmp_path)
        aside, queued = session_requests(4), [Request(f"http://a.test/plain{n}") for n in range(3)]
        shared = Request("http://a.test/slot", meta={"download_slot": "shared"})
        other = Request("http://b.test/", meta={"download_slot": "shared"})
        for request in aside:
            queue.push(request)
        assert queue.pop() is None
        for request in [*queued, shared, other]:
            queue.push(request)
        assert len(queue) == 9
        context.pool.targets.suspend("a.test", context.clock(), "told so")
        assert len(queue) == 1
        assert urls(pop_all(crawler, queue)) == [other.url]
        state = queue.close()

    # It is still there for the next crawl.
    with opened() as crawler:
        pin(crawler)
        queue = make_queue(crawler, ProxyBalanceQueue, tmp_path, state)
        assert urls(pop_all(crawler, queue)) == urls([*aside, *queued, shared])
        queue.close()


def test_what_waits_for_a_dropped_target_is_counted_and_comes_out_to_be_told() -> None:
    with opened() as crawler:
        context = context_of(crawler)
        queue = make_queue(crawler, ProxyBalanceQueue)
        for request in session_requests(4):
            queue.push(request)
        context.drop("a.test")
        context.pool.targets.suspend("a.test", context.clock(), "told so")
        assert len(queue) == 4
        assert len(pop_all(crawler, queue)) == 4
        assert len(queue) == 0
        queue.close()


def test_a_paused_target_gives_nothing_and_is_counted() -> None:
    with opened() as crawler:
        context = context_of(crawler)
        queue = make_queue(crawler, ProxyBalanceQueue)
        for host in HOSTS:
            queue.push(Request(f"http://{host}/"))
        now = context.clock()
        context.pool.targets.refused("b.test", started_at=now, now=now, reason="429")
        assert urls(pop_all(crawler, queue)) == ["http://a.test/", "http://c.test/"]
        assert len(queue) == 1
        context._spider_closed()
        queue.close()


def test_a_slot_gives_no_more_than_its_concurrency() -> None:
    with opened(
        CONCURRENT_REQUESTS_PER_DOMAIN=3, DOWNLOAD_SLOTS={"b.test": {"concurrency": 1}}
    ) as crawler:
        pin(crawler)
        queue = make_queue(crawler, ProxyBalanceQueue)
        for host in HOSTS:
            for request in session_requests(5, host):
                queue.push(request)
        first = pop_all(crawler, queue)
        assert sorted(request.url[7] for request in first) == list("aaabccc")
        for request in first:
            crawler.engine.downloader._get_slot(request)
        assert pop_all(crawler, queue) == []
        land(crawler, first)
        assert sorted(request.url[7] for request in pop_all(crawler, queue)) == list("aabcc")
        queue.close()


def test_no_more_is_given_than_the_pool_can_carry() -> None:
    with opened(**ONE_AT_A_TIME) as crawler:
        queue = make_queue(crawler, ProxyBalanceQueue)
        for number in range(5):
            queue.push(Request(f"http://a.test/{number}"))
        # None has its attempt yet, but two will take one each.
        first, second = pop_all(crawler, queue)
        assert len(queue) == 3
        land(crawler, [first])
        assert len(pop_all(crawler, queue)) == 1
        # One that is gone without a word is found out.
        crawler.engine.downloader.active.remove(second)
        assert len(pop_all(crawler, queue)) == 1
        assert len(queue) == 1
        queue.close()
