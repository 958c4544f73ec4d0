"""How much traffic bad proxies get: the share of 4 of 20 that refuse or hang, in a real crawl.

    python tests/benchmarks/bad_proxies.py

The share is that of the leases after the warm-up, in which every proxy is tried for the first time.
With the default cooldown of 30 s a crawl of this length sees no probe of a proxy that was sent out;
so a cooldown of 1 s, which sees many, is measured too. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerRunner
from servers import PAGE_RESPONSE, Behaviour, ForwardProxy, Origin, named
from worlds import COMMON, run_in_reactor

from scrapy_proxybalance import Addon, ProxyBalanceMiddleware
from scrapy_proxybalance.core.events import AttemptStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

    from scrapy_proxybalance.core.events import Event

BAR_PERCENT = 3.0
REQUESTS = 3000
HEALTHY = 16
BAD = 4
# Ten for each proxy.
WARM_UP_LEASES = 10 * (HEALTHY + BAD)

CASTS = {
    "4 refuse": [Behaviour.REFUSE] * 4,
    "4 hang": [Behaviour.HANG] * 4,
    "2 refuse, 2 hang": [Behaviour.REFUSE] * 2 + [Behaviour.HANG] * 2,
}
COOLDOWNS = (30.0, 1.0)

SETTINGS: dict[str, Any] = {
    **COMMON,
    "ADDONS": {Addon: 500},
    "CONCURRENT_REQUESTS": 32,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 32,
    "DOWNLOAD_TIMEOUT": 2,
    "RETRY_TIMES": 10,
}


class PagesSpider(scrapy.Spider):
    """Fetches the pages, and keeps the names of the proxies in the order of their leases."""

    name = "pages"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pages = 0
        self.leases: list[str] = []

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Watch the pool as soon as there is one."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.watch, signal=signals.engine_started)
        return spider

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for every page once."""
        for number in range(REQUESTS):
            yield scrapy.Request(f"http://shop.example/{number}")

    def parse(self, response: Response) -> None:
        """Count a page."""
        assert response.status == 200
        self.pages += 1

    def watch(self) -> None:
        """Note every attempt from now on."""
        middleware = self.crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        assert middleware is not None
        middleware.context.pool.events.subscribe(self.note)

    def note(self, event: Event) -> None:
        """Note the proxy of an attempt."""
        if isinstance(event, AttemptStarted):
            self.leases.append(event.attempt.proxy.name)


async def crawl(behaviours: list[Behaviour], cooldown: float) -> tuple[int, list[str]]:
    """Run a crawl; return the pages fetched, and the proxies in the order of their leases."""
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(lambda _: PAGE_RESPONSE))
        resolve = {"shop.example": (origin.host, origin.port)}
        proxies = [
            ForwardProxy(f"good-{number}", resolve=resolve, latency=0.005 * (number + 1))
            for number in range(HEALTHY)
        ]
        proxies += [
            ForwardProxy(f"bad-{number}", behaviour=behaviour)
            for number, behaviour in enumerate(behaviours)
        ]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        settings = {
            **SETTINGS,
            "PROXYBALANCE_COOLDOWN": cooldown,
            "PROXYBALANCE_PROXIES": named(proxies),
        }
        crawler = AsyncCrawlerRunner(settings).create_crawler(PagesSpider)
        await crawler.crawl_async()
        spider = crawler.spider
        assert isinstance(spider, PagesSpider)
        return spider.pages, spider.leases


def percent_bad(leases: list[str]) -> float:
    """Return the percentage of leases that were on bad proxies."""
    return 100 * sum(name.startswith("bad-") for name in leases) / len(leases)


async def measure() -> int:
    """Print the table; return the exit status."""
    missed = 0
    print(f"{REQUESTS} pages through {HEALTHY + BAD} proxies; share of the {BAD} bad ones in %")
    print("cast               cooldown  seconds   pages  in all  after warm-up   bar")
    for label, behaviours in CASTS.items():
        for cooldown in COOLDOWNS:
            started = time.monotonic()
            pages, leases = await crawl(behaviours, cooldown)
            share = percent_bad(leases[WARM_UP_LEASES:])
            ok = share < BAR_PERCENT and pages == REQUESTS
            missed += not ok
            print(
                f"{label:<19}{cooldown:>6.0f} s{time.monotonic() - started:>9.1f}{pages:>8}"
                f"{percent_bad(leases):>8.2f}{share:>15.2f}{BAR_PERCENT:>6.0f}  "
                f"{'ok' if ok else 'MISSED'}",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    run_in_reactor(measure)
