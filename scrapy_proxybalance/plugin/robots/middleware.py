"""robots.txt: fetched once per host; a failure to fetch it never permits anything.

Scrapy's own middleware takes any failure as "everything is allowed here, for the whole crawl", reads
a proxy's error page as if it were the site's rules, and lets all but one of several first requests to
a host through. Here what could not be fetched is disallowed for now (RFC 9309, section 2.3.1.4), and
"there are no rules" is believed only if a second proxy says so too. How it is asked for is in
``robots_question.py``; what is allowed is still decided by Scrapy's class.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
from scrapy import signals
from scrapy.downloadermiddlewares import robotstxt
from scrapy.exceptions import IgnoreRequest
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.misc import build_from_crawler, load_object
from twisted.internet.defer import Deferred

from ...core import NoProxyMatchesError, Want
from ...core.events import TargetPaused
from ...util.wording import ROBOTS_NOT_FETCHED
from .. import request_meta
from ..errors import dropped
from ..markers import HoldsUnfetchedRobots
from ..middleware import ProxyBalanceMiddleware
from .question import Finding, Kind, Question

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.robotstxt import RobotParser

    from ..context import CrawlContext
    from .question import Answer

logger = logging.getLogger("scrapy_proxybalance")

# After so many rounds in which no other proxy could confirm an answer, it is accepted for this long.
_ROUNDS = 2
_BELIEVED_SECONDS = 60.0
# After so many seconds in which no proxy got anywhere robots.txt is asked for again; twice as many each
# time, up to the longest. As soon as anything is answered through the pool, it is asked for at once.
_NO_PROXY_SECONDS = 1.0
_NO_PROXY_SECONDS_MAX = 30.0
# Another proxy is asked in addition when the first has not answered for this long; later, where
# robots.txt usually takes longer.
_HEDGE_SECONDS = 1.0
_HEDGE_TIMES_USUAL = 3.0
_USUAL_OF_LAST = 10


@attrs.define
class _Unconfirmed:
    """The rules of a host that one proxy has told. ``until``: till then nobody else is asked."""

    target: str
    answer: Answer
    rules: RobotParser
    until: float


@attrs.define
class _Trouble:
    """How often in a row a host's robots.txt could not be fetched, and what for."""

    timeouts: int = 0
    no_proxy: int = 0


