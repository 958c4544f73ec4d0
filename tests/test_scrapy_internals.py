"""Guards on what Scrapy does not promise and this package relies on.

Each test fails with a message that says what a new version of Scrapy does differently, and which
part of the package has to follow.
"""

from __future__ import annotations

import asyncio
import base64
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler, TunnelError
from scrapy.core.engine import ExecutionEngine
from scrapy.downloadermiddlewares.httpproxy import HttpProxyMiddleware
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.pqueues import (
    DownloaderAwarePriorityQueue,
    DownloaderInterface,
    ScrapyPriorityQueue,
)
from scrapy.robotstxt import ProtegoRobotParser
from scrapy.squeues import LifoMemoryQueue
from scrapy.utils.asyncio import call_later, create_looping_call
from scrapy.utils.misc import build_from_crawler
from scrapy.utils.test import get_crawler
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.web.client import HTTPConnectionPool

from scrapy_proxybalance.core import Proxy
from scrapy_proxybalance.plugin.handlers.download_handler import DownloadHandler
from scrapy_proxybalance.plugin.handlers.kept_connections import warm_policy
from scrapy_proxybalance.plugin.scrapy_internals import (
    is_closing,
    reached_downloader,
    scheduled,
    start_is_over,
    take_unsent,
    wake,
    watch_downloads,
    wrap_cache_storage,
)

from .crawl.crawling import UrlsSpider, crawl, crawl_test
from .crawl.test_download_handler import OddProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response

#: No test comes near it: a crawl that hangs is closed and fails on its finish reason.
_HANGING = 120

PLAIN: dict[str, Any] = {"ADDONS": {}, "CLOSESPIDER_TIMEOUT": _HANGING, "RETRY_TIMES": 0}


async def until(condition: Callable[[], object], otherwise: str) -> None:
    """Wait for a condition to hold; fail if that takes impossibly long."""
    give_up = time.monotonic() + _HANGING
    while not condition():
        assert time.monotonic() < give_up, otherwise
        await asyncio.sleep(0.002)


