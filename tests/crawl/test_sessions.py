"""Sessions and filters in real crawls: which proxy saw which request, and who had to wait for whom."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals
from scrapy.utils.httpobj import urlparse_cached

from scrapy_proxybalance import ProxyBalanceMiddleware, ProxyBalanceQueue
from scrapy_proxybalance.core import ConfigurationError, NoProxyMatchesError, SessionLostError
from scrapy_proxybalance.core.events import (
    CooldownStarted,
    Event,
    SessionReassigned,
    SessionStarted,
)

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from loopback.origin import Handler
    from scrapy.crawler import Crawler
    from twisted.python.failure import Failure

_EventT = TypeVar("_EventT", bound=Event)

#: No test comes near it: a crawl that hangs is closed and fails on its finish reason.
_HANGING = 120

#: Scrapy before 2.19 leaves empty queue files of a resumed crawl to the garbage collector.
resumes_a_crawl = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


class Events:
    """The pool's events of a crawl: connected to it with ``prepare=``."""

    def __init__(self, react: Callable[[Event], None] | None = None) -> None:
        self.seen: list[Event] = []
        self._react = react

    def __call__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        crawler.signals.connect(self._opened, signal=signals.spider_opened)

    def _opened(self) -> None:
        middleware = self._crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        assert middleware is not None
        middleware.context.pool.events.subscribe(self._take)

    def _take(self, event: Event) -> None:
        self.seen.append(event)
        if self._react is not None:
            self._react(event)

    def of(self, kind: type[_EventT]) -> list[_EventT]:
        return [event for event in self.seen if isinstance(event, kind)]


@dataclass
class World:
    """A target ``site.test`` and the proxies that lead to it."""

    origin: Origin
    proxies: dict[str, ForwardProxy] = field(default_factory=dict)

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "PROXYBALANCE_PROXIES": [
                {"url": proxy.url(), "name": name, "country": name[:2]}
                for name, proxy in self.proxies.items()
            ],
            "CLOSESPIDER_TIMEOUT": _HANGING,
            **changes,
        }

    def through(self) -> dict[str, list[str]]:
        """Return the paths that the origin was asked for through each proxy."""
        paths: dict[str, list[str]] = {name: [] for name in self.proxies}
        for request in self.origin.requests:
            paths[str(request.via).removeprefix("1.1 ")].append(request.path)
        return paths

    def used(self) -> list[str]:
        """Return which proxies have sent anything to the origin."""
        return [name for name, paths in self.through().items() if paths]


@asynccontextmanager
async def world(
    handler: Handler = page, names: Iterable[str] = ("de-1", "fr-1", "de-2")
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(handler))
        made = World(origin)
        for name in names:
            proxy = ForwardProxy(name, resolve={"site.test": (origin.host, origin.port)})
            made.proxies[name] = await stack.enter_async_context(proxy)
        yield made


def requests(count: int, prefix: str = "", **meta: Any) -> list[Request]:
    return [Request(f"http://site.test/{prefix}{n}", meta=dict(meta)) for n in range(count)]


