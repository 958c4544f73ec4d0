"""robots.txt that could not be fetched: what its host sees until it is, and what becomes of requests.

What proxies answer in the site's place, and that they hang, is in ``test_robots_proxies.py``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals
from scrapy.downloadermiddlewares import robotstxt
from scrapy.exceptions import IgnoreRequest
from twisted.python.failure import Failure

from scrapy_proxybalance import ProxyBalanceMiddleware, RobotsTxtMiddleware, Verdict, classify
from scrapy_proxybalance.core.events import TargetPaused

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats
from .test_target_gate import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response

#: No test comes near it: a crawl that hangs is closed and fails on its finish reason.
_HANGING = 120

ROBOTS = "/robots.txt"
SCRAPYS = "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware"
RULES = OriginResponse(body=b"User-agent: *\nDisallow: /private\n")
ALLOWED = [f"/{number}" for number in range(8)]
FORBIDDEN = ["/private/0", "/private/1"]

#: Scrapy before 2.19 leaves empty queue files of a resumed crawl to the garbage collector.
resumes_a_crawl = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def urls(host: str) -> list[str]:
    """Return the URLs of a host's pages: a forbidden one first and one last."""
    return [f"http://{host}{path}" for path in (FORBIDDEN[0], *ALLOWED, FORBIDDEN[1])]


class PausesSpider(UrlsSpider):
    """Counts pauses as they begin; the stats follow once a second."""

    pauses = 0

    async def start(self) -> AsyncIterator[Request]:
        middleware = self.crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        if middleware is not None:
            middleware.context.pool.events.subscribe(self.count_pause, TargetPaused)
        async for request in super().start():
            yield request

    def count_pause(self, event: TargetPaused) -> None:  # noqa: ARG002
        self.pauses += 1


class Site:
    """An origin's handler: ``robots`` answers for robots.txt, every other path is a page."""

    def __init__(self, robots: OriginResponse | Callable[[], Any] = RULES) -> None:
        self.robots = robots
        self.origin = Origin(self)

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        if request.path != ROBOTS:
            return OriginResponse(body=request.path.encode())
        if isinstance(self.robots, OriginResponse):
            return self.robots
        return await self.robots()  # type: ignore[no-any-return]

    @property
    def pages(self) -> list[str]:
        """The pages that were asked for, sorted."""
        return sorted(one.path for one in self.origin.requests if one.path != ROBOTS)

    @property
    def robots_times(self) -> list[float]:
        """When robots.txt was asked for."""
        return [one.time for one in self.origin.requests if one.path == ROBOTS]


async def hang() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def world(**sites: Site) -> AsyncIterator[list[ForwardProxy]]:
    """Start a site ``<name>.test`` for each, and two proxies that lead to them."""
    async with AsyncExitStack() as stack:
        resolve = {}
        for name, site in sites.items():
            origin = await stack.enter_async_context(site.origin)
            resolve[f"{name}.test"] = (origin.host, origin.port)
        yield [
            await stack.enter_async_context(ForwardProxy(name, resolve=resolve))
            for name in ("one", "two")
        ]


def settings(proxies: Iterable[ForwardProxy], **changes: Any) -> dict[str, Any]:
    return {
        "PROXYBALANCE_PROXIES": [{"url": proxy.url(), "name": proxy.name} for proxy in proxies],
        "PROXYBALANCE_MAX_IN_FLIGHT": 32,
        "PROXYBALANCE_PAUSE": 0.1,
        "PROXYBALANCE_RAMP": 0.1,
        "PROXYBALANCE_ACQUIRE_TIMEOUT": 0.1,
        "PROXYBALANCE_FAILURE_THRESHOLD": 1000,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
        "ROBOTSTXT_OBEY": True,
        "RETRY_TIMES": 1,
        "CLOSESPIDER_TIMEOUT": _HANGING,
        **changes,
    }


