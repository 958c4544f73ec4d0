"""Stop a crawl at random moments, resume it until it has finished, and count what was lost.

    python tests/benchmarks/stop_and_resume.py [--rounds 20] [--seed N] [--keep]
    python tests/benchmarks/stop_and_resume.py --kill9 [--rounds 5]

Three targets, of which one refuses for a while (429 with Retry-After) soon after the beginning. Each
round crawls them with a ``JOBDIR``, interrupts the crawl with Ctrl-C (SIGINT) one to three times, at
moments drawn from the whole of a crawl, its pause included, and resumes it. Every second round obeys
robots.txt. A URL is lost if no item ever came of it; it was fetched twice if its target served it
twice. The time that a stop takes is compared with what the requests on the wire needed.

``--kill9`` kills with SIGKILL instead, once a round, with the plugin and without. Scrapy writes its
queues at the close of a crawl: so what is lost is only reported, and the bar is that the crawl can be
resumed without an error. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING, Any, cast

import scrapy
from scrapy import signals
from scrapy.utils.asyncio import call_later
from scrapy.utils.httpobj import urlparse_cached
from worlds import (
    Arrival,
    Bars,
    ReportingSpider,
    World,
    crawl_here,
    last_line,
    start_crawl,
    with_plugin,
    without_plugin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

BAR_STOP_SECONDS = 5.0

HOSTS = ("one.example", "two.example", "refusing.example")
REFUSING = HOSTS[-1]
PAGES = 100  # of each target
PROXIES = 8
LATENCY_SECONDS = 0.3
REQUESTS_BEFORE_REFUSAL = 15
REFUSES_SECONDS = 5
# The moments of interruption are drawn from so many seconds: the pause lies well within.
INTERRUPTED_WITHIN_SECONDS = 8.0
# Nothing takes that long unless it hangs.
HANGING_SECONDS = 240.0
# Enough for Scrapy by itself, which tries a refused request again at once.
RETRIES_ALONE = 1000


class TreeSpider(ReportingSpider):
    """Follows the links of every target: page n has links to 2n + 1, 2n + 2 and the first one."""

    name = "tree"
    items: str
    pages: int

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Note every item as it is scraped."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.scraped, signal=signals.item_scraped)
        return spider

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Say that Ctrl-C is understood from now on; ask for the first pages of each target."""
        call_later(0.0, lambda: print("started", flush=True))
        for number in range(5):
            for host in HOSTS:
                yield scrapy.Request(f"http://{host}/{number}")

    def parse(self, response: Response) -> Iterator[dict[str, str] | scrapy.Request]:
        """Give an item of the page, and follow its links."""
        yield {"url": response.url}
        number = int(urlparse_cached(response).path[1:])
        for link in (2 * number + 1, 2 * number + 2, 0):
            if link < self.pages:
                yield response.follow(f"/{link}")

    def scraped(self, item: dict[str, str]) -> None:
        """Note an item where no interruption can take it back."""
        with Path(self.items).open("a", encoding="utf-8") as file:
            file.write(f"{item['url']}\n")


@dataclass
class Round:
    """What became of one round."""

    lost: int = 0
    twice: int = 0
    refusals: int = 0
    crawls: int = 0
    errors: int = 0
    hung: int = 0
    overtime: list[float] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    ended: str = ""


@dataclass
class Stop:
    """A stop: the moment of the signal and that of the exit."""

    at: float
    gone_at: float


