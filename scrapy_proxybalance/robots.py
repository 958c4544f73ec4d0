"""robots.txt: fetched once per host, and never taken as leave because it could not be had.

Scrapy's own middleware takes any failure as "everything is allowed here, for the whole crawl", reads
a proxy's error page as if it were the site's rules, and lets all but one of several first requests to
a host through. Here what cannot be had now is disallowed for now (RFC 9309, section 2.3.1.4): its
target pauses, and what waits for it is held. What is allowed is still decided by Scrapy's class.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from scrapy import Request, signals
from scrapy.downloadermiddlewares import robotstxt
from scrapy.exceptions import IgnoreRequest
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.httpobj import urlparse_cached
from scrapy.utils.misc import build_from_crawler, load_object
from twisted.internet.defer import Deferred

from . import request_meta
from .middleware import ROBOTS, ProxyBalanceMiddleware, TargetHeldError, dropped, said
from .pool import ConfigurationError, NoProxyAvailableError, NoProxyMatchesError, Outcome

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.robotstxt import RobotParser

logger = logging.getLogger(__name__)


class RobotsTxtMiddleware(robotstxt.RobotsTxtMiddleware):
    """Scrapy's middleware, with an end to what it takes as leave. The add-on puts it in its place.

    Obeys ``ROBOTSTXT_OBEY``, ``ROBOTSTXT_PARSER`` and ``ROBOTSTXT_USER_AGENT``. Without
    :class:`ProxyBalanceMiddleware` it is Scrapy's middleware unchanged.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._parser_class = load_object(crawler.settings["ROBOTSTXT_PARSER"])
        self._rules: dict[str, RobotParser] = {}
        self._waiters: dict[str, list[Deferred[None]]] = {}

    async def process_request(self, request: Request) -> Request | None:  # type: ignore[override]
        """Let a request pass that robots.txt allows; hold it while robots.txt cannot be had.

        :return: ``None`` to go on; the request itself, anew, where it has to go back and wait in the
            scheduler.
        :raises IgnoreRequest: for what robots.txt forbids; and for a request that has bypassed the
            scheduler, when robots.txt could not be had in time.
        """
        middleware = self.crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        if middleware is None:
            await super().process_request(request)
            return None
        if _is_exempt(request):
            return None
        balancer = middleware.balancer
        gate = balancer.pool.targets
        host, target = request_meta.host_of(request), balancer.target_of(request)
        deadline = balancer.clock() + middleware.settings.acquire_timeout
        while True:
            now = balancer.clock()
            if host not in self._rules and gate.may_send(target, now) and not balancer.closing:
                await self._fetch_together(middleware, request)
            if host in self._rules:
                self.process_request_2(self._rules[host], request)
                return None
            if target in balancer.dropped_targets:
                raise dropped(target)
            sent_back = await middleware.hold(
                request,
                IgnoreRequest(f"robots.txt of {target} cannot be had"),
                deadline=deadline,
                retry_at=gate.ready_at(target, balancer.clock()),
            )
            if sent_back is not None:
                return sent_back

    async def _fetch_together(self, middleware: ProxyBalanceMiddleware, request: Request) -> None:
        """Fetch robots.txt, or wait for the end of a fetch that is under way."""
        host = request_meta.host_of(request)
        if host in self._waiters:
            waiter: Deferred[None] = Deferred()
            self._waiters[host].append(waiter)
            await maybe_deferred_to_future(waiter)
            return
        self._waiters[host] = []
        balancer = middleware.balancer
        target = balancer.target_of(request)
        if target == host:
            balancer.asks_robots(target)
        try:
            await self._fetch(middleware, request)
        finally:
            balancer.has_asked_robots(target)
            for waiter in self._waiters.pop(host):
                waiter.callback(None)

    async def _fetch(self, middleware: ProxyBalanceMiddleware, request: Request) -> None:
        """Fetch robots.txt and keep its rules; if it cannot be had, see to it that its target pauses."""
        balancer, stats = middleware.balancer, self.crawler.stats
        target = balancer.target_of(request)
        asked_at = balancer.clock()
        wait: float | None = None
        stats.inc_value("robotstxt/request_count")
        try:
            unreachable = await self._ask(middleware, request)
        except (NoProxyMatchesError, ConfigurationError):
            raise  # it is the same with the request itself
        except Exception as error:
            if _is_our_own(error, target):
                return
            if not isinstance(error, IgnoreRequest):
                stats.inc_value(f"robotstxt/exception_count/{type(error)}")
                logger.debug("robots.txt of %s cannot be had", target, exc_info=True)
            unreachable = middleware.judge(request, error).failure or type(error).__name__
            wait = _seconds_left(error, balancer.clock())
        if unreachable is None or balancer.closing or target in balancer.dropped_targets:
            return
        new = balancer.pool.targets.refused(
            target,
            sent_at=asked_at,
            now=balancer.clock(),
            reason=f"robots.txt cannot be had ({unreachable})",
            wait=wait,
        )
        if new:
            balancer.recall(target)

    async def _ask(self, middleware: ProxyBalanceMiddleware, request: Request) -> str | None:
        """Ask for robots.txt and keep its rules; return what came instead if it did not."""
        stats = self.crawler.stats
        question = self._question(request)
        response = await self.crawler.engine.download_async(question)
        stats.inc_value("robotstxt/response_count")
        stats.inc_value(f"robotstxt/response_status_count/{response.status}")
        verdict = middleware.judge(question, response)
        if response.status >= 500 or verdict.outcome not in (Outcome.SUCCESS, Outcome.IGNORED):
            return said(response, verdict)
        rules = build_from_crawler(self._parser_class, self.crawler, _rules_in(response))
        if hasattr(signals, "robots_parsed"):  # new in Scrapy 2.19
            await self.crawler.signals.send_catch_log_async(
                signal=signals.robots_parsed, robotparser=rules, request=request
            )
        self._rules[request_meta.host_of(request)] = rules
        return None

    def _question(self, request: Request) -> Request:
        url = urlparse_cached(request)
        # That a host may be crawled has been decided by the request that is asked for.
        meta: dict[str, Any] = {"dont_obey_robotstxt": True, "allow_offsite": True, ROBOTS: True}
        meta["dont_cache"] = True  # a refusal in Scrapy's cache would be taken for the rules
        if request_meta.filter_of(request) is not None:
            meta[request_meta.PROXY_FILTER] = request_meta.filter_of(request)
        if url.scheme == "ftp":
            meta[request_meta.PROXY] = None
        return Request(
            f"{url.scheme}://{url.netloc}/robots.txt",
            priority=self.DOWNLOAD_PRIORITY,
            meta=meta,
            callback=NO_CALLBACK,
        )


def _is_exempt(request: Request) -> bool:
    """Whether robots.txt has no say: the user says so, or the request goes nowhere."""
    return bool(
        request.meta.get("dont_obey_robotstxt")
        or not request_meta.is_remote(request)
        or (request.url.startswith("ftp:") and not request_meta.is_direct(request))
    )


def _is_our_own(error: Exception, target: str) -> bool:
    """Whether nothing was asked, because the target is held already or there is no proxy for it."""
    if isinstance(error, TargetHeldError):
        return error.target == target
    return isinstance(error, NoProxyAvailableError)


def _seconds_left(error: Exception, now: float) -> float | None:
    """Return how long to wait where robots.txt redirects to a target that is paused."""
    retry_at = getattr(error, "retry_at", None)
    return retry_at - now if retry_at is not None and now < retry_at < float("inf") else None


def _rules_in(response: Response) -> bytes:
    """Return the rules: none where there is no file (RFC 9309, sections 2.3.1.2 and 2.3.1.3)."""
    return response.body if 200 <= response.status < 300 else b""
