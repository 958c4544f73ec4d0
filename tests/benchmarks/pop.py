"""What it costs to ask the scheduler's queue for a request: microseconds per ``pop()``.

    python tests/benchmarks/pop.py

``ProxyBalanceQueue``, with no host paused and with half of them paused, beside Scrapy's own
``DownloaderAwarePriorityQueue``, in one process and in turns; queues in memory, a few requests for
each host, always as many under way. A queue meets each paused host once, and puts it away until its
time has come: ``first`` is the mean of as many pops as there are hosts, in which that happens, and
``pop`` that of those that follow. The last line is of pops that find nothing, all hosts being paused:
nearly every turn of the engine ends with one. The time of ``push()``, and of taking a request off the
books when it is over, are given too: the work is not to hide there. Exits with 1 if the bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import logging
import time
from collections import deque
from random import Random
from statistics import median
from typing import Any, cast

import scrapy
from scrapy.crawler import AsyncCrawlerRunner, Crawler
from scrapy.pqueues import DownloaderAwarePriorityQueue
from scrapy.squeues import FifoMemoryQueue, LifoMemoryQueue
from scrapy.utils.misc import build_from_crawler
from worlds import COMMON, run_in_reactor

from scrapy_proxybalance import ProxyBalanceMiddleware, ProxyBalanceQueue

BAR_US = 15.0
SIZES = (100, 10_000)
# So that a slow Scrapy does not take all of the time.
CYCLES = {100: 5000, 10_000: 1000}
REQUESTS_PER_HOST = 3
UNDER_WAY = 30

PLUGIN: dict[str, Any] = {
    "ADDONS": {"scrapy_proxybalance.Addon": 500},
    "PROXYBALANCE_PROXIES": ["http://proxy.example:8080"],
    "PROXYBALANCE_MAX_IN_FLIGHT": 1_000_000,
    "PROXYBALANCE_PAUSE": 3600,  # it does not end while this runs
}


class Arm:
    """A queue with requests for so many hosts, of which the first ``paused`` in ``order`` are.

    :param kind: of the queue.
    :param settings: of its crawler, whose crawl is never started.
    """

    def __init__(
        self,
        kind: type[DownloaderAwarePriorityQueue],
        settings: dict[str, Any],
        hosts: int,
        paused: int = 0,
    ) -> None:
        self._crawler = _unstarted({**COMMON, **settings})
        self._queue: Any = build_from_crawler(
            kind,
            self._crawler,
            downstream_queue_cls=LifoMemoryQueue,
            key="",
            start_queue_cls=FifoMemoryQueue,
        )
        middleware = self._crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        self._context = middleware.context if middleware is not None else None
        self._downloader = cast("Any", self._crawler.engine).downloader
        names = [f"shop-{number}.example" for number in range(hosts)]
        for number in range(REQUESTS_PER_HOST):
            for name in names:
                self._queue.push(scrapy.Request(f"http://{name}/{number}"))
        Random(1).shuffle(names)
        self._names = names
        self._paused: set[str] = set()
        self.pause(paused)
        self._under_way: deque[scrapy.Request] = deque()
        for _ in range(UNDER_WAY):
            self._start(self._queue.pop())

    def pause(self, hosts: int) -> None:
        """Have the first hosts refuse."""
        names = self._names[:hosts]
        self._paused |= {f"http://{name}/" for name in names}
        if self._context is not None:
            now = self._context.clock()
            for name in names:
                self._context.pool.targets.refused(name, started_at=now, now=now, reason="429")

    def run_empty(self, cycles: int) -> float:
        """Return the microseconds of a pop that gives nothing, all hosts being paused."""
        self.pause(len(self._names))
        if self._queue.pop() is not None:
            raise SystemExit("the queue gave a request, and all hosts are paused")
        begin = time.perf_counter_ns()
        for _ in range(cycles):
            self._queue.pop()
        return (time.perf_counter_ns() - begin) / (1000 * cycles)

    def pop(self, times: int) -> None:
        """Take out as many requests, and do nothing with them: what is under way grows."""
        for _ in range(times):
            if self._queue.pop() is None:
                raise SystemExit("the queue gives nothing although most of its hosts may be asked")

    def run(self, cycles: int) -> tuple[float, float, float]:
        """Return the microseconds of a pop, of the end of a request, and of a push: the means."""
        popping = ending = pushing = 0
        clock = time.perf_counter_ns
        for _ in range(cycles):
            begin = clock()
            popped = self._queue.pop()
            popping += clock() - begin
            self._start(popped)
            over = self._under_way.popleft()
            self._downloader._get_slot(over)[1].active.remove(over)
            self._downloader.active.remove(over)
            again = scrapy.Request(over.url)
            begin = clock()
            if self._context is not None:
                self._context.untrack(over)
            middle = clock()
            self._queue.push(again)
            pushing += clock() - middle
            ending += middle - begin
        per_cycle = 1000 * cycles
        return popping / per_cycle, ending / per_cycle, pushing / per_cycle

    def close(self) -> None:
        """Stop what the crawler has started."""
        self._downloader.close()
        wake_call = getattr(self._context, "_wake_call", None)
        if wake_call is not None:
            wake_call.cancel()

    def _start(self, request: scrapy.Request | None) -> None:
        """Do as the engine and the downloader do with a request that is popped."""
        if request is None:
            raise SystemExit("the queue gives nothing although most of its hosts may be asked")
        if request.url[: request.url.rindex("/") + 1] in self._paused:
            raise SystemExit(f"the queue gave {request.url}, whose host is paused")
        self._downloader.active.add(request)
        self._downloader._get_slot(request)[1].active.add(request)
        self._under_way.append(request)


def plugin_arm(hosts: int, paused: int) -> Arm:
    """Return the plugin's queue once it has met each host that is paused, and put it away."""
    arm = Arm(ProxyBalanceQueue, PLUGIN, hosts, paused)
    arm.run(hosts)
    return arm


