"""What the plugin costs a crawl: CPU per request, against the same crawl with proxies set by hand.

    python tests/benchmarks/crawl_cpu.py [--pairs 11] [--against fixed|random] [--profile FILE]

Both arms fetch the same pages through the same proxies, with the same concurrency: ``addon`` with the
plugin, the other one without it and with ``meta["proxy"]`` set by the spider. Each crawl is a process
of its own, and only its CPU counts, user and system, from ``spider_opened`` to ``spider_closed``. The
proxies and their origin are one other process. Exits with 1 if the bar is missed.

``fixed`` takes the proxies in turn, which needs the fewest connections there can be; a choice by
score, as any choice at random, needs some more, and the ratio contains them. ``random`` draws them,
and so makes about as many connections as the plugin does.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess

import scrapy_proxybalance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

BAR = 1.05
REQUESTS = 3000
PROXIES = 100
CONCURRENCY = 32
LATENCY_SECONDS = 0.015
PAGE = b"<html><body>" + b"<p>A page like any other.</p>" * 100 + b"</body></html>"
SITE = "http://shop.example"

COMMON: dict[str, Any] = {
    "CONCURRENT_REQUESTS": CONCURRENCY,
    "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
    "LOG_LEVEL": "WARNING",
    "TELNETCONSOLE_ENABLED": False,
}


# The servers


async def serve() -> None:
    """Run the proxies and their origin until standard input ends.

    Prints the proxies' URLs as a line of JSON, and for every line that comes in, what arrived since
    the last one.
    """
    from servers import ForwardProxy, Origin, OriginResponse

    class CountingProxy(ForwardProxy):
        """A proxy that counts the connections made to it."""

        connections = 0

        def opened(self, connection: Any) -> asyncio.Task[None]:
            type(self).connections += 1
            return super().opened(connection)

    page = OriginResponse(headers=[("Content-Type", "text/html; charset=utf-8")], body=PAGE)
    async with Origin(lambda _: page) as origin:
        resolve = {"shop.example": (origin.host, origin.port)}
        proxies = []
        for number in range(PROXIES):
            proxy = CountingProxy(
                f"p{number}",
                resolve=resolve,
                latency=LATENCY_SECONDS,
                credentials={f"customer-{number}": "secret"},
            )
            await proxy.start()
            proxies.append(proxy)
        urls = [proxy.url(f"customer-{number}") for number, proxy in enumerate(proxies)]
        print(json.dumps(urls), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            seen = [len(proxy.requests) for proxy in proxies]
            print(
                json.dumps(
                    {
                        "pages": len(origin.requests),
                        "connections": CountingProxy.connections,
                        "busiest": max(seen),
                    }
                ),
                flush=True,
            )
            origin.requests.clear()
            CountingProxy.connections = 0
            for proxy in proxies:
                proxy.requests.clear()


class Servers:
    """The process of the servers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stdout = cast("IO[str]", self._process.stdout)
        self._stdin = cast("IO[str]", self._process.stdin)
        self.urls: list[str] = json.loads(self._stdout.readline())

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stdin.close()
        self._process.wait(timeout=30)

    def seen(self) -> dict[str, int]:
        """Return what has arrived since this was last asked."""
        print("seen", file=self._stdin, flush=True)
        seen: dict[str, int] = json.loads(self._stdout.readline())
        return seen


# The crawls


class PagesSpider(scrapy.Spider):
    """Fetches the pages and measures the CPU of its process meanwhile."""

    name = "pages"
    wanted = REQUESTS
    proxies: Sequence[str] = ()  # of each request, or none at all
    profile: cProfile.Profile | None = None
    pages = 0
    started = 0.0

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Measure from the moment the spider is open to its close."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.opened, signal=signals.spider_opened)
        crawler.signals.connect(spider.closed_, signal=signals.spider_closed)
        return spider

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for every page once."""
        for number in range(self.wanted):
            meta = {"proxy": self.proxies[number]} if self.proxies else {}
            yield scrapy.Request(f"{SITE}/{number}", meta=meta)

    def parse(self, response: Response) -> None:
        """Count a page."""
        assert response.status == 200
        self.pages += 1

    def opened(self) -> None:
        """Begin to measure."""
        self.started = cpu_seconds()
        if self.profile is not None:
            self.profile.enable()

    def closed_(self) -> None:
        """Report the CPU used and the pages fetched."""
        if self.profile is not None:
            self.profile.disable()
        print(json.dumps({"cpu": cpu_seconds() - self.started, "pages": self.pages}))


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def crawl_of(
    arm: str, urls: Sequence[str], requests: int = REQUESTS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the crawl of an arm, and the arguments of its spider.

    :param urls: of the proxies.
    """
    settings: dict[str, Any] = dict(COMMON)
    arguments: dict[str, Any] = {"wanted": requests}
    if arm == "addon":
        settings["ADDONS"] = {scrapy_proxybalance.Addon: 500}
        settings["PROXYBALANCE_PROXIES"] = urls
    elif arm == "random":
        arguments["proxies"] = Random(1).choices(urls, k=requests)
    else:
        arguments["proxies"] = [urls[number % PROXIES] for number in range(requests)]
    return settings, arguments


