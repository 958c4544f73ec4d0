"""One of four targets refuses for a while: what it sees meanwhile, and what the others get.

    python tests/benchmarks/paused_target.py [--rounds 5] [--pause 10]

Each round is a pair of crawls through the same proxies: one of four targets, of which one refuses
after some requests (429 with Retry-After) and recovers, and one of the other three alone. There is
always more to fetch than can be; ``CONCURRENT_REQUESTS`` is what holds the crawl back, in both alike.
The throughput of the three is counted over the pause, and over the same stretch of the crawl without
it. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy.utils.httpobj import urlparse_cached
from worlds import Arrival, Bars, ReportingSpider, World, crawl_here, run_crawl, with_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response

BAR_ARRIVALS = 0
BAR_THROUGHPUT = 0.98
BAR_PROBE_SECONDS = 0.5

REFUSING = "refusing.example"
OTHERS = ("one.example", "two.example", "three.example")
LATENCY_SECONDS = 0.1
PROXIES = 20
CONCURRENCY = 16  # of all requests together: less than three targets could take
REQUESTS_BEFORE_REFUSAL = 60
REQUESTS_HELD = 100  # per target, at any time
SECONDS_AFTERWARDS = 5.0
# What has left the crawler arrives within this time, in seconds, on loopback and without latency.
SECONDS_ON_THE_WIRE = 0.1


class EndlessSpider(ReportingSpider):
    """Asks every target of ``hosts`` for one page after the other."""

    name = "endless"
    hosts: list[str]
    asked = 0

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Ask for the first pages of each."""
        for _ in range(REQUESTS_HELD):
            for host in self.hosts:
                yield self.next_page(host)

    def parse(self, response: Response) -> Iterator[scrapy.Request]:
        """Ask for another page of the same target."""
        yield self.next_page(urlparse_cached(response).netloc)

    def next_page(self, host: str) -> scrapy.Request:
        """Return a request that there was not yet."""
        self.asked += 1
        return scrapy.Request(f"http://{host}/{self.asked}", dont_filter=True)


@dataclass
class Seen:
    """What one crawl with a refusing target shows."""

    during: int
    late: float
    alone: bool
    offset: float
    seconds: float
    throughput: float


