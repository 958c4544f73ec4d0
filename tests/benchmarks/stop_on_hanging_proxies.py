"""How long SIGTERM takes while proxies hang, and what is lost of the crawl.

    python tests/benchmarks/stop_on_hanging_proxies.py [--rounds 3] [--https] [--handler PATH]

600 pages through 10 proxies, of which 4 never answer, with ``JOBDIR`` and ``DOWNLOAD_TIMEOUT`` at its
default of 180 s. Once half of the pages have come and requests hang, the crawl gets SIGTERM, as in a
container that is stopped; then it is resumed, with all proxies sound. Each crawl is a process of its
own. Exits with 1 if one took longer than 8 s to end, or a page was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import scrapy
from servers import Behaviour, ForwardProxy, Origin, OriginResponse, named, server_context
from worlds import COMMON, Bars, crawl_here, start_crawl

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

    from scrapy.http import Response

PAGES = 600
PROXIES = 10
HANGING = 4
BAR_SECONDS = 8.0
_RESUMED_SECONDS = 120


class PagesSpider(scrapy.Spider):
    """Writes the URL of every page that has come to a file."""

    name = "pages"
    site: str
    came: str

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for every page."""
        for number in range(PAGES):
            yield scrapy.Request(f"{self.site}/{number}")

    def parse(self, response: Response) -> None:
        """Take note of a page."""
        with Path(self.came).open("a") as came:
            came.write(f"{response.url}\n")


def pages_in(came: Path) -> Counter[str]:
    """Return the URLs that were written to a file, and how often."""
    return Counter(came.read_text().split() if came.exists() else ())


async def ended(process: subprocess.Popen[str], within: float) -> float:
    """Wait for a crawl to end; return the seconds that took."""
    began = time.monotonic()
    try:
        await asyncio.wait_for(asyncio.to_thread(process.wait), within)
    except asyncio.TimeoutError:
        process.kill()
    return time.monotonic() - began


async def one_round(options: argparse.Namespace) -> tuple[float, int, int]:
    """Return the seconds until the crawl had ended, and how many pages were lost, and came twice."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tls = server_context(directory) if options.https else None
        origin = await stack.enter_async_context(
            Origin(lambda request: OriginResponse(body=request.path.encode()), ssl_context=tls)
        )
        proxies = [
            await stack.enter_async_context(ForwardProxy(f"p{number}", latency=0.05))
            for number in range(PROXIES)
        ]
        for proxy in proxies[:HANGING]:
            proxy.behaviour = Behaviour.HANG
        came = directory / "came"
        settings = {
            **COMMON,
            "ADDONS": {"scrapy_proxybalance.Addon": 500},
            "PROXYBALANCE_PROXIES": named(proxies),
            "JOBDIR": str(directory / "job"),
            "DOWNLOAD_HANDLERS": dict.fromkeys(("http", "https"), options.handler)
            if options.handler
            else {},
        }
        site = f"http{'s' if options.https else ''}://127.0.0.1:{origin.port}"

        def start() -> subprocess.Popen[str]:
            return start_crawl(__file__, settings, site=site, came=str(came))

        process = start()
        while process.poll() is None and not (
            sum(pages_in(came).values()) >= PAGES // 2
            and sum(proxy.in_flight for proxy in proxies[:HANGING])
        ):
            await asyncio.sleep(0.02)
        hung = sum(proxy.in_flight for proxy in proxies[:HANGING])
        process.send_signal(signal.SIGTERM)
        seconds = await ended(process, 200)
        before = sum(pages_in(came).values())
        for proxy in proxies:
            proxy.behaviour = Behaviour.HEALTHY
        await ended(start(), _RESUMED_SECONDS)
        pages = pages_in(came)
        lost, twice = PAGES - len(pages), sum(pages.values()) - len(pages)
        print(
            f"{before} pages had come, {hung} requests hung: the crawl ended {seconds:.1f} s after "
            f"SIGTERM; resumed, {lost} of {PAGES} are lost, {twice} came twice",
            flush=True,
        )
        return seconds, lost, twice


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["crawl"]:
        return crawl_here(PagesSpider)
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--https", action="store_true")
    parser.add_argument("--handler", help="a download handler other than the one installed")
    options = parser.parse_args()
    rounds = [asyncio.run(one_round(options)) for _ in range(options.rounds)]
    slowest, lost = max(one[0] for one in rounds), sum(one[1] for one in rounds)
    bars = Bars()
    bars.row("slowest stop", f"{slowest:.1f} s", f"{BAR_SECONDS:g} s", slowest <= BAR_SECONDS)
    bars.row("pages lost", str(lost), "0", lost == 0)
    return bars.status


if __name__ == "__main__":
    sys.exit(main())
