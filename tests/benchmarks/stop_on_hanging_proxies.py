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
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "example_project")]

from bookshop.servers.forward_proxy import Behaviour, ForwardProxy  # noqa: E402
from bookshop.servers.origin import Origin, OriginResponse  # noqa: E402

from tests.crawl.certificates import server_context  # noqa: E402

if TYPE_CHECKING:
    from scrapy.http import Response

PAGES = 600
PROXIES = 10
HANGING = 4
BAR_SECONDS = 8.0
_RESUMED_SECONDS = 120


def crawl(told: dict[str, Any]) -> None:
    """Be one crawl: write the URL of every page that has come to a file."""
    from scrapy import Request, Spider
    from scrapy.crawler import CrawlerProcess

    class Pages(Spider):
        name = "pages"

        async def start(self) -> Any:
            for number in range(PAGES):
                yield Request(f"{told['site']}/{number}")

        def parse(self, response: Response) -> None:
            with Path(told["came"]).open("a") as came:
                came.write(f"{response.url}\n")

    process = CrawlerProcess(told["settings"])
    process.crawl(Pages)
    process.start()


def start(told: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--crawl", json.dumps(told)])


def came(told: dict[str, Any]) -> Counter[str]:
    path = Path(told["came"])
    return Counter(path.read_text().split() if path.exists() else ())


async def ended(process: subprocess.Popen[bytes], within: float) -> float:
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
        told = {
            "site": f"http{'s' if options.https else ''}://127.0.0.1:{origin.port}",
            "came": str(directory / "came"),
            "settings": {
                "ADDONS": {"scrapy_proxybalance.Addon": 500},
                "PROXYBALANCE_PROXIES": [
                    {"url": proxy.url(), "name": proxy.name} for proxy in proxies
                ],
                "JOBDIR": str(directory / "job"),
                "LOG_LEVEL": "ERROR",
                "TELNETCONSOLE_ENABLED": False,
                "DOWNLOAD_HANDLERS": dict.fromkeys(("http", "https"), options.handler)
                if options.handler
                else {},
            },
        }
        process = start(told)
        while process.poll() is None and not (
            sum(came(told).values()) >= PAGES // 2
            and sum(proxy.in_flight for proxy in proxies[:HANGING])
        ):
            await asyncio.sleep(0.02)
        hung = sum(proxy.in_flight for proxy in proxies[:HANGING])
        process.send_signal(signal.SIGTERM)
        seconds = await ended(process, 200)
        before = sum(came(told).values())
        for proxy in proxies:
            proxy.behaviour = Behaviour.HEALTHY
        await ended(start(told), _RESUMED_SECONDS)
        pages = came(told)
        lost, twice = PAGES - len(pages), sum(pages.values()) - len(pages)
        print(
            f"{before} pages had come, {hung} requests hung: the crawl ended {seconds:.1f} s after "
            f"SIGTERM; resumed, {lost} of {PAGES} are lost, {twice} came twice",
            flush=True,
        )
        return seconds, lost, twice


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--https", action="store_true")
    parser.add_argument("--handler", help="a download handler other than the one installed")
    parser.add_argument("--crawl", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.crawl:
        crawl(json.loads(options.crawl))
        return 0
    rounds = [asyncio.run(one_round(options)) for _ in range(options.rounds)]
    slowest, lost = max(one[0] for one in rounds), sum(one[1] for one in rounds)
    missed = slowest > BAR_SECONDS or lost > 0
    print(f"slowest {slowest:.1f} s (bar {BAR_SECONDS:.0f} s), lost {lost} (bar 0)")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
