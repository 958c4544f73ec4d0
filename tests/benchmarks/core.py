"""What the pool costs by itself: microseconds per acquire and release, and bytes per proxy.

    python tests/benchmarks/core.py

Time is virtual, so nothing but the pool is measured. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections import deque
from itertools import islice
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from scrapy_proxybalance.core import STRATEGIES, Outcome, Pool, PoolPolicy, Want
from scrapy_proxybalance.reporting.figures import Figures
from scrapy_proxybalance.sources import parse_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (100, 100_000)
BARS_US = {100: 15.0, 100_000: 25.0}
BAR_BYTES = 2048

LEASES_OUT = 30
CYCLES = 20_000
REPEATS = 9
SECONDS_BETWEEN_REQUESTS = 0.002

Ending = tuple[Outcome, float | None, str | None]


def urls(count: int) -> Iterator[str]:
    """Give as many proxy URLs, each with credentials and an address of its own."""
    for number in range(count):
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        yield f"http://customer-{number}:secret-{number}@{host}:8000"


def build(count: int, strategy: str) -> Pool:
    """Make a pool as a crawl does, from URLs."""
    entries = (parse_entry(url, f"[{index}]") for index, url in enumerate(urls(count)))
    return Pool(entries, PoolPolicy(strategy=strategy), rng=Random(1))


def endings(rng: Random) -> list[Ending]:
    """Make up how leases end: mostly well, after very different times."""
    made: list[Ending] = []
    for _ in range(CYCLES):
        draw = rng.random()
        if draw < 0.01:
            made.append((Outcome.PROXY_FAULT, None, "connection_refused"))
        elif draw < 0.02:
            made.append((Outcome.AMBIGUOUS, None, "timeout"))
        else:
            made.append((Outcome.SUCCESS, rng.lognormvariate(-1.5, 0.7), None))
    return made


class Traffic:
    """A steady flow of requests through a pool, with always as many leases out."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._now = 0.0
        self._endings = endings(Random(2))
        self._out = deque(pool.acquire(Want(target="shop.example"), 0.0) for _ in range(LEASES_OUT))

    def run(self, cycles: int = CYCLES) -> float:
        """Acquire and release so often, at most ``CYCLES`` times; return the seconds that it took."""
        pool, out, now = self._pool, self._out, self._now
        started = time.process_time()
        for outcome, latency, failure in islice(self._endings, cycles):
            now += SECONDS_BETWEEN_REQUESTS
            pool.release(out.popleft(), outcome, now, latency=latency, failure=failure)
            out.append(pool.acquire(Want(target="shop.example"), now))
        elapsed = time.process_time() - started
        self._now = now
        return elapsed


def observe(pool: Pool) -> None:
    """Subscribe what watches the pool in a crawl; the stats are written from it once a second."""
    Figures(pool)


def microseconds(count: int, strategy: str, *, observed: bool) -> list[float]:
    """Return the microseconds per acquire and release, of every repeat, in a warm pool."""
    pool = build(count, strategy)
    if observed:
        observe(pool)
    traffic = Traffic(pool)
    for _ in range(max(1, 2 * count // CYCLES)):
        traffic.run()
    gc.collect()
    return [traffic.run() / CYCLES * 1e6 for _ in range(REPEATS)]


def bytes_per_proxy(count: int) -> float:
    """Return what a pool takes up per proxy, the proxies included, once each has been used."""
    gc.collect()
    tracemalloc.start()
    pool = build(count, "weighted")
    for number in range(count):
        attempt = pool.acquire(Want(target="shop.example"), float(number))
        assert attempt.proxy.url != attempt.proxy.endpoint
        pool.release(attempt, Outcome.SUCCESS, number + 0.1, latency=0.1)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / len(pool)


def main() -> int:
    """Print the table; return the exit status."""
    missed = 0
    print(f"acquire + release, us: median (min - max) of {REPEATS} x {CYCLES:,}")
    print(f"{'strategy':<34}{'proxies':>9}{'median':>9}{'min':>8}{'max':>8}{'bar':>7}")
    rows = [(strategy, False) for strategy in STRATEGIES] + [("weighted", True)]
    for count in SIZES:
        for strategy, observed in rows:
            measured = microseconds(count, strategy, observed=observed)
            label = f"{strategy}, with a crawl's observers" if observed else strategy
            row = f"{label:<34}{count:>9,}{median(measured):>9.2f}{min(measured):>8.2f}"
            row += f"{max(measured):>8.2f}"
            if not observed:  # crawl_cpu.py has the bar for what a crawl adds
                ok = median(measured) <= BARS_US[count]
                missed += not ok
                row += f"{BARS_US[count]:>7.0f}  {'ok' if ok else 'MISSED'}"
            print(row, flush=True)
    memory = bytes_per_proxy(SIZES[-1])
    missed += memory > BAR_BYTES
    print(
        f"memory at {SIZES[-1]:,} proxies: {memory:,.0f} bytes per proxy, bar {BAR_BYTES:,}  "
        f"{'ok' if memory <= BAR_BYTES else 'MISSED'}"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
