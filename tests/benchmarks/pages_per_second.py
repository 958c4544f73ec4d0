"""Pages per second through 100 real proxies of which 25 are bad, against two other ways to choose.

    python tests/benchmarks/pages_per_second.py [--seconds 60] [--rounds 3] [--at-once 100] ...

The arms, in turn, each crawl a process of its own:

- ``proxybalance``: this plugin with its defaults;
- ``rotating``: scrapy-rotating-proxies 0.6.2 with its defaults (``pip install -e '.[benchmarks]'``);
- ``textbook``: score every proxy and draw one by its score; see ``textbook.py``.

They get the same proxies, the same settings, and three tries for a page: with ``RETRY_TIMES`` of 2, or
``ROTATING_PROXY_PAGE_RETRY_TIMES`` of 2 and Scrapy's own retries off. A page counts if it came with
the right body within the time; it has failed if it was given up. What is on its way at the end is
neither.

The proxies are real forward proxies, and together with the site another process. The time that one
takes is log-normal, and so is what a good proxy usually takes; from ``--knee`` requests at once it
grows with their number. Of the bad ones a third refuse connections, a third take the request and
never answer, and a third fail at once: they reset the connection, answer 502, or close it. Every
round has a pool of its own. Exits with 1 if a bar is missed.

The CPU of the crawling process is printed as a share of one core, and so is the time that others kept
it waiting for one. Where the two together come near to 100 the crawler is what limits an arm, not the
proxies: use a quiet machine, a larger ``--median`` or a smaller ``--at-once``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from contextlib import AsyncExitStack
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

import scrapy
from children import (
    Servers,
    answer_until_end,
    cpu_seconds,
    kept_waiting_seconds,
    read_told,
    run_until_report,
)
from scrapy import signals
from servers import PAGE, PAGE_RESPONSE, Behaviour, ForwardProxy, Origin
from worlds import COMMON, Bars, crawl_here

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure

    # typing.Self requires Python 3.11
    from typing_extensions import Self

BARS = {"rotating": 2.0, "textbook": 1.3}
ARMS = ("proxybalance", *BARS)
PROXIES = 100
BAD = 25
TIMEOUT_SECONDS = 15
TRIES = 3
#: Of a good proxy's usual latency among the proxies, and of one request's around it.
SIGMA_AMONG, SIGMA_WITHIN = 0.79, 0.63
HOST = "shop.example"


# The servers


class UnevenProxy(ForwardProxy):
    """A proxy that takes a time of its own, more or less, and more of it the busier it is."""

    def __init__(self, name: str, *, usual: float, knee: int, rng: Random, **rest: Any) -> None:
        self._usual = usual
        self._knee = knee
        self._draws = rng
        super().__init__(name, **rest)

    @property
    def latency(self) -> float:
        """The seconds that the next request takes."""
        crowd = max(1.0, self.in_flight / self._knee)
        return self._usual * crowd * self._draws.lognormvariate(0.0, SIGMA_WITHIN)

    @latency.setter
    def latency(self, value: float) -> None:
        """Do without: ``usual`` says it."""


class ClosingProxy(ForwardProxy):
    """A proxy that takes a request and closes the connection without a byte."""

    async def _answer(self, *_: Any) -> bool:
        return False


class RefusingProxy:
    """A port that nobody listens at."""

    requests: tuple[()] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket()

    async def __aenter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._socket.close()

    def url(self) -> str:
        """Return where it would be."""
        return "http://{}:{}".format(*self._socket.getsockname())


def _good_proxies(told: dict[str, Any], resolve: Any, rng: Random) -> Iterator[ForwardProxy]:
    for number in range(PROXIES - BAD):
        yield UnevenProxy(
            f"good-{number}",
            usual=told["median"] * rng.lognormvariate(0.0, SIGMA_AMONG),
            knee=told["knee"],
            rng=rng,
            resolve=resolve,
        )


def _bad_proxies() -> Iterator[Any]:
    for number in range(BAD):
        name = f"bad-{number}"
        kind, which = number % 3, number // 3 % 3
        if kind == 0:
            yield RefusingProxy(name)
        elif kind == 1:
            yield ForwardProxy(name, behaviour=Behaviour.HANG)
        elif which == 0:
            yield ForwardProxy(name, behaviour=Behaviour.REFUSE)  # resets, in fact
        elif which == 1:
            yield ForwardProxy(name, behaviour=Behaviour.ERROR, error_status=502)
        else:
            yield ClosingProxy(name)


async def serve() -> None:
    """Run the site and the proxies until standard input ends."""
    told = read_told()
    rng = Random(told["seed"])
    async with Origin(lambda _: PAGE_RESPONSE) as origin, AsyncExitStack() as stack:
        resolve = {HOST: (origin.host, origin.port)}
        proxies = [*_good_proxies(told, resolve, rng), *_bad_proxies()]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        urls = [proxy.url() for proxy in proxies]
        rng.shuffle(urls)
        cpu = cpu_seconds()

        def seen() -> dict[str, Any]:
            nonlocal cpu
            before, cpu = cpu, cpu_seconds()
            paths = [request.path for request in origin.requests]
            origin.requests.clear()
            return {"requests": len(paths), "pages": len(set(paths)), "cpu": cpu - before}

        await answer_until_end({"proxies": urls}, seen)


# The crawls


class PagesSpider(scrapy.Spider):
    """Fetches one page after the other, and reports when the time is over."""

    name = "pages"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Measure from the moment the spider is open."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider._opened, signal=signals.spider_opened)
        return spider

    def __init__(self, seconds: float, at_once: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds
        self.at_once = at_once
        self.asked = 0
        self.pages: set[str] = set()
        self.failed: dict[str, int] = {}

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for more pages than can be fetched at once; each that is done asks for the next."""
        for _ in range(4 * self.at_once):
            yield self._next()

    def parse(self, response: Response) -> Iterator[scrapy.Request]:
        """Count a page."""
        if response.body == PAGE:
            self.pages.add(response.url)
        else:
            self._count_failure("wrong page")
        yield self._next()

    def given_up(self, failure: Failure) -> Iterator[scrapy.Request]:
        """Count a failure."""
        response = getattr(failure.value, "response", None)
        self._count_failure(
            type(failure.value).__name__ if response is None else str(response.status)
        )
        yield self._next()

    def _next(self) -> scrapy.Request:
        self.asked += 1
        return scrapy.Request(f"http://{HOST}/{self.asked}", errback=self.given_up)

    def _count_failure(self, why: str) -> None:
        self.failed[why] = self.failed.get(why, 0) + 1

    def _opened(self) -> None:
        self._started = time.monotonic()
        self._cpu = cpu_seconds()
        self._waited = kept_waiting_seconds()
        asyncio.get_running_loop().call_later(self.seconds, self._report)

    def _report(self) -> None:
        seconds = time.monotonic() - self._started
        stats = self.crawler.stats
        assert stats is not None
        report = {
            "seconds": seconds,
            "pages": len(self.pages),
            "failed": self.failed,
            "attempts": stats.get_value("downloader/request_count", 0),
            "cpu": (cpu_seconds() - self._cpu) / seconds,
            "waited": (kept_waiting_seconds() - self._waited) / seconds,
        }
        print(json.dumps(report), flush=True)


