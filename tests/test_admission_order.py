"""ProxyBalanceQueue beside Scrapy's own queue: the same order, nothing lost, nothing twice.

With nothing held the order is the same, request by request; and whatever is held comes out once.
Requests of one download slot that go to several hosts are kept in a queue per host, which is a
deliberate difference: so in the comparison every slot has one host.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from scrapy import Request, Spider
from scrapy.crawler import Crawler, CrawlerRunner
from scrapy.pqueues import DownloaderAwarePriorityQueue, DownloaderInterface
from scrapy.squeues import (
    FifoMemoryQueue,
    LifoMemoryQueue,
    PickleFifoDiskQueue,
    PickleLifoDiskQueue,
)
from scrapy.utils.misc import build_from_crawler

from scrapy_proxybalance import ProxyBalanceMiddleware, ProxyBalanceQueue
from scrapy_proxybalance.core import Blocked, Outcome, Verdict, Want
from scrapy_proxybalance.plugin import request_meta

from .crawl.crawling import BASE_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scrapy_proxybalance.http.answer import HttpAnswer
    from scrapy_proxybalance.plugin.context import CrawlContext


MEMORY = (FifoMemoryQueue, LifoMemoryQueue)
DISK = (PickleFifoDiskQueue, PickleLifoDiskQueue)
#: The oldest Scrapy that we support does not go round the slots, and when it opens its queues on disk
#: again it leaves files of empty start queues open, and trips over them the next time.
OLDEST = not hasattr(DownloaderAwarePriorityQueue, "_next_slot")
#: Large enough for nothing to be held.
SETTINGS: dict[str, Any] = {
    **BASE_SETTINGS,
    "CONCURRENT_REQUESTS": 100_000,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 100_000,
    "PROXYBALANCE_PROXIES": ["http://proxy.test:8080"],
    "PROXYBALANCE_MAX_IN_FLIGHT": 100_000,
}
HOSTS = ("a.test", "b.test", "b.test.example", "c.test")


class Shown(DownloaderInterface):
    """Shows the one slot whose turn it is: the next by name of those with the least under way."""

    last = ""

    def stats(self, possible_slots: Iterable[str]) -> list[tuple[int, str]]:
        stats = super().stats(possible_slots)
        if not stats:
            return []
        active, _, self.last = min((active, slot <= self.last, slot) for active, slot in stats)
        return [(active, self.last)]


class ScrapysQueue(DownloaderAwarePriorityQueue):
    """Scrapy's queue; where it does not go round the slots yet, that is done here."""

    def __init__(self, crawler: Crawler, *args: Any, **kwargs: Any) -> None:
        super().__init__(crawler, *args, **kwargs)
        if OLDEST:
            self._downloader_interface = Shown(crawler)


class Driven(ProxyBalanceMiddleware):
    """Equal steps come to equal things: nothing is by chance, or by the clock."""

    @classmethod
    def from_crawler(cls, crawler: Any) -> Driven:
        return cls(crawler, clock=lambda: crawler.driver.now, rng=Random(1))


MIDDLEWARES: dict[Any, int | None] = {Driven: 740, ProxyBalanceMiddleware: None}


