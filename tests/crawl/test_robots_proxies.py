"""robots.txt, where it is proxies that answer in the site's place, hang, or are dead."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback import http1
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import OriginResponse
from scrapy import Request

from .crawling import crawl, crawl_test, proxybalance_stats
from .test_resume import Job, ended
from .test_robots import (
    ALLOWED,
    FORBIDDEN,
    RULES,
    PausesSpider,
    Site,
    assert_obeyed,
    crawling,
    pauses,
    settings,
    urls,
    world,
)
from .test_target_gate import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

NO_FILE = OriginResponse(404, (), b"<h1>Not found</h1>")
NOTHING_ALLOWED = OriginResponse(body=b"User-agent: *\nDisallow: /\n")


class AnswersItself(ForwardProxy):
    """Answers every request itself, with no mark that would tell it from a site."""

    def __init__(self, status: int, body: bytes = b"", *headers: tuple[str, str]) -> None:
        super().__init__(f"{status}-{len(body)}")
        self._data = http1.encode(
            http1.status_line(status), [*headers, ("Content-Length", str(len(body)))], body
        )

    async def _answer(self, client: Any, head: Any, body: bytes, authorized: bool) -> bool:  # noqa: ARG002
        client.writer.write(self._data)
        await client.writer.drain()
        return True


class Redirects(ForwardProxy):
    """Answers every request to ``a.test`` with a redirect, and serves the page that it leads to."""

    def __init__(self, portal: str) -> None:
        super().__init__("redirects")
        self._portal = portal

    async def _answer(self, client: Any, head: Any, body: bytes, authorized: bool) -> bool:  # noqa: ARG002
        status, page, headers = 200, b"<h1>Log in</h1>", []
        if "//a.test" in head.first_line[1]:
            status, page, headers = 302, b"", [("Location", self._portal)]
        headers.append(("Content-Length", str(len(page))))
        client.writer.write(http1.encode(http1.status_line(status), headers, page))
        await client.writer.drain()
        return True


def itself(status: int, body: bytes = b"", *headers: tuple[str, str]) -> Any:
    """Return a parameter: a proxy that answers so."""
    label = f"{status} {body[:12].decode() or 'empty'}"
    return pytest.param((status, body, *headers), id=label)


OWN_ANSWERS = [
    itself(403, b"Blocked"),
    itself(403),
    itself(401, b"Log in"),
    itself(404, b"<h1>No such host</h1>"),
    itself(451),
    itself(200, b"<html><h1>Please log in</h1></html>"),
    itself(200, b"\n <!DOCTYPE html><h1>Blocked</h1>"),
    itself(200, b'{"error": "out of traffic"}'),
    itself(200),
    itself(204),
]


@asynccontextmanager
async def beside(
    site: Site, *others: ForwardProxy, good: int = 1
) -> AsyncIterator[list[ForwardProxy]]:
    """Start a site ``a.test``, some proxies that lead to it, and others."""
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(site.origin)
        resolve = {"a.test": (origin.host, origin.port)}
        proxies = [*others, *(ForwardProxy(f"good-{n}", resolve=resolve) for n in range(good))]
        yield [await stack.enter_async_context(proxy) for proxy in proxies]


def hanging(count: int) -> list[ForwardProxy]:
    return [ForwardProxy(f"hanging-{n}", behaviour=Behaviour.HANG) for n in range(count)]


def refusing(count: int) -> list[ForwardProxy]:
    return [ForwardProxy(f"refusing-{n}", behaviour=Behaviour.REFUSE) for n in range(count)]


def asked_for(proxies: Sequence[ForwardProxy], path: str) -> int:
    """Return how often proxies were asked for a path of ``a.test``."""
    return sum(one.url == f"http://a.test{path}" for proxy in proxies for one in proxy.requests)


# A second opinion


@pytest.mark.parametrize("answer", OWN_ANSWERS)
@crawl_test
async def test_what_a_proxy_says_in_the_sites_place_opens_nothing(answer: Any) -> None:
    for _ in range(2):  # whichever of the two is asked first
        site = Site(NOTHING_ALLOWED)
        async with beside(site, AnswersItself(*answer)) as proxies:
            crawler = await crawl(urls("a.test"), settings(proxies))
            assert site.pages == []
            assert crawler.spider.responses == []
            assert crawler.stats.get_value("robotstxt/forbidden") == 10
            assert crawler.stats.get_value("finish_reason") == "finished"


@crawl_test
async def test_in_twenty_crawls_with_one_blocked_proxy_no_forbidden_page_is_fetched() -> None:
    site = Site(NOTHING_ALLOWED)
    async with beside(site, AnswersItself(403, b"Blocked")) as proxies:
        for _ in range(20):
            await crawl(urls("a.test"), settings(proxies))
        assert site.pages == []
        blocked = [one.url for one in proxies[0].requests]
        assert blocked, "it was never asked: this shows nothing"
        assert set(blocked) == {"http://a.test/robots.txt"}


@pytest.mark.parametrize("portal", ["http://login.test/", "http://a.test/robots.txt"], ids=str)
@crawl_test
async def test_a_proxy_that_redirects_to_a_page_of_its_own_opens_nothing(portal: str) -> None:
    for _ in range(4):
        site = Site(NOTHING_ALLOWED)
        async with beside(site, Redirects(portal)) as proxies:
            crawler = await crawl(urls("a.test"), settings(proxies), spider=PausesSpider)
            assert site.pages == []
            assert crawler.stats.get_value("robotstxt/forbidden") == 10
            assert pauses(crawler) == 0


@pytest.mark.parametrize(
    "answer",
    [
        NO_FILE,
        OriginResponse(403),
        OriginResponse(200),
        OriginResponse(200, (), b"<html>a page for every URL</html>"),
    ],
    ids=["404", "403", "empty", "page"],
)
@crawl_test
async def test_two_proxies_that_agree_that_there_are_no_rules_are_believed(answer: Any) -> None:
    site = Site(answer)
    async with world(a=site) as proxies:
        crawler = await crawl(urls("a.test"), settings(proxies))
        assert site.pages == sorted(ALLOWED + FORBIDDEN)
        assert [asked_for([proxy], "/robots.txt") for proxy in proxies] == [1, 1]
        assert not any(key.startswith("target/") for key in proxybalance_stats(crawler))


@crawl_test
async def test_rules_are_asked_for_once() -> None:
    site = Site()
    async with world(a=site) as proxies:
        assert_obeyed(await crawl(urls("a.test"), settings(proxies)), site)
        assert len(site.robots_times) == 1


@pytest.mark.parametrize("status", [429, 503])
@crawl_test
async def test_a_refusal_is_not_asked_again_through_another_proxy(status: int) -> None:
    site = Site(OriginResponse(status, [("Retry-After", "600")]))
    async with beside(site, good=4) as proxies:
        async with crawling(urls("a.test"), settings(proxies, PROXYBALANCE_PAUSE=600)) as run:
            await until(lambda: pauses(run) == 1)
            await until(lambda: not run.engine.downloader.active)
        assert len(site.robots_times) == 1
        assert site.pages == []


@crawl_test
async def test_a_refusal_of_the_second_opinion_ends_the_asking() -> None:
    answers = iter([NO_FILE, OriginResponse(429, [("Retry-After", "600")])])
    site = Site()

    async def answer() -> OriginResponse:
        return next(answers)

    site.robots = answer
    async with beside(site, good=4) as proxies:
        async with crawling(urls("a.test"), settings(proxies, PROXYBALANCE_PAUSE=600)) as run:
            await until(lambda: pauses(run) == 1)
            await until(lambda: not run.engine.downloader.active)
        assert len(site.robots_times) == 2
        assert site.pages == []


@crawl_test
async def test_the_second_opinion_counts_in_the_targets_budget() -> None:
    site, other = Site(NO_FILE), Site()
    async with world(a=site, b=other) as proxies:
        budgeted = settings(
            proxies, PROXYBALANCE_TARGETS={"a.test": {"rate": "1/min"}}, CLOSESPIDER_TIMEOUT=0
        )
        async with crawling(urls("a.test"), budgeted) as run:
            await until(lambda: site.robots_times)
            # The second proxy is free all the while.
            for number in range(50):
                await run.engine.download_async(Request(f"http://b.test/{number}"))
            assert len(site.robots_times) == 1
            assert site.pages == []


# No second proxy at hand


@crawl_test
async def test_a_pool_of_one_believes_its_proxy_and_asks_once() -> None:
    site = Site(NO_FILE)
    async with beside(site) as proxies:
        await crawl(urls("a.test"), settings(proxies))
        assert len(site.robots_times) == 1
        assert site.pages == sorted(ALLOWED + FORBIDDEN)


@crawl_test
async def test_a_filter_that_leaves_one_believes_it_and_who_has_more_to_choose_from_asks() -> None:
    site = Site(NOTHING_ALLOWED)
    async with beside(site, AnswersItself(403)) as proxies:
        blocked = proxies[0].name
        narrow = [Request("http://a.test/narrow", meta={"proxy_filter": {"name": blocked}})]
        one_by_one = settings(proxies, CONCURRENT_REQUESTS=1)
        crawler = await crawl([*narrow, *urls("a.test")], one_by_one)
        # What went through the blocked one came to nothing; nothing else was let through.
        assert asked_for(proxies[:1], "/narrow") == 1
        assert site.pages == []
        assert crawler.stats.get_value("robotstxt/forbidden") == 10


@crawl_test
async def test_while_the_others_cool_down_one_is_believed_until_one_of_them_is_back() -> None:
    site = Site(NOTHING_ALLOWED)
    seen: list[str] = []

    class Watching(PausesSpider):
        def keep(self, response: Any) -> None:
            seen.append(response.url)
            if len(seen) == 1:
                back.append(asyncio.ensure_future(proxies[1].start(port=proxies[1].port)))

    back: list[asyncio.Future[None]] = []
    async with beside(site, AnswersItself(200, b"<h1>Blocked</h1>")) as proxies:
        await proxies[1].close()  # its port refuses connections
        cooling = settings(
            proxies,
            PROXYBALANCE_FAILURE_THRESHOLD=1,
            PROXYBALANCE_COOLDOWN=0.3,
            CONCURRENT_REQUESTS=1,
            DOWNLOAD_DELAY=0.1,
        )
        crawler = await crawl([f"http://a.test/{n}" for n in range(20)], cooling, spider=Watching)
        assert crawler.stats.get_value("robotstxt/forbidden", 0) >= 1
        assert site.pages == []


@crawl_test
async def test_while_the_others_fail_one_is_not_believed_at_once_but_in_the_end() -> None:
    site = Site(NO_FILE)
    async with beside(site, *refusing(1)) as proxies:
        crawler = await crawl(urls("a.test"), settings(proxies), spider=PausesSpider)
        assert crawler.stats.get_value("proxybalance/failure/no_response") >= 3
        assert site.pages == sorted(ALLOWED + FORBIDDEN)
        assert len(site.robots_times) == 1  # what it has said is not asked again
        assert pauses(crawler) == 0


@crawl_test
async def test_what_one_proxy_says_is_asked_for_anew_after_a_pause() -> None:
    site = Site(NO_FILE)
    pages = iter([OriginResponse(429)])
    serve = site.origin._handler

    async def target(request: Any) -> OriginResponse:
        if request.path != "/robots.txt":
            return next(pages, OriginResponse(body=request.path.encode()))
        answer = serve(request)
        return answer if isinstance(answer, OriginResponse) else await answer

    site.origin._handler = target
    async with beside(site) as proxies:
        await crawl(
            ["http://a.test/0", "http://a.test/1"], settings(proxies, CONCURRENT_REQUESTS=1)
        )
        # The page that was refused, the rules again, and then the page that tries.
        assert [one.path == "/robots.txt" for one in site.origin.requests][:4] == [
            True,
            False,
            True,
            False,
        ]


# Proxies that hang


@crawl_test
async def test_whoever_hangs_is_not_waited_for_before_another_one_is_asked() -> None:
    site = Site()
    async with beside(site, *hanging(4)) as proxies:
        # Longer than the crawl may take: who is asked next cannot be told by a timeout.
        patient = settings(
            proxies,
            PROXYBALANCE_ADAPTIVE_TIMEOUT_MIN=600,
            DOWNLOAD_TIMEOUT=600,
            CLOSESPIDER_TIMEOUT=0,
        )
        async with crawling(urls("a.test"), patient) as run:
            try:
                # The page that has waited for the rules goes through the proxy that brought them.
                await until(lambda: bool(site.pages or run.spider.failures))
                assert pauses(run) == 0
            finally:
                for proxy in proxies[:4]:
                    await proxy.close()  # else the crawl would wait for them


@crawl_test
async def test_whoever_hangs_is_cut_off_long_before_the_download_timeout() -> None:
    site = Site()
    async with beside(site, *hanging(1), good=0) as proxies:
        impatient = settings(proxies, PROXYBALANCE_ADAPTIVE_TIMEOUT_MIN=0.2, DOWNLOAD_TIMEOUT=600)
        async with crawling(urls("a.test"), impatient) as run:
            await until(lambda: run.stats.get_value("proxybalance/failure/timeout", 0) >= 1)
            assert site.origin.requests == []


@crawl_test
async def test_a_site_that_needs_long_for_it_gets_longer_each_time() -> None:
    site = Site()

    async def slowly() -> OriginResponse:
        await asyncio.sleep(0.5)
        return RULES

    site.robots = slowly
    async with beside(site) as proxies:
        short = settings(proxies, PROXYBALANCE_ADAPTIVE_TIMEOUT_MIN=0.1, PROXYBALANCE_MAX_PAUSES=9)
        crawler = await crawl(urls("a.test"), short)
        assert_obeyed(crawler, site)


@crawl_test
async def test_a_slow_site_is_asked_by_no_more_than_two_at_once_that_are_known_to_work() -> None:
    site, at_once, most = Site(), 0, 0

    async def slowly() -> OriginResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(3)
        at_once -= 1
        return RULES

    site.robots = slowly
    async with beside(site, good=6) as proxies:
        known = [
            Request(f"http://a.test/known/{n}", meta={"dont_obey_robotstxt": True})
            for n in range(60)
        ]
        crawler = await crawl([*known, *urls("a.test")], settings(proxies, CONCURRENT_REQUESTS=1))
        assert crawler.stats.get_value("robotstxt/forbidden") == len(FORBIDDEN)
        assert most == 2


# Stopped while they hang


class Hanging:
    """What :class:`~.test_resume.Job` asks of its world: whose settings its crawls have."""

    def __init__(self, proxies: Sequence[ForwardProxy]) -> None:
        self._proxies = proxies

    def settings(self) -> dict[str, Any]:
        return settings(self._proxies, PROXYBALANCE_ADAPTIVE_TIMEOUT_MIN=0.5, DOWNLOAD_TIMEOUT=600)


@crawl_test
async def test_stopped_from_outside_a_crawl_does_not_wait_for_proxies_that_hang(
    tmp_path: Path,
) -> None:
    site = Site()
    async with beside(site, *hanging(3), good=0) as proxies:
        job = Job(tmp_path, Hanging(proxies), sorted(f"http://a.test{path}" for path in ALLOWED))
        with job.crawl(CLOSESPIDER_TIMEOUT=0) as process:
            await until(lambda: asked_for(proxies, "/robots.txt") >= 1)
            process.send_signal(signal.SIGTERM)
            # They never answer, and DOWNLOAD_TIMEOUT is longer than any test.
            assert await ended(process) == 0
        assert job.items == []
        assert "'finish_reason': 'shutdown'" in job.log()
        for proxy in proxies:
            proxy.resolve = {"a.test": (site.origin.host, site.origin.port)}
            proxy.behaviour = Behaviour.HEALTHY
        await job.finish()
        assert job.items == job.requested


# Dead pools


@crawl_test
async def test_a_dead_pool_is_not_blamed_on_the_target() -> None:
    site = Site()
    async with beside(site, *refusing(4), good=0) as proxies:
        dead = settings(proxies, PROXYBALANCE_FAILURE_THRESHOLD=1, PROXYBALANCE_EXHAUSTED_TIMEOUT=2)
        crawler = await crawl(urls("a.test"), dead, spider=PausesSpider)
        assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
        assert pauses(crawler) == 0
        assert not any(key.startswith("target/") for key in proxybalance_stats(crawler))
        assert crawler.spider.responses == crawler.spider.failures == []


@crawl_test
async def test_when_a_dead_pool_comes_back_the_rules_are_asked_for_and_nothing_was_paused() -> None:
    site = Site()
    async with beside(site, good=2) as proxies:
        for proxy in proxies:
            proxy.behaviour = Behaviour.REFUSE
        async with crawling(urls("a.test"), settings(proxies)) as run:
            await until(lambda: run.stats.get_value("proxybalance/failure/no_response", 0) >= 4)
            assert site.origin.requests == []
            for proxy in proxies:
                proxy.behaviour = Behaviour.HEALTHY
            await until(lambda: run.engine.spider is None)
        assert_obeyed(run, site)
        assert pauses(run) == 0


@crawl_test
async def test_a_host_that_no_proxy_reaches_while_others_are_reached_is_paused_and_holds_nobody() -> (
    None
):
    class ClosesForOne(ForwardProxy):
        async def _answer(self, client: Any, head: Any, body: bytes, authorized: bool) -> bool:
            if "nobody.test" in head.first_line[1]:
                client.abort()
                return False
            return await super()._answer(client, head, body, authorized)

    site = Site()
    async with site.origin as origin:
        resolve = {"a.test": (origin.host, origin.port)}
        async with ClosesForOne("x", resolve=resolve) as x, ClosesForOne("y", resolve=resolve) as y:
            unreachable = [f"http://nobody.test/{n}" for n in range(4)]
            with_one = settings([x, y], PROXYBALANCE_PAUSE=600, CONCURRENT_REQUESTS=4)
            pages = [f"http://a.test/{n}" for n in range(300)]
            async with crawling([*unreachable, *pages], with_one) as run:
                await until(lambda: pauses(run) == 1 and len(site.pages) == 300)
            assert proxybalance_stats(run)["target/nobody.test/pauses"] == 1
