"""The downloader middleware: a lease on the way out, an outcome on the way back.

Scrapy in, core call, Scrapy out. Its place is between RedirectMiddleware (600), so that it sees
refusals before RetryMiddleware does, and HttpProxyMiddleware (750), which turns credentials into a
header.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.utils.httpobj import urlparse_cached

from . import request_meta, startup
from .balancer import REASON_FORBIDDEN, REASON_RATE_LIMITED, Balancer, StoppedError
from .classify import FORBIDDEN, classify
from .pool import NoProxyAvailableError, Outcome
from .pool.outcome import PROXY_AUTH
from .reporting import install
from .settings import Settings, read_one

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

    from .balancer import Flight
    from .classify import Verdict

logger = logging.getLogger(__name__)

#: Where the add-on puts the middleware.
ORDER = 740


class ProxyBalanceMiddleware:
    """Leases every request a proxy of the pool and teaches the pool what came of it.

    :param crawler: whose settings are read; see the settings reference.
    :raises ConfigurationError: for a setting that cannot work.
    """

    def __init__(self, crawler: Crawler) -> None:
        if not read_one(crawler.settings, "ENABLED"):
            raise NotConfigured
        self.settings = Settings.read(crawler.settings)
        startup.refuse_unworkable(crawler.settings, self.settings)
        self._retries_403 = "403" in map(str, crawler.settings.getlist("RETRY_HTTP_CODES"))
        self.balancer = Balancer(crawler, self.settings)
        # Scrapy's signals hold their receivers weakly.
        self._observers: list[object] = [
            startup.Announcement(self.balancer),
            *install(self.balancer),
        ]

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
        balancer = self.balancer
        target = request_meta.target_of(request)
        if target in balancer.dropped_targets:
            raise _dropped(target)
        users_own = request_meta.proxy_is_users(request)
        if users_own:
            request.meta.pop(request_meta.PROXY_NAME, None)
        if request.url.startswith("ftp:") and not request_meta.is_direct(request):
            raise IgnoreRequest(
                "Scrapy sends FTP requests without any proxy; set meta['proxy'] = None on this "
                "one if that is what you want"
            )
        scheduled = balancer.book.leased(request)
        deadline = balancer.clock() + self.settings.acquire_timeout
        while True:
            try:
                if not balancer.pool.targets.may_send(target, balancer.clock()):
                    raise NoProxyAvailableError(
                        f"{target} is paused", balancer.pool.targets.opens_at(target)
                    )
                lease = None
                if not users_own:
                    lease = balancer.pool.acquire(
                        balancer.clock(),
                        target=target,
                        session=request_meta.session_of(request, self.settings.session_meta_key),
                        matching=request_meta.filter_of(request),
                        avoid=request_meta.tried(request),
                    )
                balancer.depart(request, target, lease)
                if lease is not None:
                    request_meta.assign(request, lease.proxy)
                return None
            except NoProxyAvailableError as held:
                if balancer.has_swallowed and balancer.sweep():
                    continue
                now = balancer.clock()
                by_queue = balancer.book.in_use
                if scheduled or (not by_queue and (balancer.closing or now >= deadline)):
                    balancer.land(request)
                    return request_meta.resend(request)
                if balancer.closing:
                    raise IgnoreRequest("the spider is closing") from None
                if now >= deadline and not self._is_robots(request):
                    raise
                await balancer.wait_for_change(self._patience(now, deadline, held.retry_at))

    def process_response(self, request: Request, response: Response) -> Request | Response:
        """End the lease, and leave a target alone that refuses."""
        flight = self.balancer.land(request)
        if flight is None:
            return response
        if flight.lease is not None:
            request_meta.forget_credentials(request)
        verdict = self._judge(request, response)
        self.balancer.end(
            flight,
            verdict.outcome,
            latency=request.meta.get("download_latency"),
            failure=verdict.failure,
        )
        if verdict.outcome is Outcome.TARGET_SIGNAL:
            resend = self._refused(request, flight, verdict, _said(response, verdict))
        elif verdict.outcome in (Outcome.PROXY_FAULT, Outcome.AMBIGUOUS):
            resend = self._failed(request, flight, verdict)
        else:
            resend = None
        if resend is None:
            self._end_session(request)
        return resend or response

    def process_exception(self, request: Request, exception: Exception) -> Request | None:
        """End the lease; a request that was stopped unsent goes back to the scheduler."""
        flight = self.balancer.land(request)
        if flight is None:
            return None
        if flight.lease is not None:
            request_meta.forget_credentials(request)
        if isinstance(exception, StoppedError):
            self.balancer.end(flight, Outcome.IGNORED)
            return request_meta.resend(request)
        verdict = self._judge(request, exception)
        self.balancer.end(flight, verdict.outcome, failure=verdict.failure)
        if verdict.outcome is Outcome.TARGET_SIGNAL:
            return self._refused(request, flight, verdict, verdict.failure or "refused")
        if verdict.outcome is Outcome.IGNORED:
            return None
        return self._failed(request, flight, verdict)

    def _judge(self, request: Request, result: Response | Exception) -> Verdict:
        verdict: Verdict | None = None
        if self.settings.classifier is not None:
            try:
                verdict = self.settings.classifier(request, result)
            except Exception:
                logger.exception("PROXYBALANCE_CLASSIFIER failed on %s", request)
        return verdict if verdict is not None else classify(request, result)

    def _failed(self, request: Request, flight: Flight, verdict: Verdict) -> Request | None:
        """Mark the proxy as tried; where it did not let us in at all, another one is free of charge.

        That ends: each such proxy is out from then on.
        """
        if flight.lease is None:
            return None
        request_meta.mark_tried(request, flight.lease.proxy)
        return request_meta.resend(request) if verdict.failure == PROXY_AUTH else None

    def _refused(
        self, request: Request, flight: Flight, verdict: Verdict, said: str
    ) -> Request | None:
        """Do as the policy says when a target refuses; return the request if it is to wait."""
        targets, target, now = self.balancer.pool.targets, flight.target, self.balancer.clock()
        forbidden = verdict.failure == FORBIDDEN
        if forbidden:
            if self._retries_403:
                # No refusal is tried again through another IP, whatever RETRY_HTTP_CODES says.
                request.meta["dont_retry"] = True
            if not targets.forbidden(target, sent_at=flight.sent_at):
                return None
        policy = self.settings.on_forbidden if forbidden else self.settings.on_rate_limited
        if policy == "pause":
            new = targets.refused(
                target, sent_at=flight.sent_at, now=now, reason=said, wait=verdict.retry_after
            )
        else:
            if policy == "drop":
                self.balancer.dropped_targets.add(target)
            new = targets.suspend(target, now, said)
        if new:
            self.balancer.recall(target)
            if policy == "close_spider":
                reason = REASON_FORBIDDEN if forbidden else REASON_RATE_LIMITED
                self.balancer.close_spider(reason.format(target=target))
        if forbidden:
            return None
        if policy == "drop":
            raise _dropped(target)
        return request_meta.resend(request)

    def _end_session(self, request: Request) -> None:
        if request.meta.get(request_meta.SESSION_END):
            session = request_meta.session_of(request, self.settings.session_meta_key)
            if session is not None:
                self.balancer.pool.end_session(session, self.balancer.clock())

    @staticmethod
    def _is_robots(request: Request) -> bool:
        """Whether Scrapy would take a failure of this request as leave to crawl everything."""
        return bool(
            request.meta.get("dont_obey_robotstxt")
            and urlparse_cached(request).path == "/robots.txt"
        )

    def _patience(self, now: float, deadline: float, retry_at: float | None) -> float:
        until = deadline if deadline > now else now + self.settings.acquire_timeout
        return max(0.01, min(until, retry_at if retry_at is not None else until) - now)


def _dropped(target: str) -> IgnoreRequest:
    return IgnoreRequest(f"{target} refuses and is dropped from this crawl")


def _said(response: Response, verdict: Verdict) -> str:
    said = f"response {response.status}"
    if verdict.failure != str(response.status):
        said += f" ({verdict.failure})"
    retry_after = response.headers.get("Retry-After")
    if retry_after is not None:
        said += f" with Retry-After: {retry_after.decode('latin-1')[:80]}"
    return said