class Crawl:
    """A crawl that is never started: its queues and its downloader are driven by hand.

    Time is a number here, and the engine does not wake of itself: ``woken_at`` is when it would.
    """

    def __init__(self, **changes: Any) -> None:
        crawler = CrawlerRunner(
            {**SETTINGS, "DOWNLOADER_MIDDLEWARES": MIDDLEWARES, **changes}
        ).create_crawler(Spider)
        crawler._apply_settings()
        crawler.spider = Spider.from_crawler(crawler, name="never")
        self.now = 1000.0
        cast("Any", crawler).driver = self
        crawler.engine = crawler._create_engine()
        self.crawler = crawler
        self.downloader: Any = cast("Any", crawler.engine).downloader
        middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        assert middleware is not None
        self.context: CrawlContext = middleware.context
        self.woken_at: float | None = None
        self.context.wake_engine_at = self._wake_at  # type: ignore[method-assign]
        self.under_way: list[Request] = []

    def _wake_at(self, when: float) -> None:
        self.woken_at = when

    def queue(
        self,
        kind: type[DownloaderAwarePriorityQueue],
        downstream: type,
        key: str = "",
        state: dict[str, list[int]] | None = None,
    ) -> DownloaderAwarePriorityQueue:
        """Make a queue as the scheduler does, start requests in a queue of their own."""
        on_disk = None if OLDEST else PickleFifoDiskQueue
        return build_from_crawler(
            kind,
            self.crawler,
            downstream_queue_cls=downstream,
            key=key,
            startprios=state,
            start_queue_cls=FifoMemoryQueue if downstream in MEMORY else on_disk,
        )

    def begin(self, request: Request) -> None:
        """Do as the engine and the downloader do with a request that was popped."""
        self.downloader.active.add(request)
        self.downloader._get_slot(request)[1].active.add(request)
        self.under_way.append(request)

    def send(self, request: Request) -> None:
        """Do as the middleware does: start an attempt, if it can start."""
        if self.context.attempt_of(request) is not None:
            return
        retry = request_meta.is_retry(request)
        want = Want(
            target=self.context.target_of(request), session=request.meta.get("session"), retry=retry
        )
        attempt = self.context.dispatcher.start(want, self.now)
        if isinstance(attempt, Blocked):
            return
        if retry:
            self.context.retries.went(request, self.now)
        self.context.track(request, attempt, self.context.slot_of(request), waited=0.0)

    def end(
        self,
        request: Request,
        outcome: Outcome = Outcome.SUCCESS,
        answer: HttpAnswer | None = None,
    ) -> None:
        """Do as the middleware and the downloader do with a request that is over."""
        self.under_way.remove(request)
        attempt = self.context.untrack(request)
        if attempt is not None:
            verdict = Verdict(outcome=outcome)
            self.context.dispatcher.finish(attempt, verdict, self.now, answer=answer, compare=False)
            self.context.rouse()
        self.downloader._get_slot(request)[1].active.remove(request)
        self.downloader.active.remove(request)

    def refuse(self, target: str, wait: float | None = None) -> None:
        """Pause a target."""
        self.context.pool.targets.refused(
            target, started_at=self.now, now=self.now, reason="429", wait=wait
        )

    def close(self) -> None:
        self.downloader.close()


@pytest.fixture
def crawl() -> Iterator[Crawl]:
    made = Crawl()
    yield made
    made.close()


def numbered(number: int, host: str, priority: int = 0, **changes: Any) -> Request:
    return Request(f"http://{host}/{number}", priority=priority, **changes)


def url_of(request: Request | None) -> str | None:
    return request.url if request is not None else None


def pop_all(crawl: Crawl, queue: DownloaderAwarePriorityQueue) -> list[str]:
    """Pop while there is something to be had; return what it was, without scheme."""
    popped = []
    while (request := queue.pop()) is not None:
        crawl.begin(request)
        if request_meta.is_retry(request):
            crawl.send(request)  # which is when the budget is charged
        popped.append(request.url.removeprefix("http://"))
    return popped


# The same order


class Compared(RuleBasedStateMachine):
    """Both queues get the same; their requests are under way for as long."""

    crawl: Crawl

    @initialize(downstream=st.sampled_from(MEMORY + DISK))
    def begin(self, downstream: type) -> None:
        self.directory = mkdtemp()
        self.downstream = downstream
        self.crawl = Crawl()
        self.ours = self.open(ProxyBalanceQueue, None)
        self.scrapys = self.open(ScrapysQueue, None)
        self.count = 0

    def open(
        self, kind: type[DownloaderAwarePriorityQueue], state: Any
    ) -> DownloaderAwarePriorityQueue:
        on_disk = self.downstream in DISK
        key = f"{self.directory}/{kind.__name__}" if on_disk else ""
        return self.crawl.queue(kind, self.downstream, key, state)

    @rule(
        hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=6),
        priority=st.sampled_from([0, 0, 0, 1, -1, 5]),
        is_start=st.booleans(),
    )
    def push(self, hosts: list[str], priority: int, is_start: bool) -> None:
        for host in hosts:
            self.count += 1
            for queue in (self.ours, self.scrapys):
                meta = {"is_start_request": True} if is_start else {}
                queue.push(numbered(self.count, host, priority, meta=meta))

    @rule(times=st.integers(1, 6))
    def pop(self, times: int) -> None:
        for _ in range(times):
            request = self.ours.pop()
            assert url_of(request) == url_of(self.scrapys.pop())
            assert len(self.ours) == len(self.scrapys)
            if request is not None:
                self.crawl.begin(request)

    @precondition(lambda self: self.crawl.under_way)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.crawl.end(data.draw(st.sampled_from(self.crawl.under_way)))

    @rule()
    def close_and_open_again(self) -> None:
        states = [json.loads(json.dumps(queue.close())) for queue in (self.ours, self.scrapys)]
        assert {slot: sorted(prios) for slot, prios in states[0].items()} == {
            slot: sorted(prios) for slot, prios in states[1].items()
        }
        if self.downstream in MEMORY:
            states = [None, None]
        self.ours = self.open(ProxyBalanceQueue, states[0])
        self.scrapys = self.open(ScrapysQueue, states[1])
        assert len(self.ours) == len(self.scrapys)

    def teardown(self) -> None:
        if not hasattr(self, "count"):
            return
        try:
            self.pop(len(self.scrapys) + 1)
            assert len(self.ours) == 0
        finally:
            self.ours.close()
            self.scrapys.close()
            self.crawl.close()
            rmtree(self.directory)


