"""Other ways to run a crawl: without a Twisted reactor, and two in one process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy.crawler import CrawlerRunner
from scrapy.settings import default_settings
from scrapy.utils.defer import maybe_deferred_to_future

from . import reactorless_crawl
from .crawling import BASE_SETTINGS, UrlsSpider, crawl_test, proxybalance_stats

# Scrapy can do without a reactor from 2.15 on. Defined and not skipped: where it can, this has to run.
if hasattr(default_settings, "TWISTED_REACTOR_ENABLED"):

    def test_a_crawl_without_a_reactor_fetches_every_page_and_pauses_at_a_429() -> None:
        script = Path(reactorless_crawl.__file__)
        example = script.parents[2] / "example_project"
        path = [str(example), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        assert seen["reactor"] is False
        assert seen["pages"] == reactorless_crawl.PAGES
        numbers = [f"/{number}" for number in range(reactorless_crawl.PAGES)]
        assert seen["paths"] == sorted([*numbers, "/1"])
        assert seen["direct"] == 0
        assert sum(seen["through"]) == reactorless_crawl.PAGES + 1
        assert min(seen["through"]) > 0
        assert seen["authorized"]
        assert seen["paused_for"] >= reactorless_crawl.PAUSE
        stats = seen["stats"]
        assert stats["finish_reason"] == "finished"
        assert stats["proxybalance/leases"] == reactorless_crawl.PAGES + 1
        assert stats["proxybalance/outcome/success"] == reactorless_crawl.PAGES
        assert stats["proxybalance/outcome/target_signal"] == 1
        assert not any(key.startswith("retry/") for key in stats)
        shown, metrics = seen["watched"]
        # Half the pages have come, the refusal as well, and the next one may be on its way.
        assert json.loads(shown)["summary"]["requests"] >= reactorless_crawl.PAGES // 2
        assert 'proxybalance_capacity{spider="pages"} 8.0' in metrics
        assert seen["written"].keys() == {"requests.csv", "report.csv", "report.html"}
        assert seen["written"]["requests.csv"] == reactorless_crawl.PAGES + 2
        assert seen["written"]["report.csv"] == 3


@crawl_test
async def test_two_crawls_in_one_process_use_each_its_own_pool() -> None:
    both_here = asyncio.Event()
    seen: set[str] = set()

    async def handler(request: OriginRequest) -> OriginResponse:
        # Until both crawls have sent something, neither gets any further.
        seen.add(request.path[1])
        if seen == {"a", "b"}:
            both_here.set()
        await both_here.wait()
        return OriginResponse(429 if request.path == "/a3" else 200, body=request.path.encode())

    async with (
        Origin(handler) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two") as two,
        ForwardProxy("three") as three,
    ):
        site = f"http://127.0.0.1:{origin.port}"
        pools = {"a": [one], "b": [two, three]}
        crawlers = {}
        crawls = []
        for name, proxies in pools.items():
            settings = {
                **BASE_SETTINGS,
                "PROXYBALANCE_PROXIES": [{"url": p.url(), "name": p.name} for p in proxies],
                # The refusal in one crawl would hold up the other one for ever.
                "PROXYBALANCE_ON_RATE_LIMITED": "drop" if name == "a" else "pause",
                "PROXYBALANCE_PAUSE": 1000,
                "PROXYBALANCE_PAUSE_MAX": 1000,
                "CLOSESPIDER_TIMEOUT": 30,
            }
            runner = CrawlerRunner(settings)
            crawlers[name] = runner.create_crawler(UrlsSpider)
            urls = [f"{site}/{name}{number}" for number in range(30)]
            crawls.append(maybe_deferred_to_future(runner.crawl(crawlers[name], urls=urls)))
        await asyncio.gather(*crawls)
        for name, proxies in pools.items():
            through = {
                str(r.via).removeprefix("1.1 ") for r in origin.requests if r.path[1] == name
            }
            assert through == {proxy.name for proxy in proxies}
            carried = [request.url for proxy in proxies for request in proxy.requests]
            assert all(url.startswith(f"{site}/{name}") for url in carried)
            stats = proxybalance_stats(crawlers[name])
            assert stats["leases"] == len(carried)
            assert stats["proxies"] == len(proxies)
            assert crawlers[name].stats.get_value("finish_reason") == "finished"
        # The one target refused the one crawl: the other one has not heard of it.
        assert len(crawlers["b"].spider.responses) == 30
        assert len(crawlers["a"].spider.responses) < 30
        assert proxybalance_stats(crawlers["a"])[f"target/127.0.0.1:{origin.port}/suspended"]
        assert not any(key.startswith("target/") for key in proxybalance_stats(crawlers["b"]))
