"""How soon the first page comes with robots.txt obeyed, while most proxies hang.

    python tests/benchmarks/robots_first_page.py [runs]

16 of 20 proxies accept connections and never answer; all settings but ``ROBOTSTXT_OBEY`` are the
defaults. Half of the runs are of a site with rules, half of one without a robots.txt, which a second
proxy has to confirm. Prints the seconds of each run. Exits with 1 if one misses the bar.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy.crawler import AsyncCrawlerRunner
from servers import (
    PAGE_RESPONSE,
    Behaviour,
    ForwardProxy,
    Origin,
    OriginRequest,
    OriginResponse,
    named,
)
from worlds import COMMON, Bars, run_in_reactor

from scrapy_proxybalance import Addon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.http import Response

BAR_SECONDS = 10.0
RUNS = 6
GOOD = 4
HANGING = 16
PAGES = 100

RULES = OriginResponse(body=b"User-agent: *\nDisallow: /private\n")
NO_FILE = OriginResponse(404, (), b"Not found")
SITES = {"rules": RULES, "no robots.txt": NO_FILE}

SETTINGS: dict[str, Any] = {**COMMON, "ADDONS": {Addon: 500}, "ROBOTSTXT_OBEY": True}


class FirstPageSpider(scrapy.Spider):
    """Notes when the first page comes, and says so."""

    name = "first_page"

    def __init__(self, came: asyncio.Event, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.came = came

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for every page once."""
        for number in range(PAGES):
            yield scrapy.Request(f"http://shop.example/{number}")

    def parse(self, response: Response) -> None:  # noqa: ARG002
        """Take note of a page."""
        self.came.set()


async def seconds_to_first_page(robots: OriginResponse) -> tuple[float, int]:
    """Run a crawl until its first page; return the seconds, and how often robots.txt was served."""
    asked = 0

    def serve(request: OriginRequest) -> OriginResponse:
        nonlocal asked
        if request.path == "/robots.txt":
            asked += 1
            return robots
        return PAGE_RESPONSE

    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(serve))
        resolve = {"shop.example": (origin.host, origin.port)}
        proxies = [ForwardProxy(f"good-{number}", resolve=resolve) for number in range(GOOD)]
        proxies += [
            ForwardProxy(f"hanging-{number}", behaviour=Behaviour.HANG) for number in range(HANGING)
        ]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        runner = AsyncCrawlerRunner({**SETTINGS, "PROXYBALANCE_PROXIES": named(proxies)})
        crawler = runner.create_crawler(FirstPageSpider)
        came = asyncio.Event()
        began_at = time.monotonic()
        crawling = asyncio.ensure_future(runner.crawl(crawler, came=came))
        await asyncio.wait(
            [crawling, asyncio.ensure_future(came.wait())],
            timeout=6 * BAR_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        seconds = time.monotonic() - began_at
        closing = asyncio.ensure_future(crawler.engine.close_spider_async(reason="seen enough"))
        for proxy in proxies:
            await proxy.close()  # or the pages under way would take as long as DOWNLOAD_TIMEOUT
        await closing
        await crawling
    return seconds, asked


async def measure(runs: int) -> int:
    """Measure and print; return the exit status."""
    bars = Bars()
    for number in range(runs):
        name, robots = list(SITES.items())[number % len(SITES)]
        seconds, asked = await seconds_to_first_page(robots)
        what = f"{name}: first page; robots.txt served {asked} times"
        bars.row(what, f"{seconds:.1f} s", f"{BAR_SECONDS:g} s", seconds <= BAR_SECONDS)
    return bars.status


if __name__ == "__main__":
    run_in_reactor(lambda: measure(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
