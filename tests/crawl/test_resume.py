"""A crawl that is stopped while a target is left alone, and resumed: what is remembered, and lost.

Everything happens on one machine, so the origin's times and those of every crawl are of one clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.origin import OriginRequest, OriginResponse
from scrapy import Request, signals
from scrapy.exceptions import IgnoreRequest
from twisted.python.failure import Failure

from scrapy_proxybalance.core.events import TargetPaused
from scrapy_proxybalance.plugin.lifecycle.job_memory import FILE_NAME

from .crawling import BASE_SETTINGS, UrlsSpider, crawl, crawl_test, proxybalance_stats
from .test_target_gate import (
    Received,
    Script,
    World,
    context_of,
    crawling,
    finish_reason,
    page,
    paths,
    refusal,
    resumes_a_crawl,
    until,
    urls,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response

# Far less than a pause of 600 s, and far more than a machine with much else to do needs.
_PROMPTLY = 8.0
# A moment is written down on the clock of the wall, and read by that of the process.
_CLOCKS_DIFFER = 0.1

#: A pause that no test sits out.
LONG = {"PROXYBALANCE_PAUSE": 600}
#: What is left of a pause is over soon, and the target's traffic is back at once.
SOON = {
    "PROXYBALANCE_PAUSE": 0.2,
    "PROXYBALANCE_PAUSE_MAX": 0.2,
    "PROXYBALANCE_RAMP": 0.1,
}


class Pauses:
    """The pauses of a crawl, those remembered included: connected to it with ``prepare=``."""

    def __init__(self) -> None:
        self.seen: list[TargetPaused] = []

    def __call__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        crawler.signals.connect(self._opened, signal=signals.spider_opened)

    def _opened(self) -> None:
        context_of(self._crawler).pool.events.subscribe(self.seen.append, TargetPaused)


@contextmanager
def prompt() -> Iterator[None]:
    """Expect a block to take no long time."""
    began_at = time.monotonic()
    yield
    assert time.monotonic() - began_at < _PROMPTLY


def fetched(*crawlers: Crawler) -> list[str]:
    """Return what the spiders were given, sorted."""
    return sorted(response.url for one in crawlers for response in one.spider.responses)


def served_twice(w: World, *targets: str) -> dict[str, int]:
    """Return what was asked for more than once, and how often."""
    counts = Counter(target + path for target in targets for path in w.paths(target))
    return {url: count for url, count in counts.items() if count > 1}


# Closed in the middle of a pause


@resumes_a_crawl
@crawl_test
async def test_a_crawl_closed_in_a_pause_ends_at_once_and_everything_is_fetched_later(
    tmp_path: Path,
) -> None:
    async with world(a=Script(None, refusal()), b=page) as w:
        requested = urls("a.test", 30) + urls("b.test", 30)
        kept = {"JOBDIR": str(tmp_path), "CONCURRENT_REQUESTS_PER_DOMAIN": 1}
        received = Received()
        async with crawling(requested, w.settings(**kept, **LONG), received) as first:
            await until(lambda: received.refused_at and len(w.paths("b.test")) == 30)
            with prompt():
                await first.engine.close_spider_async(reason="seen enough")
        assert finish_reason(first) == "seen enough"
        assert first.spider.failures == []
        [refused] = w.paths("a.test")[1:]

        second = await crawl(requested, w.settings(**kept, **SOON))
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == sorted(requested)
        assert served_twice(w, "a.test", "b.test") == {f"a.test{refused}": 2}
        assert second.spider.failures == []


@resumes_a_crawl
@crawl_test
async def test_a_resumed_crawl_sits_out_the_rest_of_the_pause(tmp_path: Path) -> None:
    pauses, remembered = Pauses(), Pauses()
    async with world(a=Script(refusal()), b=page) as w:
        kept = {"JOBDIR": str(tmp_path), "PROXYBALANCE_RAMP": 0.1, "PROXYBALANCE_PAUSE": 1.5}
        settings = w.settings(**kept, CONCURRENT_REQUESTS_PER_DOMAIN=1)
        async with crawling(urls("a.test", 10), settings, pauses) as first:  # type: ignore[arg-type]
            await until(lambda: pauses.seen)
        [pause] = pauses.seen
        assert time.monotonic() < pause.until
        requested = urls("a.test", 10) + urls("b.test", 10)
        second = await crawl(requested, settings, prepare=remembered)
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == sorted(requested)
        arrived = [request.time for request in w.targets["a.test"].requests[1:]]
        assert pause.until - _CLOCKS_DIFFER <= min(arrived)
        # Nobody else had to wait for that.
        assert all(request.time < pause.until for request in w.targets["b.test"].requests)
        [again] = remembered.seen
        assert again.step == 1
        assert again.until == pytest.approx(pause.until, abs=_CLOCKS_DIFFER)


@resumes_a_crawl
@crawl_test
async def test_a_refusal_after_the_resume_pauses_twice_as_long(tmp_path: Path) -> None:
    pauses, again = Pauses(), Pauses()
    async with world(a=Script(refusal(), refusal())) as w:
        settings = w.settings(
            JOBDIR=str(tmp_path),
            CONCURRENT_REQUESTS_PER_DOMAIN=1,
            PROXYBALANCE_PAUSE=0.4,
            PROXYBALANCE_RAMP=0.1,
        )
        async with crawling(urls("a.test", 5), settings, pauses) as first:  # type: ignore[arg-type]
            await until(lambda: pauses.seen)
        second = await crawl(urls("a.test", 5), settings, prepare=again)
        assert [pause.step for pause in pauses.seen] == [1]
        assert [pause.step for pause in again.seen] == [1, 2]
        longer = again.seen[1]
        assert longer.until - longer.now >= 0.8
        assert w.targets["a.test"].requests[2].time >= longer.until
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == urls("a.test", 5)


@resumes_a_crawl
@crawl_test
async def test_a_suspended_target_gets_nothing_from_a_resumed_crawl_until_the_file_is_removed(
    tmp_path: Path,
) -> None:
    suspended = "proxybalance_suspended: a.test"
    async with world(a=Script(refusal(), refusal()), b=page) as w:
        settings = w.settings(
            JOBDIR=str(tmp_path),
            CONCURRENT_REQUESTS_PER_DOMAIN=1,
            PROXYBALANCE_PAUSE=0.05,
            PROXYBALANCE_RAMP=0.1,
            PROXYBALANCE_MAX_PAUSES=1,
        )
        first = await crawl(urls("a.test", 10) + urls("b.test", 10), settings)
        assert finish_reason(first) == suspended
        assert len(w.paths("a.test")) == 2

        second = await crawl(urls("a.test", 20) + urls("b.test", 20), settings)
        assert finish_reason(second) == suspended
        assert len(w.paths("a.test")) == 2
        assert w.paths("b.test") == paths(20)
        assert proxybalance_stats(second)["target/a.test/suspended"] is True
        assert second.spider.failures == []

        (tmp_path / FILE_NAME).unlink()
        third = await crawl([], settings)
        assert finish_reason(third) == "finished"
        everything = urls("a.test", 20) + urls("b.test", 20)
        assert fetched(first, second, third) == sorted(everything)
        assert not (tmp_path / FILE_NAME).exists()


@resumes_a_crawl
@crawl_test
async def test_a_target_that_was_dropped_stays_so_in_a_resumed_crawl(tmp_path: Path) -> None:
    async with world(a=Script(None, refusal()), b=page) as w:
        settings = w.settings(
            JOBDIR=str(tmp_path),
            CONCURRENT_REQUESTS_PER_DOMAIN=1,
            PROXYBALANCE_ON_RATE_LIMITED="drop",
        )
        first = await crawl(urls("a.test", 5), settings)
        assert finish_reason(first) == "finished"
        requested = urls("a.test", 10) + urls("b.test", 10)
        second = await crawl(requested, settings)
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == [*urls("a.test", 1), *urls("b.test", 10)]
        assert len(w.paths("a.test")) == 2
        # Those that the first crawl dropped are done with; the others are dropped now.
        assert [failure.type for failure in second.spider.failures] == [IgnoreRequest] * 5


@resumes_a_crawl
@pytest.mark.parametrize("suspended", [False, True], ids=["paused", "suspended"])
@crawl_test
async def test_a_rule_that_is_new_in_the_resumed_crawl_lets_nothing_through(
    suspended: bool, tmp_path: Path
) -> None:
    pauses, again = Pauses(), Pauses()
    async with world(a=lambda _: refusal(), b=page) as w:
        w.targets["www.a.test"] = w.targets["a.test"]
        for proxy in w.proxies:
            proxy.resolve = {**(proxy.resolve or {}), "www.a.test": proxy.resolve["a.test"]}  # type: ignore[index]
        brief = {"PROXYBALANCE_PAUSE": 0.1, "PROXYBALANCE_MAX_PAUSES": 1}
        settings = w.settings(
            JOBDIR=str(tmp_path),
            CONCURRENT_REQUESTS_PER_DOMAIN=1,
            **(brief if suspended else LONG),
        )
        async with crawling(urls("www.a.test", 5), settings, pauses) as first:  # type: ignore[arg-type]
            await until(lambda: pauses.seen)
            if suspended:
                await until(lambda: first.engine.spider is None)
        asked = len(w.paths("a.test"))

        # Its host goes by another name now, and so does another host of the domain.
        ruled = {**settings, "PROXYBALANCE_TARGETS": {".a.test": {"rate": "50/s"}}}
        requested = urls("a.test", 5) + urls("b.test", 20)
        async with crawling(requested, ruled, again) as second:  # type: ignore[arg-type]
            await until(lambda: len(w.paths("b.test")) == 20)
            if suspended:
                await until(lambda: second.engine.spider is None)
            else:
                await until(lambda: context_of(second).held(".a.test") == 10)
        assert len(w.paths("a.test")) == asked
        if suspended:
            assert finish_reason(second) == "proxybalance_suspended: .a.test"
        else:
            [pause] = again.seen
            assert pause.target == ".a.test"


@resumes_a_crawl
@crawl_test
async def test_a_resumed_crawl_tries_a_site_with_robots_txt_and_one_page(tmp_path: Path) -> None:
    pauses, again = Pauses(), Pauses()
    forbids = False

    def target(request: OriginRequest) -> OriginResponse:
        if request.path == "/robots.txt":
            return OriginResponse(body=b"User-agent: *\nAllow: /\n")
        return refusal(403 if forbids else 429)

    async with world(a=target, b=page) as w:
        settings = w.settings(
            JOBDIR=str(tmp_path),
            ROBOTSTXT_OBEY=True,
            PROXYBALANCE_FORBIDDEN_THRESHOLD=3,
            PROXYBALANCE_RAMP=0.1,
        )
        brief = {**settings, "PROXYBALANCE_PAUSE": 0.1, "PROXYBALANCE_PAUSE_MAX": 0.1}
        async with crawling(urls("a.test", 20), brief, pauses):  # type: ignore[arg-type]
            await until(lambda: pauses.seen)
        w.targets["a.test"].requests.clear()
        forbids = True

        requested = urls("b.test", 20)
        resumed = {**settings, **LONG}
        async with crawling(requested, resumed, again) as second:  # type: ignore[arg-type]
            await until(lambda: any(pause.step > 1 for pause in again.seen))
            # Its robots.txt is a page like any other: two proxies are asked.
            await until(lambda: len(w.paths("b.test")) == 20 + 2)
            await until(lambda: not second.engine.downloader.active)
        robots, *pages = w.paths("a.test")
        assert robots == "/robots.txt"
        assert len(pages) == 1
        assert "target/a.test/reopened" not in proxybalance_stats(second)


@resumes_a_crawl
@crawl_test
async def test_a_garbled_file_stops_no_crawl(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"version": 1, "targets": [{"target"', "utf-8")
    async with world(a=page) as w:
        crawler = await crawl(urls("a.test", 10), w.settings(JOBDIR=str(tmp_path)))
        assert finish_reason(crawler) == "finished"
        assert fetched(crawler) == urls("a.test", 10)
        assert not (tmp_path / FILE_NAME).exists()


# Closed while requests wait past the queue


class AsksElsewhere(UrlsSpider):
    """Asks a.test for another page from within a callback of b.test, past the scheduler."""

    async def keep(self, response: Response) -> None:  # type: ignore[override]
        self.responses.append(response)
        if "b.test" in response.url:
            number = response.url.rpartition("/")[2]
            try:
                await self.crawler.engine.download_async(Request(f"http://a.test/more{number}"))
            except IgnoreRequest:
                self.failures.append(Failure())


@resumes_a_crawl
@crawl_test
async def test_closing_while_requests_wait_in_the_middleware_ends_at_once_and_loses_nothing(
    tmp_path: Path,
) -> None:
    received = Received()

    async def other(request: OriginRequest) -> OriginResponse:
        await received.refusal.wait()
        return page(request)

    async with world(a=Script(refusal()), b=other) as w:
        requested = urls("a.test", 20) + urls("b.test", 3)
        kept = {"JOBDIR": str(tmp_path), "CONCURRENT_REQUESTS_PER_DOMAIN": 1}
        settings = w.settings(**kept, **LONG, PROXYBALANCE_ACQUIRE_TIMEOUT=600)
        async with crawling(requested, settings, received, spider=AsksElsewhere) as first:
            active = first.engine.downloader.active
            await until(
                lambda: (
                    len(w.paths("b.test")) == 3
                    and sum("/more" in request.url for request in active) == 3
                )
            )
            with prompt():
                await first.engine.close_spider_async(reason="seen enough")
        assert len(first.spider.failures) == 3
        assert all("closing" in str(failure.value) for failure in first.spider.failures)
        assert len(w.paths("a.test")) == 1

        second = await crawl(requested, w.settings(**kept, **SOON))
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == sorted(requested)
        assert served_twice(w, "a.test", "b.test") == {f"a.test{w.paths('a.test')[0]}": 2}


@resumes_a_crawl
@crawl_test
async def test_closing_while_requests_wait_in_a_download_slot_loses_nothing(
    tmp_path: Path,
) -> None:
    async with world(a=page, b=page) as w:
        requested = urls("a.test", 8) + urls("b.test", 8)
        kept = {"JOBDIR": str(tmp_path)}
        slow = {"DOWNLOAD_DELAY": 600.0}
        async with crawling(requested, w.settings(**kept, **slow)) as first:
            slots = first.engine.downloader.slots
            await until(lambda: sum(bool(slot.queue) for slot in slots.values()) == 2)
            with prompt():
                await first.engine.close_spider_async(reason="seen enough")
        assert first.spider.failures == []
        assert len(first.spider.responses) < 16
        second = await crawl(requested, w.settings(**kept))
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == sorted(requested)
        assert served_twice(w, "a.test", "b.test") == {}


@resumes_a_crawl
@crawl_test
async def test_closing_in_a_pause_stops_at_once_what_waits_in_a_download_slot(
    tmp_path: Path,
) -> None:
    received = Received()
    answer = asyncio.Event()

    async def target(request: OriginRequest) -> OriginResponse:
        if request.path != "/0" or received.refused_at:
            return page(request)
        await answer.wait()
        return refusal()

    async with world(a=target) as w:
        kept = {"JOBDIR": str(tmp_path)}
        patient = {"a.test": {"delay": 600.0, "concurrency": 8}}
        settings = w.settings(**kept, **LONG, DOWNLOAD_SLOTS=patient)
        async with crawling(urls("a.test", 10), settings, received) as first:
            slots = first.engine.downloader.slots
            await until(lambda: "a.test" in slots and slots["a.test"].queue)
            answer.set()
            await until(lambda: received.refused_at)
            with prompt():
                await first.engine.close_spider_async(reason="seen enough")
        assert w.paths("a.test") == ["/0"]
        second = await crawl(urls("a.test", 10), w.settings(**kept, **SOON))
        assert fetched(first, second) == urls("a.test", 10)
        assert served_twice(w, "a.test") == {"a.test/0": 2}


@resumes_a_crawl
@pytest.mark.parametrize("answers", [True, False], ids=["that comes", "that never comes"])
@crawl_test
async def test_closing_while_requests_wait_for_robots_txt_ends_soon_and_loses_nothing(
    answers: bool, tmp_path: Path
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def target(request: OriginRequest) -> OriginResponse:
        if request.path != "/robots.txt":
            return page(request)
        asked.set()
        await answer.wait()
        return OriginResponse(body=b"User-agent: *\nDisallow: /private\n")

    async with world(a=target) as w:
        requested = urls("a.test", 10)
        kept = {"JOBDIR": str(tmp_path), "ROBOTSTXT_OBEY": True}
        settings = w.settings(**kept, **LONG, DOWNLOAD_TIMEOUT=2, RETRY_TIMES=50)
        async with crawling([*requested, "http://a.test/private"], settings) as first:
            await asked.wait()
            closing = asyncio.ensure_future(first.engine.close_spider_async(reason="seen enough"))
            with prompt():
                if answers:
                    await asyncio.sleep(0)
                    answer.set()
                await closing
        assert [f for f in first.spider.failures if not f.check(IgnoreRequest)] == []

        answer.set()
        second = await crawl(requested, w.settings(**kept, **SOON))
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == requested
        assert "/private" not in w.paths("a.test")
        assert not [url for url in served_twice(w, "a.test") if "robots" not in url]


# Stopped from outside

SPIDER = """
import json
import sys
from pathlib import Path