class Trial:
    """One round: a directory, the crawls in it, and the stops.

    :param world: what is crawled.
    :param settings: of every crawl.
    :param directory: for the job, the items and the log.
    :param proxy: for Scrapy by itself.
    """

    def __init__(
        self, world: World, settings: dict[str, Any], directory: Path, proxy: str | None = None
    ) -> None:
        self.world = world
        self.directory = directory
        self.items = directory / "items"
        self.proxy = proxy
        self.settings = {
            **settings,
            "JOBDIR": str(directory / "job"),
            "LOG_FILE": str(directory / "log"),
            "LOG_LEVEL": "INFO",
        }
        self.found = Round()
        self.stops: list[Stop] = []

    def run(self, moments: list[float], signum: signal.Signals) -> Round:
        """Interrupt crawls at these moments, seconds after their start; resume until finished."""
        for moment in [*moments, None]:
            if self._crawl(moment, signum) == "finished":
                break
        return self._reckon()

    def _crawl(self, moment: float | None, signum: signal.Signals) -> str:
        """Run the crawl, or go on with it; return why it ended."""
        self.found.crawls += 1
        self.found.ended = "killed"
        process = start_crawl(
            __file__, self.settings, proxy=self.proxy, items=str(self.items), pages=PAGES
        )
        with process:
            started = cast("IO[str]", process.stdout).readline()
            if started != "started\n":
                self.found.errors += 1
                self.found.ended = f"not started: {started!r}"
                return self.found.ended
            sent = None
            if moment is not None and not _gone(process, moment):
                sent = time.monotonic()
                process.send_signal(signum)
                self.found.moments.append(moment)
            if not _gone(process, HANGING_SECONDS):
                self.found.hung += 1
                process.kill()
                process.wait()
            if sent is not None:
                self.stops.append(Stop(sent, time.monotonic()))
            report = last_line(process)
        if report is not None:
            self.found.errors += report["errors"]
            self.found.ended = report["reason"]
        elif signum is not signal.SIGKILL:
            self.found.errors += 1
            self.found.ended = f"exit status {process.returncode}"
        return self.found.ended

    def _reckon(self) -> Round:
        """Compare what was scraped with what there is, and with what the targets saw."""
        found, seen = self.found, self.world.take()
        scraped = set(self.items.read_text("utf-8").split()) if self.items.exists() else set()
        there = {f"http://{host}/{number}" for host in HOSTS for number in range(PAGES)}
        found.lost = len(there - scraped)
        for arrivals in seen.values():
            served = Counter(
                one.path for one in arrivals if one.status == 200 and one.path != "/robots.txt"
            )
            found.twice += sum(count > 1 for count in served.values())
            found.refusals += sum(one.status == 429 for one in arrivals)
        everything = [one for arrivals in seen.values() for one in arrivals]
        found.overtime = [
            stop.gone_at - stop.at - _on_the_wire(everything, stop.at) for stop in self.stops
        ]
        return found


