"""The downloader middleware: an attempt on the way out, an outcome on the way back.

Scrapy in, core call, Scrapy out. Its place is between RedirectMiddleware (600), so that it sees
refusals before RetryMiddleware does, and HttpProxyMiddleware (750), which turns credentials into a
header.
"""

from __future__ import annotations

import logging
import time
from random import Random
from typing import TYPE_CHECKING
from weakref import WeakSet

import attrs
from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.utils.httpobj import urlparse_cached

from ..core import NoProxyAvailableError, Outcome, TargetState
from ..core.outcome import PROXY_AUTH, TIMEOUT, TOO_MANY, TRAFFIC_USED_UP
from ..core.proxies.credentials import REFUSED_BY
from ..core.verdict import FORBIDDEN, IGNORED, Verdict
from ..reporting import install
from .config import proxy_checks
from .config.settings import Settings, read_one
from .context import REASON_FORBIDDEN, REASON_RATE_LIMITED, CrawlContext, StoppedError
from .handlers.proxy_watch import ProxyWatch, UnprovenError
from .judge import Judge
from .lifecycle import startup
from .lifecycle.closing import Closing, GivenUpError
from .lifecycle.job_memory import JobMemory
from .lifecycle.only_paused import OnlyPausedWatch
from .requests import meta as request_meta
from .requests.adaptive_timeout import AdaptiveTimeout
from .requests.cache import JudgedCache
from .requests.certificates import Certificates
from .requests.download_time import DownloadTime
from .requests.redaction import redact_exception
from .requests.unknown_failures import UnknownFailures
from .requests.users_proxy import UsersProxy
from .second_opinion import FAILED, SecondOpinion

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

    from .context import Flight

logger = logging.getLogger(__name__)

#: Where the add-on puts the middleware.
ORDER = 740

# When so many proxies have refused their credentials for a page and no other page was answered since,
# it is about the page.
_REFUSED_BY_ALL = 6
# When so many say for a page that the traffic is used up, it counts as a failure like any other.
_USED_UP_AT = 6
# So many failures of a page cost no retry for looking like an outage: then it may be its site after all.
_SPARED_AT_MOST = 6

# When a page was one too many at once so often, it counts as a failure like any other.
_TOO_MANY_AT = 20

# How often, in seconds, a request asks whether another one has come back, unless it is told.
_TURN = 1.0
# In seconds; what is due already may still depend on something else that is not.
_SHORTEST_WAIT = 0.01


class TargetHeldError(NoProxyAvailableError):
    """A target must not be sent to now, whatever proxies there are.

    :param target: which.
    :param retry_at: as for any :class:`NoProxyAvailableError`.
    """

    def __init__(self, target: str, retry_at: float | None) -> None:
        super().__init__(f"{target} is paused or at its limit", retry_at)
        self.target = target


