"""A crawl of loopback servers, and all that the public sees of it as one document of JSON.

Uses the product by its public face only: the modules inside it may move, and these tests stay.
"""

from __future__ import annotations

import base64
import csv
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.exceptions import CloseSpider

from scrapy_proxybalance import signals
from tests.crawl.crawling import UrlsSpider, crawl
from tests.crawl.metrics_probe import Look, fetch, metrics_url
from tests.crawl.scripted_proxy import ScriptedProxy

from .patterns import HEADERS, Plain

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AsyncExitStack

    import pytest
    from loopback import http1
    from loopback.listener import Connection
    from loopback.origin import Handler
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure

    Script = Callable[[str, str], bytes | None]

_PASSWORD = "secret"
_TOKEN = "token-of-these-tests"


def page(request: OriginRequest) -> OriginResponse:
    """Answer with a page that says what was asked for."""
    return OriginResponse(body=f"page {request.path}".encode())


def refusal(status: int = 429, retry_after: int | None = None) -> OriginResponse:
    """Return a target's refusal."""
    headers = [] if retry_after is None else [("Retry-After", str(retry_after))]
    return OriginResponse(status, headers, b"no")


def forwards(method: str, url: str) -> None:
    """Have a proxy do its work: a script that never answers itself."""


def urls(host: str, number: int, scheme: str = "http") -> list[str]:
    """Return so many URLs of a host."""
    return [f"{scheme}://{host}/{one}" for one in range(1, number + 1)]


class WatchedProxy(ScriptedProxy):
    """Writes down what it is asked, and how many connections were made to it."""

    def __init__(self, name: str, script: Script, traffic: list[str], **options: Any) -> None:
        super().__init__(name, script, **options)
        self._traffic = traffic
        self.opened_connections = 0

    def opened(self, connection: Connection) -> asyncio.Task[None]:
        self.opened_connections += 1
        return super().opened(connection)

    async def _answer(
        self, client: Connection, head: http1.Head, body: bytes, authorized: bool
    ) -> bool:
        headers = dict(head.values)
        if "proxy-authorization" in headers:
            kind, _, encoded = headers["proxy-authorization"].partition(" ")
            headers["proxy-authorization"] = f"{kind} {base64.b64decode(encoded).decode()}"
        self._traffic.append(f"{self.name} gets {' '.join(head.first_line)}{_fields(headers)}")
        return await super()._answer(client, head, body, authorized)