class Held:
    """An origin's handler that keeps every request until ``release`` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        await self.release.wait()
        return OriginResponse(body=request.path.encode())


class Watcher:
    """The downloader middleware next to the downloader: notes, on the way, what is asked of it."""

    note: Callable[[str, Crawler, Request], None]

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Watcher:
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        type(self).note("process_request", self.crawler, request)

    def process_response(self, request: Request, response: Response) -> Request | Response:
        type(self).note("process_response", self.crawler, request)
        if request.url.endswith("/swallowed"):
            return Request(f"{request.url}/instead", callback=request.callback)
        return response


# The engine


class ShutQueue(ScrapyPriorityQueue):
    """Gives nothing until it is opened, and never says so: as our own queue during a pause."""

    shut = True
    asked = 0

    def pop(self) -> Request | None:
        type(self).asked += 1
        return None if self.shut else super().pop()


@crawl_test
async def test_wake_makes_the_engine_ask_its_scheduler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ExecutionEngine, "_SLOT_HEARTBEAT_INTERVAL", 3600.0)
    monkeypatch.setattr(ShutQueue, "shut", True)
    async with Origin(lambda _: OriginResponse()) as origin:
        crawlers: list[Crawler] = []
        settings = {**PLAIN, "SCHEDULER_PRIORITY_QUEUE": ShutQueue}
        running = asyncio.ensure_future(
            crawl([f"http://127.0.0.1:{origin.port}/"], settings, prepare=crawlers.append)
        )
        await until(lambda: ShutQueue.asked, "the engine never asked its scheduler")
        # Let it come to rest: the only request is enqueued, and nobody asks any more.
        engine = crawlers[0].engine
        await until(lambda: engine._start is None, "engine._start does not end as None")
        for _ in range(50):
            await asyncio.sleep(0)
        asked = ShutQueue.asked
        for _ in range(50):
            await asyncio.sleep(0)
        assert ShutQueue.asked == asked
        assert origin.requests == []

        ShutQueue.shut = False
        wake(engine)
        await until(
            lambda: origin.requests,
            "engine._slot.nextcall.schedule() no longer makes the engine ask its scheduler: "
            "scrapy_internals.wake() has to find another way",
        )
        await running
        assert crawlers[0].stats.get_value("finish_reason") == "finished"
        wake(engine)  # the crawl is over: that is no error


@crawl_test
async def test_is_closing_is_true_from_the_call_on_and_not_only_after_the_drain() -> None:
    held = Held()
    async with Origin(held) as origin:
        crawlers: list[Crawler] = []
        running = asyncio.ensure_future(
            crawl([f"http://127.0.0.1:{origin.port}/"], PLAIN, prepare=crawlers.append)
        )
        await until(lambda: origin.requests, "the request was not sent")
        engine = crawlers[0].engine
        assert not is_closing(engine), "is_closing() is true for a crawl that is running"
        closing = asyncio.ensure_future(engine.close_spider_async(reason="enough"))
        await until(
            lambda: is_closing(engine),
            "engine._slot.closing no longer tells that the spider is being closed: "
            "scrapy_internals.is_closing() has to find another way",
        )
        assert not closing.done(), "the engine no longer waits for what is under way"
        wake(engine)
        held.release.set()
        await closing
        await running
        assert is_closing(engine), "is_closing() is false for a crawl that is over"
        assert len(crawlers[0].spider.responses) == 1


@crawl_test
async def test_start_is_over_when_it_has_ended_and_the_scheduler_tells_its_length() -> None:
    held, gone_on = Held(), asyncio.Event()

    class SlowStart(UrlsSpider):
        async def start(self) -> AsyncIterator[Request]:
            async for request in super().start():
                yield request
            await gone_on.wait()

    async with Origin(held) as origin:
        crawlers: list[Crawler] = []
        site = f"http://127.0.0.1:{origin.port}"
        running = asyncio.ensure_future(
            crawl(
                [f"{site}/{number}" for number in range(3)],
                {**PLAIN, "CONCURRENT_REQUESTS": 1},
                spider=SlowStart,
                prepare=crawlers.append,
            )
        )
        await until(lambda: origin.requests, "the first request was not sent")
        engine = crawlers[0].engine
        assert not start_is_over(engine), (
            "engine._start is None while spider.start() is still running: "
            "scrapy_internals.start_is_over() has to find another way"
        )
        gone_on.set()
        await until(
            lambda: start_is_over(engine),
            "engine._start is not None when spider.start() is over: "
            "scrapy_internals.start_is_over() has to find another way",
        )
        assert scheduled(engine) == 2, (
            "len(engine._slot.scheduler) is not what the scheduler holds: "
            "scrapy_internals.scheduled() has to find another way"
        )
        scraper = engine.scraper.slot
        assert scraper is not None
        assert scraper.is_idle(), (
            "engine.scraper.slot.is_idle() is false although nothing is scraped: IdleWatch asks it"
        )
        held.release.set()
        await running
        assert scheduled(engine) == 0, "scheduled() is not 0 for a crawl that is over"


# The downloader


class StopError(Exception):
    pass


@crawl_test
async def test_take_unsent_stops_requests_that_wait_in_a_download_slot() -> None:
    held = Held()
    async with Origin(held) as origin:
        crawlers: list[Crawler] = []
        site = f"http://127.0.0.1:{origin.port}"
        settings = {**PLAIN, "DOWNLOAD_SLOTS": {"127.0.0.1": {"delay": 20.0}}}
        running = asyncio.ensure_future(
            crawl([f"{site}/{n}" for n in range(4)], settings, prepare=crawlers.append)
        )
        await until(lambda: origin.requests, "the first request was not sent")
        downloader = crawlers[0].engine.downloader
        await until(
            lambda: len(downloader.slots["127.0.0.1"].queue) == 3,
            "requests that wait for DOWNLOAD_DELAY are no longer in Downloader.slots[key].queue: "
            "scrapy_internals.take_unsent() has to look elsewhere",
        )
        taken = list(take_unsent(downloader, "127.0.0.1"))
        for entry in taken:
            assert len(entry) == 2, (
                f"an entry of a download slot's queue is {entry!r}, not (request, deferred)"
            )
            request, deferred = entry
            assert isinstance(request, Request)
            assert isinstance(deferred, Deferred), (
                "a download slot's queue no longer has the Deferred that the middlewares wait for"
            )
            deferred.errback(StopError())
        assert list(take_unsent(downloader, "127.0.0.1")) == []
        assert list(take_unsent(downloader, "no such slot")) == []
        held.release.set()
        await running
        failures = crawlers[0].spider.failures
        assert [type(failure.value) for failure in failures] == [StopError] * 3, (
            "failing that Deferred no longer ends the request"
        )
        assert len(origin.requests) == 1
        assert crawlers[0].stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_active_holds_a_request_for_exactly_as_long_as_it_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, str, bool]] = []

    def note(where: str, crawler: Crawler, request: Request) -> None:
        path = request.url.rpartition("/")[2]
        seen.append((where, path, request in crawler.engine.downloader.active))

    class Spider(UrlsSpider):
        def keep(self, response: Response) -> None:
            note("callback", self.crawler, response.request)
            super().keep(response)

    monkeypatch.setattr(Watcher, "note", staticmethod(note), raising=False)
    held = Held()
    async with Origin(held) as origin:
        site = f"http://127.0.0.1:{origin.port}"
        crawlers: list[Crawler] = []
        settings = {**PLAIN, "DOWNLOADER_MIDDLEWARES": {Watcher: 999}, "CONCURRENT_REQUESTS": 2}
        running = asyncio.ensure_future(
            crawl(
                [f"{site}/page", f"{site}/swallowed"],
                settings,
                spider=Spider,
                prepare=crawlers.append,
            )
        )
        await until(lambda: len(origin.requests) == 2, "the requests were not sent")
        active = crawlers[0].engine.downloader.active
        under_way = list(active)
        assert sorted(request.url for request in under_way) == [f"{site}/page", f"{site}/swallowed"]
        held.release.set()
        await running
        assert len(origin.requests) == 3
        assert not active, "a request stays in downloader.active when it is over"
        message = (
            "downloader.active no longer holds a request from its first middleware to its last one, "
            "and no longer: CrawlContext.sweep() ends leases by it"
        )
        expected = {
            (where, path, where != "callback")
            for where in ("process_request", "process_response", "callback")
            for path in ("page", "swallowed", "instead")
            if (where, path) != ("callback", "swallowed")
        }
        assert set(seen) == expected, message


class Keep:
    """Asks where exceptions came from, in the place of the plugin's middleware."""

    seen: ClassVar[list[bool]] = []

    def process_exception(self, request: Request, exception: Exception) -> None:  # noqa: ARG002
        self.seen.append(reached_downloader(exception))


