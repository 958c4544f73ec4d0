"""What the tests of verdicts share: proxies with scripts, a site with names, who was sent out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from loopback.origin import Handler, Origin, OriginRequest, OriginResponse
from scrapy import signals

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.core.events import (
    AttemptStarted,
    CooldownStarted,
    CooldownTakenBack,
    GatewayTripped,
    PoolTripped,
    ProxyOut,
)

from .crawling import crawl
from .scripted_proxy import ScriptedProxy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from contextlib import AsyncExitStack

    from scrapy.crawler import Crawler

    from scrapy_proxybalance.core import ProxySnapshot
    from scrapy_proxybalance.core.events import Event
    from scrapy_proxybalance.reporting.attempt_record import AttemptRecord

#: Scrapy 2.14 makes its TLS contexts in a way that Twisted has deprecated.
speaks_tls = pytest.mark.filterwarnings(
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning"
)


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=f"page {request.path}".encode())


def forwards(method: str, url: str) -> None:
    """A script of a proxy that does its work."""


class World:
    """Proxies with scripts, all of which reach the same origin under any name.

    :param stack: closes all of it.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.proxies: list[ScriptedProxy] = []
        self.origin = Origin(page)

    async def start(
        self,
        scripts: Iterable[Callable[[str, str], bytes | None]],
        *,
        hosts: Iterable[str] = ("shop.example",),
        context: ssl.SSLContext | None = None,
        handler: Handler = page,
        latency: float = 0.005,
        users: bool = False,
    ) -> None:
        """Start them.

        :param users: whether each proxy wants credentials, and gets the right ones.
        """
        origin = self.origin = Origin(handler, ssl_context=context)
        await self._stack.enter_async_context(origin)
        resolve = dict.fromkeys(hosts, (origin.host, origin.port))
        for number, script in enumerate(scripts):
            proxy = ScriptedProxy(
                f"p{number}",
                script,
                resolve=resolve,
                latency=latency,
                credentials={"user": "right"} if users else None,
            )
            await self._stack.enter_async_context(proxy)
            self.proxies.append(proxy)

    async def crawl(
        self, urls: Iterable[Any], judged: Judged | None = None, **settings: Any
    ) -> Judged:
        """Crawl through these proxies.

        :param judged: what is to watch, for a script that asks it meanwhile.
        """
        entries = [
            {"url": proxy.url(next(iter(proxy.credentials or [None]))), "name": proxy.name}
            for proxy in self.proxies
        ]
        judged = judged or Judged()
        judged.crawler = await crawl(
            list(urls),
            {
                "PROXYBALANCE_PROXIES": entries,
                "RETRY_TIMES": 2,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
                "CONCURRENT_REQUESTS": 16,
                "CLOSESPIDER_TIMEOUT": 120,
                **settings,
            },
            prepare=judged.watch,
        )
        return judged


class Judged:
    """What became of the proxies of a crawl, how often each page was asked for, and every outage."""

    crawler: Crawler

    def __init__(self) -> None:
        self.cooldowns: Counter[str] = Counter()
        self.taken_back: Counter[str] = Counter()
        self.outs: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()  # by URL
        self.trips: list[Event] = []
        self.probes = 0

    def watch(self, crawler: Crawler) -> None:
        """Have the pool tell."""

        def opened() -> None:
            middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
            middleware.context.pool.events.subscribe(
                self._saw,
                *(CooldownStarted, CooldownTakenBack, ProxyOut),
                *(GatewayTripped, PoolTripped, AttemptStarted),
            )
            middleware.context.attempt_log.subscribe(self._tried)

        crawler.signals.connect(opened, signal=signals.spider_opened, weak=False)

    def _saw(self, event: Event) -> None:
        if isinstance(event, CooldownStarted):
            self.cooldowns[event.proxy.name] += 1
        elif isinstance(event, CooldownTakenBack):
            self.taken_back[event.proxy.name] += 1
        elif isinstance(event, ProxyOut):
            self.outs[event.proxy.name] += 1
        elif isinstance(event, AttemptStarted):
            self.probes += event.attempt.pool_probe or event.attempt.gateway_probe
        else:
            self.trips.append(event)

    def _tried(self, attempt: AttemptRecord) -> None:
        self.attempts[attempt.url] += 1

    @property
    def pages(self) -> Counter[str]:
        """The bodies that the spider got."""
        return Counter(response.text for response in self.crawler.spider.responses)

    @property
    def failures(self) -> Counter[str]:
        """The classes of the exceptions that the spider got."""
        return Counter(failure.type.__name__ for failure in self.crawler.spider.failures)

    @property
    def proxies(self) -> dict[str, ProxySnapshot]:
        """The proxies as they are in the end."""
        context = self.crawler.get_downloader_middleware(ProxyBalanceMiddleware).context
        return {one.proxy.name: one for one in context.pool.snapshot(context.clock())}


def pages(paths: Iterable[object]) -> Counter[str]:
    """Return what a spider has got that has had each of these pages once."""
    return Counter(f"page /{path}" for path in paths)
