"""A spider that is being closed: what hangs is given up within seconds, and nothing is lost."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour
from loopback.http1 import encode, read_head
from loopback.listener import Connection, Listener
from scrapy import Request
from scrapy.exceptions import IgnoreRequest
from scrapy.settings import default_settings
from scrapy.utils.misc import load_object

from scrapy_proxybalance.plugin.lifecycle import closing

from .crawling import crawl, crawl_test, proxybalance_stats
from .test_resume import Job, ended, fetched, prompt
from .test_target_gate import (
    World,
    crawling,
    finish_reason,
    page,
    resumes_a_crawl,
    until,
    urls,
    world,
)

if TYPE_CHECKING:
    from pathlib import Path

_LONG = 600

_HANDLERS = "scrapy.core.downloader.handlers."
HANDLERS = ["scrapy_proxybalance.plugin.handlers.download_handler.DownloadHandler"]
HANDLERS += [f"{_HANDLERS}http11.HTTP11DownloadHandler"]
if hasattr(default_settings, "TWISTED_REACTOR_ENABLED"):  # from Scrapy 2.15 on
    HANDLERS += [f"{_HANDLERS}_aiohttp.AiohttpDownloadHandler"]

#: One of two proxies hangs, and nothing else would end that.
HANGING: dict[str, Any] = {
    "DOWNLOAD_TIMEOUT": _LONG,
    "PROXYBALANCE_ADAPTIVE_TIMEOUT": False,
    "PROXYBALANCE_STRATEGY": "round_robin",
    "CONCURRENT_REQUESTS": 6,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 6,
}


def hang(w: World) -> None:
    """Have the second of two proxies hang."""
    w.proxies[1].behaviour = Behaviour.HANG


@resumes_a_crawl
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda path: path.rpartition(".")[2])
@crawl_test
async def test_requests_on_a_hanging_proxy_go_back_and_are_fetched_when_the_crawl_is_resumed(
    handler: str, tmp_path: Path
) -> None:
    load_object(handler)  # a misspelt one would be no handler at all
    async with world(a=page) as w:
        hang(w)
        requested = urls("a.test", 60)
        settings = w.settings(
            **HANGING,
            JOBDIR=str(tmp_path),
            DOWNLOAD_HANDLERS={"http": handler},
        )
        async with crawling(requested, settings) as first:
            await until(lambda: w.proxies[1].in_flight == 6)
            with prompt():
                await first.engine.close_spider_async(reason="seen enough")
        assert first.spider.failures == []
        stats = proxybalance_stats(first)
        assert stats["outcome/ignored"] == 6
        await until(lambda: not w.proxies[1].in_flight)  # the connections are closed

        w.proxies[1].behaviour = Behaviour.HEALTHY
        second = await crawl(requested, settings)
        assert finish_reason(second) == "finished"
        assert fetched(first, second) == sorted(requested)
        assert second.spider.failures == []


@crawl_test
async def test_without_a_job_directory_the_closing_does_not_wait_either() -> None:
    async with world(a=page) as w:
        hang(w)
        async with crawling(urls("a.test", 60), w.settings(**HANGING)) as run:
            await until(lambda: w.proxies[1].in_flight == 6)
            with prompt():
                await run.engine.close_spider_async(reason="seen enough")
        assert run.spider.failures == []


@crawl_test
async def test_a_request_that_bypasses_the_scheduler_fails_as_ignored() -> None:
    async with world(a=page) as w:
        for proxy in w.proxies:
            proxy.behaviour = Behaviour.HANG
        waiting = urls("a.test", 1)
        async with crawling(waiting, w.settings(**HANGING)) as run:
            asked = asyncio.ensure_future(run.engine.download_async(Request("http://a.test/media")))
            await until(lambda: sum(proxy.in_flight for proxy in w.proxies) == 2)
            with prompt():
                await run.engine.close_spider_async(reason="seen enough")
            with pytest.raises(IgnoreRequest, match="the spider is closing"):
                await asked


@resumes_a_crawl
@crawl_test
async def test_robots_txt_on_a_hanging_proxy_does_not_hold_the_closing_up(tmp_path: Path) -> None:
    async with world(a=page) as w:
        for proxy in w.proxies:
            proxy.behaviour = Behaviour.HANG
        requested = urls("a.test", 10)
        settings = w.settings(**HANGING, JOBDIR=str(tmp_path), ROBOTSTXT_OBEY=True)
        async with crawling(requested, settings) as first:
            await until(lambda: sum(proxy.in_flight for proxy in w.proxies))
            with prompt():
                await first.engine.close_spider_async(reason="seen enough")
        assert first.spider.failures == []
        for proxy in w.proxies:
            proxy.behaviour = Behaviour.HEALTHY
        second = await crawl(requested, settings)
        assert fetched(second) == sorted(requested)


class Halves(Listener):
    """Sends half of every page, and the other half once ``goes_on`` is set; hangs on /hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.hanging = 0
        self.goes_on = asyncio.Event()

    async def _serve(self, connection: Connection) -> None:
        while (head := await read_head(connection.reader)) is not None:
            self.asked.append(head.first_line[1])
            if head.first_line[1].endswith("/hangs"):
                self.hanging += 1
                try:
                    await asyncio.Event().wait()
                finally:
                    self.hanging -= 1
            whole = encode("HTTP/1.1 200 OK", [("Content-Length", "4")], b"page")
            connection.writer.write(whole[:-2])
            await self.goes_on.wait()
            connection.writer.write(whole[-2:])


