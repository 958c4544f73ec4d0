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

from ..core import Attempt, Blocked, NoProxyAvailableError, Outcome, Step, TargetState, Want
from ..core.outcome import TIMEOUT
from ..core.verdict import FORBIDDEN, IGNORED
from ..reporting import install
from . import request_meta
from .answer import ScrapyAnswer
from .config import proxy_checks
from .config.settings import Settings, read_one
from .context import REASON_FORBIDDEN, REASON_RATE_LIMITED, CrawlContext, StoppedError
from .errors import TargetHeldError, dropped, unavailable
from .judge import Judge
from .lifecycle import startup
from .lifecycle.closing import Closing, GivenUpError
from .lifecycle.job_memory import JobMemory
from .lifecycle.only_paused import OnlyPausedWatch
from .requests.adaptive_timeout import AdaptiveTimeout
from .requests.cache import JudgedCache
from .requests.certificates import Certificates
from .requests.download_time import DownloadTime
from .requests.proxy_watch import ProxyWatch, UnprovenError
from .requests.redaction import redact_exception
from .requests.retries_elsewhere import RetriesElsewhere
from .requests.unknown_failures import UnknownFailures
from .requests.users_proxy import UsersProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

    from ..core import AnyAttempt, Followup

logger = logging.getLogger("scrapy_proxybalance")

#: Where the add-on puts the middleware.
ORDER = 740