class RaisesOnTheWay:
    """Fails before anything is sent."""

    async def process_request(self, request: Request) -> None:
        raise RuntimeError(f"a bug in the way of {request}")


class RaisesAsHandler(HTTP11DownloadHandler):
    """Fails as a download handler does."""

    async def download_request(self, request: Request) -> Response:
        raise RuntimeError(f"no way to {request}")


@pytest.mark.parametrize(
    ("settings", "reached"),
    [
        ({"DOWNLOADER_MIDDLEWARES": {Keep: 740, RaisesOnTheWay: 800}}, False),
        (
            {
                "DOWNLOADER_MIDDLEWARES": {Keep: 740},
                "DOWNLOAD_HANDLERS": {"http": RaisesAsHandler},
            },
            True,
        ),
        ({"DOWNLOADER_MIDDLEWARES": {Keep: 740}}, True),  # the connection is refused
    ],
    ids=["middleware", "handler", "default"],
)
@crawl_test
async def test_the_traceback_tells_whether_a_request_was_on_its_way_to_its_handler(
    settings: dict[str, Any], reached: bool
) -> None:
    Keep.seen = []
    await crawl(["http://127.0.0.1:1/"], {**PLAIN, **settings})
    assert Keep.seen == [reached], (
        "scrapy.core.downloader is not where requests go to their handlers any more: what is raised on "
        "the way there cannot be told from a failed download (scrapy_internals.reached_downloader)"
    )