class WatchedSpider(UrlsSpider):
    """Asks for pages in the order given, and writes down what comes back.

    :param stop_after: so many answers, if not all.
    """

    def __init__(self, stop_after: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stop_after = stop_after
        self.got: list[str] = []

    async def start(self) -> AsyncIterator[Request]:
        for number, url in enumerate(self.urls):
            request = url if isinstance(url, Request) else Request(url)
            yield request.replace(callback=self.keep, errback=self.keep_failure, priority=-number)

    def keep(self, response: Response) -> None:
        through = response.meta.get("proxy_name")
        self.got.append(f"{response.status} {response.url} through {through}: {response.text}")
        if len(self.got) == self.stop_after:
            raise CloseSpider("seen enough")

    def keep_failure(self, failure: Failure) -> None:
        url = failure.request.url  # type: ignore[attr-defined]
        self.got.append(f"{type(failure.value).__name__} {url}: {failure.getErrorMessage()}")


class Reporter:
    """Runs ``scrapy proxybalance report``, all in one process: to start one takes most of a second."""

    _PROGRAM = """
import sys
from scrapy.cmdline import execute
for path in sys.stdin:
    try:
        execute(["scrapy", "proxybalance", "report", path.strip()])
    except SystemExit as end:
        print("exit code", end.code, flush=True)
"""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Reporter:
        self._process.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._process.__exit__(*exc_info)

    def report(self, path: Path) -> list[str]:
        """Return the lines on a request log, and at last the exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(path, file=self._process.stdin, flush=True)
        lines: list[str] = []
        while not (lines and lines[-1].startswith("exit code ")):
            line = self._process.stdout.readline()
            assert line, lines
            lines.append(line.rstrip("\n"))
        return lines


class World:
    """Sites by their names, proxies that lead to them, and crawls of these.

    :param stack: closes all of it.
    :param caplog: has the log lines.
    :param directory: where files are written.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        caplog: pytest.LogCaptureFixture,
        reporter: Reporter,
        directory: Path,
    ) -> None:
        self._stack = stack
        self._reporter = reporter
        self._caplog = caplog
        self._directory = directory
        self._plain = Plain()
        self._resolve: dict[str, tuple[str, int]] = {}
        self._traffic: list[str] = []
        self._signals: list[dict[str, Any]] = []
        self.proxies: dict[str, WatchedProxy] = {}
        self.sites: dict[str, Origin] = {}

    async def site(
        self, host: str, handler: Handler = page, ssl_context: ssl.SSLContext | None = None
    ) -> Origin:
        """Start a site."""

        def answer(request: OriginRequest) -> Any:
            asked = f"{request.method} {request.path}"
            self._traffic.append(f"  {host} gets {asked}{_fields(request.headers)}")
            return handler(request)

        origin = Origin(answer, ssl_context=ssl_context)
        await self._stack.enter_async_context(origin)
        self._resolve[host] = origin.host, origin.port
        self.sites[host] = origin
        return origin

    async def proxy(
        self, name: str, script: Script = forwards, *, users: Sequence[str] = (), **options: Any
    ) -> WatchedProxy:
        """Start a proxy, which wants the credentials of one of these users if there are any."""
        proxy = WatchedProxy(
            name,
            script,
            self._traffic,
            resolve=self._resolve,
            latency=0.005,
            credentials=dict.fromkeys(users, _PASSWORD) or None,
            **options,
        )
        await self._stack.enter_async_context(proxy)
        self.proxies[name] = proxy
        return proxy

    def entry(self, name: str, **attributes: Any) -> dict[str, Any]:
        """Return an entry of ``PROXYBALANCE_PROXIES``, with the credentials of the first user."""
        proxy = self.proxies[name]
        user = next(iter(proxy.credentials or ()), None)
        return {"url": proxy.url(user), "name": name, **attributes}

    async def crawl(
        self,
        requests: Sequence[str | Request],
        *,
        stop_after: int | None = None,
        look_at: str | None = None,
        acts: Sequence[str] = (),
        **settings: Any,
    ) -> dict[str, Any]:
        """Run a crawl, one request at a time and through the proxies in turn; return what was seen.

        :param stop_after: close the spider after so many answers.
        :param look_at: words of the log line at which the metrics port is asked; by itself it is
            when there is nothing left to do. A crawl that is closed before is not looked at.
        :param acts: what is then posted to that port, below the crawl's path.
        :param settings: on top of those; ``PROXYBALANCE_PROXIES`` are all proxies, unless given.
        """
        requests_path, stats_path, report_path = (
            self._directory / name for name in ("requests.jsonl", "stats.json", "report.csv")
        )
        for path in (requests_path, stats_path, report_path):
            path.unlink(missing_ok=True)
        self._traffic.clear()
        self._signals.clear()
        for proxy in self.proxies.values():
            proxy.opened_connections = 0
        self._caplog.clear()
        self._caplog.set_level("DEBUG", "scrapy_proxybalance")
        look = Look(lambda: self._look(acts))
        handler = _Starter(look, look_at)
        logging.getLogger("scrapy_proxybalance").addHandler(handler)
        self._stack.callback(logging.getLogger("scrapy_proxybalance").removeHandler, handler)

        def prepare(crawler: Crawler) -> None:
            self._listen(crawler)
            look.prepare(crawler)

        crawler = await crawl(
            requests,
            {
                "CONCURRENT_REQUESTS": 1,
                "USER_AGENT": "golden",
                "LOGSTATS_INTERVAL": 0,
                "CLOSESPIDER_TIMEOUT": 60,
                "MEMUSAGE_ENABLED": False,
                "PROXYBALANCE_PROXIES": [self.entry(name) for name in self.proxies],
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_REQUEST_LOG": requests_path,
                "PROXYBALANCE_STATS_FILE": str(stats_path),
                "PROXYBALANCE_REPORT": str(report_path),
                "PROXYBALANCE_METRICS_PORT": 0,
                "PROXYBALANCE_CONTROL_TOKEN": _TOKEN if acts else None,
                **settings,
            },
            spider=WatchedSpider,
            stop_after=stop_after,
            prepare=prepare,
        )
        spider: Any = crawler.spider
        looked: Any = look.result() or {"metrics": "", "live": {}}
        seen: dict[str, Any] = {
            "spider": spider.got,
            "traffic": list(self._traffic),
            "connections": {name: one.opened_connections for name, one in self.proxies.items()},
            "signals": list(self._signals),
            "log": [
                f"{record.levelname} {record.getMessage()}"
                for record in self._caplog.records
                if record.name.startswith("scrapy_proxybalance")
            ],
            "stats": crawler.stats.get_stats(),
            "stats_file": json.loads(stats_path.read_text()),
            "request_log": [json.loads(line) for line in _lines(requests_path)],
            "report": self._reporter.report(requests_path),
            "report_csv": list(csv.DictReader(_lines(report_path))),
            "metrics": looked["metrics"].splitlines(),
            "live": looked["live"],
        }
        if "JOBDIR" in settings:
            remembered = Path(settings["JOBDIR"]) / "proxybalance.json"
            seen["job"] = json.loads(remembered.read_text()) if remembered.exists() else None
        servers = {**self.proxies, **self.sites}
        names = {f"127.0.0.1:{one.port}": f"127.0.0.1:<{name}>" for name, one in servers.items()}
        return self._plain.document(seen, {**names, str(self._directory): "<directory>"})

    def _listen(self, crawler: Crawler) -> None:
        """Write down the signals of a crawl, with all of their arguments."""

        def listener(name: str) -> Callable[..., None]:
            def listen(**arguments: Any) -> None:
                arguments["spider"] = arguments["spider"].name
                for key in ("signal", "sender"):  # of the dispatcher's own
                    del arguments[key]
                self._signals.append({"signal": name, **dict(sorted(arguments.items()))})

            return listen

        for name in ("target_paused", "target_resumed", "target_suspended"):
            crawler.signals.connect(listener(name), signal=getattr(signals, name), weak=False)

    def _look(self, acts: Sequence[str]) -> dict[str, Any]:
        metrics = metrics_url(self._caplog)
        api = metrics.replace("/metrics", "/api/crawls")
        crawl_api = f"{api}/{WatchedSpider.name}"
        crawl = json.loads(fetch(crawl_api))
        proxy = quote(min(one["name"] for one in crawl["proxies"]), safe="")
        return {
            "metrics": fetch(metrics),
            "live": {
                "crawls": json.loads(fetch(api)),
                "crawl": crawl,
                "proxy": json.loads(fetch(f"{crawl_api}/proxies/{proxy}")),
                "acts": {act: json.loads(_post(f"{crawl_api}/{act}")) for act in acts},
            },
        }


class _Starter(logging.Handler):
    """Starts a look when a log line has some words.

    :param words: none for never.
    """

    def __init__(self, look: Look, words: str | None) -> None:
        super().__init__()
        self._look = look
        self._words = words

    def emit(self, record: logging.LogRecord) -> None:
        if self._words is not None and self._words in record.getMessage():
            self._look.start()


def _post(url: str) -> str:
    request = HttpRequest(url, b"{}", {"Authorization": f"Bearer {_TOKEN}"})  # noqa: S310
    with urlopen(request, timeout=10) as response:  # noqa: S310
        return str(response.read().decode())


def _fields(headers: Mapping[str, str]) -> str:
    kept = sorted((name, value) for name, value in headers.items() if not HEADERS.fullmatch(name))
    return "".join(f"; {name}: {value}" for name, value in kept)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