def settings_of(arm: str, proxies: list[str], at_once: int) -> dict[str, Any]:
    """Return the settings of a crawl."""
    common = {
        **COMMON,
        "LOG_LEVEL": "CRITICAL",
        "CONCURRENT_REQUESTS": at_once,
        "CONCURRENT_REQUESTS_PER_DOMAIN": at_once,
        "DOWNLOAD_TIMEOUT": TIMEOUT_SECONDS,
        "RETRY_TIMES": TRIES - 1,
    }
    if arm == "proxybalance":
        return {
            **common,
            "ADDONS": {"scrapy_proxybalance.Addon": 500},
            "PROXYBALANCE_PROXIES": proxies,
        }
    if arm == "textbook":
        return {
            **common,
            "DOWNLOADER_MIDDLEWARES": {"textbook.TextbookMiddleware": 610},
            "TEXTBOOK_PROXIES": proxies,
        }
    return {
        **common,
        "DOWNLOADER_MIDDLEWARES": {
            "rotating_proxies.middlewares.RotatingProxyMiddleware": 610,
            "rotating_proxies.middlewares.BanDetectionMiddleware": 620,
        },
        "ROTATING_PROXY_LIST": proxies,
        "ROTATING_PROXY_PAGE_RETRY_TIMES": TRIES - 1,
        "RETRY_ENABLED": False,
    }


