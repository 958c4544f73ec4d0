"""TLS handshakes of an HTTPS crawl through 500 proxies to 10 hosts, with warm connections or not.

    python tests/benchmarks/tls_handshakes.py [--requests 5000] [--rounds 1] [--spread 5] ...

The arms, in turn, each crawl a process of its own: ``on`` and ``off``, which is
``PROXYBALANCE_WARM_CONNECTIONS``. Where the plugin has no such setting both arms are the same, and
the bars are missed.

The proxies and the sites are another process, all real. A proxy answers a CONNECT after 0.2 s and a
log-normal time, and passes bytes on after a while; both are longer for a slow proxy. Handshakes are
counted at the sites, where they are complete, CONNECTs at the proxies. Exits with 1 if a bar is
missed: handshakes, pages per second, and the share of the busiest proxy, which may be ``--spread``
times the even one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from asyncio import sslproto
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import scrapy
from children import (
    Servers,
    allow_many_sockets,
    answer_until_end,
    cpu_seconds,
    kept_waiting_seconds,
    read_told,
    run_until_report,
)
from scrapy import signals
from servers import PAGE_RESPONSE, ForwardProxy, Origin, OriginResponse, server_context
from worlds import COMMON, Bars, crawl_here

from scrapy_proxybalance.plugin.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from loopback.listener import Connection
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure

    # typing.Self requires Python 3.11
    from typing_extensions import Self

SETTING = "WARM_CONNECTIONS"
ARMS = ("on", "off")
BAR_HANDSHAKES = 5.0
BAR_RATE = 1.5
PROXIES = 500
HOSTS = 10
TIMEOUT_SECONDS = 15
#: Of a CONNECT at any proxy; and what a usual one adds to it.
CONNECT_SECONDS, MORE_CONNECT_SECONDS = 0.2, 0.1
#: How long a usual proxy holds what it passes on, each way.
RELAY_SECONDS = 0.025
PAGE_SECONDS = 0.02
#: Of a proxy's pace among the proxies, and of one CONNECT around it.
SIGMA_AMONG, SIGMA_WITHIN = 0.79, 0.63


# The servers


class TunnelProxy(ForwardProxy):
    """A proxy whose tunnels take a while to open, and hold bytes for a while.

    :param pace: 1.0 for a usual one, 2.0 for one that takes twice as long.
    """

    def __init__(self, name: str, *, pace: float, rng: Random, resolve: Any) -> None:
        self._pace = pace
        self._draws = rng
        self.connects = 0
        super().__init__(name, resolve=resolve)

    @property
    def latency(self) -> float:
        """The seconds that the next CONNECT takes."""
        more = self._pace * self._draws.lognormvariate(0.0, SIGMA_WITHIN)
        return CONNECT_SECONDS + MORE_CONNECT_SECONDS * more

    @latency.setter
    def latency(self, value: float) -> None:
        """Do without: ``pace`` says it."""

    async def _tunnel(self, client: Connection, target: str, cut: bool) -> None:  # noqa: ARG002
        assert self.resolve is not None
        self.connects += 1
        reader, writer = await asyncio.open_connection(*self.resolve[target])
        client.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        seconds = RELAY_SECONDS * self._pace
        upload = asyncio.create_task(_relay_slowly(client.reader, writer, seconds))
        try:
            await _relay_slowly(reader, client.writer, seconds)
        finally:
            upload.cancel()
            writer.transport.abort()
            await asyncio.gather(upload, return_exceptions=True)


async def _relay_slowly(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    while data := await reader.read(65536):
        await asyncio.sleep(seconds)
        writer.write(data)
        await writer.drain()


class CountingOrigin(Origin):
    """A site that counts the connections whose handshake was completed."""

    handshakes = 0

    def opened(self, connection: Connection) -> asyncio.Task[None]:
        """Count: with TLS there is no connection before its handshake is done."""
        self.handshakes += 1
        return super().opened(connection)


async def serve() -> None:
    """Run the sites and the proxies until standard input ends."""
    told = read_told()
    allow_many_sockets()
    # A quarter of a megabyte for each of thousands of idle connections is too much.
    cast("Any", sslproto).SSLProtocol.max_size = 16384
    rng = Random(told["seed"])

    async def answer(_: object) -> OriginResponse:
        await asyncio.sleep(PAGE_SECONDS)
        return PAGE_RESPONSE

    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        context = server_context(directory)
        origins = [CountingOrigin(answer, ssl_context=context) for _ in range(HOSTS)]
        for origin in origins:
            await stack.enter_async_context(origin)
        hosts = [f"shop-{number}.example" for number in range(HOSTS)]
        resolve = {
            f"{host}:443": (origin.host, origin.port)
            for host, origin in zip(hosts, origins, strict=True)
        }
        proxies = [
            TunnelProxy(
                f"p{number}", pace=rng.lognormvariate(0.0, SIGMA_AMONG), rng=rng, resolve=resolve
            )
            for number in range(PROXIES)
        ]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        serving = {"proxies": [proxy.url() for proxy in proxies], "hosts": hosts}
        cpu = cpu_seconds()

        def seen() -> dict[str, Any]:
            nonlocal cpu
            before, cpu = cpu, cpu_seconds()
            counted = {
                "handshakes": sum(origin.handshakes for origin in origins),
                "requests": sum(len(origin.requests) for origin in origins),
                "connects": sum(proxy.connects for proxy in proxies),
                "cpu": cpu - before,
            }
            for origin in origins:
                origin.handshakes = 0
                origin.requests.clear()
            for proxy in proxies:
                proxy.connects = 0
                proxy.requests.clear()
            return counted

        await answer_until_end(serving, seen)


# The crawls


class PagesSpider(scrapy.Spider):
    """Fetches every page once, of all hosts in turn, and counts what came through which proxy."""

    name = "pages"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Measure from the moment the spider is open to its last page."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider._opened, signal=signals.spider_opened)
        crawler.signals.connect(spider._idle, signal=signals.spider_idle)
        return spider

    def __init__(self, hosts: list[str], requests: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hosts = hosts
        self.requests = requests
        self.pages: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for every page."""
        for number in range(self.requests):
            host = self.hosts[number % len(self.hosts)]
            yield scrapy.Request(f"https://{host}/{number}", errback=self.given_up)

    def parse(self, response: Response) -> None:
        """Count a page."""
        self.pages[response.meta["proxy"]] += 1
        self._measure()

    def given_up(self, failure: Failure) -> None:
        """Count a failure."""
        self.failed[type(failure.value).__name__] += 1
        self._measure()

    def _opened(self) -> None:
        self._started = time.monotonic()
        self._cpu_before = cpu_seconds()
        self._waited_before = kept_waiting_seconds()

    def _measure(self) -> None:
        self._seconds = time.monotonic() - self._started
        self._cpu = cpu_seconds() - self._cpu_before
        self._waited = kept_waiting_seconds() - self._waited_before

    def _idle(self) -> None:
        if not self.pages and not self.failed:
            return  # before the first request
        report = {
            "seconds": self._seconds,
            "pages": self.pages,
            "failed": self.failed,
            "cpu": self._cpu / self._seconds,
            "waited": self._waited / self._seconds,
        }
        print(json.dumps(report), flush=True)


