"""What it costs a crawl to be watched, and what it costs to be attacked on its port.

    python tests/benchmarks/watched_crawl.py [--pairs 11] [--pages 6000]

``watched`` writes a request log and has the port open, where a Prometheus scrapes every 5 s and two
people look at the live page, which asks every 2 s; against the same crawl with none of that. What counts
is the CPU of the crawl's process per request, user and system.

``attacked`` has the port open, and a process does there what it can: 200 connections that are held
open, requests that come byte by byte, garbage, and requests that are far too long; against the same
crawl with the port left in peace. What counts is how many pages it fetches per second, with few requests
at once, so that the processor has time to spare: else the share that the attacker takes would count as
well.

The proxies and their origin are one other process, and so is each crawl and whoever connects to it. The
pairs take turns in their order; the median of their ratios is compared with the bar. Exits with 1 if one
is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.request import urlopen

from crawl_cpu import COMMON, PagesSpider, Servers, cpu_seconds
from scrapy.crawler import CrawlerProcess
from worlds import Bars

import scrapy_proxybalance

WATCHED_BAR = 1.05
ATTACKED_BAR = 0.98

#: What is set in each arm, but for the port, and who connects to it.
ARMS: dict[str, tuple[dict[str, Any], str]] = {
    "unwatched": ({}, ""),
    "watched": ({"log": True, "port": True}, "watch"),
    "in peace": ({"port": True, "at_once": 4}, ""),
    "attacked": ({"port": True, "at_once": 4}, "attack"),
}


class WatchedSpider(PagesSpider):
    """Measures time as well."""

    began = 0.0

    def opened(self) -> None:
        """Begin to measure."""
        super().opened()
        self.began = time.monotonic()

    def closed_(self) -> None:
        """Report what it took."""
        print(
            json.dumps(
                {
                    "cpu": cpu_seconds() - self.started,
                    "pages": self.pages,
                    "seconds": time.monotonic() - self.began,
                }
            )
        )


def crawl() -> None:
    """Run one crawl in this process, as a line of JSON says."""
    told = json.loads(sys.stdin.readline())
    settings: dict[str, Any] = {
        **COMMON,
        "ADDONS": {scrapy_proxybalance.Addon: 500},
        "PROXYBALANCE_PROXIES": told["urls"],
    }
    if "at_once" in told:
        settings["CONCURRENT_REQUESTS"] = told["at_once"]
    if "port" in told:
        settings["PROXYBALANCE_METRICS_PORT"] = told["port"]
    if "log" in told:
        settings["PROXYBALANCE_REQUEST_LOG"] = told["log"]
    process = CrawlerProcess(settings)
    process.crawl(WatchedSpider, wanted=told["pages"])
    process.start()


# Those who connect


def watch(port: int) -> None:
    """Look at the page, twice, and scrape the metrics, until the process is ended."""
    began = time.monotonic()
    asked = answered = 0
    due = {
        "/api/crawls/pages?sort=requests": [2.0, 0.0],
        "/api/crawls/pages?sort=name&order=asc": [2.0, 0.7],
        "/metrics": [5.0, 1.3],
    }
    while True:
        for path, when in due.items():
            if time.monotonic() - began < when[1]:
                continue
            when[1] += when[0]
            asked += 1
            with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                answer.read()
                answered += 1
        print(json.dumps({"asked": asked, "answered": answered}), flush=True)
        time.sleep(0.1)


def attack(port: int) -> None:
    """Do what one can do to a port, until the process is ended."""
    held: list[socket.socket] = []
    rng = random.Random(1)
    done = 0
    while True:
        with contextlib.suppress(OSError):
            if len(held) < 200:
                held.append(socket.create_connection(("127.0.0.1", port), timeout=1))
        for connection in rng.sample(held, min(20, len(held))):
            try:
                connection.send(b"G")  # a request that takes for ever to come
            except OSError:
                held.remove(connection)
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=1) as connection,
        ):
            connection.sendall(
                rng.choice(
                    (
                        rng.randbytes(2000),
                        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
                        b"GET / HTTP/1.1\r\n" + b"X-Header: value\r\n" * 5000 + b"\r\n",
                        b"POST /api/crawls/pages/proxies/p0/drain HTTP/1.1\r\n"
                        b"Content-Length: 99999999999\r\n\r\n",
                        b"GET /metrics HTTP/1.1\r\n\r\n",
                    )
                )
            )
        done += 1
        print(json.dumps({"attacks": done, "held": len(held)}), flush=True)
        time.sleep(0.02)


# The comparison


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(servers: Servers, arm: str, pages: int) -> dict[str, float]:
    """Run one crawl; return its CPU per request in us, and its pages per second."""
    wanted, who = ARMS[arm]
    told: dict[str, Any] = {**wanted, "urls": servers.urls, "pages": pages}
    with tempfile.TemporaryDirectory() as directory:
        if "port" in told:
            told["port"] = free_port()
        if "log" in told:
            told["log"] = str(Path(directory) / "requests.jsonl")
        other = None
        if who:
            other = subprocess.Popen(
                [sys.executable, __file__, who, str(told["port"])],
                stdout=(Path(directory) / "told").open("w"),
            )
        try:
            done = subprocess.run(
                [sys.executable, __file__, "crawl"],
                input=json.dumps(told) + "\n",
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
        finally:
            if other is not None:
                other.kill()
                other.wait()
        crawled = json.loads(done.stdout.splitlines()[-1])
        seen = servers.seen()
        if not crawled["pages"] == seen["pages"] == pages:
            raise SystemExit(f"{arm}: {crawled['pages']} pages, {seen['pages']} at the origin")
        if "log" in told:
            rows = len(Path(told["log"]).read_text().splitlines())
            if rows != pages:
                raise SystemExit(f"{arm}: {rows} rows in the log")
    return {"us": crawled["cpu"] / pages * 1e6, "rate": pages / crawled["seconds"]}


def compare(
    servers: Servers, arm: str, against: str, pairs: int, pages: int
) -> dict[str, list[float]]:
    """Run the pairs; return the ratios of ``arm`` to ``against``."""
    ratios: dict[str, list[float]] = {"us": [], "rate": []}
    print(f"{'pair':<6}{against + ', us':>16}{arm + ', us':>16}{'pages/s':>10}{'pages/s':>10}")
    for pair in range(1, pairs + 1):
        order = (against, arm) if pair % 2 else (arm, against)
        measured = {one: run(servers, one, pages) for one in order}
        for figure, found in ratios.items():
            found.append(measured[arm][figure] / measured[against][figure])
        print(
            f"{pair:<6}{measured[against]['us']:>16.0f}{measured[arm]['us']:>16.0f}"
            f"{measured[against]['rate']:>10.1f}{measured[arm]['rate']:>10.1f}",
            flush=True,
        )
    return ratios


def main() -> int:
    """Do as the command line says; return the exit status."""
    match sys.argv[1:]:
        case ["crawl"]:
            crawl()
            return 0
        case ["watch" | "attack" as who, port]:
            (watch if who == "watch" else attack)(int(port))
            return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=11, help="pairs of crawls to compare")
    parser.add_argument("--pages", type=int, default=6000, help="pages of each crawl")
    arguments = parser.parse_args()
    bars = Bars()
    with Servers() as servers:
        run(servers, "unwatched", 500)
        watched = compare(servers, "watched", "unwatched", arguments.pairs, arguments.pages)
        attacked = compare(servers, "attacked", "in peace", arguments.pairs, arguments.pages // 2)
    for what, ratios, bar in (
        ("CPU per request, watched over unwatched", watched["us"], WATCHED_BAR),
        ("pages per second, attacked over in peace", attacked["rate"], ATTACKED_BAR),
    ):
        middle = median(ratios)
        ok = middle >= bar if bar < 1 else middle <= bar
        bars.row(what, f"{middle:.3f}", f"{bar:.2f}", ok)
        if len(ratios) > 1:
            low, _, high = quantiles(ratios, n=4)
            bars.note("  quartiles", f"{low:.3f} - {high:.3f}")
    bars.note("CPU per request, attacked over in peace", f"{median(attacked['us']):.3f}")
    return bars.status


if __name__ == "__main__":
    sys.exit(main())