@asynccontextmanager
async def crawling(
    requests: Sequence[str | Request],
    crawl_settings: dict[str, Any],
    spider: type[UrlsSpider] = PausesSpider,
) -> AsyncIterator[Crawler]:
    """Run a crawl during a block, and close it then."""
    crawlers: list[Crawler] = []
    running = asyncio.ensure_future(
        crawl(requests, crawl_settings, spider=spider, prepare=crawlers.append)
    )
    try:
        await until(lambda: crawlers and crawlers[0].engine and crawlers[0].engine.spider)
        yield crawlers[0]
    finally:
        if crawlers[0].engine is not None and crawlers[0].engine.spider is not None:
            await crawlers[0].engine.close_spider_async(reason="seen enough")
        await running


def pauses(crawler: Crawler) -> int:
    """Return how many pauses there have been up to this moment."""
    return crawler.spider.pauses  # type: ignore[no-any-return]


def fetched(*crawlers: Crawler) -> list[str]:
    """Return the paths of the pages that came back, sorted."""
    return sorted(
        response.body.decode() for crawler in crawlers for response in crawler.spider.responses
    )


def assert_obeyed(crawler: Crawler, site: Site) -> None:
    """Every page was fetched once that is allowed, and none that is not; nothing is lost."""
    assert site.pages == sorted(ALLOWED)
    assert fetched(crawler) == sorted(ALLOWED)
    errors = [failure.value for failure in crawler.spider.failures]
    assert [str(error) for error in errors] == ["Forbidden by robots.txt"] * len(FORBIDDEN)
    assert all(type(error) is IgnoreRequest for error in errors)
    assert crawler.stats.get_value("robotstxt/forbidden") == len(FORBIDDEN)
    assert crawler.stats.get_value("finish_reason") == "finished"


# It could not be fetched, and then it can


SQUID = OriginResponse(503, [("X-Squid-Error", "ERR_CONNECT_FAIL 111")], b"The requested URL ...")


@pytest.mark.parametrize(
    "unreachable",
    [
        pytest.param(OriginResponse(500), id="500"),
        pytest.param(OriginResponse(503, (), RULES.body), id="503 with rules"),
        pytest.param(SQUID, id="squid's error page"),
        pytest.param(hang, id="no answer"),
    ],
)
@crawl_test
async def test_while_the_site_does_not_give_it_no_page_is_fetched_and_afterwards_all_that_it_allows(
    unreachable: Any,
) -> None:
    site = Site(unreachable)
    async with world(a=site) as proxies:
        async with crawling(urls("a.test"), settings(proxies, DOWNLOAD_TIMEOUT=0.3)) as run:
            await until(lambda: pauses(run) == 2)
            assert site.pages == []
            assert run.spider.responses == run.spider.failures == []
            site.robots = RULES
            await until(lambda: run.engine.spider is None)
        assert_obeyed(run, site)


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (Behaviour.HANG, 0),
        (Behaviour.ERROR, 502),
        (Behaviour.ERROR, 503),
        (Behaviour.ERROR, 504),
    ],
)
@crawl_test
async def test_while_no_proxy_gets_it_no_page_is_fetched_and_afterwards_all_that_it_allows(
    behaviour: Behaviour, status: int
) -> None:
    site = Site()
    async with world(a=site) as proxies:
        for proxy in proxies:
            proxy.behaviour, proxy.error_status = behaviour, status
        async with crawling(urls("a.test"), settings(proxies, DOWNLOAD_TIMEOUT=0.3)) as run:
            await until(lambda: pauses(run) == 2)
            assert site.origin.requests == []
            assert run.spider.responses == run.spider.failures == []
            for proxy in proxies:
                proxy.behaviour = Behaviour.HEALTHY
            await until(lambda: run.engine.spider is None)
        assert_obeyed(run, site)


@crawl_test
async def test_it_waits_for_proxies_that_cool_down() -> None:
    site = Site()
    async with world(a=site) as proxies:
        for proxy in proxies:
            proxy.behaviour = Behaviour.REFUSE
        cooling = settings(
            proxies, PROXYBALANCE_FAILURE_THRESHOLD=1, PROXYBALANCE_COOLDOWN=0.5, RETRY_TIMES=5
        )
        async with crawling(urls("a.test"), cooling) as run:
            await until(lambda: run.stats.get_value("proxybalance/failure/no_response", 0) >= 2)
            assert site.origin.requests == []
            for proxy in proxies:
                proxy.behaviour = Behaviour.HEALTHY
            await until(lambda: run.engine.spider is None)
        assert_obeyed(run, site)
        # The site has done nothing.
        assert pauses(run) == 0