# How often, in seconds, a request asks whether another one has come back, unless it is told.
_TURN = 1.0
# In seconds; what is due already may still depend on something else that is not.
_SHORTEST_WAIT = 0.01


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
        self.judge = Judge(self.settings, wall_clock)
        self._retries_elsewhere = RetriesElsewhere(crawler)
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
        slot = context.slot_of(request)
        deadline = arrived_at + self.settings.acquire_timeout
        while True:
            if request_meta.ROBOTS in request.meta and (
                context.closing or request.meta[request_meta.ROBOTS].is_over
            ):
                # It bypasses the scheduler and would be tried again until the closing is over.
                raise IgnoreRequest("nobody waits for this robots.txt any more")
            now = context.clock()
            error: NoProxyAvailableError
            try:
                if not users_own:
                    self._watch.check(request)
            except UnprovenError:
                await context.wait_for_change(_TURN)
                continue
            except NoProxyAvailableError as stopped:
                error = stopped
            else:
                if context.slots.may_depart(slot):
                    want = self._want(request, target, direct=users_own, overdue=now >= deadline)
                    started = context.dispatcher.start(want, now)
                    if not isinstance(started, Blocked):
                        self._goes(request, started, slot, waited=now - arrived_at)
                        return None
                    error = unavailable(target, started)
                else:
                    error = NoProxyAvailableError(f"the download slot of {target} is full", None)
            if context.has_swallowed and context.sweep():
                continue
            sent_back = await self.hold(request, error, deadline=deadline, retry_at=error.retry_at)
            if sent_back is not None:
                return sent_back

    def _want(self, request: Request, target: str, *, direct: bool, overdue: bool) -> Want:
        """Return what a request asks the core for."""
        key = self.settings.session_meta_key
        if direct:
            session = request_meta.session_of(request, key)
            return Want(target=target, session=session, direct=True)
        retry = request_meta.is_retry(request)
        return request_meta.want_of(
            request,
            target,
            key,
            timeout=self._adaptive_timeout.own(request),
            retry=retry,
            # One that bypasses the scheduler waits for a while, and goes anyhow.
            overdue=retry and (overdue or self.context.closing),
        )

    def _goes(self, request: Request, attempt: AnyAttempt, slot: str, *, waited: float) -> None:
        """Send a request on its way, through the proxy of its attempt."""
        self.context.track(request, attempt, slot, waited=waited)
        request_meta.forget_latency(request)
        if not isinstance(attempt, Attempt):
            self._watch.departs_with_users(request)
            return
        if attempt.retry:
            self.context.retries.went(request, attempt.started_at)
        request_meta.assign(request, attempt.proxy)
        request_meta.limit_idle(request, attempt.idle)
        if attempt.timeout is not None:
            request_meta.limit_time(request, attempt.timeout)
        self._watch.departs(request)

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
            context.untrack(request)
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
        """Finish the attempt, and leave a target alone that refuses."""
        request_meta.restore_timeout(request)
        context = self.context
        attempt = context.untrack(request)
        if attempt is None:
            return response
        verdict, compare = None, False
        if isinstance(attempt, Attempt):
            request_meta.forget_credentials(request)
            verdict = self._watch.verdict(request, response, attempt)
            self._certificates.answered(request, response, attempt.target)
        if verdict is None:
            verdict, compare = self.judge.of_response(request, response)
        if request_meta.ROBOTS in request.meta and attempt.target_probe:
            # Whether the target bears a crawl again is for a page to say; and one question is enough.
            request.meta["dont_retry"] = True
            if verdict.outcome is Outcome.SUCCESS:
                verdict = attrs.evolve(verdict, outcome=Outcome.IGNORED)
        duration = self._download_time.of(request, attempt)
        history = request_meta.history_of(request)
        followup = context.dispatcher.finish(
            attempt,
            verdict,
            context.clock(),
            latency=request.meta.get("download_latency"),
            duration=duration,
            answer=ScrapyAnswer(request, response, context.wall_clock()),
            compare=compare,
            page=request.url,
            history=history,
        )
        request_meta.keep_history(request, history)
        context.rouse()
        try:
            resend = self._follow(request, attempt, followup)
            if resend is None and followup.step is Step.RETRY:
                resend = self._retries_elsewhere.after(request, followup.verdict, response)
        finally:
            if "cached" in response.flags:
                context.attempt_log.not_sent(request, attempt)
            else:
                context.attempt_log.ended(
                    request, attempt, followup.verdict, duration=duration, response=response
                )
        if resend is None:
            self._cache.delivered(request, followup.verdict)
            self._end_session(request)
        return resend or response

    def process_exception(self, request: Request, exception: Exception) -> Request | None:
        """Finish the attempt; a request that was stopped unsent goes back to the scheduler."""
        context = self.context
        admitted = context.admissions.is_admitted(request)
        history = request_meta.history_of(request)
        attempt = context.untrack(request)
        if attempt is None:
            cut_off = self._adaptive_timeout.cut_off(request, exception, history)
            request_meta.keep_history(request, history)
            return request_meta.resend(request) if cut_off else None
        if attempt.proxy is not None:
            request_meta.forget_credentials(request)
        if isinstance(exception, StoppedError):
            context.cancel(attempt)
            context.attempt_log.not_sent(request, attempt)
            return request_meta.resend(request)
        if isinstance(exception, GivenUpError):
            return self._given_up(request, attempt, admitted=admitted)
        redact_exception(exception, attempt.proxy)
        verdict = self.judge.verdict(request, exception)
        if isinstance(attempt, Attempt):
            verdict = self._certificates.judge(request, verdict, attempt, history)
            self._watch.failed(request, exception, verdict, attempt)
        duration = self._download_time.of(request, attempt, timed_out=verdict.failure == TIMEOUT)
        followup = context.dispatcher.finish(
            attempt,
            verdict,
            context.clock(),
            duration=duration,
            cut_off=self._adaptive_timeout.cut_off(request, exception, history),
            page=request.url,
            history=history,
        )
        request_meta.keep_history(request, history)
        context.rouse()
        try:
            resend = self._follow(request, attempt, followup)
            if resend is None and attempt.proxy is not None:
                resend = self._unknown.retry(request, verdict, exception)
            return resend
        finally:
            if isinstance(exception, IgnoreRequest):  # of a middleware nearer to the downloader
                context.attempt_log.not_sent(request, attempt)
            else:
                context.attempt_log.ended(request, attempt, verdict, duration=duration)

    def _given_up(self, request: Request, attempt: AnyAttempt, *, admitted: bool) -> Request:
        """End the attempt of a request that held up the closing; return it, if it can go back."""
        self.context.cancel(attempt)
        self.context.attempt_log.ended(request, attempt, IGNORED)
        if not self.context.admissions.in_use and request_meta.ROBOTS not in request.meta:
            admitted = request not in self._given_back_at_closing
        if not admitted:  # whoever waits for it waits outside of the scheduler
            raise IgnoreRequest("the spider is closing, and there was no response yet")
        resent = request_meta.resend(request)
        self._given_back_at_closing.add(resent)
        return resent

    def _follow(self, request: Request, attempt: AnyAttempt, followup: Followup) -> Request | None:
        """Do what follows from an attempt's end; return the request anew if it is to be sent again.

        :raises IgnoreRequest: if its target is dropped.
        """
        context, target, verdict = self.context, attempt.target, followup.verdict
        if verdict.outcome is Outcome.TARGET_SIGNAL:
            forbidden = verdict.failure == FORBIDDEN
            if forbidden and self._retries_403:
                # No refusal is tried again through another IP, whatever RETRY_HTTP_CODES says.
                request.meta["dont_retry"] = True
            if followup.stopped:
                context.target_changed(target)
                context.recall(target)
            if followup.close:
                reason = REASON_FORBIDDEN if forbidden else REASON_RATE_LIMITED
                context.close_spider(reason.format(target=target))
        if followup.step is Step.SEND_AGAIN:
            if followup.delayed:
                request_meta.delay(request)
            return request_meta.resend(request)
        if followup.step is Step.DROP:
            raise dropped(target)
        if followup.refused_by:
            logger.warning(
                "%d proxies refuse their credentials for %s, and not for other pages: it is given "
                "up. Some providers answer so for a page or a site that they do not serve.",
                followup.refused_by,
                request,
            )
        return None

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
