"""Whether equally fast proxies get equal shares when there is little to do: real crawls, 5 at once.

    python tests/benchmarks/equal_shares.py [--requests 1000] [--rounds 3]

20 forward proxies on loopback, in a process of their own. In the first cast all take 5 ms; in the second
8 do, and the other 12 take up to 300 ms. What counts is how often the proxy that was used most was used
over how often that was which was used least, of those that take 5 ms; as the proxies saw it. Every round
has new proxies. The median of the rounds is held against the bar; exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING, Any

import scrapy
from children import Servers, answer_until_end, read_told
from servers import PAGE, PAGE_RESPONSE, ForwardProxy, Origin
from worlds import COMMON, Bars, ReportingSpider, crawl_here, run_crawl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.http import Response

AT_ONCE = 5
HOST = "shop.example"
FAST, SLOWEST = 0.005, 0.3
#: The seconds that each of 20 proxies takes, and the bar.
CASTS: dict[str, tuple[list[float], float]] = {
    "20 at 5 ms": ([FAST] * 20, 2.0),
    "8 at 5 ms, 12 up to 300 ms": (
        [FAST] * 8 + [FAST + (SLOWEST - FAST) * (number + 1) / 12 for number in range(12)],
        3.0,
    ),
}


async def serve() -> None:
    """Run the site and the proxies until standard input ends."""
    told = read_told()
    async with Origin(lambda _: PAGE_RESPONSE) as origin, AsyncExitStack() as stack:
        resolve = {HOST: (origin.host, origin.port)}
        proxies = [
            ForwardProxy(f"p{number}", resolve=resolve, latency=seconds)
            for number, seconds in enumerate(told["seconds"])
        ]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        await answer_until_end(
            {"proxies": [proxy.url() for proxy in proxies]},
            lambda: {"requests": [len(proxy.requests) for proxy in proxies]},
        )


class PagesSpider(ReportingSpider):
    """Asks for ``requests`` pages."""

    name = "pages"
    requests: int
    pages = 0

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for every page."""
        for number in range(self.requests):
            yield scrapy.Request(f"http://{HOST}/{number}")

    def parse(self, response: Response) -> None:
        """Count a page."""
        self.pages += response.body == PAGE

    def report(self) -> dict[str, Any]:
        """Return how many pages there were."""
        return {"pages": self.pages}


def crawl(seconds: list[float], requests: int) -> list[int]:
    """Run one crawl; return how many requests each of the fast proxies saw, most first."""
    with Servers(__file__, {"seconds": seconds}) as servers:
        settings = {
            **COMMON,
            "ADDONS": {"scrapy_proxybalance.Addon": 500},
            "PROXYBALANCE_PROXIES": servers.serving["proxies"],
            "CONCURRENT_REQUESTS": AT_ONCE,
            "CONCURRENT_REQUESTS_PER_DOMAIN": AT_ONCE,
            "CONCURRENT_ITEMS": 1,
        }
        report = run_crawl(__file__, settings, requests=requests)
        if report["pages"] != requests:
            raise SystemExit(f"{report['pages']} of {requests} pages were fetched")
        seen = servers.take()["requests"]
    return sorted(
        (count for count, each in zip(seen, seconds, strict=True) if each == FAST), reverse=True
    )


def measure(requests: int, rounds: int) -> int:
    """Print the shares and the table; return the exit status."""
    bars = Bars()
    print(f"{requests} pages through 20 proxies, {AT_ONCE} at once; requests of each at 5 ms")
    found: dict[str, list[float]] = {cast: [] for cast in CASTS}
    for cast, (seconds, _) in CASTS.items():
        for _ in range(rounds):
            shares = crawl(seconds, requests)
            found[cast].append(shares[0] / max(1, shares[-1]))
            print(f"{cast}: {' '.join(map(str, shares))}", flush=True)
    for cast, (_, bar) in CASTS.items():
        ratio = median(found[cast])
        bars.row(f"most over least, {cast}, median", f"{ratio:.2f}", f"{bar:g}", ratio <= bar)
        bars.note("... of all rounds, at most", f"{max(found[cast]):.2f}")
    return bars.status


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
        return 0
    if sys.argv[1:] == ["crawl"]:
        return crawl_here(PagesSpider)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1000, help="pages of each crawl")
    parser.add_argument("--rounds", type=int, default=3, help="crawls of each cast")
    arguments = parser.parse_args()
    return measure(arguments.requests, arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