def _unstarted(settings: dict[str, Any]) -> Crawler:
    """Make a crawler with a spider and an engine."""
    crawler = AsyncCrawlerRunner(settings).create_crawler(scrapy.Spider)
    crawler._apply_settings()
    crawler.spider = scrapy.Spider.from_crawler(crawler, name="never")
    crawler.engine = crawler._create_engine()
    return crawler


def measure(repeats: int) -> int:
    """Print the table; return the exit status."""
    missed = 0
    print(f"us: medians of {repeats} turns; pop() with its range; {UNDER_WAY} requests under way")
    print(
        f"{'queue':<32}{'hosts':>8}{'pop':>9}{'min':>9}{'max':>9}{'bar':>6}          "
        f"{'first':>7}{'over':>7}{'push':>7}"
    )
    for hosts in SIZES:
        arms = {
            "ProxyBalanceQueue": Arm(ProxyBalanceQueue, PLUGIN, hosts),
            "ProxyBalanceQueue, half paused": Arm(ProxyBalanceQueue, PLUGIN, hosts, hosts // 2),
            "DownloaderAwarePriorityQueue": Arm(DownloaderAwarePriorityQueue, {}, hosts),
        }
        first = {label: arm.run(hosts)[0] for label, arm in arms.items() if _is_ours(label)}
        gc.collect()
        turns: dict[str, list[tuple[float, float, float]]] = {label: [] for label in arms}
        for _ in range(repeats):
            for label, arm in arms.items():
                turns[label].append(arm.run(CYCLES[hosts]))
        for label in arms:
            pops, overs, pushes = (sorted(column) for column in zip(*turns[label], strict=True))
            ours = _is_ours(label)
            ok = not ours or median(pops) <= BAR_US
            missed += not ok
            verdict = ("ok" if ok else "MISSED") if ours else ""
            print(
                f"{label:<32}{hosts:>8,}{median(pops):>9.2f}{pops[0]:>9.2f}{pops[-1]:>9.2f}"
                f"{f'{BAR_US:.0f}' if ours else '':>6}  {verdict:<8}"
                f"{f'{first[label]:.2f}' if ours else '':>7}{median(overs):>7.2f}{median(pushes):>7.2f}",
                flush=True,
            )
        empty = arms["ProxyBalanceQueue"].run_empty(CYCLES[hosts])
        missed += empty > BAR_US
        print(
            f"{'ProxyBalanceQueue, all paused':<32}{hosts:>8,}{empty:>9.2f}{'':>18}{BAR_US:>6.0f}  "
            f"{'ok' if empty <= BAR_US else 'MISSED'}",
            flush=True,
        )
        for arm in arms.values():
            arm.close()
    return 1 if missed else 0


def _is_ours(label: str) -> bool:
    return label.startswith("ProxyBalanceQueue")


def main() -> None:
    """Run everything in one reactor, for the timers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="turns of each queue")
    repeats = parser.parse_args().repeats
    logging.disable()  # each pause is a line

    async def run() -> int:
        return measure(repeats)

    run_in_reactor(run)


if __name__ == "__main__":
    main()