def paths(count: int, prefix: str = "") -> list[str]:
    return [f"/{prefix}{number}" for number in range(count)]


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition to hold; fail if that takes impossibly long."""
    give_up = time.monotonic() + _HANGING
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        await asyncio.sleep(0.002)


def fetched(*crawlers: Crawler) -> list[str]:
    return sorted(
        urlparse_cached(response).path
        for crawler in crawlers
        for response in crawler.spider.responses
    )


def finish_reason(crawler: Crawler) -> str:
    return str(crawler.stats.get_value("finish_reason"))


class DiesAfter:
    """Serves so many requests of a kind, then has the proxy of the last one refuse connections."""

    def __init__(self, served: int, kind: str = "/") -> None:
        self.served = served
        self.kind = kind
        self.proxies: dict[str, ForwardProxy] = {}
        self.dead: ForwardProxy | None = None

    def __call__(self, request: OriginRequest) -> OriginResponse:
        self.served -= request.path.startswith(self.kind)
        if self.served == 0 and self.dead is None:
            self.dead = self.proxies[request.headers["via"].removeprefix("1.1 ")]
            self.dead.behaviour = Behaviour.REFUSE
        return page(request)


# One session, one proxy


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("session", {}),
        ("cookiejar", {"PROXYBALANCE_SESSION_META_KEY": "cookiejar"}),
        (
            "session",
            {"PROXYBALANCE_STRATEGY": "round_robin", "PROXYBALANCE_MAX_IN_FLIGHT": 1},
        ),
    ],
    ids=["default key", "own key", "round robin, one at a time"],
)
@crawl_test
async def test_a_session_of_50_requests_uses_one_proxy(key: str, settings: dict[str, Any]) -> None:
    async with world() as w:
        crawler = await crawl(requests(50, **{key: "a"}), w.settings(**settings))
        assert fetched(crawler) == sorted(paths(50))
        seen = sorted(len(proxy.requests) for proxy in w.proxies.values())
        assert seen == [0, 0, 50]
        stats = proxybalance_stats(crawler)
        assert stats["sessions/started"] == 1
        assert "sessions/reassigned" not in stats
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_only_the_key_that_is_set_makes_a_session() -> None:
    async with world() as w:
        settings = w.settings(
            PROXYBALANCE_SESSION_META_KEY="cookiejar", PROXYBALANCE_STRATEGY="round_robin"
        )
        crawler = await crawl(requests(12, session="a"), settings)
        assert len(w.used()) == 3
        assert "sessions/started" not in proxybalance_stats(crawler)


@crawl_test
async def test_sessions_are_spread_over_the_proxies_and_none_of_them_is_split() -> None:
    async with world() as w:
        everything = [r for n in range(30) for r in requests(2, f"{n}-", session=n)]
        crawler = await crawl(everything, w.settings())
        assert len(fetched(crawler)) == 60
        assert len(w.used()) == 3
        homes = Counter(
            session
            for paths_seen in w.through().values()
            for session in {path.partition("-")[0] for path in paths_seen}
        )
        assert homes == {f"/{n}": 1 for n in range(30)}
        assert proxybalance_stats(crawler)["sessions/started"] == 30


@crawl_test
async def test_session_end_frees_the_session_for_another_proxy() -> None:
    async with world() as w:
        settings = w.settings(CONCURRENT_REQUESTS=1, PROXYBALANCE_STRATEGY="round_robin")
        crawler = await crawl(requests(12, session="a", session_end=True), settings)
        assert [len(paths_seen) for paths_seen in w.through().values()] == [4, 4, 4]
        stats = proxybalance_stats(crawler)
        assert stats["sessions/started"] == 12
        assert stats["sessions/ended/ended"] == 12
        assert "sessions/reassigned" not in stats


@crawl_test
async def test_session_end_takes_effect_after_its_own_response_only() -> None:
    async with world() as w:
        settings = w.settings(CONCURRENT_REQUESTS=1, PROXYBALANCE_STRATEGY="round_robin")
        last = Request("http://site.test/last", meta={"session": "a", "session_end": True})
        await crawl([*requests(10, session="a"), last], settings)
        assert w.through() == {"de-1": [*paths(10), "/last"], "fr-1": [], "de-2": []}


# A session's proxy dies


@crawl_test
async def test_reassign_moves_the_session_once_and_says_so() -> None:
    dies = DiesAfter(5)
    events = Events()
    async with world(dies) as w:
        dies.proxies = w.proxies
        settings = w.settings(CONCURRENT_REQUESTS=1, PROXYBALANCE_FAILURE_THRESHOLD=1)
        crawler = await crawl(requests(20, session="a"), settings, prepare=events)
        assert fetched(crawler) == sorted(paths(20))
        assert dies.dead is not None
        assert len(w.through()[dies.dead.name]) == 5
        assert sorted(len(paths_seen) for paths_seen in w.through().values()) == [0, 5, 15]
        assert proxybalance_stats(crawler)["sessions/reassigned"] == 1
        [moved] = events.of(SessionReassigned)
        assert (moved.session, moved.lost) == ("a", dies.dead.name)
        assert moved.proxy.name in w.used()
        assert len(events.of(SessionStarted)) == 1
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_fail_tells_the_errback_of_each_request_of_the_session_and_of_no_other() -> None:
    dies = DiesAfter(5)
    events = Events()
    async with world(dies) as w:
        dies.proxies = w.proxies
        settings = w.settings(
            CONCURRENT_REQUESTS=1,
            PROXYBALANCE_FAILURE_THRESHOLD=1,
            PROXYBALANCE_SESSION_LOST="fail",
        )
        everything = [
            *requests(10, session="a"),
            *requests(10, "b", session="b"),
            *requests(10, "c"),
        ]
        crawler = await crawl(everything, settings, prepare=events)
        assert dies.dead is not None
        failures = crawler.spider.failures
        assert all(failure.check(SessionLostError) for failure in failures)
        message = f"session 'a' lost its proxy {dies.dead.name}"
        assert {str(failure.value) for failure in failures} == {message}
        lost = sorted(urlparse_cached(failure.request).path for failure in failures)
        assert lost == sorted(paths(10)[5:])
        assert fetched(crawler) == sorted([*paths(5), *paths(10, "b"), *paths(10, "c")])
        assert events.of(SessionReassigned) == []
        assert [started.session for started in events.of(SessionStarted)] == ["a", "b"]
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_fail_goes_on_when_the_proxy_has_come_back() -> None:
    dies = DiesAfter(5)
    failed: list[SessionLostError] = []

    class Patient(UrlsSpider):
        """Asks again for what failed, as long as it takes."""

        def keep_failure(self, failure: Failure) -> Request:  # type: ignore[override]
            assert failure.check(SessionLostError)
            failed.append(failure.value)
            assert dies.dead is not None
            dies.dead.behaviour = Behaviour.HEALTHY
            return failure.request.replace(dont_filter=True)

    async with world(dies) as w:
        dies.proxies = w.proxies
        settings = w.settings(
            CONCURRENT_REQUESTS=1,
            PROXYBALANCE_FAILURE_THRESHOLD=1,
            PROXYBALANCE_SESSION_LOST="fail",
            PROXYBALANCE_COOLDOWN=0.3,
        )
        crawler = await crawl(requests(10, session="a"), settings, spider=Patient)
        assert failed
        assert fetched(crawler) == sorted(paths(10))
        assert sorted(len(paths_seen) for paths_seen in w.through().values()) == [0, 0, 10]
        assert proxybalance_stats(crawler)["sessions/started"] == 1


@crawl_test
async def test_wait_goes_on_through_the_same_proxy_after_its_cooldown() -> None:
    dies = DiesAfter(5)
    cooled_from: list[float] = []

    def revive(event: Event) -> None:
        if isinstance(event, CooldownStarted):
            cooled_from.append(time.monotonic())
            assert dies.dead is not None
            dies.dead.behaviour = Behaviour.HEALTHY

    events = Events(revive)
    async with world(dies) as w:
        dies.proxies = w.proxies
        settings = w.settings(
            CONCURRENT_REQUESTS=1,
            PROXYBALANCE_FAILURE_THRESHOLD=1,
            PROXYBALANCE_SESSION_LOST="wait",
            PROXYBALANCE_COOLDOWN=0.4,
        )
        crawler = await crawl(requests(20, session="a"), settings, prepare=events)
        assert fetched(crawler) == sorted(paths(20))
        assert sorted(len(paths_seen) for paths_seen in w.through().values()) == [0, 0, 20]
        [cooled_at] = cooled_from
        # A cooldown is jittered by a tenth.
        assert w.origin.requests[5].time >= cooled_at + 0.36
        stats = proxybalance_stats(crawler)
        assert stats["sessions/started"] == 1
        assert stats["cooldowns"] == stats["probes"] == stats["recoveries"] == 1
        assert "sessions/reassigned" not in stats
        assert finish_reason(crawler) == "finished"


@crawl_test
async def test_a_session_that_waits_for_its_proxy_to_come_back_holds_nobody_else() -> None:
    dies = DiesAfter(1, "/session")
    async with world(dies) as w:
        dies.proxies = w.proxies
        first = requests(5, "session", session="a")
        settings = w.settings(
            PROXYBALANCE_FAILURE_THRESHOLD=1,
            PROXYBALANCE_SESSION_LOST="wait",
            PROXYBALANCE_MAX_IN_FLIGHT=1,
            PROXYBALANCE_COOLDOWN=500,
            CLOSESPIDER_PAGECOUNT=31,
        )
        crawler = await crawl([*first, *requests(30)], settings)
        assert finish_reason(crawler) == "closespider_pagecount"
        assert dies.dead is not None
        assert set(paths(30)) <= set(fetched(crawler))
        assert w.through()[dies.dead.name] == ["/session0"]


# A session's proxy is busy


class Keeps:
    """Keeps the requests of ``/session...`` until it is told to let them go."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.others = 0

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        if request.path.startswith("/session"):
            await self.release.wait()
        else:
            self.others += 1
        return page(request)


