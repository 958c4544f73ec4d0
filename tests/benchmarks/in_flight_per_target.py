"""How many requests a target sees at once, with ``CONCURRENT_REQUESTS_PER_DOMAIN=8``.

    python tests/benchmarks/in_flight_per_target.py [--requests 600]

With ``CONCURRENT_REQUESTS=64``, one target and proxies enough for all of them; and the same with
Scrapy alone through one proxy. What bypasses the scheduler (robots.txt, and requests that callbacks
send with ``engine.download_async``) is measured apart. Exits with 1 if the bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import scrapy
from worlds import (
    Arrival,
    Bars,
    ReportingSpider,
    World,
    crawl_here,
    run_crawl,
    with_plugin,
    without_plugin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.http import Response

BAR = 8
HOST = "shop.example"
LATENCY_SECONDS = 0.05
PROXIES = 20
LIMITS = {"CONCURRENT_REQUESTS": 64, "CONCURRENT_REQUESTS_PER_DOMAIN": BAR}


class PagesSpider(ReportingSpider):
    """Asks for ``requests`` pages; every fourth one's callback fetches ``bypassing`` more by itself."""

    name = "pages"
    requests: int
    bypassing = 0
    pages = 0

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for every page."""
        for number in range(self.requests):
            yield scrapy.Request(f"http://{HOST}/{number}", cb_kwargs={"number": number})

    async def parse(self, response: Response, number: int) -> None:
        """Count a page, and fetch what belongs to it past the scheduler."""
        self.pages += response.status == 200
        if number % 4:
            return
        engine = self.crawler.engine
        assert engine is not None
        for part in range(self.bypassing):
            await engine.download_async(scrapy.Request(f"http://{HOST}/{number}/part-{part}"))

    def report(self) -> dict[str, Any]:
        """Return how many pages there were."""
        return {"pages": self.pages}


def peak_in_flight(arrivals: list[Arrival]) -> int:
    """Return the most requests that were at the target at once."""
    changes = [(arrival.at, 1) for arrival in arrivals]
    changes += [(arrival.answered_at, -1) for arrival in arrivals]
    peak = current = 0
    for _, change in sorted(changes):
        current += change
        peak = max(peak, current)
    return peak


def measure(requests: int) -> int:
    """Run the crawls and print the table; return the exit status."""
    bars = Bars()
    print(f"{requests} pages of one target, {LATENCY_SECONDS} s each, {LIMITS}")
    with World({HOST: ("Target", {"latency": LATENCY_SECONDS})}, PROXIES) as world:
        scrapy_alone = without_plugin(**LIMITS)
        ours = with_plugin(world, **LIMITS)
        robots = {**ours, "ROBOTSTXT_OBEY": True}
        crawls: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            "with the plugin": (ours, {}),
            "with the plugin and ROBOTSTXT_OBEY": (robots, {}),
            "... and what bypasses the scheduler": (robots, {"bypassing": 2}),
            "Scrapy alone, one proxy": (scrapy_alone, {"proxy": world.proxies[0]}),
        }
        print(f"{'peak in flight at the target':<58}{'figure':>10}{'bar':>10}")
        for label, (settings, arguments) in crawls.items():
            report = run_crawl(__file__, settings, requests=requests, **arguments)
            arrivals = world.take()[HOST]
            if report["pages"] != requests:
                bars.row(f"{label}: pages", str(report["pages"]), str(requests), ok=False)
            peak = peak_in_flight(arrivals)
            what = f"{label} ({len(arrivals)} requests)"
            if label in ("with the plugin", "with the plugin and ROBOTSTXT_OBEY"):
                bars.row(what, str(peak), str(BAR), peak <= BAR)
            else:
                bars.note(what, str(peak))
    return bars.status


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["crawl"]:
        return crawl_here(PagesSpider)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=600, help="pages to fetch")
    return measure(parser.parse_args().requests)


if __name__ == "__main__":
    sys.exit(main())