@crawl_test
async def test_a_proxy_that_wants_other_credentials_is_passed_over() -> None:
    site = Site()
    async with world(a=site) as proxies:
        proxies[0].behaviour = Behaviour.UNAUTHORIZED
        crawler = await crawl(urls("a.test"), settings(proxies, RETRY_TIMES=0))
        assert_obeyed(crawler, site)
        assert not any(key.startswith("target/") for key in proxybalance_stats(crawler))


@resumes_a_crawl
@crawl_test
async def test_when_every_proxy_wants_other_credentials_all_is_there_when_the_crawl_is_resumed(
    tmp_path: Path,
) -> None:
    site = Site()
    async with world(a=site) as proxies:
        for proxy in proxies:
            proxy.behaviour = Behaviour.UNAUTHORIZED
        first = await crawl(urls("a.test"), settings(proxies, JOBDIR=str(tmp_path)))
        assert site.origin.requests == []
        assert first.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
        assert first.spider.failures == []
        for proxy in proxies:
            proxy.behaviour = Behaviour.HEALTHY
        second = await crawl(urls("a.test"), settings(proxies, JOBDIR=str(tmp_path)))
        assert_obeyed(second, site)


@crawl_test
async def test_the_users_classifier_is_believed() -> None:
    site = Site(OriginResponse(200, [("X-Provider-Error", "no exit")], b"<h1>try again</h1>"))
    async with world(a=site) as proxies:
        with_classifier = settings(proxies, PROXYBALANCE_CLASSIFIER=providers_error)
        async with crawling(urls("a.test"), with_classifier) as run:
            await until(lambda: pauses(run) == 1)
            assert site.pages == []
            site.robots = RULES
            await until(lambda: run.engine.spider is None)
        assert_obeyed(run, site)


def providers_error(request: Request, result: Response | Exception) -> Verdict | None:
    if not isinstance(result, Exception) and "X-Provider-Error" in result.headers:
        return classify(request, TimeoutError())
    return None


@crawl_test
async def test_a_failed_fetch_is_one_pause_and_only_one_request_asks_when_it_ends() -> None:
    site = Site(OriginResponse(500))
    async with world(a=site) as proxies:
        async with crawling(urls("a.test"), settings(proxies, PROXYBALANCE_PAUSE=0.2)) as run:
            await until(lambda: pauses(run) == 2)
        # Twice at first, RETRY_TIMES being 1, for eight requests that waited; and once as the probe.
        assert len(site.robots_times) == 3
        assert site.robots_times[2] - site.robots_times[1] >= 0.2
        assert run.stats.get_value("robotstxt/request_count") == 3
        assert run.stats.get_value("robotstxt/response_count") == 3
        assert run.stats.get_value("robotstxt/response_status_count/500") == 3
        assert "target/a.test/reopened" not in proxybalance_stats(run)


@crawl_test
async def test_a_robots_txt_that_is_never_there_suspends_the_target_and_ends_the_crawl() -> None:
    site = Site(OriginResponse(500))
    async with world(a=site) as proxies:
        short = settings(proxies, PROXYBALANCE_PAUSE=0.02, PROXYBALANCE_MAX_PAUSES=3)
        crawler = await crawl(urls("a.test"), short)
        assert crawler.stats.get_value("finish_reason") == "proxybalance_suspended: a.test"
        assert site.pages == []
        # Twice at first, RETRY_TIMES being 1, and once after each pause.
        assert len(site.robots_times) == 2 + 3
        assert crawler.spider.responses == crawler.spider.failures == []


@crawl_test
async def test_other_hosts_go_on_while_one_cannot_give_it() -> None:
    a, b, c = Site(hang), Site(), Site(OriginResponse(404))
    async with world(a=a, b=b, c=c) as proxies:
        requests = [
            url
            for same in zip(*map(urls, ("a.test", "b.test", "c.test")), strict=True)
            for url in same
        ]
        patient = settings(proxies, DOWNLOAD_TIMEOUT=1, PROXYBALANCE_PAUSE=600)
        async with crawling(requests, patient) as run:
            await until(lambda: len(b.pages) == 8 and len(c.pages) == 10)
            await until(lambda: pauses(run) == 1 and not run.engine.downloader.active)
        assert a.pages == []
        assert b.pages == sorted(ALLOWED)
        assert c.pages == sorted(ALLOWED + FORBIDDEN)
        assert len(run.spider.failures) == 2