@crawl_test
async def test_a_download_slot_has_what_admission_reads() -> None:
    held = Held()
    async with Origin(held) as origin:
        site = f"http://127.0.0.1:{origin.port}"
        crawlers: list[Crawler] = []
        slots = {"127.0.0.1": {"concurrency": 3, "delay": 0.001}}
        running = asyncio.ensure_future(
            crawl(
                [f"{site}/{n}" for n in range(5)],
                {**PLAIN, "DOWNLOAD_SLOTS": slots},
                prepare=crawlers.append,
            )
        )
        await until(lambda: len(origin.requests) == 3, "the requests were not sent")
        slot = crawlers[0].engine.downloader.slots["127.0.0.1"]
        assert slot.concurrency == 3, "Slot.concurrency is not DOWNLOAD_SLOTS' concurrency"
        assert slot.delay == 0.001, "Slot.delay is not DOWNLOAD_SLOTS' delay"
        await until(lambda: len(slot.active) == 5, "Slot.active does not hold what is in the slot")
        assert len(slot.transferring) == 3, "Slot.transferring does not hold what has been sent"
        held.release.set()
        await running


# The scheduler's queue


class OnlyOne(DownloaderInterface):
    """Shows the queue one slot only."""

    shown = "b.test"

    def stats(self, possible_slots: Iterable[str]) -> list[tuple[int, str]]:
        return [entry for entry in super().stats(possible_slots) if entry[1] == self.shown]


class KeyedByScheme(OnlyOne):
    def get_slot_key(self, request: Request) -> str:
        return f"{request.url.partition(':')[0]} {super().get_slot_key(request)}"


@crawl_test
async def test_the_downloader_aware_queue_serves_only_what_its_interface_shows() -> None:
    found: list[Any] = []

    def look(where: str, crawler: Crawler, request: Request) -> None:  # noqa: ARG001
        queue = build_from_crawler(
            DownloaderAwarePriorityQueue,
            crawler,
            downstream_queue_cls=LifoMemoryQueue,
            key="",
        )
        assert isinstance(getattr(queue, "_downloader_interface", None), DownloaderInterface), (
            "DownloaderAwarePriorityQueue no longer asks a DownloaderInterface in "
            "_downloader_interface: ProxyBalanceQueue cannot hold anything"
        )
        queue._downloader_interface = OnlyOne(crawler)
        for host in ("a.test", "b.test"):
            queue.push(Request(f"http://{host}/"))
        found.append([queue.pop(), queue.pop()])
        found.append(len(queue))
        queue._downloader_interface = KeyedByScheme(crawler)
        queue.push(Request("https://c.test/"))
        found.append(sorted(queue.pqueues))
        queue.close()

    class Looking(UrlsSpider):
        def keep(self, response: Response) -> None:
            look("callback", self.crawler, response.request)

    async with Origin(lambda _: OriginResponse()) as origin:
        crawler = await crawl([f"http://127.0.0.1:{origin.port}/"], PLAIN, spider=Looking)
    assert crawler.stats.get_value("spider_exceptions/count") is None, "see the log"
    [popped, left, keys] = found
    assert [getattr(request, "url", None) for request in popped] == ["http://b.test/", None], (
        "DownloaderAwarePriorityQueue.pop() no longer goes by DownloaderInterface.stats()"
    )
    assert left == 1, "what is not shown is not kept"
    assert keys == ["a.test", "https c.test"], (
        "DownloaderAwarePriorityQueue.push() no longer goes by DownloaderInterface.get_slot_key(), "
        "or pqueues is no longer a mapping from those keys"
    )


