"""What choosing a proxy and asking the queue cost by themselves: instructions, counted by valgrind.

    python tests/benchmarks/core_instructions.py

It needs valgrind, and counts what ``core.py`` and ``pop.py`` time: acquire and release in a warm pool
with 30 leases out, and ``pop()`` with 10,000 hosts of which half are paused; ``pop, end and push`` is
a whole turn of the queue, Scrapy's part of it included, so that no work hides there. Each is built
once; two forks of that process do it a few and many times, and the difference of their instructions
counts. Time is virtual in the pool. Two processes run at once. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from core import CYCLES, SIZES, Traffic, build
from counting import count, in_a_fork
from pop import SIZES as HOST_SIZES
from pop import plugin_arm
from worlds import Bars, run_in_reactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOSTS = HOST_SIZES[-1]
POP = "pop"
TURN = "pop, end and push"

#: How often it is done in the two forks.
POOL_TIMES = (2000, 10_000)
QUEUE_TIMES = (500, 2500)

#: What is counted with so many proxies or hosts; the bars are half of what it was when they were set.
BARS: dict[int, dict[str, int]] = {
    SIZES[1]: {"weighted": 88_000, "latency": 78_500, "round_robin": 76_200},
    HOSTS: {POP: 55_500, TURN: 177_500},
    SIZES[0]: {"weighted": 83_800, "latency": 77_400, "round_robin": 68_300},
}
#: What is counted in each process: a large pool takes minutes to build.
PROCESSES: tuple[tuple[int, tuple[str, ...]], ...] = (
    *((SIZES[1], (strategy,)) for strategy in BARS[SIZES[1]]),
    (HOSTS, (POP, TURN)),
    (SIZES[0], tuple(BARS[SIZES[0]])),
)


# The process that is counted


def run_pools(size: int, strategies: Sequence[str]) -> None:
    """Count each strategy in a pool, each proxy of which has been used."""
    for strategy in strategies:
        gc.disable()  # it takes a third of the time to build a large pool
        traffic = Traffic(build(size, strategy))
        for _ in range(max(1, size // CYCLES)):
            traffic.run()
        gc.enable()
        fork_twice(strategy, traffic.run, POOL_TIMES)


def run_queue(hosts: int) -> None:
    """Count what is done to the queue."""
    logging.disable()  # each pause is a line

    async def run() -> int:
        arm = plugin_arm(hosts, hosts // 2)
        fork_twice(POP, arm.pop, QUEUE_TIMES)
        fork_twice(TURN, arm.run, QUEUE_TIMES)
        arm.close()
        return 0

    run_in_reactor(run)


def fork_twice(what: str, work: Callable[[int], object], times: Sequence[int]) -> None:
    """Do it a few and many times, each in a fork; print the process IDs of these."""
    gc.collect()
    forks = [in_a_fork(partial(work, often)) for often in times]
    print(json.dumps({"what": what, "times": times, "forks": forks}), flush=True)


# The comparison


def instructions(process: tuple[int, tuple[str, ...]]) -> dict[str, float]:
    """Run one process; return the instructions that it takes to do each of its things once."""
    printed, counted = count([__file__, "run"], json.dumps(process))
    found = {}
    for line in printed.splitlines():
        told = json.loads(line)
        (few, many), (first, second) = told["times"], told["forks"]
        found[told["what"]] = (counted[second] - counted[first]) / (many - few)
    return found


def measure() -> int:
    """Print the table; return the exit status."""
    began = time.monotonic()
    bars = Bars()
    print("instructions of acquire and release, and of what is done to the queue")
    with ThreadPoolExecutor(2) as executor:
        for (size, _), found in zip(PROCESSES, executor.map(instructions, PROCESSES), strict=True):
            for what, figure in found.items():
                bar = BARS[size][what]
                of = "hosts" if size == HOSTS else "proxies"
                bars.row(f"{what}, {size:,} {of}", f"{figure:,.0f}", f"{bar:,}", figure <= bar)
    bars.note("seconds that this took", f"{time.monotonic() - began:.0f}")
    return bars.status


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["run"]:
        size, whats = json.loads(sys.stdin.read())
        if size == HOSTS:
            run_queue(size)
        else:
            run_pools(size, whats)
        return 0
    argparse.ArgumentParser(description=__doc__).parse_args()
    return measure()


if __name__ == "__main__":
    sys.exit(main())
