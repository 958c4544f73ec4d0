"""A site that allows 10 requests/s and refuses what is above, and nobody has told the crawler so.

    python tests/benchmarks/rate_limited_site.py [--limiter bucket|fixed|sliding] [--seconds 120]
                                                 [--no-retry-after]
    python tests/benchmarks/rate_limited_site.py --for-ever [--pause 0.5]

Twenty good proxies, more URLs than can be fetched, and the defaults of Scrapy and of the plugin.
Measured at the site: what it served of what it allows, and the share of requests that it refused.
With ``--for-ever`` the site refuses everything, and the crawl of it has to end, with a reason.
Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

import scrapy
from worlds import (
    Arrival,
    Bars,
    ReportingSpider,
    World,
    crawl_here,
    last_line,
    run_crawl,
    start_crawl,
    with_plugin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response

BAR_THROUGHPUT = 0.80
BAR_REFUSED = 0.03

HOST = "limited.example"
ALLOWED_PER_SECOND = 10
LATENCY_SECONDS = 0.05
PROXIES = 20
QUARTERS = 4
MAX_PAUSES = 5
# A crawl that has not ended by then does not end.
SECONDS_FOR_EVER = 300


class EndlessSpider(ReportingSpider):
    """Asks for one page after the other."""

    name = "endless"
    asked = 0

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for the first pages."""
        for _ in range(100):
            yield self.next_page()

    def parse(self, response: Response) -> Iterator[scrapy.Request]:  # noqa: ARG002
        """Ask for another page."""
        yield self.next_page()

    def next_page(self) -> scrapy.Request:
        """Return a request that there was not yet."""
        self.asked += 1
        return scrapy.Request(f"http://{HOST}/{self.asked}")


def share_refused(arrivals: list[Arrival]) -> float:
    """Return the share of requests that were refused."""
    return sum(arrival.status == 429 for arrival in arrivals) / max(1, len(arrivals))


def limited(limiter: str, seconds: int, retry_after: int | None) -> int:
    """Crawl a site that has a limit, and print the table; return the exit status."""
    target = {
        "limiter": limiter,
        "rate": ALLOWED_PER_SECOND,
        "retry_after": retry_after,
        "latency": LATENCY_SECONDS,
    }
    with World({HOST: ("Limited", target)}, PROXIES) as world:
        report = run_crawl(__file__, with_plugin(world, CLOSESPIDER_TIMEOUT=seconds))
        arrivals = world.take()[HOST]
    began = arrivals[0].at
    arrivals = [arrival for arrival in arrivals if arrival.at < began + seconds]
    served = sum(arrival.status == 200 for arrival in arrivals)
    part = seconds / QUARTERS
    parts = [
        [one for one in arrivals if number * part <= one.at - began < (number + 1) * part]
        for number in range(QUARTERS)
    ]
    header = "no Retry-After" if retry_after is None else f"Retry-After: {retry_after}"
    print(f"{ALLOWED_PER_SECOND} requests/s allowed ({limiter}, {header}), {seconds} s")
    print(f"{'from s':>10}{'requests':>10}{'served/s':>10}{'refused':>9}{'share in %':>12}")
    for number, some in enumerate(parts):
        refused = sum(arrival.status == 429 for arrival in some)
        print(
            f"{number * part:>10.0f}{len(some):>10}{(len(some) - refused) / part:>10.2f}"
            f"{refused:>9}{100 * share_refused(some):>12.2f}"
        )
    bars = Bars()
    throughput = served / (ALLOWED_PER_SECOND * seconds)
    bars.row(
        "throughput, in % of what is allowed",
        f"{100 * throughput:.1f}",
        f"{100 * BAR_THROUGHPUT:.0f}",
        throughput >= BAR_THROUGHPUT,
    )
    share = share_refused(arrivals)
    bars.row(
        "refusals, in % of requests",
        f"{100 * share:.2f}",
        f"{100 * BAR_REFUSED:.0f}",
        share < BAR_REFUSED,
    )
    first, last = share_refused(parts[0]), share_refused(parts[-1])
    bars.row(
        "... of the last quarter, below that of the first",
        f"{100 * last:.2f}",
        f"{100 * first:.2f}",
        bool(parts[-1]) and (last < first or last == 0),
    )
    steps = [pause["step"] for pause in report["pauses"]]
    bars.note("pauses", str(len(steps)))
    bars.note("... in a row, at most", str(max(steps, default=0)))
    suspended = len(report["suspended"])
    bars.row("times that the target was suspended", str(suspended), "0", suspended == 0)
    return bars.status


def for_ever(pause: float) -> int:
    """Crawl a site that refuses everything, and print the table; return the exit status."""
    with World({HOST: ("RefusesForEver", {"latency": LATENCY_SECONDS})}, PROXIES) as world:
        settings = with_plugin(
            world,
            PROXYBALANCE_PAUSE=pause,
            PROXYBALANCE_MAX_PAUSES=MAX_PAUSES,
            CLOSESPIDER_TIMEOUT=SECONDS_FOR_EVER,
            LOG_LEVEL="CRITICAL",  # that it is suspended is an error, and expected
        )
        began = time.monotonic()
        with start_crawl(__file__, settings) as process:
            report: dict[str, Any] = last_line(process) or {"reason": "none", "pauses": []}
        seconds = time.monotonic() - began
        arrivals = world.take()[HOST]
    bars = Bars()
    print(f"a site that refuses for ever, first pause {pause} s")
    own = report["reason"].startswith("proxybalance_")
    bars.row("ended with a reason of its own", "yes" if own else "no", "yes", own)
    print(f"    {report['reason']}")
    pauses = len(report["pauses"])
    bars.row("pauses", str(pauses), str(MAX_PAUSES), pauses <= MAX_PAUSES)
    bars.note("requests that the site got", str(len(arrivals)))
    bars.note("... of which after its first refusal", str(_after_first_answer(arrivals)))
    bars.note("seconds, start of the process included", f"{seconds:.1f}")
    return bars.status


def _after_first_answer(arrivals: list[Arrival]) -> int:
    first = min((arrival.answered_at for arrival in arrivals), default=0.0)
    return sum(arrival.at > first for arrival in arrivals)


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["crawl"]:
        return crawl_here(EndlessSpider)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limiter", choices=("bucket", "fixed", "sliding"), default="bucket")
    parser.add_argument("--seconds", type=int, default=120, help="length of the crawl")
    parser.add_argument("--no-retry-after", action="store_true", help="refuse without Retry-After")
    parser.add_argument("--for-ever", action="store_true", help="the site refuses everything")
    parser.add_argument(
        "--pause", type=float, default=0.5, help="PROXYBALANCE_PAUSE of --for-ever, in seconds"
    )
    arguments = parser.parse_args()
    if arguments.for_ever:
        return for_ever(arguments.pause)
    return limited(arguments.limiter, arguments.seconds, None if arguments.no_retry_after else 1)


if __name__ == "__main__":
    sys.exit(main())
