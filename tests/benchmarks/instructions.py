"""What the plugin costs a crawl: instructions per request, against the same crawl without it.

    python tests/benchmarks/instructions.py [--watched]

It needs valgrind, which runs each crawl in cachegrind: that counts what ``crawl_cpu.py`` times. An
arm is two crawls, of 200 and of 600 requests, and the difference, over 400, is what a request costs,
without the start and the end of a crawl. The arms are ``bare``, where the spider sets
``meta["proxy"]``, each proxy in its turn, ``plugin``, and with ``--watched`` the plugin with a request
log, metrics and the live page on. Nobody looks at these: ``watched_crawl.py`` is about that.

Under valgrind a crawl is some twenty times slower, and a second is as long as ever: what is done once
a second, or again when time has passed, counts more than it should. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from counting import count
from crawl_cpu import PROXIES, PagesSpider, Servers, crawl_of
from scrapy.crawler import CrawlerProcess
from worlds import Bars

PLUGIN_BAR = 0.08
WATCHED_BAR = 0.04
FEW = 200
MANY = 600

#: The arm of ``crawl_cpu.py`` that each is.
ARMS = {"bare": "fixed", "plugin": "addon", "watched": "addon"}


def crawl() -> None:
    """Run one crawl in this process, as a line of JSON says."""
    told = json.loads(sys.stdin.readline())
    settings, arguments = crawl_of(told["arm"], told["urls"], told["requests"])
    process = CrawlerProcess({**settings, **told["settings"]})
    process.crawl(PagesSpider, **arguments)
    process.start()


def instructions(servers: Servers, arm: str, requests: int) -> int:
    """Run one crawl in valgrind; return its instructions."""
    with tempfile.TemporaryDirectory() as directory:
        # A response is one item at most; else Scrapy makes a hundred coroutines for each.
        settings: dict[str, Any] = {"CONCURRENT_ITEMS": 1}
        log = Path(directory) / "requests.jsonl"
        if arm == "watched":
            settings["PROXYBALANCE_REQUEST_LOG"] = str(log)
            settings["PROXYBALANCE_METRICS_PORT"] = 0  # any free one
        told = {
            "arm": ARMS[arm],
            "urls": servers.urls,
            "requests": requests,
            "settings": settings,
        }
        printed, counted = count([__file__, "crawl"], json.dumps(told) + "\n")
        if arm == "watched" and len(log.read_text().splitlines()) != requests:
            raise SystemExit("the request log is not complete")
    pages, seen = json.loads(printed)["pages"], servers.seen()
    if not pages == seen["pages"] == requests:
        raise SystemExit(f"{arm}: {pages} pages, {seen['pages']} at the origin")
    (total,) = counted.values()
    return total


def compare(arms: list[str]) -> int:
    """Count each arm and print what they cost; return the exit status."""
    began = time.monotonic()
    bars = Bars()
    cost: dict[str, float] = {}
    print(
        f"instructions per request, millions: ({MANY} requests - {FEW} requests) / {MANY - FEW}, "
        f"{PROXIES} proxies"
    )
    with Servers() as servers:
        for arm in arms:
            few, many = (instructions(servers, arm, requests) for requests in (FEW, MANY))
            cost[arm] = (many - few) / (MANY - FEW) / 1e6
            bars.note(arm, f"{cost[arm]:.3f}")
    for arm, against, bar in (
        ("plugin", "bare", PLUGIN_BAR),
        ("watched", "plugin", WATCHED_BAR),
    ):
        if arm in cost:
            more = cost[arm] - cost[against]
            share = more / cost[against]
            bars.note(f"{arm} less {against}", f"{more:.3f}")
            bars.row(f"{arm} over {against}", f"{share:+.1%}", f"{bar:+.0%}", share <= bar)
    bars.note("seconds that this took", f"{time.monotonic() - began:.0f}")
    return bars.status


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["crawl"]:
        crawl()
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--watched", action="store_true", help="count the plugin with all that shows it, too"
    )
    arguments = parser.parse_args()
    return compare(["bare", "plugin", "watched"] if arguments.watched else ["bare", "plugin"])


if __name__ == "__main__":
    sys.exit(main())