# What it says, and what not


@pytest.mark.parametrize("status", [401, 403, 404, 410])
@crawl_test
async def test_a_site_without_it_allows_everything(status: int) -> None:
    # The body would forbid everything: it is not one of rules.
    site = Site(OriginResponse(status, (), b"User-agent: *\nDisallow: /\n"))
    async with world(a=site) as proxies:
        strict = settings(proxies, PROXYBALANCE_FORBIDDEN_THRESHOLD=1)
        crawler = await crawl(urls("a.test"), strict)
        assert site.pages == sorted(ALLOWED + FORBIDDEN)
        assert [len(proxy.requests) > 0 for proxy in proxies] == [True, True]
        assert len(site.robots_times) == 2  # the second one confirms the first
        assert len(crawler.spider.responses) == 10
        assert not any(key.startswith("target/") for key in proxybalance_stats(crawler))


@crawl_test
async def test_a_redirect_is_followed_even_off_site() -> None:
    site, other = Site(OriginResponse(301, [("Location", "http://b.test/robots.txt")])), Site()
    async with world(a=site, b=other) as proxies:

        class OnSite(UrlsSpider):
            allowed_domains = ("a.test",)

        crawler = await crawl(urls("a.test"), settings(proxies), spider=OnSite)
        assert len(site.robots_times) == len(other.robots_times) == 2  # of another site: confirmed
        assert_obeyed(crawler, site)


@crawl_test
async def test_a_redirect_that_is_not_followed_allows_everything() -> None:
    site = Site(OriginResponse(301, [("Location", "http://b.test/robots.txt")]))
    async with world(a=site) as proxies:
        await crawl(urls("a.test"), settings(proxies, REDIRECT_ENABLED=False))
        assert site.pages == sorted(ALLOWED + FORBIDDEN)


@crawl_test
async def test_of_several_first_requests_none_gets_past_the_rules() -> None:
    site = Site()

    async def when_all_wait() -> OriginResponse:
        await until(lambda: len(run.engine.downloader.active) >= 8)
        return RULES

    site.robots = when_all_wait
    async with world(a=site) as proxies:
        requests = [f"http://a.test/private/{number}" for number in range(20)]
        # Of a domain more than one request comes out while the rules are being fetched.
        together = settings(proxies, PROXYBALANCE_TARGETS={".test": {}})
        async with crawling([*requests, *urls("a.test")], together) as run:
            await until(lambda: run.engine.spider is None)
        assert site.pages == sorted(ALLOWED)
        assert len(site.robots_times) == 1
        assert run.stats.get_value("robotstxt/forbidden") == 20
        assert run.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_while_a_hosts_rules_are_fetched_its_other_requests_stay_in_the_queue() -> None:
    site, other, active = Site(), Site(), []

    async def when_the_other_is_done() -> OriginResponse:
        await until(lambda: other.pages == sorted(ALLOWED))
        active.extend(request.url for request in run.engine.downloader.active)
        return RULES

    site.robots = when_the_other_is_done
    async with world(a=site, b=other) as proxies:
        requests = [*urls("a.test"), *urls("b.test")]
        async with crawling(requests, settings(proxies, CONCURRENT_REQUESTS=16)) as run:
            await until(lambda: run.engine.spider is None)
        assert site.pages == sorted(ALLOWED)
        # The one that has asked for them, and what it has asked for.
        assert sum("a.test" in url for url in active) == 2


