"""What one crawl shares between its middleware and its queue: the pool, the clock, what is on its way.

Knows which requests are under way with which attempt and ends every attempt exactly once; waits, wakes
the engine, and closes the spider when there is nothing left to hope for. What a response means is
the middleware's business.
"""

from __future__ import annotations

import logging
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

from scrapy import signals
from scrapy.exceptions import CloseSpider
from scrapy.utils.asyncio import call_later, create_looping_call
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from scrapy.utils.job import job_dir
from twisted.internet.defer import Deferred

from ..core import ConfigurationError, Dispatcher, Pool, RefusalPolicy, TargetState
from ..core.events import TargetReopened
from ..core.verdict import IGNORED
from . import request_meta
from .scrapy_internals import is_closing, take_unsent, wake
from .tracking.admissions import Admissions
from .tracking.attempt_log import AttemptLog
from .tracking.download_slots import DownloadSlots
from .tracking.retries import Retries

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from scrapy import Request
    from scrapy.core.downloader import Downloader
    from scrapy.crawler import Crawler
    from scrapy.utils.asyncio import AsyncioLoopingCall, CallLaterResult
    from twisted.internet.task import LoopingCall

    from ..core import AnyAttempt
    from .config.settings import Settings

logger = logging.getLogger("scrapy_proxybalance")

#: Why a spider was closed by us; ``{target}`` is filled in.
REASON_RATE_LIMITED = "proxybalance_rate_limited: {target}"
REASON_FORBIDDEN = "proxybalance_forbidden: {target}"
REASON_SUSPENDED = "proxybalance_suspended: {target}"
REASON_EXHAUSTED = "proxybalance_pool_exhausted"

_TICK_SECONDS = 1.0
# The targets of so many hosts are kept.
_HOSTS = 10_000


class StoppedError(Exception):
    """Given to a request that had not been sent when its target paused; never leaves the middleware."""


class HoldingQueue(Protocol):
    """A queue of the scheduler that holds requests."""

    def held(self, target: str) -> int:
        """Return how many requests to a target it holds."""

    def target_changed(self, target: str) -> None:
        """Take note that what holds a target may not hold it any more."""