@crawl_test
async def test_a_response_that_has_begun_gets_more_time_than_one_that_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(closing, "ENDS_WITHIN", _LONG)
    async with Halves() as proxy:
        settings = {
            **HANGING,
            "CLOSESPIDER_TIMEOUT": 30,
            "PROXYBALANCE_PROXIES": [f"http://127.0.0.1:{proxy.port}"],
        }
        # The meta of an earlier attempt, which had a response, tells nothing of this one.
        copied = Request("http://a.test/hangs", meta={"download_latency": 0.1})
        async with crawling(["http://a.test/page", copied], settings) as run:
            await until(lambda: len(proxy.asked) == 2)
            closed = asyncio.ensure_future(run.engine.close_spider_async(reason="seen enough"))
            await until(lambda: not proxy.hanging)
            assert not closed.done()
            proxy.goes_on.set()
            await closed
    assert [response.body for response in run.spider.responses] == [b"page"]


@crawl_test
async def test_a_response_that_has_begun_and_does_not_end_is_given_up_as_well() -> None:
    async with Halves() as proxy:
        settings = {
            **HANGING,
            "CLOSESPIDER_TIMEOUT": 30,
            "PROXYBALANCE_PROXIES": [f"http://127.0.0.1:{proxy.port}"],
        }
        async with crawling(["http://a.test/page"], settings) as run:
            await until(lambda: proxy.asked)
            with prompt():
                await run.engine.close_spider_async(reason="seen enough")
    assert run.spider.responses == []
    assert run.spider.failures == []


@pytest.mark.parametrize(
    "reactor",
    ["asyncioreactor.AsyncioSelectorReactor", "selectreactor.SelectReactor"],
    ids=["asyncio", "select"],
)
@crawl_test
async def test_sigterm_ends_a_crawl_on_hanging_proxies_and_resumed_nothing_is_lost(
    reactor: str, tmp_path: Path
) -> None:
    settings = {**HANGING, "TWISTED_REACTOR": f"twisted.internet.{reactor}"}
    async with world(a=page) as w:
        hang(w)
        job = Job(tmp_path, w, urls("a.test", 60))
        with job.crawl(**settings) as process:
            await until(lambda: w.proxies[1].in_flight == 6)
            process.send_signal(signal.SIGTERM)
            with prompt():
                assert await ended(process) == 0
        assert "ERROR" not in job.log()
        assert "gives up 6 requests without a response so far" in job.log()

        w.proxies[1].behaviour = Behaviour.HEALTHY
        await job.finish(TWISTED_REACTOR=settings["TWISTED_REACTOR"])
        assert job.items == sorted(job.requested)