@crawl_test
async def test_scrapys_stats_and_signal_are_kept() -> None:
    site, parsed = Site(), []

    def on_parsed(robotparser: Any, request: Request) -> None:
        parsed.append((type(robotparser).__name__, request.url))

    def prepare(crawler: Crawler) -> None:
        if hasattr(signals, "robots_parsed"):
            crawler.signals.connect(on_parsed, signal=signals.robots_parsed)

    async with world(a=site) as proxies:
        crawler = await crawl(urls("a.test"), settings(proxies), prepare=prepare)
        assert_obeyed(crawler, site)
    own = {k: v for k, v in crawler.stats.get_stats().items() if k.startswith("robotstxt/")}
    assert own == {
        "robotstxt/request_count": 1,
        "robotstxt/response_count": 1,
        "robotstxt/response_status_count/200": 1,
        "robotstxt/forbidden": 2,
    }
    if hasattr(signals, "robots_parsed"):
        assert parsed == [("ProtegoRobotParser", urls("a.test")[0])]


@crawl_test
async def test_it_is_not_asked_for_what_the_user_exempts() -> None:
    site = Site(OriginResponse(500))
    async with world(a=site) as proxies:
        exempt = [Request(url, meta={"dont_obey_robotstxt": True}) for url in urls("a.test")]
        await crawl(exempt, settings(proxies))
        assert site.pages == sorted(ALLOWED + FORBIDDEN)
        assert site.robots_times == []


# The site refuses to give it


@pytest.mark.parametrize(
    "refusal",
    [OriginResponse(429), OriginResponse(503, [("Retry-After", "1")])],
    ids=["429", "503"],
)
@crawl_test
async def test_a_refusal_is_waited_for_and_the_rules_are_obeyed_then(refusal: Any) -> None:
    answers = iter([refusal])
    site = Site()

    async def refuse_once() -> OriginResponse:
        return next(answers, RULES)

    site.robots = refuse_once
    async with world(a=site) as proxies:
        crawler = await crawl(urls("a.test"), settings(proxies, PROXYBALANCE_PAUSE=0.4))
        assert_obeyed(crawler, site)
        first, second = site.robots_times
        assert second - first >= 0.4
        assert proxybalance_stats(crawler)["target/a.test/pauses"] == 1
        assert crawler.stats.get_value("retry/count") is None


@crawl_test
async def test_drop_gives_up_a_site_that_refuses_to_give_it() -> None:
    a, b = Site(OriginResponse(429)), Site()
    async with world(a=a, b=b) as proxies:
        dropping = settings(proxies, PROXYBALANCE_ON_RATE_LIMITED="drop")
        crawler = await crawl([*urls("a.test")[:4], *urls("b.test")], dropping)
        assert a.pages == []
        assert len(a.robots_times) == 1
        assert b.pages == sorted(ALLOWED)
        dropped = [failure for failure in crawler.spider.failures if "a.test" in str(failure.value)]
        assert len(dropped) == 4
        assert crawler.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_close_spider_closes_and_what_waits_does_not_fail(tmp_path: Path) -> None:
    site = Site(OriginResponse(429))
    async with world(a=site) as proxies:
        closing = settings(
            proxies, PROXYBALANCE_ON_RATE_LIMITED="close_spider", JOBDIR=str(tmp_path)
        )
        crawler = await crawl(urls("a.test"), closing)
        assert crawler.stats.get_value("finish_reason") == "proxybalance_rate_limited: a.test"
        assert len(site.robots_times) == 1
        assert site.pages == []
        assert crawler.spider.failures == []


@crawl_test
async def test_after_a_pause_the_rules_are_asked_for_and_then_one_page_alone_tries() -> None:
    robots = iter([OriginResponse(429)])
    page_may_come = asyncio.Event()
    seen: list[str] = []

    async def target(request: OriginRequest) -> OriginResponse:
        seen.append(request.path)
        if request.path == ROBOTS:
            return next(robots, RULES)
        await page_may_come.wait()
        return OriginResponse(body=request.path.encode())

    site, other = Site(), Site()
    site.origin._handler = target
    async with world(a=site, b=other) as proxies:
        async with crawling(urls("a.test"), settings(proxies)) as run:
            await until(lambda: len(seen) == 3)
            # The engine goes on all the while; what it could send to a.test, it would.
            for number in range(20):
                await run.engine.download_async(Request(f"http://b.test/{number}"))
            assert seen[:2] == [ROBOTS, ROBOTS]
            assert len(seen) == 3
            assert proxybalance_stats(run).get("target/a.test/reopened", 0) == 0
            page_may_come.set()
            await until(lambda: run.engine.spider is None)
        assert_obeyed(run, site)
        assert len(site.robots_times) == 2


