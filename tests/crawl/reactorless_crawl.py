"""A crawl without a Twisted reactor, in a process of its own; ``test_reactorless`` runs it.

Prints what was seen as one JSON object: by the spider, by the proxies, by the origin.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, Spider, signals
from scrapy.crawler import AsyncCrawlerRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.http import Response

PAGES = 40
PAUSE = 0.3


class PagesSpider(Spider):
    name = "pages"
    site = ""

    async def start(self) -> AsyncIterator[Request]:
        for number in range(PAGES):
            yield Request(f"{self.site}/{number}")

    async def parse(self, response: Response) -> None:
        self.crawler.pages.append(response.text)
        if len(self.crawler.pages) == PAGES // 2:
            port = self.settings.getint("PROXYBALANCE_METRICS_PORT")
            for path in ("/api/crawls/pages", "/metrics"):
                self.crawler.watched.append(await asyncio.to_thread(read, port, path))


def read(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return str(answer.read().decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def crawl(temporary: str) -> dict[str, Any]:
    answers = iter([OriginResponse(body=b"first"), OriginResponse(429)])

    def handler(request: OriginRequest) -> OriginResponse:
        return next(answers, OriginResponse(body=request.path.encode()))

    async with (
        Origin(handler) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two", credentials={"user": "pa:ss@word"}) as two,
    ):
        directory = Path(temporary)
        settings = {
            "ADDONS": {"scrapy_proxybalance.Addon": 500},
            "TWISTED_REACTOR_ENABLED": False,
            "REMOTE_CONTROL_ENABLED": False,
            "PROXYBALANCE_PROXIES": [
                {"url": one.url(), "name": "one"},
                {"url": two.url("user"), "name": "two"},
            ],
            "PROXYBALANCE_STRATEGY": "round_robin",
            "PROXYBALANCE_PAUSE": PAUSE,
            "PROXYBALANCE_RAMP": 0.1,
            "RETRY_TIMES": 0,
            "CONCURRENT_REQUESTS": 1,
            "CLOSESPIDER_TIMEOUT": 30,
            "LOG_LEVEL": "WARNING",
            "PROXYBALANCE_METRICS_PORT": free_port(),
            "PROXYBALANCE_REQUEST_LOG": directory / "requests.csv",
            "PROXYBALANCE_REPORT": [directory / "report.csv", directory / "report.html"],
        }
        refused_at: list[float] = []

        def downloaded(response: Response) -> None:
            if response.status == 429:
                refused_at.append(time.monotonic())

        runner = AsyncCrawlerRunner(settings)
        crawler = runner.create_crawler(PagesSpider)
        crawler.pages, crawler.watched = [], []
        crawler.signals.connect(downloaded, signal=signals.response_downloaded)
        await runner.crawl(crawler, site=f"http://127.0.0.1:{origin.port}")
        [refused] = refused_at
        return {
            "watched": crawler.watched,
            "written": {
                path.name: len(path.read_text().splitlines()) for path in directory.iterdir()
            },
            "reactor": "twisted.internet.reactor" in sys.modules,
            "pages": len(crawler.pages),
            "paths": sorted(request.path for request in origin.requests),
            "through": [len(one.requests), len(two.requests)],
            "authorized": all(request.authorized for request in two.requests),
            "direct": sum(request.via is None for request in origin.requests),
            "paused_for": origin.requests[2].time - refused,
            "stats": {
                key: value
                for key, value in crawler.stats.get_stats().items()
                if isinstance(value, int | str)
            },
        }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(asyncio.run(crawl(temporary))))
