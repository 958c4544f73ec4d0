"""What the benchmarks of the target gate share: a world of targets behind proxies, and crawls of it.

The world is a process of its own, and so is each crawl. Their times are ``time.monotonic()``, which
is one clock for all processes of a machine: what a target saw can be put beside what a crawler knew.
What only one benchmark needs belongs there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess
from scrapy.utils.asyncio import create_looping_call
from scrapy.utils.reactor import install_reactor
from servers import PAGE_RESPONSE, ForwardProxy, Origin, OriginRequest, OriginResponse

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.core.events import Event, TargetPaused, TargetSuspended

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from scrapy.crawler import Crawler

    # typing.Self requires Python 3.11
    from typing_extensions import Self

#: Tells the target when a request left the crawler; see :class:`NoteDeparture`.
DEPARTURE_HEADER = "X-Departed-At"

_REACTOR = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"

#: Of every crawl; the plugin is added with :func:`with_plugin`.
COMMON: dict[str, Any] = {
    "LOG_LEVEL": "ERROR",
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
    "TWISTED_REACTOR": _REACTOR,
}


# Targets


@dataclass(frozen=True)
class Arrival:
    """A request as the target saw it; ``status`` is 0 if its client did not wait for the answer."""

    at: float
    answered_at: float
    status: int
    path: str
    departed_at: float | None


class Target:
    """A target that answers every request after ``latency`` seconds, and keeps its arrivals."""

    def __init__(self, *, latency: float = 0.0) -> None:
        self.latency = latency
        self.arrivals: list[Arrival] = []

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        now = time.monotonic()
        departed = request.headers.get(DEPARTURE_HEADER.lower())
        response = self.refusal(now) or _page(request.path)
        status = 0
        try:
            await asyncio.sleep(self.latency)
            status = response.status
        finally:
            self.arrivals.append(
                Arrival(
                    now,
                    time.monotonic(),
                    status,
                    request.path,
                    float(departed) if departed is not None else None,
                )
            )
        return response

    def refusal(self, now: float) -> OriginResponse | None:  # noqa: ARG002
        """Return what it refuses a request with, or ``None`` for a page."""
        return None


class RefusesForAWhile(Target):
    """Refuses everything for ``seconds`` once it has served ``after`` requests."""

    def __init__(self, *, after: int, seconds: int, latency: float = 0.0) -> None:
        super().__init__(latency=latency)
        self.left = after
        self.seconds = seconds
        self.until: float | None = None

    def refusal(self, now: float) -> OriginResponse | None:
        if self.left > 0:
            self.left -= 1
            return None
        if self.until is None:
            self.until = now + self.seconds
        return _refusal(self.seconds) if now < self.until else None


class RefusesForEver(Target):
    """Refuses everything, and does not say until when."""

    def refusal(self, now: float) -> OriginResponse | None:  # noqa: ARG002
        return _refusal(None)


class Limited(Target):
    """Serves ``rate`` requests per second and refuses what is above; refusals cost nothing.

    ``limiter``: ``bucket`` (a token bucket that holds a second's worth), ``fixed`` (so many in each
    second of the clock) or ``sliding`` (so many in any second).
    """

    def __init__(
        self, *, limiter: str, rate: int, retry_after: int | None = None, latency: float = 0.0
    ) -> None:
        super().__init__(latency=latency)
        self.allows = {"bucket": self._bucket, "fixed": self._fixed, "sliding": self._sliding}[
            limiter
        ]
        self.rate = rate
        self.retry_after = retry_after
        self.tokens = float(rate)
        self.filled_at = time.monotonic()
        self.window = 0
        self.served = 0
        self.lately: deque[float] = deque()

    def refusal(self, now: float) -> OriginResponse | None:
        return None if self.allows(now) else _refusal(self.retry_after)

    def _bucket(self, now: float) -> bool:
        self.tokens = min(self.rate, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def _fixed(self, now: float) -> bool:
        if self.window != int(now):
            self.window, self.served = int(now), 0
        self.served += 1
        return self.served <= self.rate

    def _sliding(self, now: float) -> bool:
        while self.lately and self.lately[0] <= now - 1.0:
            self.lately.popleft()
        if len(self.lately) >= self.rate:
            return False
        self.lately.append(now)
        return True


_KINDS: dict[str, Callable[..., Target]] = {
    kind.__name__: kind for kind in (Target, RefusesForAWhile, RefusesForEver, Limited)
}


def _page(path: str) -> OriginResponse:
    if path == "/robots.txt":
        return OriginResponse(200, [("Content-Type", "text/plain")], b"User-agent: *\nDisallow:\n")
    return PAGE_RESPONSE


def _refusal(retry_after: int | None) -> OriginResponse:
    headers = [] if retry_after is None else [("Retry-After", str(retry_after))]
    return OriginResponse(429, headers, b"Not now.")


# The world


class World:
    """The process of the targets and the proxies.

    :param targets: for each host, the name of a class of targets, and its arguments.
    :param proxies: how many there are.
    """

    def __init__(self, targets: Mapping[str, tuple[str, dict[str, Any]]], proxies: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._stdin = cast("IO[str]", self._process.stdin)
        self._stdout = cast("IO[str]", self._process.stdout)
        self.proxies: list[str] = self._ask({"targets": dict(targets), "proxies": proxies})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stdin.close()
        self._process.wait(timeout=30)

    def take(self) -> dict[str, list[Arrival]]:
        """Return what has arrived at each target, in order, and have the targets begin anew."""
        return {
            host: sorted((Arrival(*arrival) for arrival in arrivals), key=lambda one: one.at)
            for host, arrivals in self._ask("take").items()
        }

    def _ask(self, question: object) -> Any:
        print(json.dumps(question), file=self._stdin, flush=True)
        return json.loads(self._stdout.readline())


async def _serve() -> None:
    """Run a world until standard input ends; the first line says which."""
    config = json.loads(sys.stdin.readline())
    targets: dict[str, Target] = {}

    def begin() -> None:
        for host, (kind, arguments) in config["targets"].items():
            targets[host] = _KINDS[kind](**arguments)

    async def answer(host: str, request: OriginRequest) -> OriginResponse:
        return await targets[host](request)

    begin()
    async with AsyncExitStack() as stack:
        resolve = {}
        for host in targets:
            origin = Origin(lambda request, host=host: answer(host, request))  # type: ignore[misc]
            await stack.enter_async_context(origin)
            resolve[host] = (origin.host, origin.port)
        proxies = [
            ForwardProxy(f"p{number}", resolve=resolve) for number in range(config["proxies"])
        ]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        print(json.dumps([proxy.url() for proxy in proxies]), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            seen = {
                host: [astuple(arrival) for arrival in target.arrivals]
                for host, target in targets.items()
            }
            begin()
            print(json.dumps(seen), flush=True)


# Crawls


def with_plugin(world: World, **settings: Any) -> dict[str, Any]:
    """Return the settings of a crawl of a world with the plugin."""
    return {
        **COMMON,
        "ADDONS": {"scrapy_proxybalance.Addon": 500},
        "PROXYBALANCE_PROXIES": world.proxies,
        **settings,
    }


def without_plugin(**settings: Any) -> dict[str, Any]:
    """Return the settings of a crawl without the plugin; start it with ``proxy=``."""
    return {**COMMON, **settings}


def start_crawl(
    script: str, settings: Mapping[str, Any], *, proxy: str | None = None, **arguments: Any
) -> subprocess.Popen[str]:
    """Start a crawl in a process of its own.

    It runs ``script`` with the argument ``crawl``, which is to call :func:`crawl_here`. Standard
    output has what the spider prints, and its report as the last line.

    :param proxy: the only one, for Scrapy by itself.
    :param arguments: of the spider.
    """
    environment = {**os.environ, "http_proxy": proxy} if proxy is not None else None
    process = subprocess.Popen(
        [sys.executable, script, "crawl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    stdin = cast("IO[str]", process.stdin)
    print(json.dumps({"settings": dict(settings), "arguments": arguments}), file=stdin, flush=True)
    stdin.close()
    return process


def run_crawl(
    script: str, settings: Mapping[str, Any], *, proxy: str | None = None, **arguments: Any
) -> dict[str, Any]:
    """Run a crawl to its end as :func:`start_crawl` does; return the report of its spider."""
    with start_crawl(script, settings, proxy=proxy, **arguments) as process:
        report = last_line(process)
    if report is None:
        raise SystemExit(f"a crawl failed with status {process.returncode}")
    return report


def last_line(process: subprocess.Popen[str]) -> dict[str, Any] | None:
    """Read to the end what a crawl prints; return its report, or ``None`` if there is none."""
    lines = cast("IO[str]", process.stdout).read().splitlines()
    if not lines or not lines[-1].startswith("{"):
        return None
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def crawl_here(spider: type[scrapy.Spider]) -> int:
    """Run the crawl that standard input tells of in this process; return the exit status."""
    told = json.loads(sys.stdin.readline())
    process = CrawlerProcess(told["settings"])
    process.crawl(spider, **told["arguments"])
    process.start()
    return 0


def run_in_reactor(measure: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Measure crawls in this process, in one reactor; end with the exit status that is returned."""
    install_reactor(_REACTOR)
    from twisted.internet import defer, task

    def run(_: object) -> defer.Deferred[int]:
        return defer.Deferred.fromFuture(asyncio.ensure_future(measure())).addCallback(sys.exit)

    task.react(run)