# The comparison


def run_arm(servers: Servers, arm: str, seconds: float, at_once: int) -> dict[str, Any]:
    """Run one crawl; return its figures."""
    servers.take()
    settings = settings_of(arm, servers.serving["proxies"], at_once)
    report = run_until_report(__file__, settings, seconds=seconds, at_once=at_once)
    seen = servers.take()
    pages = max(1, report["pages"])
    return {
        "rate": report["pages"] / report["seconds"],
        "failures": sum(report["failed"].values()),
        "why": report["failed"],
        "attempts": report["attempts"] / pages,
        "attempts_at_origin": seen["requests"] / max(1, seen["pages"]),
        "cpu": 100 * report["cpu"],
        "waited": 100 * report["waited"],
        "cpu_of_servers": 100 * seen["cpu"] / report["seconds"],
    }


def compare(arguments: argparse.Namespace) -> int:
    """Run the rounds and print the ratios; return the exit status."""
    print(
        f"{arguments.seconds:g} s through {PROXIES} proxies, {BAD} of them bad, "
        f"{arguments.at_once} at once; a good one usually takes {arguments.median:g} s "
        f"(median), and longer above {arguments.knee} at once"
    )
    print(
        "                                        attempts per page     CPU, % of a core\n"
        "round  arm            pages/s  failures  crawler   origin     crawler   waits  servers"
    )
    ratios: dict[str, list[float]] = {arm: [] for arm in BARS}
    rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
    failures = dict.fromkeys(ARMS, 0)
    for number in range(arguments.rounds):
        told = {
            "seed": arguments.seed + number,
            "median": arguments.median,
            "knee": arguments.knee,
        }
        order = ARMS[number % len(ARMS) :] + ARMS[: number % len(ARMS)]
        measured = {}
        with Servers(__file__, told) as servers:
            for arm in order:
                one = run_arm(servers, arm, arguments.seconds, arguments.at_once)
                measured[arm] = one
                print(
                    f"{number + 1:>5}  {arm:<13}{one['rate']:>9.1f}{one['failures']:>10}"
                    f"{one['attempts']:>9.3f}{one['attempts_at_origin']:>9.3f}"
                    f"{one['cpu']:>12.0f}{one['waited']:>8.0f}{one['cpu_of_servers']:>9.0f}"
                    f"  {_reasons(one['why'])}",
                    flush=True,
                )
        for arm, one in measured.items():
            failures[arm] += one["failures"]
            rates[arm].append(one["rate"])
        for arm, found in ratios.items():
            found.append(measured["proxybalance"]["rate"] / max(0.1, measured[arm]["rate"]))
    bars = Bars()
    for arm in ARMS:
        bars.note(f"pages/s, median, {arm}", f"{median(rates[arm]):.1f}")
    for arm, bar in BARS.items():
        of_rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios[arm])
        middle = median(ratios[arm])
        bars.row(
            f"pages/s over {arm}'s, median of {of_rounds}", f"{middle:.2f}", f"{bar}", middle >= bar
        )
    ours = failures["proxybalance"]
    for arm in BARS:
        bars.row(
            f"pages given up, fewer than by {arm}",
            f"{ours}",
            f"{failures[arm]}",
            ours < failures[arm] or ours == 0,
        )
    return bars.status


def _reasons(why: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(why.items()))


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
    parser.add_argument("--seconds", type=float, default=60, help="of each crawl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=100, help="CONCURRENT_REQUESTS")
    parser.add_argument("--median", type=float, default=0.5, help="seconds a good proxy takes")
    parser.add_argument("--knee", type=int, default=4, help="requests that slow a proxy down")
    parser.add_argument("--seed", type=int, default=1)
    return compare(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