def crawl(world: World, hosts: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """Run a crawl of some targets for so many seconds."""
    settings = with_plugin(
        world,
        CONCURRENT_REQUESTS=CONCURRENCY,
        CLOSESPIDER_TIMEOUT=seconds,
        DOWNLOADER_MIDDLEWARES={"worlds.NoteDeparture": 10_000},
    )
    return run_crawl(__file__, settings, hosts=hosts)


def during_pause(arrivals: list[Arrival], received: float, until: float) -> int:
    """Count what arrived during a pause and was not on the wire when the refusal was received."""
    return sum(
        received < arrival.at < until
        and (
            (arrival.departed_at is not None and arrival.departed_at > received)
            or arrival.at > received + SECONDS_ON_THE_WIRE
        )
        for arrival in arrivals
    )


def is_alone(arrivals: list[Arrival], probe: Arrival) -> bool:
    """Whether no other request was there while the probe was."""
    return not any(
        other is not probe and other.at < probe.answered_at and probe.at < other.answered_at
        for other in arrivals
    )


def per_second(seen: dict[str, list[Arrival]], start: float, seconds: float) -> float:
    """Return the pages per second that the three other targets served from ``start`` on."""
    pages = sum(
        arrival.status == 200 and start <= arrival.answered_at < start + seconds
        for host in OTHERS
        for arrival in seen[host]
    )
    return pages / seconds


def beginning(seen: dict[str, list[Arrival]]) -> float:
    """Return when the first request of a crawl arrived."""
    return min(seen[host][0].at for host in OTHERS)


def with_refusing(world: World, pause: int) -> Seen:
    """Crawl all four targets."""
    report = crawl(world, (REFUSING, *OTHERS), 2.0 + 1.2 * pause + SECONDS_AFTERWARDS)
    seen = world.take()
    arrivals = seen[REFUSING]
    pauses = [one for one in report["pauses"] if one["target"] == REFUSING]
    if not pauses:
        raise SystemExit(f"{REFUSING} was not paused")
    late, alone = 0.0, True
    for one in pauses:
        later = [arrival for arrival in arrivals if arrival.at >= one["until"]]
        if not later:
            raise SystemExit("no request came after the pause: the crawl was too short")
        late = max(late, later[0].at - one["until"])
        alone = alone and is_alone(arrivals, later[0])
    first = pauses[0]
    seconds = first["until"] - first["received"]
    return Seen(
        during=sum(during_pause(arrivals, one["received"], one["until"]) for one in pauses),
        late=late,
        alone=alone,
        offset=first["received"] - beginning(seen),
        seconds=seconds,
        throughput=per_second(seen, first["received"], seconds),
    )


def without_refusing(world: World, offset: float, seconds: float) -> float:
    """Crawl the three alone; return their throughput over the same stretch of the crawl."""
    crawl(world, OTHERS, offset + seconds + 2.0)
    seen = world.take()
    return per_second(seen, beginning(seen) + offset, seconds)


def measure(rounds: int, pause: int) -> int:
    """Run the rounds and print the table; return the exit status."""
    targets: dict[str, tuple[str, dict[str, Any]]] = {
        host: ("Target", {"latency": LATENCY_SECONDS}) for host in OTHERS
    }
    targets[REFUSING] = (
        "RefusesForAWhile",
        {"after": REQUESTS_BEFORE_REFUSAL, "seconds": pause, "latency": LATENCY_SECONDS},
    )
    print(f"{CONCURRENCY} requests at once, {LATENCY_SECONDS} s each, through {PROXIES} proxies")
    print("         refusing target, paused                     other targets, requests/s")
    print("round    seconds  arrivals  probe after  alone       paused    alone   ratio")
    found: list[Seen] = []
    alone: list[float] = []
    stretch = (1.0, float(pause))  # of the crawl; until one has told where its pause lay
    with World(targets, PROXIES) as world:
        for number in range(1, rounds + 1):
            if number % 2:
                seen = with_refusing(world, pause)
                stretch = seen.offset, seen.seconds
                undisturbed = without_refusing(world, *stretch)
            else:
                undisturbed = without_refusing(world, *stretch)
                seen = with_refusing(world, pause)
            found.append(seen)
            alone.append(undisturbed)
            print(
                f"{number:>5}{seen.seconds:>11.2f}{seen.during:>10}{seen.late:>11.3f} s"
                f"{'yes' if seen.alone else 'NO':>7}{seen.throughput:>13.1f}{undisturbed:>9.1f}"
                f"{seen.throughput / undisturbed:>8.3f}",
                flush=True,
            )
    ratio = median(seen.throughput for seen in found) / median(alone)
    during = sum(seen.during for seen in found)
    late = max(seen.late for seen in found)
    bars = Bars()
    bars.row("arrivals at the target during its pause", str(during), "0", during == BAR_ARRIVALS)
    bars.row(
        "first request after the pause, latest of all",
        f"{late:.3f} s",
        f"{BAR_PROBE_SECONDS} s",
        late <= BAR_PROBE_SECONDS,
    )
    together = sum(not seen.alone for seen in found)
    bars.row("pauses after which it was not alone", str(together), "0", together == 0)
    bars.row(
        "throughput of the others, ratio of medians",
        f"{ratio:.3f}",
        f"{BAR_THROUGHPUT}",
        ratio >= BAR_THROUGHPUT,
    )
    return bars.status


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["crawl"]:
        return crawl_here(EndlessSpider)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of crawls to compare")
    parser.add_argument("--pause", type=int, default=10, help="seconds that the target refuses")
    arguments = parser.parse_args()
    return measure(arguments.rounds, arguments.pause)


if __name__ == "__main__":
    sys.exit(main())