# Nothing lost, nothing twice

LIMITED: dict[str, Any] = {
    "CONCURRENT_REQUESTS_PER_DOMAIN": 3,
    "PROXYBALANCE_PROXIES": ["http://one.test:8080", "http://two.test:8080"],
    "PROXYBALANCE_MAX_IN_FLIGHT": 2,
    "PROXYBALANCE_PAUSE": 60,
    "PROXYBALANCE_MAX_PAUSES": 1000,
    "PROXYBALANCE_RETRY_DELAY": 2,
    "PROXYBALANCE_RETRY_BUDGET_MIN": 0.5,
    "PROXYBALANCE_TARGETS": {
        "c.test": {"in_flight": 1},
        ".d.test": {"rate": "1/s", "in_flight": 2},
    },
}
HELD_HOSTS = ("a.test", "b.test", "c.test", "one.d.test", "two.d.test")


class Held(RuleBasedStateMachine):
    """Targets pause, slots are full, budgets are used up; at last all has come out once."""

    crawl: Crawl

    @initialize(downstream=st.sampled_from(DISK))
    def begin(self, downstream: type) -> None:
        self.directory = mkdtemp()
        self.downstream = downstream
        self.crawl = Crawl(**LIMITED)
        self.queue = self.crawl.queue(ProxyBalanceQueue, downstream, self.directory)
        self.pushed = 0
        self.popped: Counter[str] = Counter()

    @rule(
        hosts=st.lists(st.sampled_from(HELD_HOSTS), min_size=1, max_size=6),
        priority=st.integers(-1, 1),
        session=st.none() | st.sampled_from(["s1", "s2"]),
        slot=st.none() | st.just("shared"),
        retry=st.sampled_from([None, None, 1, 2, 9]),
    )
    def push(
        self,
        hosts: list[str],
        priority: int,
        session: str | None,
        slot: str | None,
        retry: int | None,
    ) -> None:
        meta = {"session": session, "download_slot": slot, "retry_times": retry}
        meta = {key: value for key, value in meta.items() if value is not None}
        for host in hosts:
            self.pushed += 1
            self.queue.push(numbered(self.pushed, host, priority, meta=dict(meta)))

    @rule(times=st.integers(1, 8))
    def pop(self, times: int) -> None:
        for _ in range(times):
            self.pop_one()

    def pop_one(self) -> bool:
        self.crawl.woken_at = None
        may_retry = self.crawl.context.retries.budget.room(self.crawl.now) > 0
        request = self.queue.pop()
        if request is None:
            return False
        assert may_retry or "retry_times" not in request.meta, "a retry that had to wait"
        target = self.crawl.context.target_of(request)
        targets = self.crawl.context.pool.targets
        on_the_way = self.crawl.context.admissions.on_the_way_to(target)
        assert on_the_way <= targets.available(target, self.crawl.now), f"{target} is held"
        self.crawl.begin(request)
        self.popped[request.url] += 1
        return True

    @precondition(lambda self: self.crawl.under_way)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.crawl.under_way))
        target = self.crawl.context.target_of(request)
        is_sent = self.crawl.context.attempt_of(request) is not None
        if not is_sent and self.crawl.context.pool.targets.may_send(target, self.crawl.now):
            self.crawl.send(request)

    @precondition(lambda self: self.crawl.under_way)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.SUCCESS, Outcome.IGNORED]))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        self.crawl.end(data.draw(st.sampled_from(self.crawl.under_way)), outcome)

    @rule(host=st.sampled_from(HELD_HOSTS), wait=st.none() | st.just(5))
    def refuse(self, host: str, wait: float | None) -> None:
        self.crawl.refuse(self.crawl.context.pool.rules.target_of(host), wait)

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.crawl.now += seconds

    @rule()
    def close_and_open_again(self) -> None:
        waiting = len(self.queue)
        state = json.loads(json.dumps(self.queue.close()))
        self.queue = self.crawl.queue(ProxyBalanceQueue, self.downstream, self.directory, state)
        assert len(self.queue) == waiting

    def teardown(self) -> None:
        if not hasattr(self, "popped"):
            return
        try:
            self.empty()
        finally:
            self.queue.close()
            self.crawl.close()
            rmtree(self.directory)

    def empty(self) -> None:
        """Do as a crawl that nothing disturbs any more: all has to come out."""
        crawl = self.crawl
        while sum(self.popped.values()) < self.pushed:
            assert len(self.queue) == self.pushed - sum(self.popped.values())
            if self.pop_one():
                continue
            if crawl.under_way:
                crawl.end(crawl.under_way[0])
                continue
            assert crawl.woken_at is not None, "the engine would sleep for ever"
            crawl.now = max(crawl.now, crawl.woken_at)
        assert set(self.popped.values()) <= {1}
        assert self.queue.pop() is None
        assert len(self.queue) == 0