class RobotsTxtMiddleware(robotstxt.RobotsTxtMiddleware, HoldsUnfetchedRobots):
    """Scrapy's middleware, with an end to what it takes as leave. The add-on puts it in its place.

    Obeys ``ROBOTSTXT_OBEY``, ``ROBOTSTXT_PARSER`` and ``ROBOTSTXT_USER_AGENT``. Without
    :class:`ProxyBalanceMiddleware` it is Scrapy's middleware unchanged.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._parser_class = load_object(crawler.settings["ROBOTSTXT_PARSER"])
        self._rules: dict[str, RobotParser] = {}
        self._unconfirmed: dict[str, _Unconfirmed] = {}
        self._doubted: dict[str, Answer] = {}
        self._trouble: dict[str, _Trouble] = {}
        self._waiters: dict[str, list[Deferred[None]]] = {}
        self._usual: float | None = None
        self._listens = False

    async def process_request(self, request: Request) -> Request | None:  # type: ignore[override]
        """Let a request pass that robots.txt allows; hold it while robots.txt could not be fetched.

        :return: ``None`` to go on; a copy of the request where it has to go back and wait in the
            scheduler.
        :raises IgnoreRequest: for what robots.txt forbids; and for a request that has bypassed the
            scheduler, when robots.txt could not be fetched in time.
        """
        middleware = self.crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        if middleware is None:
            await super().process_request(request)
            return None
        context = middleware.context
        if request_meta.ROBOTS in request.meta:
            _stay_with_proxy(context, request)
        if _is_exempt(request):
            return None
        gate = context.pool.targets
        target = context.target_of(request)
        deadline = context.clock() + middleware.settings.acquire_timeout
        while True:
            now = context.clock()
            rules = self._known(middleware, request)
            if rules is None and gate.may_send(target, now) and not context.closing:
                await self._fetch_together(middleware, request)
                rules = self._known(middleware, request)
            if rules is not None:
                self.process_request_2(rules, request)
                return None
            if target in context.dropped_targets:
                raise dropped(target)
            sent_back = await middleware.hold(
                request,
                IgnoreRequest(f"robots.txt of {target} could not be fetched"),
                deadline=deadline,
                retry_at=gate.ready_at(target, context.clock()),
            )
            if sent_back is not None:
                return sent_back

    def _known(self, middleware: ProxyBalanceMiddleware, request: Request) -> RobotParser | None:
        """Return the rules for a request, or ``None`` if robots.txt has to be asked for first.

        Those that only one proxy has told hold while there is no other one to be asked.
        """
        host = request_meta.host_of(request)
        unconfirmed = self._unconfirmed.get(host)
        if unconfirmed is None:
            return self._rules.get(host)
        if middleware.context.clock() < unconfirmed.until:
            return unconfirmed.rules
        others = self._has_other(middleware, request, unconfirmed.answer)
        return None if others else unconfirmed.rules

    @staticmethod
    def _has_other(middleware: ProxyBalanceMiddleware, request: Request, answer: Answer) -> bool:
        """Return whether there is a proxy to confirm an answer."""
        context = middleware.context
        return context.pool.has_other(
            Want(target=context.target_of(request), proxy_filter=request_meta.filter_of(request)),
            context.clock(),
            answer.proxies,
        )

    async def _fetch_together(self, middleware: ProxyBalanceMiddleware, request: Request) -> None:
        """Fetch robots.txt, or wait for the end of a fetch that is under way."""
        host = request_meta.host_of(request)
        if host in self._waiters:
            waiter: Deferred[None] = Deferred()
            self._waiters[host].append(waiter)
            await maybe_deferred_to_future(waiter)
            return
        self._waiters[host] = []
        context = middleware.context
        target = context.target_of(request)
        if target == host:
            context.asks_robots(target)
        try:
            await self._fetch(middleware, request)
        finally:
            context.has_asked_robots(target)
            for waiter in self._waiters.pop(host):
                waiter.callback(None)

    async def _fetch(self, middleware: ProxyBalanceMiddleware, request: Request) -> None:
        """Ask for robots.txt, and see to what follows if it could not be fetched."""
        context, host = middleware.context, request_meta.host_of(request)
        asked_at = context.clock()
        trouble = self._trouble.get(host) or _Trouble()
        seconds = middleware.settings.policy.timeout_min * 2.0**trouble.timeouts
        question = Question(
            context,
            middleware.judge,
            request,
            doubted=self._doubted.get(host),
            seconds=seconds,
            hedge_after=min(seconds, self._hedge_after()),
        )
        finding = await question.put()
        if finding.kind is Kind.NO_PROXY and trouble.no_proxy >= _ROUNDS and question.doubted:
            finding = Finding(kind=Kind.UNCONFIRMED, answer=question.doubted)
        if finding.answer is not None:
            self._trouble.pop(host, None)
            await self._keep(middleware, request, finding)
            return
        self._trouble[host] = trouble
        if question.doubted is not None:
            self._doubted[host] = question.doubted
        if finding.kind is Kind.NO_PROXY:
            trouble.no_proxy += 1
            logger.debug("No proxy gets robots.txt of %s: %s", host, finding.reason)
            await self._wait_for_a_proxy(middleware, trouble.no_proxy, doubts=host in self._doubted)
        elif finding.kind is Kind.UNREACHABLE:
            trouble.timeouts += finding.timed_out
            self._pause(middleware, request, asked_at, finding)

    async def _keep(
        self, middleware: ProxyBalanceMiddleware, request: Request, finding: Finding
    ) -> None:
        """Keep the rules that an answer has."""
        host, answer = request_meta.host_of(request), finding.answer
        assert answer is not None  # noqa: S101
        self._learn_how_long(answer)
        carrier = answer.answered.meta.get(request_meta.PROXY_NAME)
        if carrier is not None:
            # It is known to work, which little may be in a pool that has just begun.
            request_meta.prefer(request, carrier)
        rules = build_from_crawler(self._parser_class, self.crawler, answer.rules)
        if hasattr(signals, "robots_parsed"):  # new in Scrapy 2.19
            await self.crawler.signals.send_catch_log_async(
                signal=signals.robots_parsed, robotparser=rules, request=request
            )
        self._doubted.pop(host, None)
        if finding.kind is Kind.RULES:
            self._rules[host] = rules
            self._unconfirmed.pop(host, None)
            return
        context = middleware.context
        if not self._listens:
            self._listens = True
            context.pool.events.subscribe(self._target_paused, TargetPaused)
        self._doubted[host] = answer
        others = self._has_other(middleware, request, answer)
        until = context.clock() + (_BELIEVED_SECONDS if others else 0.0)
        self._unconfirmed[host] = _Unconfirmed(context.target_of(request), answer, rules, until)

    @staticmethod
    def _pause(
        middleware: ProxyBalanceMiddleware, request: Request, asked_at: float, finding: Finding
    ) -> None:
        """Have a target pause whose robots.txt could not be fetched."""
        context = middleware.context
        target = context.target_of(request)
        if context.closing or target in context.dropped_targets:
            return
        why = finding.reason
        if finding.timed_out and context.dispatcher.answered_at == float("-inf"):
            why += "; no proxy of the pool has got any answer yet"
        new = context.pool.targets.refused(
            target,
            started_at=asked_at,
            now=context.clock(),
            reason=f"{ROBOTS_NOT_FETCHED} ({why})",
            wait=finding.wait,
        )
        if new:
            context.recall(target)

    @staticmethod
    async def _wait_for_a_proxy(
        middleware: ProxyBalanceMiddleware, times: int, *, doubts: bool
    ) -> None:
        """Wait until it is worth asking again, after so many times at which no proxy got anywhere.

        :param doubts: whether it is a second opinion that is missing: not everybody fails.
        """
        context = middleware.context
        now = since = context.clock()
        until = now + min(_NO_PROXY_SECONDS_MAX, _NO_PROXY_SECONDS * 2.0 ** min(times - 1, 60))
        while (
            now < until
            and not context.closing
            and (doubts or context.dispatcher.answered_at < since)
        ):
            await context.wait_for_change(until - now)
            now = context.clock()

    def _hedge_after(self) -> float:
        usual = 0.0 if self._usual is None else self._usual
        return max(_HEDGE_SECONDS, _HEDGE_TIMES_USUAL * usual)

    def _learn_how_long(self, answer: Answer) -> None:
        seconds = answer.answered.meta.get("download_latency")
        if seconds is not None:
            usual = seconds if self._usual is None else self._usual
            self._usual = usual + (seconds - usual) / _USUAL_OF_LAST

    def _target_paused(self, event: TargetPaused) -> None:
        """Forget what only one proxy has told: after the pause, robots.txt is asked for first."""
        hosts = [host for host, known in self._unconfirmed.items() if known.target == event.target]
        for host in hosts:
            del self._unconfirmed[host]
            self._doubted.pop(host, None)


def _is_exempt(request: Request) -> bool:
    """Whether robots.txt has no say: the user says so, or the request goes nowhere."""
    return bool(
        request.meta.get("dont_obey_robotstxt")
        or not request_meta.is_remote(request)
        or (request.url.startswith("ftp:") and not request_meta.is_direct(request))
    )


def _stay_with_proxy(context: CrawlContext, request: Request) -> None:
    """Send a redirect to another target through the proxy that returned it: it may have made it up."""
    proxy = request.meta.get(request_meta.PROXY_NAME)
    target = context.target_of(request)
    if proxy is None or target == request.meta[request_meta.ROBOTS].target:
        return
    try:
        context.pool.blocked(Want(target=target, proxy_filter={"name": proxy}), context.clock())
    except NoProxyMatchesError:
        return  # there it may not be used
    request.meta[request_meta.PROXY_FILTER] = {"name": proxy}