def _gone(process: subprocess.Popen[str], seconds: float) -> bool:
    """Wait for a process so long at most; return whether it has ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _on_the_wire(arrivals: list[Arrival], moment: float) -> float:
    """Return the seconds that the longest request on the wire at a moment still took."""
    return max(
        (one.answered_at - moment for one in arrivals if one.at <= moment <= one.answered_at),
        default=0.0,
    )


def world_of_three() -> World:
    """Start the world."""
    targets: dict[str, tuple[str, dict[str, Any]]] = {
        host: ("Target", {"latency": LATENCY_SECONDS}) for host in HOSTS
    }
    targets[REFUSING] = (
        "RefusesForAWhile",
        {
            "after": REQUESTS_BEFORE_REFUSAL,
            "seconds": REFUSES_SECONDS,
            "latency": LATENCY_SECONDS,
        },
    )
    return World(targets, PROXIES)


def interrupt(rounds: int, rng: Random, *, keep: bool) -> int:
    """Run the rounds with Ctrl-C and print the table; return the exit status."""
    print(
        f"{len(HOSTS) * PAGES} URLs of {len(HOSTS)} targets, {LATENCY_SECONDS} s each; one refuses "
        f"for {REFUSES_SECONDS} s"
    )
    print("round  robots  crawls  lost  twice  refusals  errors  stop s  interrupted after s")
    found: list[Round] = []
    with world_of_three() as world:
        for number in range(1, rounds + 1):
            robots = number % 2 == 0
            moments = [
                rng.uniform(0.0, INTERRUPTED_WITHIN_SECONDS) for _ in range(rng.randint(1, 3))
            ]
            directory = Path(tempfile.mkdtemp(prefix="stop-and-resume-"))
            settings = with_plugin(world, ROBOTSTXT_OBEY=robots)
            one = Trial(world, settings, directory).run(moments, signal.SIGINT)
            found.append(one)
            print(
                f"{number:>5}{'yes' if robots else 'no':>8}{one.crawls:>8}{one.lost:>6}"
                f"{one.twice:>7}{one.refusals:>10}{one.errors:>8}"
                f"{max(one.overtime, default=0.0):>8.2f}  "
                f"{', '.join(f'{moment:.1f}' for moment in one.moments)}"
                f"{'' if one.ended == 'finished' else f' ({one.ended})'}",
                flush=True,
            )
            _put_away(directory, keep=keep)
    bars = Bars()
    print(f"{'':<58}{'figure':>10}{'bar':>10}")
    bars.note("interruptions", str(sum(len(one.overtime) for one in found)))
    for what, count in (
        ("URLs lost", sum(one.lost for one in found)),
        ("URLs fetched twice", sum(one.twice for one in found)),
        ("errors logged", sum(one.errors for one in found)),
        ("crawls that did not end", sum(one.hung for one in found)),
        ("rounds not finished", sum(one.ended != "finished" for one in found)),
    ):
        bars.row(what, str(count), "0", count == 0)
    longest = max((seconds for one in found for seconds in one.overtime), default=0.0)
    bars.row(
        "longest stop, beyond the requests on the wire",
        f"{longest:.2f} s",
        f"{BAR_STOP_SECONDS:.0f} s",
        longest <= BAR_STOP_SECONDS,
    )
    return bars.status


def kill(rounds: int, rng: Random, *, keep: bool) -> int:
    """Run the rounds with SIGKILL and print the table; return the exit status."""
    print(f"killed with SIGKILL and resumed; of {len(HOSTS) * PAGES} URLs")
    print("round                  lost  twice  errors  killed after s  ended")
    bars = Bars()
    lost = {"with the plugin": 0, "Scrapy alone": 0}
    failed = 0
    with world_of_three() as world:
        settings = {
            "with the plugin": with_plugin(world),
            "Scrapy alone": without_plugin(RETRY_TIMES=RETRIES_ALONE),
        }
        for number in range(1, rounds + 1):
            moment = rng.uniform(0.5, INTERRUPTED_WITHIN_SECONDS)
            for arm in lost:
                directory = Path(tempfile.mkdtemp(prefix="stop-and-resume-"))
                proxy = world.proxies[0] if arm == "Scrapy alone" else None
                trial = Trial(world, settings[arm], directory, proxy)
                one = trial.run([moment], signal.SIGKILL)
                lost[arm] += one.lost
                failed += arm == "with the plugin" and bool(
                    one.errors or one.hung or one.ended != "finished"
                )
                print(
                    f"{number:>5}  {arm:<16}{one.lost:>4}{one.twice:>7}{one.errors:>8}"
                    f"{moment:>16.1f}  {one.ended}",
                    flush=True,
                )
                _put_away(directory, keep=keep)
    print(f"{'':<58}{'figure':>10}{'bar':>10}")
    for arm, count in lost.items():
        bars.note(f"URLs lost, {arm}", str(count))
    bars.row("resumed with an error, with the plugin", str(failed), "0", failed == 0)
    return bars.status


def _put_away(directory: Path, *, keep: bool) -> None:
    if keep:
        print(f"       {directory}")
    else:
        shutil.rmtree(directory)


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["crawl"]:
        return crawl_here(TreeSpider)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="crawls to interrupt and resume")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--keep", action="store_true", help="keep the directories of the jobs")
    parser.add_argument("--kill9", action="store_true", help="kill instead of interrupting")
    arguments = parser.parse_args()
    run = kill if arguments.kill9 else interrupt
    return run(arguments.rounds, Random(arguments.seed), keep=arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
