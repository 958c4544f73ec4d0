"""The pool without Scrapy: a few lines around the dispatcher, with a clock and something to wait on.

::

    pool = ProxyPool(["http://one.example:8080", "http://two.example:8080"])

    async def fetch(url):
        page = pool.page(url)
        while True:
            attempt = await page.acquire()
            try:
                response = await get(url, proxy=attempt.proxy.url)
            except BaseException as error:
                if not page.failed(error).sends_again:
                    raise
            else:
                if not page.answered(response.status, response.headers).sends_again:
                    return response
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from .core import (
    Attempt,
    Blocked,
    Dispatcher,
    Followup,
    History,
    NoProxyAvailableError,
    Pool,
    PoolPolicy,
    Proxy,
    RefusalPolicy,
    RetryBudget,
    Step,
    Want,
)
from .core.followup import CANCELLED, FAILED
from .core.outcome import TIMEOUT
from .http.answer import HttpAnswer
from .http.errors import of_error
from .http.hosts import host_with_port
from .http.messages import SAFE_METHODS, PlainHeaders, PlainRequest, PlainResponse
from .http.responses import of_response
from .sources import parse_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .core.proxies.filters import FilterSpec
    from .core.strategies import StrategyChoice
    from .core.verdict import Verdict

# While nothing says when a proxy comes free, look again after so many seconds: another thread or
# process may have given one back.
_LOOK_AGAIN = 1.0


class ProxyPool:
    """A pool that tells the time itself.

    Not for use from several threads at once.

    :param proxies: URLs, dicts as in ``PROXYBALANCE_PROXIES``, or :class:`Proxy` objects.
    :param policy: what holds for all of them.
    :param retry_share: retries per request that is sent, see :class:`RetryBudget`.
    :param retries_per_second: that are always allowed besides, above 0.
    :param clock: seconds, never going back.
    :param rng: the source of randomness.
    :raises ConfigurationError: for an entry that cannot work.
    """

    def __init__(
        self,
        proxies: Iterable[str | Mapping[str, Any] | Proxy],
        policy: PoolPolicy | None = None,
        *,
        retry_share: float = 0.2,
        retries_per_second: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        entries = [
            entry if isinstance(entry, Proxy) else parse_entry(entry, f"proxies[{index}]")
            for index, entry in enumerate(proxies)
        ]
        self.clock = clock
        now = clock()
        #: The core, for everything that is not said here: events, snapshots, adding and removing.
        self.core = Pool(entries, policy or PoolPolicy(), rng=rng or Random(), now=now)
        #: What starts and finishes attempts.
        self.dispatcher = Dispatcher(
            self.core,
            retry_budget=RetryBudget(share=retry_share, floor=retries_per_second, now=now),
            on_refusal=RefusalPolicy(),
        )
        self._waiters: deque[asyncio.Future[None]] = deque()

    def page(
        self,
        url: str,
        *,
        method: str = "GET",
        session: str | None = None,
        proxy_filter: FilterSpec | None = None,
        strategy: StrategyChoice | None = None,
        timeout: float | None = None,
        retries: int = 2,
    ) -> Page:
        """Return something to fetch, through one proxy after another if need be.

        :param url: of the page, ``http`` or ``https``.
        :param method: of the request. Only ``GET``, ``HEAD`` and ``OPTIONS`` are retried.
        :param session: keeps all requests of the same key on one proxy.
        :param proxy_filter: which proxies will do, see :class:`ProxyFilter`.
        :param strategy: chooses the proxy, see :class:`Want`.
        :param timeout: the request's own, in seconds, if ``Attempt.timeout`` may be a shorter one.
        :param retries: how often it is sent again after a failure that counts.
        """
        parts = urlsplit(url)
        host = host_with_port(parts.scheme, parts.netloc)
        want = Want(
            target=host,
            session=session,
            proxy_filter=proxy_filter,
            strategy=strategy,
            tunnel=host if parts.scheme == "https" else None,
            timeout=timeout,
        )
        retries = retries if method in SAFE_METHODS else 0
        return Page(self, PlainRequest(url, method), want, retries)

    async def wait(self, seconds: float) -> None:
        """Wait until an attempt has ended, and no longer than ``seconds``; those who wait take turns."""
        # Not asyncio.wait_for: before Python 3.12 it may swallow a cancellation that comes together
        # with the result.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        call = loop.call_later(max(0.0, seconds), _wake, waiter)
        try:
            await waiter
        finally:
            call.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def rouse(self) -> None:
        """Let the next one try that waits."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                _wake(waiter)
                break