def crawl(arm: str, profile_path: str) -> None:
    """Run one crawl in this process; the proxies' URLs come as a line of JSON."""
    settings, arguments = crawl_of(arm, json.loads(sys.stdin.readline()))
    profile = cProfile.Profile() if profile_path else None
    process = CrawlerProcess(settings)
    process.crawl(PagesSpider, profile=profile, **arguments)
    process.start()
    if profile is not None:
        profile.dump_stats(profile_path)


def run_crawl(servers: Servers, arm: str, profile_path: str = "") -> dict[str, Any]:
    """Run one crawl in a process of its own; return its CPU per request and what the servers saw."""
    done = subprocess.run(
        [sys.executable, __file__, "crawl", arm, profile_path],
        input=json.dumps(servers.urls) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    crawled = json.loads(done.stdout)
    seen = servers.seen()
    if not crawled["pages"] == seen["pages"] == REQUESTS:
        raise SystemExit(f"{arm}: {crawled['pages']} pages, {seen['pages']} at the origin")
    return {**seen, "us": crawled["cpu"] / REQUESTS * 1e6}


# The comparison


def compare(pairs: int, against: str) -> int:
    """Run the pairs and print the ratios; return the exit status."""
    ratios = []
    best = {against: float("inf"), "addon": float("inf")}
    with Servers() as servers:
        run_crawl(servers, against)
        run_crawl(servers, "addon")
        print(f"{REQUESTS} requests through {PROXIES} proxies, {CONCURRENCY} at once")
        print("        CPU us per request           connections      requests of the busiest proxy")
        print(
            f"pair   {against:>6}   addon   ratio    {against:>6}   addon     {against:>6}   addon"
        )
        for pair in range(1, pairs + 1):
            order = (against, "addon") if pair % 2 else ("addon", against)
            measured = {arm: run_crawl(servers, arm) for arm in order}
            fixed, addon = measured[against], measured["addon"]
            ratios.append(addon["us"] / fixed["us"])
            best = {arm: min(best[arm], measured[arm]["us"]) for arm in best}
            print(
                f"{pair:>4}{fixed['us']:>9.0f}{addon['us']:>8.0f}{ratios[-1]:>8.3f}"
                f"{fixed['connections']:>10}{addon['connections']:>8}"
                f"{fixed['busiest']:>11}{addon['busiest']:>8}",
                flush=True,
            )
    middle = median(ratios)
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (middle,) * 3
    print(
        f"ratio: median {middle:.3f}, quartiles {low:.3f} - {high:.3f}, "
        f"range {min(ratios):.3f} - {max(ratios):.3f}, bar {BAR:.2f}  "
        f"{'ok' if middle <= BAR else 'MISSED'}"
    )
    print(
        f"the best of each arm: {best[against]:.0f} and {best['addon']:.0f} us, "
        f"ratio {best['addon'] / best[against]:.3f}; other processes only ever add to it"
    )
    return 0 if middle <= BAR else 1


class OwnFunction(NamedTuple):
    """What one function of the plugin cost per request: microseconds, and how often it was called."""

    own: float
    with_calls: float
    calls: float
    where: str


def own_functions(servers: Servers, path: str) -> list[OwnFunction]:
    """Profile one crawl with the plugin into a file; return what its functions cost."""
    run_crawl(servers, "addon", path)
    package = Path(scrapy_proxybalance.__file__).parent
    statistics: Any = pstats.Stats(path)
    return [
        OwnFunction(
            own / REQUESTS * 1e6,
            below / REQUESTS * 1e6,
            calls / REQUESTS,
            f"{Path(file).relative_to(package)}:{line} {function}",
        )
        for (file, line, function), (_, calls, own, below, _) in statistics.stats.items()
        if package in Path(file).parents
    ]


def profile_addon(path: str) -> None:
    """Profile one crawl with the plugin, and print its functions by their own time."""
    with Servers() as servers:
        rows = sorted(own_functions(servers, path), reverse=True)
    print("of the plugin, us per request; the profiler makes every call dearer than it is")
    print(f"{'own':>8}{'with calls':>12}{'calls':>8}")
    for row in rows[:40]:
        print(f"{row.own:>8.2f}{row.with_calls:>12.2f}{row.calls:>8.2f}  {row.where}")
    print(f"{sum(row.own for row in rows):>8.2f}  in all")


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
        return 0
    if sys.argv[1:2] == ["crawl"]:
        crawl(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=11, help="pairs of crawls to compare")
    parser.add_argument("--against", choices=("fixed", "random"), default="fixed")
    parser.add_argument("--profile", metavar="FILE", help="only profile one crawl, into FILE")
    arguments = parser.parse_args()
    if arguments.profile:
        profile_addon(arguments.profile)
        return 0
    return compare(arguments.pairs, arguments.against)


if __name__ == "__main__":
    sys.exit(main())