# Timers


@crawl_test
async def test_a_call_may_be_cancelled_when_it_is_over_and_a_loop_knows_whether_it_runs() -> None:
    fired: list[int] = []
    call = call_later(0, fired.append, 1)
    await until(lambda: fired, "call_later() did not call")
    call.cancel()  # CrawlContext.wait_for_change() does so whatever has ended the wait
    loop = create_looping_call(fired.append, 2)
    loop.start(0.001, now=False)
    assert loop.running, "a looping call does not say that it is running"
    await until(lambda: 2 in fired, "the looping call did not call")
    loop.stop()
    assert not loop.running, "a looping call does not say that it is stopped"


# robots.txt


@crawl_test
async def test_the_request_for_robots_txt_can_be_told_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marked: dict[str, bool] = {}

    def note(where: str, crawler: Crawler, request: Request) -> None:  # noqa: ARG001
        path = request.url.rpartition("/")[2]
        marked[path] = bool(request.meta.get("dont_obey_robotstxt"))

    monkeypatch.setattr(Watcher, "note", staticmethod(note), raising=False)
    async with Origin(lambda _: OriginResponse()) as origin:
        settings = {**PLAIN, "DOWNLOADER_MIDDLEWARES": {Watcher: 999}, "ROBOTSTXT_OBEY": True}
        await crawl([f"http://127.0.0.1:{origin.port}/page"], settings)
    assert marked == {"robots.txt": True, "page": False}, (
        "RobotsTxtMiddleware no longer marks its request with dont_obey_robotstxt: "
        "ProxyBalanceMiddleware._is_scrapys_robots() would let a failure open the gate"
    )


@crawl_test
async def test_scrapys_robots_middleware_decides_by_process_request_2() -> None:
    async with Origin(lambda _: OriginResponse()) as origin:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/page"], {**PLAIN, "ROBOTSTXT_OBEY": True}
        )
    decide = RobotsTxtMiddleware(crawler).process_request_2
    rules = ProtegoRobotParser.from_crawler(crawler, b"User-agent: *\nDisallow: /private\n")
    changed = (
        "process_request_2() of RobotsTxtMiddleware no longer decides by a parser and a request: "
        "the RobotsTxtMiddleware of this package calls it"
    )
    assert decide(rules, Request("http://a.test/page")) is None, changed
    with pytest.raises(IgnoreRequest):
        decide(rules, Request("http://a.test/private"))
    assert crawler.stats.get_value("robotstxt/forbidden") == 1, changed


# Credentials


