"""The report of a large request log: time, memory, and the size of its page.

    python tests/benchmarks/report_scale.py [--attempts 100000] [--proxies 10000] [--keep DIRECTORY]

Writes a log as a crawl does, and makes its report by ``scrapy proxybalance report --html --csv`` in a
process of its own. Then the crawl's part: CPU of counting an attempt, and the time in which a crawl
that is over writes both files. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from worlds import Bars

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.reporting.attempt_record import AttemptRecord
from scrapy_proxybalance.reporting.report import (
    CrawlPart,
    Report,
    read_rows,
    suggestions,
    write_csv,
)
from scrapy_proxybalance.reporting.report.page import write_html
from scrapy_proxybalance.reporting.request_log import COLUMNS, row

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS_BAR = 20.0
MEGABYTES_BAR = 500.0
PAGE_MEGABYTES_BAR = 3.0
_BEGAN = datetime(2026, 11, 22, 10, tzinfo=timezone.utc).timestamp()
_HOURS = 2


def attempts(count: int, proxies: int, random: Random) -> Iterator[AttemptRecord]:
    """Give the attempts of a crawl of two hours: uneven shares, failures, sessions, a pause."""
    names = [f"gate.example:8080#{number:06x}" for number in range(proxies)]
    weights = [random.lognormvariate(0.0, 1.0) for _ in names]
    latencies = {name: random.lognormvariate(0.0, 0.8) for name in names}
    chosen = [*names, *random.choices(names, weights, k=count - proxies)]
    random.shuffle(chosen)
    for number, name in enumerate(chosen):
        latency = latencies[name] * random.lognormvariate(0.0, 0.6)
        part, luck = number / count, random.random()
        paused = 0.5 < part < 0.501
        answered = luck > 0.08
        if paused:
            outcome, failure = Outcome.TARGET_SIGNAL, "response_429"
        elif answered:
            outcome, failure = Outcome.SUCCESS, None
        else:
            outcome = random.choice((Outcome.PROXY_FAULT, Outcome.AMBIGUOUS))
            failure = random.choice(("timeout", "connection_refused", "reset", "dns"))
        answered = answered or paused
        yield AttemptRecord(
            timestamp=_BEGAN + part * 3600 * _HOURS,
            request_id=f"0a1b2c3d-{number}",
            url=f"https://www.shop-{number % 20}.example/products/{number}?page=1",
            target=f"www.shop-{number % 20}.example",
            proxy=name,
            session=f"session-{number % 5000}" if luck > 0.7 else None,
            attempt=1,
            status=(429 if paused else 200) if answered else None,
            failure=failure,
            outcome=outcome,
            latency=latency if answered else None,
            duration=latency * 1.2,
            size=20_000 if answered else None,
            waited=0.0,
            target_paused=paused,
        )


def write_log(path: Path, count: int, proxies: int, seed: int) -> None:
    """Write the log as JSON lines."""
    with path.open("w") as file:
        for attempt in attempts(count, proxies, Random(seed)):
            values = row(attempt)
            file.write(json.dumps({name: values[name] for name in COLUMNS}) + "\n")


def from_log(log: Path, html: Path, table: Path) -> tuple[float, float]:
    """Run the command; return its seconds and the megabytes that it had in memory at most."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "scrapy", "proxybalance", "report", str(log)]
    subprocess.run(
        [*command, "--html", str(html), "--csv", str(table)], check=True, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - began
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024.0


def from_crawl(log: Path, directory: Path, proxies: int) -> tuple[float, float]:
    """Count as a crawl does, and write; return microseconds per attempt, and seconds to write."""
    report, rows = Report(), list(read_rows(log))
    began = time.process_time()
    for one in rows:
        report.add(one)
    microseconds = (time.process_time() - began) / len(rows) * 1e6
    out = {
        name: [(_BEGAN + 300.0 * number, _BEGAN + 300.0 * number + 60.0) for number in range(20)]
        for name in list(report.proxies)[: proxies // 4]
    }
    began = time.perf_counter()
    report.complete(
        CrawlPart(
            began=_BEGAN,
            ended=_BEGAN + 3600 * _HOURS,
            capacities=dict.fromkeys(report.proxies, 1.0 / proxies),
            outages={},
            cooldowns={name: len(spans) for name, spans in out.items()},
            out=out,
            paused={"www.shop-1.example": [(_BEGAN + 1800 * _HOURS, _BEGAN + 1980 * _HOURS)]},
        )
    )
    write_csv(report, directory / "crawl.csv")
    write_html(report, suggestions(report), directory / "crawl.html")
    return microseconds, time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--proxies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep what was written there"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        log, html, table = (directory / f"report.{ending}" for ending in ("jsonl", "html", "csv"))
        write_log(log, arguments.attempts, arguments.proxies, arguments.seed)
        print(
            f"{arguments.attempts:,} attempts through {arguments.proxies:,} proxies, "
            f"{log.stat().st_size / 1e6:.0f} MB of JSON lines"
        )
        seconds, megabytes = from_log(log, html, table)
        page = html.stat().st_size / 1e6
        bars = Bars()
        bars.row("page and CSV from the log, s", f"{seconds:.1f}", "20", seconds <= SECONDS_BAR)
        bars.row("memory at most, MB", f"{megabytes:.0f}", "500", megabytes <= MEGABYTES_BAR)
        bars.row("the page, MB", f"{page:.2f}", "3", page <= PAGE_MEGABYTES_BAR)
        bars.note("the CSV, MB", f"{table.stat().st_size / 1e6:.2f}")
        microseconds, seconds = from_crawl(log, directory, arguments.proxies)
        bars.note("counting an attempt in a crawl, us of CPU", f"{microseconds:.1f}")
        bars.note("page and CSV at the end of a crawl, s", f"{seconds:.1f}")
        return bars.status


if __name__ == "__main__":
    sys.exit(main())