TestTheSameOrder = Compared.TestCase
TestHeld = Held.TestCase
for case in (TestTheSameOrder, TestHeld):
    case.settings = settings(
        max_examples=60,
        stateful_step_count=30,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow],
    )
del case


# One by one


@pytest.mark.parametrize("downstream", MEMORY + DISK)
def test_priorities_hold_among_the_hosts_of_one_slot(
    crawl: Crawl, downstream: type, tmp_path: Any
) -> None:
    queue = crawl.queue(ProxyBalanceQueue, downstream, str(tmp_path))
    meta = {"download_slot": "shared"}
    for number, priority in enumerate([0, 2, 1, 2, 0, -1]):
        host = HOSTS[number % 2]
        queue.push(numbered(number, host, priority, meta=dict(meta)))
    popped = pop_all(crawl, queue)
    assert sorted(popped[:2]) == ["b.test/1", "b.test/3"]
    assert popped[2] == "a.test/2"
    assert sorted(popped[3:5]) == ["a.test/0", "a.test/4"]
    assert popped[5:] == ["b.test/5"]
    queue.close()


def test_hosts_of_one_slot_go_in_turn(crawl: Crawl) -> None:
    queue = crawl.queue(ProxyBalanceQueue, FifoMemoryQueue)
    for number in range(6):
        host = "a.test" if number < 3 else "b.test"
        queue.push(numbered(number, host, meta={"download_slot": "shared"}))
    assert [int(url[-1]) for url in pop_all(crawl, queue)] == [0, 3, 1, 4, 2, 5]


def test_requests_that_go_over_no_network_have_their_turn_too(crawl: Crawl) -> None:
    queue = crawl.queue(ProxyBalanceQueue, FifoMemoryQueue)
    for url in ("http://a.test/", "data:,1", "http://b.test/", "data:,2"):
        queue.push(Request(url))
    popped = [url_of(queue.pop()) for _ in range(5)]
    assert None not in popped[:4]
    assert popped[4] is None


def test_a_paused_target_holds_its_own_requests_and_no_others(crawl: Crawl) -> None:
    queue = crawl.queue(ProxyBalanceQueue, FifoMemoryQueue)
    for number, host in enumerate(HOSTS):
        queue.push(numbered(number, host))
    crawl.refuse("a.test", wait=30)
    assert pop_all(crawl, queue) == ["b.test/1", "b.test.example/2", "c.test/3"]
    assert len(queue) == 1
    assert crawl.context.held("a.test") == 1
    assert crawl.woken_at is not None
    assert crawl.now + 30 <= crawl.woken_at <= crawl.now + 33
    crawl.now = crawl.woken_at
    assert pop_all(crawl, queue) == ["a.test/0"]