class CrawlContext:
    """The state of one crawl.

    :param crawler: whose crawl it is.
    :param settings: as read from it.
    :param clock: seconds, never going back.
    :param wall_clock: seconds since the epoch.
    :param rng: the source of randomness.
    """

    def __init__(
        self,
        crawler: Crawler,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self.crawler = crawler
        self.settings = settings
        self.clock = clock
        self.wall_clock = wall_clock
        try:
            self.pool = Pool(settings.proxies, settings.policy, rng=rng, now=clock())
        except ConfigurationError as error:
            raise ConfigurationError(f"PROXYBALANCE_PROXIES (or _FILE): {error}") from None
        #: What a host belongs to, by the rules for targets; they do not change in a crawl.
        self.target_of_host = lru_cache(maxsize=_HOSTS)(self.pool.rules.target_of)
        self.admissions = Admissions()
        self.slots = DownloadSlots(crawler, self.admissions)
        self.retries = Retries(settings, clock(), rng)
        self.attempt_log = AttemptLog(self.pool, clock=clock, wall_clock=wall_clock)
        self.dispatcher = Dispatcher(
            self.pool,
            retry_budget=self.retries.budget,
            on_refusal=RefusalPolicy(
                on_rate_limited=settings.on_rate_limited, on_forbidden=settings.on_forbidden
            ),
        )
        self.dropped_targets = self.dispatcher.dropped_targets
        #: Whether a queue has found nothing that could be sent, and waits to be asked again.
        self.hungry = False
        #: Targets whose robots.txt is being fetched: until it is there, nobody else need ask.
        self.asking_robots: set[str] = set()
        self._queues: list[HoldingQueue] = []
        self._attempts: dict[Request, AnyAttempt] = {}
        self._waiters: list[Deferred[None]] = []
        self._wake_call: CallLaterResult | None = None
        self._wake_at = float("inf")
        self._unusable_since: float | None = None
        self._resumable = job_dir(crawler.settings) is not None
        self._tick_loop: AsyncioLoopingCall | LoopingCall | None = None
        self.pool.events.subscribe(self._target_reopened, TargetReopened)
        crawler.signals.connect(self._spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(self._spider_idle, signal=signals.spider_idle)
        crawler.signals.connect(self._spider_closed, signal=signals.spider_closed)

    @cached_property
    def _downloader(self) -> Downloader:
        return self.crawler.engine.downloader  # there is none before the crawl begins

    # Requests on their way

    def slot_of(self, request: Request) -> str:
        """Return the key of a request's download slot."""
        return self.admissions.slot_of(request) or self.slots.key_of(request)

    def track(self, request: Request, attempt: AnyAttempt, slot: str, *, waited: float) -> None:
        """Take note that a request is on its way.

        :param slot: the key of its download slot.
        :param waited: the seconds for which it has waited for a proxy since it left the queue.
        """
        if request in self._attempts:
            self._give_up([request])
        self._attempts[request] = attempt
        self.attempt_log.started(request, attempt, waited + self.admissions.waited(request))
        self.admissions.depart(request, slot, attempt.target)
        self._feed()

    def untrack(self, request: Request) -> AnyAttempt | None:
        """Take note that a request is back; the caller finishes, or cancels, its attempt."""
        self.admissions.strike(request)
        return self._attempts.pop(request, None)

    def attempt_of(self, request: Request) -> AnyAttempt | None:
        """Return the attempt of a request that is on its way, or ``None`` if it is not."""
        return self._attempts.get(request)

    def attempts(self) -> list[tuple[Request, AnyAttempt]]:
        """Return what is on its way."""
        return list(self._attempts.items())

    def cancel(self, attempt: AnyAttempt) -> None:
        """End an attempt of which nothing was sent, or of which nobody knows how it ended."""
        self.dispatcher.cancel(attempt, self.clock())
        self.rouse()

    def sweep(self) -> bool:
        """End what was swallowed: attempts and admissions of requests that the downloader has left.

        A middleware nearer to the downloader may answer a response with a new request, and then
        nobody tells us; but the downloader holds every request exactly as long as it is under way.

        :return: whether there was anything.
        """
        active = self._downloader.active
        swallowed = [request for request in self._attempts if request not in active]
        self._give_up(swallowed)
        return self.admissions.sweep(active) or bool(swallowed)

    def _give_up(self, requests: list[Request]) -> None:
        """End attempts of which nobody will say how they ended."""
        for request in requests:
            attempt = self.untrack(request)
            if attempt is not None:
                self.cancel(attempt)
                self.attempt_log.ended(request, attempt, IGNORED)

    def is_back(self, request: Request) -> None:
        """Take note that a request itself, not a copy, comes to the scheduler again.

        Middlewares nearer to the downloader do so: then nobody else tells us that it has ended.
        """
        if request in self.admissions and request not in self._downloader.active:
            self._give_up([request])

    @property
    def has_swallowed(self) -> bool:
        """Whether something was swallowed for certain: more is out than the downloader has."""
        under_way = len(self._downloader.active)
        return len(self._attempts) > under_way or len(self.admissions) > under_way

    def recall(self, target: str) -> None:
        """Stop the requests to a target that wait in a download slot, past every middleware."""
        self._recall(lambda request: self.target_of(request) == target)

    def recall_all(self) -> None:
        """Stop every request that waits in a download slot, past every middleware."""
        self._recall(lambda _: True)

    def _recall(self, is_meant: Callable[[Request], bool]) -> None:
        downloader = self._downloader
        for slot_key in list(downloader.slots):
            for request, deferred in list(take_unsent(downloader, slot_key)):
                if is_meant(request):
                    deferred.errback(StoppedError())
                else:
                    downloader.slots[slot_key].queue.append((request, deferred))

    def target_of(self, request: Request) -> str:
        """Return what a request goes to, by the rules for targets."""
        return self.target_of_host(request_meta.host_of(request))

    def add_queue(self, queue: HoldingQueue) -> None:
        """Count what this queue of the scheduler holds, too."""
        self._queues.append(queue)
        self.admissions.in_use = True

    def held(self, target: str) -> int:
        """Return how many requests the scheduler holds for a target."""
        return sum(queue.held(target) for queue in self._queues)

    def drop(self, target: str) -> None:
        """Have the requests to a target fail from now on."""
        self.dropped_targets.add(target)
        self.target_changed(target)

    def _target_reopened(self, event: TargetReopened) -> None:
        self.target_changed(event.target)

    def asks_robots(self, target: str) -> None:
        """Take note that the robots.txt of a target is being fetched."""
        self.asking_robots.add(target)

    def has_asked_robots(self, target: str) -> None:
        """Take note that it is not, any more."""
        self.asking_robots.discard(target)
        self.target_changed(target)

    def target_changed(self, target: str) -> None:
        """Have the queues look at a target again."""
        for queue in self._queues:
            queue.target_changed(target)
        self._feed()

    def _feed(self) -> None:
        """Have the engine ask the queues again, if they have found nothing to give."""
        if self.hungry:
            self.hungry = False
            wake(self.crawler.engine)

    def suspended_targets(self) -> list[str]:
        """Return the targets whose requests are held for the rest of the crawl, and not dropped."""
        return [
            target
            for target, state, _ in self.pool.targets
            if state is TargetState.SUSPENDED and target not in self.dropped_targets
        ]

    # Waiting and waking

    @property
    def closing(self) -> bool:
        """Whether the spider is being closed."""
        return is_closing(self.crawler.engine)

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until an attempt ends or a target reopens, and no longer than ``seconds``."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        call = call_later(max(0.0, seconds), self._fire, waiter)
        await maybe_deferred_to_future(waiter)
        call.cancel()

    def wake_engine_at(self, when: float) -> None:
        """Make the engine look at its queue at a moment, if it would not look sooner."""
        if self._wake_call is not None:
            if self._wake_at <= when:
                return
            self._wake_call.cancel()
        self._wake_at = when
        self._wake_call = call_later(max(0.0, when - self.clock()), self._wake)

    def close_spider(self, reason: str) -> None:
        """Close the spider; what is held stays in the scheduler."""
        if not self.closing:
            deferred_from_coro(self.crawler.engine.close_spider_async(reason=reason))

    def look_again(self) -> None:
        """Let requests that wait for a proxy or a target try again: something was changed by hand."""
        self.rouse()
        self._feed()

    def _wake(self) -> None:
        self._wake_call = None
        self._wake_at = float("inf")
        wake(self.crawler.engine)

    def rouse(self) -> None:
        """Let those try again that wait for a change: an attempt has ended."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._fire(waiter)

    @staticmethod
    def _fire(waiter: Deferred[None]) -> None:
        if not waiter.called:
            waiter.callback(None)

    # The crawl's life

    def _spider_opened(self) -> None:
        self._tick_loop = create_looping_call(self._tick)
        self._tick_loop.start(_TICK_SECONDS, now=False)

    def _spider_idle(self) -> None:
        suspended = self.suspended_targets()
        if self.admissions.in_use:
            suspended = [target for target in suspended if self.held(target)]
        if suspended:
            raise CloseSpider(REASON_SUSPENDED.format(target=", ".join(sorted(suspended))))

    def _spider_closed(self) -> None:
        if self._tick_loop is not None and self._tick_loop.running:
            self._tick_loop.stop()
        if self._wake_call is not None:
            self._wake_call.cancel()
        self._give_up(list(self._attempts))
        self.rouse()

    def _tick(self) -> None:
        if self.sweep():
            wake(self.crawler.engine)
        if self.closing and self._resumable:
            # Who stops a crawl to go on later does not want to sit DOWNLOAD_DELAY out.
            self._recall(self.admissions.is_admitted)
        self.rouse()
        self._close_if_exhausted()

    def _close_if_exhausted(self) -> None:
        pool, dispatcher, now = self.pool, self.dispatcher, self.clock()
        pool.available(now)
        # Nor is a pool in service through which nothing has ever come back.
        silent = dispatcher.answered_at == float("-inf") and dispatcher.has_failed
        if (pool.in_service and not silent) or pool.all_drained:
            self._unusable_since = None
            return
        if self._unusable_since is None:
            self._unusable_since = now
        unusable_for = now - self._unusable_since
        if (pool.beyond_hope and not pool.in_flight) or (
            unusable_for >= self.settings.exhausted_timeout
        ):
            if not self.closing:
                logger.error(
                    "%s for %.0f s: closing the spider. Nothing was sent without a proxy. Check the "
                    "credentials, the gateway's address and the region or session parameters of the "
                    "proxies.",
                    f"Nothing has come back through any proxy of {len(pool)}"
                    if silent
                    else f"No proxy of {len(pool)} has been in service",
                    unusable_for,
                )
            self.close_spider(REASON_EXHAUSTED)
