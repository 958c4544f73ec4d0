"""How much of the plugin runs for a request: calls of Python functions, and modules.

    python tests/benchmarks/own_calls.py [--list]

Three figures of crawls like those of ``crawl_cpu.py``, 3,000 requests through 100 proxies:

- calls of the plugin's own functions per request, counted by cProfile: of those in its files, so what
  attrs generates does not count, and a comprehension is a call up to Python 3.11;
- calls per request that come from outside of the core into a function inside, whatever Python or C is
  between the two: the caller is the innermost function of the package that is running;
- the modules of which a function runs for one plain GET, from the call of the queue's ``push()`` to
  the callback with the response: the median of 21 that are alone, one after the other, after such a
  crawl.

The last two are seen by ``sys.setprofile`` in one crawl; resuming a generator or a coroutine is a call
in all three. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import scrapy
from crawl_cpu import (
    REQUESTS,
    SITE,
    OwnFunction,
    PagesSpider,
    Servers,
    crawl_of,
    own_functions,
)
from scrapy import signals
from scrapy.crawler import CrawlerProcess
from scrapy.exceptions import DontCloseSpider
from worlds import Bars

import scrapy_proxybalance

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

CALLS_BAR = 110
CORE_CALLS_BAR = 3
MODULES_BAR = 25
ALONE = 21

#: The folder of the package that is its core.
CORE = "core"

_PACKAGE = Path(scrapy_proxybalance.__file__).parent


# The traced crawl


@cache
def _module_of(code: CodeType) -> str | None:
    """Return the file in the package that code is in; ``None`` for code from elsewhere."""
    path = Path(code.co_filename)
    return path.relative_to(_PACKAGE).as_posix() if _PACKAGE in path.parents else None


def _is_core(module: str) -> bool:
    return module.startswith(f"{CORE}/")


def _name(frame: FrameType) -> str:
    return f"{_module_of(frame.f_code)} {frame.f_code.co_name}"


class TracedSpider(PagesSpider):
    """Counts the calls into the core in a crawl; then fetches single pages, and notes the modules."""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Have it told when all pages are fetched."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.idle, signal=signals.spider_idle)
        spider.into_core = Counter()
        spider.modules = []
        spider.running = None
        return spider

    #: Calls into the core, by who calls what.
    into_core: Counter[str]
    #: Of each single request.
    modules: list[list[str]]
    #: Of the single request under way; ``None`` before it is pushed.
    running: set[str] | None

    def opened(self) -> None:
        """Begin to count."""
        sys.setprofile(self.note_core)

    def idle(self) -> None:
        """Fetch one more page, alone."""
        sys.setprofile(None)
        if len(self.modules) == ALONE:
            return
        engine = self.crawler.engine
        assert engine is not None
        request = scrapy.Request(f"{SITE}/alone/{len(self.modules)}", callback=self.parse_alone)
        sys.setprofile(self.note_modules)
        engine.crawl(request)
        raise DontCloseSpider

    def parse_alone(self, response: Response) -> None:
        """End the trace of a single request."""
        sys.setprofile(None)
        assert response.status == 200
        assert self.running is not None
        self.modules.append(sorted(self.running))
        self.running = None

    def closed_(self) -> None:
        """Report."""
        print(json.dumps({"into_core": self.into_core, "modules": self.modules}))

    def note_core(self, frame: FrameType, event: str, arg: object) -> None:  # noqa: ARG002
        """Count a call into the core that comes from outside."""
        if event != "call":
            return
        module = _module_of(frame.f_code)
        if module is None or not _is_core(module):
            return
        caller = frame.f_back
        while caller is not None:
            calling = _module_of(caller.f_code)
            if calling is not None:
                if not _is_core(calling):
                    self.into_core[f"{_name(caller)} -> {_name(frame)}"] += 1
                return
            caller = caller.f_back
        self.into_core[f"Scrapy -> {_name(frame)}"] += 1

    def note_modules(self, frame: FrameType, event: str, arg: object) -> None:  # noqa: ARG002
        """Note the module of a function that runs, once the request is pushed."""
        if event != "call":
            return
        if frame.f_code is scrapy_proxybalance.ProxyBalanceQueue.push.__code__:
            self.running = set()
        module = _module_of(frame.f_code)
        if self.running is not None and module is not None:
            self.running.add(module)


def crawl() -> None:
    """Run the traced crawl in this process; the proxies' URLs come as a line of JSON."""
    settings, arguments = crawl_of("addon", json.loads(sys.stdin.readline()))
    process = CrawlerProcess(settings)
    process.crawl(TracedSpider, **arguments)
    process.start()


def traced(servers: Servers) -> tuple[Counter[str], list[list[str]]]:
    """Run the traced crawl; return the calls into the core, and the modules of each single request."""
    done = subprocess.run(
        [sys.executable, __file__, "crawl"],
        input=json.dumps(servers.urls) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    found = json.loads(done.stdout)
    if servers.seen()["pages"] != REQUESTS + ALONE:
        raise SystemExit("the traced crawl did not fetch every page once")
    return Counter(found["into_core"]), found["modules"]


# The tables


def print_functions(functions: list[OwnFunction]) -> None:
    """Print the plugin's functions by how often they are called."""
    print(
        "calls of the plugin's functions per request; us, dearer under the profiler than they are"
    )
    print(f"{'calls':>8}{'own us':>9}{'with calls':>12}")
    for row in sorted(functions, key=lambda row: row.calls, reverse=True):
        print(f"{row.calls:>8.2f}{row.own:>9.2f}{row.with_calls:>12.2f}  {row.where}")


def print_core_calls(into_core: Counter[str]) -> None:
    """Print who calls what in the core."""
    print(f"calls into {CORE} per request")
    for what, calls in into_core.most_common():
        print(f"{calls / REQUESTS:>8.3f}  {what}")


def print_modules(modules: list[list[str]]) -> None:
    """Print the modules that run, the most frequent first."""
    print(f"modules that run for one GET, and in how many of {len(modules)}")
    for module, times in Counter(module for one in modules for module in one).most_common():
        print(f"{times:>8}  {module}")


def measure(*, with_lists: bool) -> int:
    """Print the figures; return the exit status."""
    with Servers() as servers, tempfile.TemporaryDirectory() as directory:
        functions = own_functions(servers, str(Path(directory) / "profile"))
        into_core, modules = traced(servers)
    if with_lists:
        print_functions(functions)
        print_core_calls(into_core)
        print_modules(modules)
    bars = Bars()
    for what, figure, bar in (
        (
            "calls of the plugin's own functions per request",
            sum(row.calls for row in functions),
            CALLS_BAR,
        ),
        ("calls into the core per request", into_core.total() / REQUESTS, CORE_CALLS_BAR),
        ("modules that run for one plain GET, median", median(map(len, modules)), MODULES_BAR),
    ):
        bars.row(what, f"{figure:.1f}", f"{bar}", figure <= bar)
    bars.note("... range", f"{min(map(len, modules))} - {max(map(len, modules))}")
    return bars.status


def main() -> int:
    """Do as the command line says; return the exit status."""
    if sys.argv[1:] == ["crawl"]:
        crawl()
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print what each figure consists of")
    return measure(with_lists=parser.parse_args().list)


if __name__ == "__main__":
    sys.exit(main())