@crawl_test
async def test_what_a_502_says_stands_in_the_reason_once() -> None:
    site = Site(OriginResponse(502))
    reasons: list[str] = []

    class Listening(PausesSpider):
        def count_pause(self, event: TargetPaused) -> None:
            super().count_pause(event)
            reasons.append(event.reason)

    async with world(a=site) as proxies:
        async with crawling(urls("a.test"), settings(proxies), Listening) as run:
            await until(lambda: pauses(run) == 1)
        assert reasons[0] == "robots.txt could not be fetched (response 502)"


# At a target's limit


@pytest.mark.parametrize("budget", [{"rate": "4/s"}, {"in_flight": 1}], ids=str)
@crawl_test
async def test_a_redirect_waits_for_the_targets_budget_and_costs_no_pause(
    budget: dict[str, Any],
) -> None:
    site = Site(OriginResponse(301, [("Location", "/rules.txt")]))
    serve = site.origin._handler

    async def target(request: OriginRequest) -> OriginResponse:
        if request.path == "/rules.txt":
            return RULES
        answer = serve(request)
        return answer if isinstance(answer, OriginResponse) else await answer

    site.origin._handler = target
    async with world(a=site) as proxies:
        budgeted = settings(proxies, PROXYBALANCE_TARGETS={"a.test": budget})
        crawler = await crawl(urls("a.test"), budgeted)
        assert len(site.robots_times) == 1
        assert site.pages == sorted([*ALLOWED, "/rules.txt"])
        assert fetched(crawler) == sorted(ALLOWED)
        assert "target/a.test/pauses" not in proxybalance_stats(crawler)
        assert crawler.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_a_redirect_to_another_target_at_its_rate_pauses_neither() -> None:
    site, other = Site(), Site(OriginResponse(301, [("Location", "http://a.test/robots.txt")]))
    async with world(a=site, b=other) as proxies:
        requests = [*urls("a.test"), *urls("b.test")]
        budgeted = settings(proxies, PROXYBALANCE_TARGETS={"a.test": {"rate": "8/s"}})
        crawler = await crawl(requests, budgeted)
        # What comes from another site is confirmed through another proxy.
        assert len(other.robots_times) == 2
        assert len(site.robots_times) == 3
        assert site.pages == other.pages == sorted(ALLOWED)
        assert not any(key.endswith("/pauses") for key in proxybalance_stats(crawler))
        assert crawler.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_a_redirect_to_a_target_that_pauses_is_not_waited_for_and_pauses_the_asker() -> None:
    site, other = Site(), Site(OriginResponse(301, [("Location", "http://a.test/robots.txt")]))
    site.origin._handler = lambda _: OriginResponse(429)
    async with world(a=site, b=other) as proxies:
        requests = [Request("http://a.test/first", meta={"dont_obey_robotstxt": True})]
        patient = settings(proxies, PROXYBALANCE_PAUSE=600)
        async with crawling(requests, patient) as run:
            await until(lambda: pauses(run) == 1)
            for url in urls("b.test"):
                run.engine.crawl(Request(url))
            await until(lambda: pauses(run) == 2)
        assert other.pages == []
        assert len(other.robots_times) == 1
        assert site.robots_times == []


# What else it asks with


@pytest.mark.parametrize("refusal", [429, 503], ids=str)
@crawl_test
async def test_scrapys_cache_does_not_answer_for_it(refusal: int, tmp_path: Path) -> None:
    answers = iter([OriginResponse(refusal, [("Retry-After", "1")])])
    site = Site()

    async def refuse_once() -> OriginResponse:
        return next(answers, OriginResponse(body=b"User-agent: *\nDisallow: /\n"))

    site.robots = refuse_once
    async with world(a=site) as proxies:
        cached = settings(
            proxies,
            HTTPCACHE_ENABLED=True,
            HTTPCACHE_DIR=str(tmp_path),
            # The user's own, which would keep it.
            HTTPCACHE_IGNORE_HTTP_CODES=[],
        )
        crawler = await crawl(urls("a.test"), cached)
        assert site.pages == []
        assert len(site.robots_times) == 2
        assert crawler.stats.get_value("robotstxt/forbidden") == 10
        assert crawler.spider.responses == []
        assert crawler.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_it_goes_through_the_proxies_that_the_request_may_use() -> None:
    site = Site()
    async with world(a=site) as proxies:
        one, two = proxies
        requests = [Request(url, meta={"proxy_filter": {"name": "two"}}) for url in urls("a.test")]
        crawler = await crawl(requests, settings(proxies))
        assert_obeyed(crawler, site)
        assert one.requests == []
        assert len(two.requests) == 1 + len(ALLOWED)