class ProxyBalanceMiddleware:
    """Leases every request a proxy of the pool and teaches the pool what came of it.

    :param crawler: whose settings are read; see the settings reference.
    :param clock: seconds, never going back.
    :param wall_clock: seconds since the epoch.
    :param rng: the source of randomness; ``None`` for one of its own.
    :raises ConfigurationError: for a setting that cannot work.
    """

    def __init__(
        self,
        crawler: Crawler,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: Random | None = None,
    ) -> None:
        if not read_one(crawler.settings, "ENABLED"):
            raise NotConfigured
        self.settings = Settings.read(crawler.settings)
        proxy_checks.refuse_unworkable(crawler.settings, self.settings)
        self._retries_403 = "403" in map(str, crawler.settings.getlist("RETRY_HTTP_CODES"))
        self.context = CrawlContext(
            crawler, self.settings, clock=clock, wall_clock=wall_clock, rng=rng or Random()
        )
        self._watch = ProxyWatch(self.context, crawler.settings, self.settings.proxies)
        self._users_proxy = UsersProxy(self.settings.proxies)
        self._certificates = Certificates()
        self._unknown = UnknownFailures(crawler)
        # Scrapy's signals hold their receivers weakly.
        self._download_time = DownloadTime(self.context)
        self._adaptive_timeout = AdaptiveTimeout(self.context)
        self._second_opinion = SecondOpinion(self.context)
        self.judge = Judge(self.settings, self._second_opinion, wall_clock)
        self._cache = JudgedCache(self.context, self.judge.verdict)
        #: What the telnet console calls ``pool``, for consoles that take no variables from others.
        self.console, reporters = install(self.context)
        self._observers: list[object] = [
            startup.Announcement(self.context),
            JobMemory(self.context),
            Closing(self.context),
            OnlyPausedWatch(self.context),
            *reporters,
        ]
        self._given_back_at_closing: WeakSet[Request] = WeakSet()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Build it for a crawler."""
        return cls(crawler)

    async def process_request(self, request: Request) -> Request | None:
        """Lease a proxy, or hold the request.

        :return: ``None`` to go on; the request itself, anew, where it has to go back and wait in
            the scheduler.
        """
        if not request_meta.is_remote(request):
            return None
        request_meta.restore_timeout(request)
        context = self.context
        target = context.target_of(request)
        if target in context.dropped_targets:
            raise dropped(target)
        users_own = self._users_proxy.is_chosen(request)
        if users_own:
            request.meta.pop(request_meta.PROXY_NAME, None)
        if request.url.startswith("ftp:") and not request_meta.is_direct(request):
            raise IgnoreRequest(
                "Scrapy sends FTP requests without any proxy; set meta['proxy'] = None on this "
                "one if that is what you want"
            )
        arrived_at = context.clock()
        deadline = arrived_at + self.settings.acquire_timeout
        is_retry = request_meta.is_retry(request)  # the queue has not charged it
        while True:
            if request_meta.ROBOTS in request.meta and (
                context.closing or request.meta[request_meta.ROBOTS].is_over
            ):
                # It bypasses the scheduler and would be tried again until the closing is over.
                raise IgnoreRequest("nobody waits for this robots.txt any more")
            try:
                now = context.clock()
                if not context.pool.targets.may_send(target, now):
                    raise TargetHeldError(target, context.pool.targets.ready_at(target, now))
                if not context.slots.may_depart(context.slots.key_of(request)):
                    raise NoProxyAvailableError(f"the download slot of {target} is full", None)
                if is_retry and now < deadline and not context.closing:
                    # It bypasses the scheduler: it waits for a while, and goes anyhow.
                    context.retries.check_room(now)
                attempt = None
                if users_own:
                    self._watch.departs_with_users(request)
                else:
                    self._watch.check(request)
                    attempt = context.pool.acquire(
                        now,
                        target=target,
                        session=request_meta.session_of(request, self.settings.session_meta_key),
                        proxy_filter=request_meta.filter_of(request),
                        avoid=request_meta.tried(request),
                        strictly=request_meta.avoids_strictly(request),
                        prefer=request_meta.take_preferred(request),
                        strategy=request_meta.strategy_of(request),
                        tunnel=request_meta.tunnel_of(request),
                    )
                if is_retry:
                    context.retries.goes(request, now)
                context.depart(request, target, attempt, waited=now - arrived_at)
                request_meta.forget_latency(request)
                if attempt is not None:
                    request_meta.assign(request, attempt.proxy)
                    request_meta.limit_idle(request, attempt.idle)
                    self._watch.departs(request)
                    self._adaptive_timeout.limit(request)
                return None
            except UnprovenError:
                await context.wait_for_change(_TURN)
                sent_back = None
            except NoProxyAvailableError as error:
                if context.has_swallowed and context.sweep():
                    continue
                sent_back = await self.hold(
                    request, error, deadline=deadline, retry_at=error.retry_at
                )
            if sent_back is not None:
                return sent_back

    async def hold(
        self, request: Request, error: Exception, *, deadline: float, retry_at: float | None
    ) -> Request | None:
        """Have a request wait that must not or cannot be sent now.

        One that the queue has let out goes back there. Every other one waits here for a while; with
        another queue than ours, where the two look alike, it goes back when its time is up.

        :param error: raised when a request has waited here until its time was up.
        :param deadline: when its time is up, in seconds on the context's clock.
        :param retry_at: from when it is worth trying again; ``None`` when something has to end first.
        :return: the request anew, for Scrapy; ``None`` to try again.
        :raises IgnoreRequest: when the spider is closing.
        """
        context = self.context
        now, closing = context.clock(), context.closing
        for_robots = request_meta.ROBOTS in request.meta
        sent_back = context.admissions.is_admitted(request)
        if not context.admissions.in_use and not for_robots and (closing or now >= deadline):
            # While the spider is closing, only what bypasses the scheduler comes a second time.
            sent_back = request not in self._given_back_at_closing
        if sent_back:
            context.land(request)
            resent = request_meta.resend(request)
            if closing:
                self._given_back_at_closing.add(resent)
            return resent
        if closing:
            raise IgnoreRequest("the spider is closing")
        if for_robots and isinstance(error, TargetHeldError):
            # A target that is at its limit only is waited for.
            if context.pool.targets.state(error.target) in (
                TargetState.PAUSED,
                TargetState.SUSPENDED,
            ):
                raise error
        elif now >= deadline and not self._is_scrapys_robots(request):
            raise error
        until = deadline if deadline > now else now + self.settings.acquire_timeout
        if retry_at is not None:
            until = min(until, retry_at)
        await context.wait_for_change(max(_SHORTEST_WAIT, until - now))
        return None

    def process_response(self, request: Request, response: Response) -> Request | Response:
        """End the attempt, and leave a target alone that refuses."""
        request_meta.restore_timeout(request)
        flight = self.context.land(request)
        if flight is None:
            return response
        verdict = None
        if flight.attempt is not None:
            request_meta.forget_credentials(request)
            verdict = self._watch.verdict(request, response, flight.attempt)
            self._certificates.answered(request, response, flight.target)
        verdict = verdict or self.judge.compared(request, response, flight.attempt)
        if verdict.outcome not in FAILED and response.status < 500:
            self.context.retries.answered(request, self.context.clock())
        if request_meta.ROBOTS in request.meta and flight.target_probe:
            # Whether the target bears a crawl again is for a page to say; and one question is enough.
            request.meta["dont_retry"] = True
            if verdict.outcome is Outcome.SUCCESS:
                verdict = attrs.evolve(verdict, outcome=Outcome.IGNORED)
        duration = self._download_time.of(request, flight)
        self.context.end(
            flight,
            verdict.outcome,
            latency=request.meta.get("download_latency"),
            duration=duration,
            failure=verdict.failure,
            part=verdict.part,
            page=request.url,
            responded=True,
        )
        try:
            if verdict.outcome is Outcome.TARGET_SIGNAL:
                resend = self._refused(request, flight, verdict, said(response, verdict))
            else:
                resend = self._after_response(request, flight, verdict, response)
        finally:
            if "cached" in response.flags:
                self.context.attempts.not_sent(request)
            else:
                self.context.attempts.ended(
                    request, flight, verdict, duration=duration, response=response
                )
        if resend is None:
            self._cache.delivered(request, verdict)
            self._end_session(request)
        return resend or response

    def _after_response(
        self, request: Request, flight: Flight, verdict: Verdict, response: Response
    ) -> Request | None:
        """Return the request that asks for a page again that was a proxy's own, or may be."""
        if verdict.outcome in FAILED:
            resend = self._failed(request, flight, verdict)
            if resend is not None:
                return resend
        elif flight.attempt is not None and (verdict.unsure or response.status >= 500):
            # Nobody is blamed for that; another proxy is to be asked while there is one.
            request_meta.mark_tried(request, flight.attempt.proxy)
        return self._second_opinion.again(request, flight, verdict, response)

    def process_exception(self, request: Request, exception: Exception) -> Request | None:
        """End the attempt; a request that was stopped unsent goes back to the scheduler."""
        admitted = self.context.admissions.is_admitted(request)
        flight = self.context.land(request)
        if flight is None:
            cut_off = self._adaptive_timeout.cut_off(request, exception)
            return request_meta.resend(request) if cut_off else None
        if flight.attempt is not None:
            request_meta.forget_credentials(request)
        if isinstance(exception, StoppedError):
            self.context.end(flight, Outcome.IGNORED)
            self.context.attempts.not_sent(request)
            return request_meta.resend(request)
        if isinstance(exception, GivenUpError):
            return self._given_up(request, flight, admitted=admitted)
        redact_exception(exception, flight.attempt.proxy if flight.attempt is not None else None)
        verdict = self.judge.verdict(request, exception)
        if flight.attempt is not None:
            verdict = self._certificates.judge(request, verdict, flight.attempt)
            self._watch.failed(request, exception, verdict, flight.attempt)
        duration = self._download_time.of(request, flight, timed_out=verdict.failure == TIMEOUT)
        cut_off = self._adaptive_timeout.cut_off(request, exception)
        self.context.end(
            flight,
            verdict.outcome,
            duration=duration,
            failure=verdict.failure,
            part=verdict.part,
            page=request.url,
        )
        try:
            return self._after_failure(
                request, flight, verdict, cut_off=cut_off
            ) or self._unknown.retry(request, flight, verdict, exception)
        finally:
            if isinstance(exception, IgnoreRequest):  # of a middleware nearer to the downloader
                self.context.attempts.not_sent(request)
            else:
                self.context.attempts.ended(request, flight, verdict, duration=duration)

    def _given_up(self, request: Request, flight: Flight, *, admitted: bool) -> Request:
        """End the attempt of a request that held up the closing; return it, if it can go back."""
        self.context.end(flight, Outcome.IGNORED)
        self.context.attempts.ended(request, flight, IGNORED)
        if not self.context.admissions.in_use and request_meta.ROBOTS not in request.meta:
            admitted = request not in self._given_back_at_closing
        if not admitted:  # whoever waits for it waits outside of the scheduler
            raise IgnoreRequest("the spider is closing, and there was no response yet")
        resent = request_meta.resend(request)
        self._given_back_at_closing.add(resent)
        return resent

    def _after_failure(
        self, request: Request, flight: Flight, verdict: Verdict, *, cut_off: bool
    ) -> Request | None:
        """Return the request anew, if it is to go again as if this attempt had not been made."""
        if verdict.outcome is Outcome.TARGET_SIGNAL:
            return self._refused(request, flight, verdict, verdict.failure or "refused")
        if cut_off:
            self._failed(request, flight, verdict)
            return request_meta.resend(request)
        if verdict.outcome is Outcome.IGNORED:
            return None
        return self._failed(request, flight, verdict)

    def _failed(self, request: Request, flight: Flight, verdict: Verdict) -> Request | None:
        """Mark the proxy as tried; where it did not let us in at all, another one is free of charge.

        That ends when so many refuse their credentials for this page, and not for others, that it is
        about the page. So is another try free when nothing gets through the gateway, or the pool. What
        was sent as a probe may be sent as often as the outage lasts; anything else so many times.
        """
        attempt, pool = flight.attempt, self.context.pool
        if attempt is None:
            return None
        if verdict.failure == PROXY_AUTH and attempt.node.answered:
            refused, others_answered = request_meta.mark_refused(
                request, attempt.proxy, pool.answers
            )
            single = pool.refused_pages.is_a_single_one
            if refused >= REFUSED_BY and (
                others_answered or (single and refused >= _REFUSED_BY_ALL)
            ):
                logger.warning(
                    "%d proxies refuse their credentials for %s, and not for other pages: it is given "
                    "up. Some providers answer so for a page or a site that they do not serve.",
                    refused,
                    request,
                )
                return None
        if attempt.outage_suspected:
            if attempt.gateway_probe or attempt.pool_probe:
                return request_meta.resend(request)
            if request_meta.spared(request) < _SPARED_AT_MOST:
                request_meta.mark_spared(request)
                return request_meta.resend(request)
        request_meta.mark_tried(request, attempt.proxy)
        # Like a page that its target refuses, one that it is not let through for costs no retry.
        tried = len(request_meta.tried(request))
        free = (
            verdict.failure == PROXY_AUTH
            or (verdict.failure == TOO_MANY and verdict.certain)
            or (attempt.too_many and request_meta.mark_too_many(request) <= _TOO_MANY_AT)
            or (verdict.failure == TRAFFIC_USED_UP and tried < min(len(pool), _USED_UP_AT))
        )
        return request_meta.resend(request) if free else None

    def _refused(
        self, request: Request, flight: Flight, verdict: Verdict, said: str
    ) -> Request | None:
        """Do as the policy says when a target refuses; return the request if it is to wait."""
        targets, target, now = self.context.pool.targets, flight.target, self.context.clock()
        forbidden = verdict.failure == FORBIDDEN
        if forbidden:
            if self._retries_403:
                # No refusal is tried again through another IP, whatever RETRY_HTTP_CODES says.
                request.meta["dont_retry"] = True
            if not targets.forbidden(target, started_at=flight.started_at, now=now):
                return None
        policy = self.settings.on_forbidden if forbidden else self.settings.on_rate_limited
        if policy == "drop":
            self.context.drop(target)
            new = targets.suspend(target, now, said)
        else:
            new = targets.refused(
                target, started_at=flight.started_at, now=now, reason=said, wait=verdict.retry_after
            )
        if new:
            self.context.recall(target)
            if policy == "close_spider":
                reason = REASON_FORBIDDEN if forbidden else REASON_RATE_LIMITED
                self.context.close_spider(reason.format(target=target))
        if forbidden:
            return None
        if policy == "drop":
            raise dropped(target)
        return request_meta.resend(request)

    def _end_session(self, request: Request) -> None:
        if request.meta.get(request_meta.SESSION_END):
            session = request_meta.session_of(request, self.settings.session_meta_key)
            if session is not None:
                self.context.pool.end_session(session, self.context.clock())

    @staticmethod
    def _is_scrapys_robots(request: Request) -> bool:
        """Whether Scrapy would take a failure of this request as leave to crawl everything."""
        return (
            bool(request.meta.get("dont_obey_robotstxt"))
            and request_meta.ROBOTS not in request.meta
            and urlparse_cached(request).path == "/robots.txt"
        )


def dropped(target: str) -> IgnoreRequest:
    """Return the error of a request to a target that is dropped from the crawl."""
    return IgnoreRequest(f"{target} refuses and is dropped from this crawl")


def said(response: Response, verdict: Verdict) -> str:
    """Return in words what a response said."""
    words = f"response {response.status}"
    if verdict.failure not in (None, str(response.status)):
        words += f" ({verdict.failure})"
    if verdict.header is not None:
        words += f" with {verdict.header}"
    return words