@crawl_test
async def test_requests_held_for_a_busy_proxy_hold_nobody_else() -> None:
    keeps = Keeps()

    async def origin(request: OriginRequest) -> OriginResponse:
        response = await keeps(request) if keeps.others < 30 else page(request)
        if keeps.others == 30:
            keeps.release.set()
        return response

    async with world(origin) as w:
        first = requests(40, "session", session="a")
        settings = w.settings(CONCURRENT_REQUESTS=3, PROXYBALANCE_MAX_IN_FLIGHT=1)
        crawler = await crawl([*first, *requests(30)], settings)
        assert fetched(crawler) == sorted(paths(40, "session") + paths(30))
        assert finish_reason(crawler) == "finished"
        order = [request.path for request in w.origin.requests]
        # One of the session was under way all the while and the rest came when that was over.
        assert sorted(order[:31]) == sorted(["/session0", *paths(30)])
        homes = [name for name, seen in w.through().items() if "/session0" in seen]
        assert homes == [name for name, seen in w.through().items() if "/session39" in seen]


@resumes_a_crawl
@crawl_test
async def test_closing_in_the_middle_loses_nothing_that_was_set_aside(tmp_path: Path) -> None:
    keeps = Keeps()
    async with world(keeps) as w:
        everything = [*requests(40, "session", session="a"), *requests(10)]
        settings = w.settings(JOBDIR=str(tmp_path), PROXYBALANCE_MAX_IN_FLIGHT=1)
        crawlers: list[Crawler] = []
        running = asyncio.ensure_future(crawl(everything, settings, prepare=crawlers.append))
        await until(lambda: keeps.others == 10)
        [first] = crawlers
        queue = first.engine._slot.scheduler.dqs
        assert isinstance(queue, ProxyBalanceQueue)
        await until(lambda: queue._aside.count == 39)
        assert sum(len(one) for one in queue.pqueues.values()) == 0
        assert len(queue) == 39
        closing = asyncio.ensure_future(first.engine.close_spider_async(reason="seen enough"))
        keeps.release.set()
        await closing
        await running

        second = await crawl(everything, settings)
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == sorted(paths(40, "session") + paths(10))
        assert sorted(request.path for request in w.origin.requests) == fetched(first, second)