@crawl_test
async def test_a_filter_that_makes_no_sense_fails_its_own_request_and_pauses_nothing() -> None:
    site = Site()
    async with world(a=site) as proxies:
        wrong = Request("http://a.test/wrong", meta={"proxy_filter": {"contry": "DE"}})
        crawler = await crawl([wrong, *urls("a.test")], settings(proxies), spider=PausesSpider)
        assert pauses(crawler) == 0
        assert site.pages == sorted(ALLOWED)
        [error] = [
            failure.value
            for failure in crawler.spider.failures
            if not isinstance(failure.value, IgnoreRequest)
        ]
        assert "contry" in str(error)


@crawl_test
async def test_however_a_host_is_written_its_rules_are_asked_for_once() -> None:
    site = Site()
    async with world(a=site) as proxies:
        spellings = ["http://a.test/0", "http://a.test:80/1", "http://A.TEST/2"]
        one_by_one = settings(proxies, CONCURRENT_REQUESTS=1)
        await crawl([*spellings, "http://a.test:80/private/0"], one_by_one)
        assert len(site.robots_times) == 1
        assert site.pages == ["/0", "/1", "/2"]


# Stopping in the middle


@resumes_a_crawl
@pytest.mark.parametrize("moment", ["while it is asked for", "while its target pauses"])
@crawl_test
async def test_what_was_held_when_the_crawl_stopped_is_fetched_when_it_is_resumed(
    moment: str, tmp_path: Path
) -> None:
    site = Site(hang)
    kept = {"DOWNLOAD_TIMEOUT": 1, "JOBDIR": str(tmp_path)}
    async with world(a=site) as proxies:
        patient = settings(proxies, PROXYBALANCE_PAUSE=1, **kept)
        async with crawling(urls("a.test"), patient) as first:
            if moment == "while it is asked for":
                await until(lambda: site.robots_times)
            else:
                await until(lambda: pauses(first) == 1)
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < 5
        assert site.pages == []
        # RetryMiddleware may not go on asking while the spider closes.
        assert len(site.robots_times) <= 2
        assert first.spider.failures == []
        assert first.stats.get_value("finish_reason") == "seen enough"
        site.robots = RULES
        second = await crawl(urls("a.test"), settings(proxies, **kept))
        assert_obeyed(second, site)


# What bypasses the scheduler


class BypassingSpider(PausesSpider):
    """Fetches a page of another host from within its callback, past the scheduler."""

    bypassing = "http://a.test/bypassing"

    async def keep(self, response: Response) -> None:  # type: ignore[override]  # noqa: ARG002
        try:
            self.responses.append(await self.crawler.engine.download_async(Request(self.bypassing)))
        except IgnoreRequest:
            self.failures.append(Failure())


QUEUES = ["scrapy_proxybalance.ProxyBalanceQueue", "scrapy.pqueues.DownloaderAwarePriorityQueue"]