from scrapy import Request, Spider
from scrapy.crawler import CrawlerProcess

told = json.loads(sys.argv[1])


class Urls(Spider):
    name = "urls"

    async def start(self):
        for url in told["urls"]:
            yield Request(url)

    def parse(self, response):
        with Path(told["items"]).open("a") as items:
            items.write(response.url + "\\n")


process = CrawlerProcess(told["settings"])
process.crawl(Urls)
process.start()
"""


class Job:
    """A job whose crawls are processes of their own: a directory with all that they leave."""

    def __init__(self, directory: Path, w: World, requested: list[str]) -> None:
        self.directory = directory
        self.requested = requested
        self._world = w
        (directory / "spider.py").write_text(SPIDER, "utf-8")

    @contextmanager
    def crawl(self, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Start a crawl, and see to it that it does not outlive the block."""
        told = {
            "urls": self.requested,
            "items": str(self.directory / "items"),
            "settings": {
                **BASE_SETTINGS,
                **self._world.settings(),
                "CONCURRENT_REQUESTS_PER_DOMAIN": 2,
                "JOBDIR": str(self.directory / "job"),
                "LOG_ENABLED": True,
                "LOG_LEVEL": "INFO",
                "LOG_FILE": str(self.directory / "log"),
                **settings,
            },
        }
        process = subprocess.Popen(
            [sys.executable, str(self.directory / "spider.py"), json.dumps(told)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    async def finish(self, **settings: Any) -> None:
        """Run a crawl to its end."""
        with self.crawl(**settings) as process:
            assert await ended(process) == 0
        assert "'finish_reason': 'finished'" in self.log()
        assert "ERROR" not in self.log()

    @property
    def memory(self) -> Path:
        return self.directory / "job" / FILE_NAME

    @property
    def items(self) -> list[str]:
        path = self.directory / "items"
        return sorted(path.read_text("utf-8").split()) if path.exists() else []

    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8")


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end; return its status."""
    await until(lambda: process.poll() is not None)
    return int(process.returncode)


async def stop_in_a_pause(job: Job, w: World, signum: signal.Signals) -> None:
    """Start a crawl, send it a signal while a.test pauses and b.test has been crawled."""
    with job.crawl(**LONG) as process:
        await until(job.memory.exists)
        await until(lambda: sum("b.test" in url for url in job.items) == 20)
        process.send_signal(signum)
        with prompt():
            status = await ended(process)
    assert len(w.paths("b.test")) == 20
    assert status == (-signal.SIGKILL if signum is signal.SIGKILL else 0)


@crawl_test
async def test_ctrl_c_in_a_pause_ends_the_crawl_at_once_and_resumed_nothing_is_lost(
    tmp_path: Path,
) -> None:
    async with world(a=Script(None, None, None, refusal()), b=page) as w:
        job = Job(tmp_path, w, urls("a.test", 20) + urls("b.test", 20))
        await stop_in_a_pause(job, w, signal.SIGINT)
        refused = w.paths("a.test")[3]
        assert len(job.items) < 40

        await job.finish(**SOON)
        assert job.items == sorted(job.requested)
        assert served_twice(w, "a.test", "b.test") == {f"a.test{refused}": 2}


@crawl_test
async def test_after_kill_9_in_a_pause_the_file_is_whole_and_the_crawl_can_be_resumed(
    tmp_path: Path,
) -> None:
    async with world(a=Script(None, None, None, refusal()), b=page) as w:
        job = Job(tmp_path, w, urls("a.test", 20) + urls("b.test", 20))
        await stop_in_a_pause(job, w, signal.SIGKILL)
        [remembered] = json.loads(job.memory.read_text("utf-8"))["targets"]
        assert remembered["target"] == "a.test"
        assert remembered["until"] > time.time() + 500
        asked_for = len(w.paths("a.test"))

        # What Scrapy loses is lost: it would read queue files anew that were never closed.
        job.requested += ["http://a.test/new", "http://b.test/new"]
        with job.crawl(**LONG) as process:
            await until(lambda: "/new" in w.paths("b.test"))
            assert len(w.paths("a.test")) == asked_for
            process.send_signal(signal.SIGINT)
            with prompt():
                assert await ended(process) == 0
        await job.finish(**SOON)