@pytest.mark.parametrize(
    ("proxy", "credentials"),
    [
        (Proxy(host="proxy.test", port=8080), None),
        (Proxy(host="proxy.test", port=8080, username="user", password="pass"), b"user:pass"),
        (Proxy(host="127.0.0.1", port=80, username="user", password="pass"), b"user:pass"),
        (Proxy(host="::1", port=8080), None),
        (Proxy(host="2001:db8::1", port=8080, username="user", password="pass"), b"user:pass"),
        (Proxy(host="proxy.test", port=1, username="u@s:e/r", password="p%40:@/ ?#"), None),
        (Proxy(host="proxy.test", port=1, username="üser", password="päss"), None),
        (Proxy(scheme="https", host="proxy.test", port=443, username="u", password="p"), b"u:p"),
        (Proxy(host="proxy.test", port=1, username="token", password=""), b"token:"),
    ],
    ids=lambda value: value.endpoint if isinstance(value, Proxy) else "",
)
def test_httpproxymiddleware_turns_credentials_into_a_header(
    proxy: Proxy, credentials: bytes | None
) -> None:
    if proxy.username is not None and credentials is None:
        credentials = f"{proxy.username}:{proxy.password}".encode("latin-1")
    request = Request("http://site.test/", meta={"proxy": proxy.url})
    HttpProxyMiddleware().process_request(request)
    assert request.meta["proxy"] == proxy.endpoint, (
        "HttpProxyMiddleware no longer leaves Proxy.endpoint in meta['proxy']: request_meta would "
        "take our choice for the user's"
    )
    header = request.headers.get("Proxy-Authorization")
    if credentials is None:
        assert header is None
        assert "_auth_proxy" not in request.meta
        return
    assert header is not None, "HttpProxyMiddleware no longer sends the credentials"
    assert base64.b64decode(header.removeprefix(b"Basic ")) == credentials
    assert request.meta["_auth_proxy"] == proxy.endpoint, (
        "HttpProxyMiddleware no longer keeps in meta['_auth_proxy'] whom the header is for: "
        "request_meta.forget_credentials() has to forget something else"
    )


def test_a_proxy_with_a_username_alone_is_one_that_httpproxymiddleware_can_use() -> None:
    proxy = Proxy(host="proxy.test", port=1, username="token")
    request = Request("http://site.test/", meta={"proxy": proxy.url})
    HttpProxyMiddleware().process_request(request)  # it cannot do without the colon
    assert request.meta["proxy"] == proxy.endpoint
    header = request.headers["Proxy-Authorization"]
    assert base64.b64decode(header.removeprefix(b"Basic ")) == b"token:"


def test_httpproxymiddleware_sends_a_header_on_to_another_proxy_if_nobody_forgets_it() -> None:
    middleware = HttpProxyMiddleware()
    first = Proxy(host="gateway.test", port=1, username="user", password="pass")
    request = Request("http://site.test/", meta={"proxy": first.url})
    middleware.process_request(request)
    again = request.replace(meta={**request.meta, "proxy": first.endpoint})
    middleware.process_request(again)
    assert "Proxy-Authorization" in again.headers, (
        "HttpProxyMiddleware now forgets credentials itself; forget_credentials() may go"
    )


@crawl_test
async def test_the_text_of_a_tunnel_error_has_the_status_of_connect() -> None:
    async with ForwardProxy("locked", credentials={"user": "pass"}) as locked:
        request = Request("https://site.test/", meta={"proxy": locked.url()})
        crawler = await crawl([request], PLAIN)
        assert [(seen.method, seen.url) for seen in locked.requests] == [
            ("CONNECT", "site.test:443")
        ]
    [failure] = crawler.spider.failures
    assert isinstance(failure.value, TunnelError), (
        f"a refused CONNECT is now a {type(failure.value).__name__}: classify has to know it"
    )
    assert "'status': 407" in str(failure.value), (
        f"TunnelError now says {failure.value}: classify reads the status out of it"
    )


def test_the_default_handler_keeps_as_many_connections_and_for_as_long_as_is_believed() -> None:
    """``warm_connections`` has to follow what this finds different."""
    crawler = get_crawler(settings_dict={"CONCURRENT_REQUESTS_PER_DOMAIN": 5})
    handler = build_from_crawler(HTTP11DownloadHandler, crawler)
    kept = handler._pool
    believed = warm_policy(crawler.settings)
    assert believed is not None
    assert kept.persistent
    assert kept.maxPersistentPerHost == believed.most_idle == 5
    assert kept.cachedConnectionTimeout >= believed.idle_seconds