@crawl_test
async def test_a_bypassing_request_waits_and_fails_when_its_time_is_up() -> None:
    a, b = Site(OriginResponse(500)), Site()
    async with world(a=a, b=b) as proxies:
        requests = [f"http://b.test{path}" for path in ALLOWED]
        patient = settings(proxies, PROXYBALANCE_PAUSE=600)
        crawler = await crawl(requests, patient, spider=BypassingSpider)
        assert a.pages == []
        assert len(a.robots_times) == 2
        errors = [str(failure.value) for failure in crawler.spider.failures]
        assert errors == ["robots.txt of a.test could not be fetched"] * 8
        assert crawler.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_a_bypassing_request_is_sent_when_it_is_there_in_time() -> None:
    a, b = Site(OriginResponse(500)), Site()
    async with world(a=a, b=b) as proxies:
        requests = [f"http://b.test{path}" for path in ALLOWED]
        patient = settings(proxies, PROXYBALANCE_ACQUIRE_TIMEOUT=20)
        async with crawling(requests, patient, BypassingSpider) as run:
            await until(lambda: pauses(run) == 1)
            assert a.pages == []
            a.robots = RULES
            await until(lambda: run.engine.spider is None)
        assert a.pages == ["/bypassing"] * 8
        assert fetched(run) == ["/bypassing"] * 8
        assert run.stats.get_value("finish_reason") == "finished"


@pytest.mark.parametrize("queue", QUEUES)
@crawl_test
async def test_a_bypassing_request_stops_waiting_when_the_spider_closes(queue: str) -> None:
    a, b = Site(OriginResponse(500)), Site()
    async with world(a=a, b=b) as proxies:
        patient = settings(
            proxies,
            PROXYBALANCE_PAUSE=600,
            PROXYBALANCE_ACQUIRE_TIMEOUT=600,
            SCHEDULER_PRIORITY_QUEUE=queue,
        )
        async with crawling(["http://b.test/0"], patient, BypassingSpider) as run:
            await until(lambda: pauses(run) == 1)
            assert run.engine.downloader.active
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < 5
        assert a.pages == []
        [failure] = run.spider.failures
        assert "closing" in str(failure.value)


# Other installations


@crawl_test
async def test_with_another_queue_the_requests_wait_too_and_none_is_lost() -> None:
    site = Site(OriginResponse(500))
    async with world(a=site) as proxies:
        other_queue = settings(
            proxies, SCHEDULER_PRIORITY_QUEUE="scrapy.pqueues.DownloaderAwarePriorityQueue"
        )
        async with crawling(urls("a.test"), other_queue) as run:
            await until(lambda: pauses(run) == 2)
            assert site.pages == []
            site.robots = RULES
            await until(lambda: run.engine.spider is None)
        assert_obeyed(run, site)
        # Waiting for some tenths of a second, they do not go round and round.
        assert run.stats.get_value("scheduler/dequeued") < 100


class OwnRobots(robotstxt.RobotsTxtMiddleware):
    """A user's own, derived from Scrapy's."""


class OwnBetterRobots(RobotsTxtMiddleware):
    """A user's own, derived from ours."""


@pytest.mark.parametrize(("own", "warned"), [(OwnRobots, True), (OwnBetterRobots, False)])
@crawl_test
async def test_the_users_own_middleware_stays_and_a_warning_says_what_that_means(
    own: type[robotstxt.RobotsTxtMiddleware],
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site(OriginResponse(500))
    async with world(a=site) as proxies:
        middlewares = {SCRAPYS: None, own: 100}
        theirs = settings(proxies, DOWNLOADER_MIDDLEWARES=middlewares, PROXYBALANCE_PAUSE=600)
        with caplog.at_level(logging.WARNING, "scrapy_proxybalance"):
            async with crawling(urls("a.test"), theirs) as run:
                robots = run.get_downloader_middleware(robotstxt.RobotsTxtMiddleware)
                await until(lambda: pauses(run) or run.engine.spider is None)
    assert type(robots) is own
    assert site.pages == (sorted(ALLOWED + FORBIDDEN) if warned else [])
    assert ("OwnRobots deals with robots.txt" in caplog.text) is warned


@crawl_test
async def test_without_the_plugin_it_is_scrapys_middleware() -> None:
    site = Site()
    async with world(a=site):
        host = f"127.0.0.1:{site.origin.port}"
        plain = {
            "PROXYBALANCE_ENABLED": False,
            "ROBOTSTXT_OBEY": True,
            "DOWNLOADER_MIDDLEWARES": {
                SCRAPYS: None,
                RobotsTxtMiddleware: 100,
            },
            "CONCURRENT_REQUESTS": 1,  # Scrapy gives the rules to one of several requests that wait
        }
        crawler = await crawl(urls(host), plain)
        assert_obeyed(crawler, site)