# Filters


@crawl_test
async def test_a_filter_uses_only_proxies_that_match() -> None:
    async with world() as w:
        wanted = {"country": "de"}
        crawler = await crawl(
            [*requests(30, "de", proxy_filter=wanted), *requests(30)],
            w.settings(PROXYBALANCE_STRATEGY="round_robin"),
        )
        assert fetched(crawler) == sorted(paths(30, "de") + paths(30))
        through_france = [request.url for request in w.proxies["fr-1"].requests]
        assert through_france
        assert not any("/de" in url for url in through_france)
        assert w.used() == ["de-1", "fr-1", "de-2"]


@crawl_test
async def test_requests_held_for_a_filter_hold_nobody_else() -> None:
    keeps = Keeps()

    async def origin(request: OriginRequest) -> OriginResponse:
        response = await keeps(request) if keeps.others < 30 else page(request)
        if keeps.others == 30:
            keeps.release.set()
        return response

    async with world(origin, names=("de-1", "fr-1")) as w:
        first = requests(20, "session", proxy_filter={"country": "de"})
        settings = w.settings(CONCURRENT_REQUESTS=2, PROXYBALANCE_MAX_IN_FLIGHT=1)
        crawler = await crawl([*first, *requests(30)], settings)
        assert finish_reason(crawler) == "finished"
        assert fetched(crawler) == sorted(paths(20, "session") + paths(30))
        assert set(w.through()["fr-1"]) == set(paths(30))


@crawl_test
async def test_a_filter_that_matches_no_proxy_fails_its_request_at_once() -> None:
    async with world() as w:
        wanted = {"country": "nl"}
        impossible = Request("http://site.test/impossible", meta={"proxy_filter": wanted})
        settings = w.settings(PROXYBALANCE_ACQUIRE_TIMEOUT=600)
        crawler = await crawl([impossible, *requests(5)], settings)
        [failure] = crawler.spider.failures
        assert failure.check(NoProxyMatchesError)
        assert "{'country': 'nl'}" in str(failure.value)
        assert sorted(request.path for request in w.origin.requests) == paths(5)
        assert finish_reason(crawler) == "finished"


def careless(proxy: Any) -> bool:
    return bool(proxy.city.startswith("B"))  # no proxy here has a city


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (careless, AttributeError),
        ({"country": [["de"]]}, ConfigurationError),
        ({"land": "de"}, ConfigurationError),
        ("de", ConfigurationError),
    ],
    ids=["function that raises", "unhashable value", "unknown attribute", "no filter at all"],
)
@crawl_test
async def test_a_filter_that_cannot_work_fails_its_own_request_and_no_other(
    wanted: Any, error: type[Exception]
) -> None:
    async with world() as w:
        impossible = Request("http://site.test/impossible", meta={"proxy_filter": wanted})
        crawler = await crawl([impossible, *requests(5)], w.settings(CLOSESPIDER_TIMEOUT=3))
        assert fetched(crawler) == paths(5)
        [failure] = crawler.spider.failures
        assert failure.check(error)
        assert sorted(request.path for request in w.origin.requests) == paths(5)
        assert finish_reason(crawler) == "finished"