# The comparison


def run_arm(
    servers: Servers, arm: str, arguments: argparse.Namespace, extra: dict[str, Any]
) -> dict[str, Any]:
    """Run one crawl; return its figures."""
    servers.take()
    settings = {
        **COMMON,
        "LOG_LEVEL": "CRITICAL",
        "ADDONS": {"scrapy_proxybalance.Addon": 500},
        "PROXYBALANCE_PROXIES": servers.serving["proxies"],
        "CONCURRENT_REQUESTS": arguments.at_once,
        "CONCURRENT_REQUESTS_PER_DOMAIN": arguments.at_once,
        "DOWNLOAD_TIMEOUT": TIMEOUT_SECONDS,
        **extra,
    }
    if SETTING in SETTINGS:
        settings[f"PROXYBALANCE_{SETTING}"] = arm == "on"
    report = run_until_report(
        __file__, settings, hosts=servers.serving["hosts"], requests=arguments.requests
    )
    seen = servers.take()
    by_proxy = list(report["pages"].values())
    pages = sum(by_proxy)
    return {
        "pages": pages,
        "failures": sum(report["failed"].values()),
        "rate": pages / report["seconds"],
        "handshakes": seen["handshakes"],
        "connects": seen["connects"],
        "used": len(by_proxy),
        "top": max(by_proxy) / pages * PROXIES,
        "jain": pages**2 / (PROXIES * sum(one**2 for one in by_proxy)),
        "cpu": 100 * report["cpu"],
        "waited": 100 * report["waited"],
        "cpu_of_servers": 100 * seen["cpu"] / report["seconds"],
    }