def test_a_paused_target_with_requests_on_the_way_holds_the_rest(crawl: Crawl) -> None:
    queue = crawl.queue(ProxyBalanceQueue, FifoMemoryQueue)
    for number in range(4):
        queue.push(numbered(number, "a.test"))
    on_the_way = [queue.pop() for _ in range(3)]
    for request in on_the_way:
        assert request is not None
        crawl.begin(request)
    crawl.refuse("a.test", wait=30)
    assert queue.pop() is None
    crawl.end(crawl.under_way[0])
    assert queue.pop() is None  # two are still out, and none may go
    crawl.now += 40
    for request in list(crawl.under_way):
        crawl.end(request)
    assert url_of(queue.pop()) == "http://a.test/3"


def test_after_a_pause_one_request_comes_out_and_the_others_wait_for_its_answer(
    crawl: Crawl,
) -> None:
    queue = crawl.queue(ProxyBalanceQueue, FifoMemoryQueue)
    for number in range(3):
        queue.push(numbered(number, "a.test"))
    crawl.refuse("a.test", wait=30)
    assert queue.pop() is None
    crawl.now += 40
    assert pop_all(crawl, queue) == ["a.test/0"]
    crawl.send(crawl.under_way[0])
    assert pop_all(crawl, queue) == []
    crawl.end(crawl.under_way[0])
    crawl.now += 60  # its traffic grows back slowly
    assert pop_all(crawl, queue) == ["a.test/1"]


def busy_session(crawl: Crawl, queue: DownloaderAwarePriorityQueue) -> None:
    """Send as many requests of a session as its proxy takes."""
    for number in range(2):
        queue.push(numbered(100 + number, "busy.test", meta={"session": "s"}))
    for _ in range(2):
        request = queue.pop()
        assert request is not None
        crawl.begin(request)
        crawl.send(request)


def test_what_was_set_aside_is_put_back_when_the_queue_is_closed(tmp_path: Any) -> None:
    crawl = Crawl(**LIMITED)
    queue = crawl.queue(ProxyBalanceQueue, PickleFifoDiskQueue, str(tmp_path))
    busy_session(crawl, queue)
    for number in range(3):
        queue.push(numbered(number, "a.test", meta={"session": "s"}))
    assert queue.pop() is None
    assert len(queue) == 3
    state = json.loads(json.dumps(queue.close()))
    queue = crawl.queue(ProxyBalanceQueue, PickleFifoDiskQueue, str(tmp_path), state)
    assert len(queue) == 3
    crawl.end(crawl.under_way[0])
    assert url_of(queue.pop()) is not None
    queue.close()
    crawl.close()


def test_a_request_that_is_set_aside_leaves_the_room_of_its_target_to_others() -> None:
    crawl = Crawl(**{**LIMITED, "PROXYBALANCE_TARGETS": {".d.test": {"in_flight": 1}}})
    queue = crawl.queue(ProxyBalanceQueue, FifoMemoryQueue)
    busy_session(crawl, queue)
    queue.push(numbered(0, "zero.d.test"))
    first = queue.pop()
    assert first is not None
    crawl.begin(first)
    queue.push(numbered(1, "one.d.test", meta={"session": "s"}))
    queue.push(numbered(2, "two.d.test"))
    assert queue.pop() is None  # the target has no room
    crawl.end(first)
    assert url_of(queue.pop()) == "http://two.d.test/2"
    crawl.close()


def test_requests_to_a_suspended_target_stay_and_do_not_count(crawl: Crawl, tmp_path: Any) -> None:
    queue = crawl.queue(ProxyBalanceQueue, PickleFifoDiskQueue, str(tmp_path))
    queue.push(numbered(1, "a.test"))
    crawl.context.pool.targets.suspend("a.test", crawl.now, "enough")
    assert queue.pop() is None
    assert len(queue) == 0
    assert crawl.context.held("a.test") == 1
    state = json.loads(json.dumps(queue.close()))
    assert len(queue) == 0
    assert crawl.context.held("a.test") == 1
    again = Crawl()
    queue = again.queue(ProxyBalanceQueue, PickleFifoDiskQueue, str(tmp_path), state)
    assert pop_all(again, queue) == ["a.test/1"]
    queue.close()
    again.close()
