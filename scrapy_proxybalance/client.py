"""The pool without Scrapy: a few lines around the core, with a clock and something to wait on.

::

    pool = ProxyPool(["http://one.example:8080", "http://two.example:8080"])

    with pool.lease(target="example.com") as attempt:
        fetch(url, proxy=attempt.proxy.url)
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from .core import NoProxyAvailableError, Outcome, Pool, PoolPolicy, Proxy
from .sources import parse_entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from .core import Attempt

# While nothing says when a proxy comes free, look again after so many seconds: another thread or
# process may have given one back.
_LOOK_AGAIN = 1.0


class ProxyPool:
    """A pool that tells the time itself.

    Not for use from several threads at once.

    :param proxies: URLs, dicts as in ``PROXYBALANCE_PROXIES``, or :class:`Proxy` objects.
    :param policy: what holds for all of them.
    :param clock: seconds, never going back.
    :param rng: the source of randomness.
    :raises ConfigurationError: for an entry that cannot work.
    """

    def __init__(
        self,
        proxies: Iterable[Any],
        policy: PoolPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        entries = [
            entry if isinstance(entry, Proxy) else parse_entry(entry, f"proxies[{index}]")
            for index, entry in enumerate(proxies)
        ]
        self._clock = clock
        self._waiters: deque[asyncio.Future[None]] = deque()
        #: The core, for everything that is not said here: events, snapshots, adding and removing.
        self.core = Pool(entries, policy or PoolPolicy(), rng=rng or Random(), now=clock())

    def acquire(self, **request: Any) -> Attempt:
        """Lease a proxy now; takes the keyword arguments of :meth:`Pool.acquire`, raises as it does."""
        return self.core.acquire(self._clock(), **request)

    async def acquire_when_free(self, *, timeout: float | None = None, **request: Any) -> Attempt:
        """Lease a proxy, waiting for one if need be; those who wait are served in turn.

        :param timeout: seconds to wait at most; ``None`` for as long as it takes.
        :raises NoProxyAvailableError: if the time is up.
        """
        deadline = None if timeout is None else self._clock() + timeout
        while True:
            try:
                return self.acquire(**request)
            except NoProxyAvailableError as held:
                now = self._clock()
                if deadline is not None and now >= deadline:
                    raise
                moments = [now + _LOOK_AGAIN, held.retry_at, deadline]
                until = min(moment for moment in moments if moment is not None)
            await self._wait(until - now)

    def release(
        self,
        attempt: Attempt,
        outcome: Outcome = Outcome.SUCCESS,
        *,
        latency: float | None = None,
        duration: float | None = None,
        failure: str | None = None,
    ) -> bool:
        """End an attempt; see :meth:`Pool.release`."""
        ended = self.core.release(
            attempt, outcome, self._clock(), latency=latency, duration=duration, failure=failure
        )
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                _wake(waiter)
                break
        return ended

    def timeout(self, attempt: Attempt, *, own: float, cuts: int = 0, last: bool = False) -> float:
        """Return how many seconds to wait for a leased request; see :meth:`Pool.timeout`."""
        return self.core.timeout(attempt, self._clock(), own=own, cuts=cuts, last=last)

    @contextmanager
    def attempt(self, **request: Any) -> Iterator[Attempt]:
        """Lease a proxy for the length of a ``with`` block.

        The block's end is a success, an exception an ambiguous failure; to say it better, call
        :meth:`release` inside.
        """
        yield from self._held(self.acquire(**request))

    @asynccontextmanager
    async def lease_when_free(
        self, *, timeout: float | None = None, **request: Any
    ) -> AsyncIterator[Attempt]:
        """The same for ``async with``, waiting for a proxy if need be."""
        attempt = await self.acquire_when_free(timeout=timeout, **request)
        with contextmanager(self._held)(attempt):
            yield attempt

    def _held(self, attempt: Attempt) -> Iterator[Attempt]:
        started = self._clock()
        try:
            yield attempt
        except Exception as error:
            seconds = self._clock() - started
            failure = type(error).__name__
            self.release(attempt, Outcome.AMBIGUOUS, duration=seconds, failure=failure)
            raise
        except BaseException:
            self.release(attempt, Outcome.IGNORED)
            raise
        seconds = self._clock() - started
        self.release(attempt, latency=seconds, duration=seconds)

    async def _wait(self, seconds: float) -> None:
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


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