def compare(arguments: argparse.Namespace) -> int:
    """Run the rounds and print the ratios; return the exit status."""
    extra: dict[str, Any] = dict(one.split("=", 1) for one in arguments.set)
    print(
        f"{arguments.requests} requests to {HOSTS} hosts through {PROXIES} proxies, "
        f"{arguments.at_once} at once; even share {100 / PROXIES:g} %"
    )
    if SETTING not in SETTINGS:
        print(f"PROXYBALANCE_{SETTING} is not known to this version: both arms are the same")
    print(
        "                                                             proxies         "
        "                CPU, % of a core\n"
        "round  warm    pages  failures  pages/s  handshakes  CONNECTs  used  top share  of even"
        "  Jain's  crawler   waits  servers"
    )
    measured: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for number in range(arguments.rounds):
        order = ARMS if number % 2 else ARMS[::-1]
        with Servers(__file__, {"seed": arguments.seed + number}) as servers:
            for arm in order:
                one = run_arm(servers, arm, arguments, extra)
                measured[arm].append(one)
                print(
                    f"{number + 1:>5}  {arm:<5}{one['pages']:>8}{one['failures']:>10}"
                    f"{one['rate']:>9.1f}{one['handshakes']:>12}{one['connects']:>10}"
                    f"{one['used']:>6}{100 * one['top'] / PROXIES:>9.2f} %{one['top']:>9.1f}"
                    f"{one['jain']:>8.2f}{one['cpu']:>9.0f}{one['waited']:>8.0f}{one['cpu_of_servers']:>9.0f}",
                    flush=True,
                )
    pairs = list(zip(measured["on"], measured["off"], strict=True))
    fewer = median(off["handshakes"] / max(1, on["handshakes"]) for on, off in pairs)
    faster = median(on["rate"] / off["rate"] for on, off in pairs)
    top = median(on["top"] for on in measured["on"])
    bars = Bars()
    bars.row(
        "handshakes, off over on", f"{fewer:.2f}", f"{BAR_HANDSHAKES:g}", fewer >= BAR_HANDSHAKES
    )
    bars.row("pages/s, on over off", f"{faster:.2f}", f"{BAR_RATE:g}", faster >= BAR_RATE)
    bars.row(
        "share of the busiest proxy over the even one, on",
        f"{top:.1f}",
        f"{arguments.spread:g}",
        top <= arguments.spread,
    )
    lost = sum(arguments.requests - one["pages"] for arm in ARMS for one in measured[arm])
    bars.row("pages not fetched", f"{lost}", "0", lost == 0)
    return bars.status


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
        return 0
    if sys.argv[1:] == ["crawl"]:
        allow_many_sockets()
        return crawl_here(PagesSpider)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=64, help="CONCURRENT_REQUESTS")
    parser.add_argument(
        "--spread", type=float, default=5.0, help="the busiest proxy's share over the even one"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of both arms"
    )
    parser.add_argument("--seed", type=int, default=1)
    return compare(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