class NoteDeparture:
    """The downloader middleware next to the downloader: says when a request has passed them all."""

    def process_request(self, request: scrapy.Request) -> None:
        """Write the time into a header."""
        request.headers[DEPARTURE_HEADER] = repr(time.monotonic())


class ReportingSpider(scrapy.Spider):
    """Prints a report at its end: why it was closed, the pauses that there were, the errors logged."""

    name = "reporting"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Have it told of what it reports."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.pauses = []
        spider.suspended = []
        crawler.signals.connect(spider._engine_started, signal=signals.engine_started)
        crawler.signals.connect(spider._closed, signal=signals.spider_closed)
        return spider

    pauses: list[dict[str, Any]]
    suspended: list[str]

    def report(self) -> dict[str, Any]:
        """Return what is to be in the report besides."""
        return {}

    def _engine_started(self) -> None:
        middleware = self.crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        if middleware is None:
            return
        self._pool = middleware.context.pool
        self._pool.events.subscribe(self._note, TargetPaused, TargetSuspended)
        self._looking = create_looping_call(self._look)
        self._looking.start(0.02, now=False)

    def _note(self, event: Event) -> None:
        if isinstance(event, TargetPaused):
            self.pauses.append(
                {
                    "target": event.target,
                    "received": event.now,
                    "until": event.until,
                    "step": event.step,
                    "reason": event.reason,
                }
            )
        elif isinstance(event, TargetSuspended):
            self.suspended.append(event.target)

    def _look(self) -> None:
        """Note where a further refusal of the same burst has put off the end of a pause."""
        for target, state, until in self._pool.targets:
            if state.value == "paused":
                mine = [pause for pause in self.pauses if pause["target"] == target]
                if mine:
                    mine[-1]["until"] = until

    def _closed(self, reason: str) -> None:
        if hasattr(self, "_looking"):
            self._looking.stop()
        stats = self.crawler.stats
        assert stats is not None
        report = {
            "reason": reason,
            "pauses": self.pauses,
            "suspended": self.suspended,
            "errors": stats.get_value("log_count/ERROR", 0),
            **self.report(),
        }
        print(json.dumps(report), flush=True)


# Tables


class Bars:
    """Prints figures beside their bars, and keeps whether one was missed."""

    def __init__(self) -> None:
        self.missed = 0

    def row(self, what: str, figure: str, bar: str, ok: bool) -> None:
        """Print a line of the table."""
        self.missed += not ok
        print(f"{what:<58}{figure:>10}{bar:>10}  {'ok' if ok else 'MISSED'}", flush=True)

    def note(self, what: str, figure: str) -> None:
        """Print a figure that has no bar."""
        print(f"{what:<58}{figure:>10}", flush=True)

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.missed else 0


if __name__ == "__main__":
    asyncio.run(_serve())