class Page:
    """Something to fetch. One attempt at a time: each ends before the next is acquired.

    ``attempt``: the one that is under way. Made by :meth:`ProxyPool.page`.
    """

    def __init__(self, pool: ProxyPool, request: PlainRequest, want: Want, retries: int) -> None:
        self._pool = pool
        self._request = request
        self._want = want
        self._history = History()
        self._retries = retries
        self._is_retry = False
        self._started_at = 0.0
        self.attempt: Attempt | None = None

    def acquire_nowait(self) -> Attempt:
        """Start an attempt now.

        :raises NoProxyAvailableError: if the target is paused or at its limit, retries are held back, or
            no proxy is free; it says when to ask again.
        :raises NoProxyMatchesError: if no proxy of the pool will do, whatever its state.
        :raises SessionLostError: while the session's proxy is gone and the policy is to fail.
        :raises RuntimeError: if the last attempt has not ended.
        """
        if self.attempt is not None:
            raise RuntimeError(
                f"{self.attempt} has not ended: call answered, failed or cancel first"
            )
        now = self._pool.clock()
        want = attrs.evolve(
            self._want,
            avoid=self._history.tried,
            cuts=self._history.cuts,
            retry=self._is_retry,
            # One that would be lost if it was cut off gets all of its time.
            timeout=self._want.timeout if self._retries else None,
        )
        attempt = self._pool.dispatcher.start(want, now)
        if isinstance(attempt, Blocked):
            raise NoProxyAvailableError(attempt.reason, attempt.retry_at)
        if not isinstance(attempt, Attempt):
            raise TypeError(f"not through the pool: {attempt}")
        self._started_at = now
        self.attempt = attempt
        return attempt

    async def acquire(self, *, timeout: float | None = None) -> Attempt:
        """Start an attempt, waiting for the target and for a proxy if need be; in turn.

        :param timeout: seconds to wait at most; ``None`` for as long as it takes.
        :raises NoProxyAvailableError: if the time is up, or the target is suspended.
        :raises NoProxyMatchesError: as :meth:`acquire_nowait`, and the others likewise.
        """
        clock = self._pool.clock
        deadline = None if timeout is None else clock() + timeout
        while True:
            try:
                return self.acquire_nowait()
            except NoProxyAvailableError as held:
                now = clock()
                if held.retry_at == float("inf") or (deadline is not None and now >= deadline):
                    raise
                moments = [now + _LOOK_AGAIN, held.retry_at, deadline]
                until = min(moment for moment in moments if moment is not None)
            await self._pool.wait(until - now)

    def answered(
        self,
        status: int,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        latency: float | None = None,
    ) -> Followup:
        """Finish the attempt with a response; see :attr:`Followup.sends_again`.

        :param headers: names in any case; several of one name as pairs.
        :param body: its beginning is enough: it tells a proxy's own page from the site's.
        :param latency: seconds to the headers.
        """
        response = PlainResponse(status, PlainHeaders(headers), body)
        wall_now = time.time()
        answer = HttpAnswer(self._request, response, wall_now=wall_now, stopped=not body)
        verdict = of_response(self._request, response, wall_now=wall_now)
        return self._finish(verdict, answer, latency=latency)

    def failed(self, error: BaseException) -> Followup:
        """Finish the attempt with an exception, of whatever library; see :attr:`Followup.sends_again`.

        What is no :class:`Exception` cancels it: nobody is blamed for a keyboard interrupt.
        """
        if not isinstance(error, Exception):
            self.cancel()
            return CANCELLED
        verdict = of_error(error)
        return self._finish(verdict, cut_off=verdict.failure == TIMEOUT)

    def cancel(self) -> None:
        """End the attempt without a word on how it went."""
        if self.attempt is not None:
            self._pool.dispatcher.cancel(self.attempt, self._pool.clock())
            self.attempt = None
            self._pool.rouse()

    def _finish(
        self,
        verdict: Verdict,
        answer: HttpAnswer | None = None,
        *,
        latency: float | None = None,
        cut_off: bool = False,
    ) -> Followup:
        attempt, now = self.attempt, self._pool.clock()
        if attempt is None:
            raise RuntimeError("no attempt is under way: acquire one first")
        cut_off = cut_off and attempt.timeout is not None
        self._history.cuts += cut_off
        followup = self._pool.dispatcher.finish(
            attempt,
            verdict,
            now,
            latency=latency,
            duration=now - self._started_at,
            answer=answer,
            cut_off=cut_off,
            page=self._request.url,
            history=self._history,
        )
        self.attempt = None
        self._pool.rouse()
        failed = answer is None and followup.verdict.outcome in FAILED
        self._is_retry = False
        if followup.step is Step.RETRY or (failed and followup.step is Step.DELIVER):
            self._is_retry = self._retries > 0
            self._retries -= self._is_retry
            return attrs.evolve(followup, step=Step.RETRY if self._is_retry else Step.DELIVER)
        return followup


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