@crawl_test
async def test_the_caches_storage_can_be_wrapped_when_the_spider_is_open(tmp_path: Path) -> None:
    calls: list[str] = []

    class Wrapped:
        def __init__(self, storage: Any) -> None:
            self._storage = storage

        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(self._storage, name)

    def prepare(crawler: Crawler) -> None:
        def opened() -> None:
            wrap_cache_storage(crawler, Wrapped)

        crawler.signals.connect(opened, signal=signals.spider_opened, weak=False)

    async with Origin(lambda _: OriginResponse()) as origin:
        settings = {**PLAIN, "HTTPCACHE_ENABLED": True, "HTTPCACHE_DIR": str(tmp_path)}
        await crawl([f"http://127.0.0.1:{origin.port}/"], settings, prepare=prepare)
    assert [one for one in calls if one != "open_spider"] == [
        "retrieve_response",
        "store_response",
        "close_spider",
    ], "HttpCacheMiddleware no longer asks its attribute 'storage': see wrap_cache_storage()"


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_a_download_asks_the_pool_for_a_connection_before_anything_else_has_a_turn(
    scheme: str,
) -> None:
    handler = build_from_crawler(DownloadHandler, get_crawler())
    pool = handler._pool
    asked: list[tuple[Any, Any]] = []

    def get_connection(_: object, endpoint: object) -> Deferred[Any]:
        asked.append((pool._next, endpoint))
        return fail(ZeroDivisionError())

    pool.getConnection = get_connection  # type: ignore[method-assign,assignment]
    request = Request(f"{scheme}://site.test/", meta={"proxy": "http://127.0.0.1:1"})
    with pytest.raises(ZeroDivisionError):
        handler.download_request(request).send(None)
    assert len(asked) == 1, "Scrapy's handler no longer takes connections from its _pool at once"
    [(prepared, endpoint)] = asked
    assert prepared is not None
    if scheme == "https":
        assert isinstance(endpoint, TCP4ClientEndpoint), (
            f"Scrapy's endpoint of a tunnel is now a {type(endpoint).__name__}: Tunnel connects to the "
            "proxy by means of that"
        )


def test_twisteds_pool_keeps_the_books_that_ours_reads() -> None:
    from twisted.internet import reactor

    class Idle:
        state = "QUIESCENT"
        transport = SimpleNamespace(loseConnection=lambda: None)

    pool, connection = HTTPConnectionPool(reactor), Idle()
    pool._putConnection("key", connection)
    assert pool._connections == {"key": [connection]}
    assert set(pool._timeouts) == {connection}
    pool._timeouts[connection].cancel()
    pool._removeConnection("key", connection)
    assert pool._connections == {"key": []}
    assert pool._timeouts == {}


@crawl_test
async def test_scrapys_own_handler_does_not_hear_of_a_close_in_answer_to_connect() -> None:
    async with OddProxy(lambda connection: connection.writer.close()) as proxy:
        request = Request("https://site.test/", meta={"proxy": proxy.url})
        crawler = await crawl([request], {**PLAIN, "DOWNLOAD_TIMEOUT": 0.5})
    [failure] = crawler.spider.failures
    assert "took longer than 0.5 seconds" in str(failure.value), (
        f"Scrapy's handler now raises {failure.value!r}: tunnel.py may be needed no longer"
    )


@crawl_test
async def test_every_download_is_made_by_who_watches_them() -> None:
    seen: list[tuple[str, bool]] = []

    class Watch:
        def __init__(self, crawler: Crawler) -> None:
            self.crawler = crawler
            crawler.signals.connect(self.begin, signal=signals.spider_opened)

        def begin(self) -> None:
            watch_downloads(self.crawler.engine.downloader, self.download)

        async def download(self, download: Any, request: Request) -> Response:
            task = asyncio.current_task()
            assert task is not None
            response: Response = await download(request)
            seen.append((request.url, task is asyncio.current_task()))
            return response

    watches: list[Watch] = []
    async with Origin(lambda _: OriginResponse()) as origin:
        url = f"http://127.0.0.1:{origin.port}/"
        await crawl([url], PLAIN, prepare=lambda crawler: watches.append(Watch(crawler)))
    assert seen == [(url, True)], "the downloader no longer calls handlers.download_request_async"
