"""Admission: the scheduler's priority queue that lets out only what can be sent at once.

What must not or cannot be sent now stays here, in memory or on disk: it takes no slot of
``CONCURRENT_REQUESTS``, starves nobody, and is still there when the crawl is resumed.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any

from scrapy.pqueues import DownloaderAwarePriorityQueue, DownloaderInterface

from ...core import Blocked, ProxyFilter, TargetState, Want
from ...core.events import TargetPaused, TargetSuspended
from .. import request_meta
from ..markers import HoldsRequests
from ..middleware import ProxyBalanceMiddleware
from .delayed_retries import DelayedRetries
from .held_counter import HeldCounter
from .limits import RETRIES, AdmissionLimits
from .queue_order import QueueOrder
from .waiting import WaitingRequests

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from scrapy import Request
    from scrapy.crawler import Crawler

    from ..context import CrawlContext

logger = logging.getLogger("scrapy_proxybalance")

# Parts a download slot from a host where the two differ.
_SEPARATOR = "|"
# When not all that waits has been looked at in one pop, the next is after so many seconds.
_NEXT_LOOK = 0.01


def _queue_key(slot: str, host: str, *, retries: bool) -> str:
    """Return the key of the queue that holds the requests, or the retries, of one slot to one host."""
    key = slot if slot == host else f"{slot}{_SEPARATOR}{host}"
    return key + RETRIES if retries else key


def _slot_and_host(key: str) -> tuple[str, str]:
    """Take a queue's key apart. No host's name ends as that of a queue of retries does."""
    slot, _, host = key.removesuffix(RETRIES).rpartition(_SEPARATOR)
    return slot or host, host


def _wish(context: CrawlContext, request: Request) -> Hashable:
    """Return what is equal for requests that ask for the same proxies; ``None`` for any."""
    session = request.meta.get(context.settings.session_meta_key)
    proxy_filter: Any = request.meta.get(request_meta.PROXY_FILTER)
    if session is None and proxy_filter is None:
        connect = request.url.startswith("https:") and context.pool.some_do_no_connect
        return "connect" if connect and not request_meta.proxy_is_users(request) else None
    if request_meta.proxy_is_users(request):
        return None
    if session is not None:
        return "session", str(session)
    try:
        return "filter", ProxyFilter(proxy_filter).key
    except Exception:
        return None


class _Chosen(DownloaderInterface):
    """Shows Scrapy's queue the one key that is to be served, so that all else stays Scrapy's.

    ``key``: the one that was shown last. ``key_of_last``: that of the request that was last asked about.
    """

    def __init__(self, crawler: Crawler, context: CrawlContext, ready: QueueOrder) -> None:
        super().__init__(crawler)
        self._context = context
        self._ready = ready
        self.key: str | None = None
        self.key_of_last = ""

    def stats(self, possible_slots: Iterable[str]) -> list[tuple[int, str]]:  # noqa: ARG002
        """Return the queue to serve next, if there is one."""
        self.key = self._ready.next(self._context.clock())
        return [] if self.key is None else [(0, self.key)]

    def get_slot_key(self, request: Request) -> str:
        """Return the key of the queue that a request belongs to."""
        slot: str = self.downloader.get_slot_key(request)
        is_retry = request_meta.is_retry(request)
        self.key_of_last = _queue_key(slot, request_meta.host_of(request), retries=is_retry)
        return self.key_of_last


class ProxyBalanceQueue(DownloaderAwarePriorityQueue, HoldsRequests):
    """Scrapy's queue, less what has to be held. Set as ``SCHEDULER_PRIORITY_QUEUE`` by the add-on.

    Requests of one download slot that go to different hosts are kept in queues of their own, so
    that a paused target holds nobody else; and so are retries, which wait for their budget. Without
    the middleware it is Scrapy's queue unchanged.
    """

    def __init__(self, crawler: Crawler, *args: Any, **kwargs: Any) -> None:
        super().__init__(crawler, *args, **kwargs)
        middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        self._context = middleware.context if middleware is not None else None
        self._aside = WaitingRequests()
        self._delayed = DelayedRetries()
        self._count = HeldCounter()
        # Queues that are not served while no more can be set aside, the longest waiting first.
        self._left_out: dict[str, None] = {}
        self._free = 0
        if self._context is None:
            return
        context = self._context
        self._limits = AdmissionLimits(context)
        self._ready = QueueOrder(self._limits)
        self._downloader_interface = self._chosen = _Chosen(crawler, context, self._ready)
        for key, queue in self.pqueues.items():
            self._enter(context, key)
            _, host = _slot_and_host(key)
            self._count.add(context.target_of_host(host), len(queue))
        context.add_queue(self)
        context.admissions.listeners.append(self._came_or_went)
        context.pool.events.subscribe(self._target_stopped, TargetPaused, TargetSuspended)

    def push(self, request: Request) -> None:
        """Take a request in; one that a middleware has copied under way loses the proxy it had."""
        context = self._context
        if context is None:
            super().push(request)
            return
        context.is_back(request)
        delay = 0.0
        if request.meta:
            request_meta.forget_choice(request)
            delay = context.retries.delay_of(request)
        if delay and not self._delayed.is_full:
            self._delayed.add(request, context.clock() + delay)
        else:
            self._put(context, request)
        self._count.add(context.target_of(request))

    def pop(self) -> Request | None:
        """Return the next request that can be sent at once, or ``None``."""
        context = self._context
        if context is None:
            return super().pop()
        if not self._count.total:
            return None  # as after each request of a slow start()
        now = context.clock()
        admissible = self._pop_admissible(context, now)
        if admissible is None and context.has_swallowed and context.sweep():
            admissible = self._pop_admissible(context, now)
        if admissible is None:
            if self._count.sendable:
                context.hungry = True
                self._wake_in_time(context, now)
            return None
        request, slot, target, wish, waited = admissible
        self._count.remove(target)
        context.admissions.admit(
            request,
            slot,
            target,
            waits_for_lease=request_meta.is_remote(request),
            wish=wish,
            waited=waited,
            retry=request_meta.is_retry(request),
        )
        return request

    def close(self) -> dict[str, list[int]]:
        """Put back what was set aside or has to wait yet, and close."""
        for request in self._aside.clear() + self._delayed.clear():
            try:
                super().push(request)
            except Exception:  # the others, and Scrapy's own state, are to be written all the same
                logger.exception("%s could not be put back into its queue", request)
        return super().close()

    def __len__(self) -> int:
        """Return how many requests may yet be sent: those to suspended targets do not count.

        So a crawl that has nothing else left comes to an end, and what is held stays on disk.
        """
        return super().__len__() if self._context is None else self._count.sendable

    def held(self, target: str) -> int:
        """Return how many requests to a target are in the queue, or were when it was closed."""
        return self._count.of(target)

    def target_changed(self, target: str) -> None:
        """Take note that what holds a target may not hold it any more."""
        context = self._context
        if context is None:
            return
        suspended = context.pool.targets.state(target) is TargetState.SUSPENDED
        self._count.give_up(target, suspended and target not in context.dropped_targets)
        self._ready.target_changed(target)
        self._stir()

    def _came_or_went(self, slot: str | None, target: str) -> None:
        order = self._ready
        if slot is not None:
            order.slot_changed(slot)
        if order.some_wait:
            order.target_changed(target)
            order.target_changed(RETRIES)  # each request that is sent earns them a share
        if self._aside.count or self._limits.waiting_for_proxy:
            self._stir()

    def _target_stopped(self, event: TargetPaused | TargetSuspended) -> None:
        """Have what was set aside for a target wait in its queue: it takes up others' room here."""
        context = self._context
        if context is None:
            return
        for request in self._aside.give_back(event.target):
            try:
                self._put(context, request)
            except Exception:  # a full disk, for instance
                logger.exception("%s could not be put back into its queue", request)
                self._keep(context, request)
        self.target_changed(event.target)

    def _keep(self, context: CrawlContext, request: Request) -> None:
        """Set a request aside that its queue does not take."""
        hold = Blocked(reason="its queue cannot be written", waits_for=None, retry_at=None)
        key = self._downloader_interface.get_slot_key(request)
        self._aside.add(request, hold, key, context.target_of(request), context.clock())

    def _let_retries_in(self, context: CrawlContext, now: float) -> None:
        """Have those retries enter their queues that have waited."""
        while (request := self._delayed.take(now)) is not None:
            try:
                self._put(context, request)
            except Exception:  # it cannot be pickled, and nobody is there to take it elsewhere
                self._keep(context, request)

    def _put(self, context: CrawlContext, request: Request) -> None:
        super().push(request)
        self._enter(context, self._chosen.key_of_last)

    def _enter(self, context: CrawlContext, key: str) -> None:
        """Take note of a queue's first request, or of the priority of its next one."""
        if key in self._left_out:
            return
        priority = self.pqueues[key].curprio or 0
        if key in self._ready:
            self._ready.set_priority(key, priority)
        else:
            slot, host = _slot_and_host(key)
            gate = RETRIES if key.endswith(RETRIES) else None
            self._ready.put(key, slot, context.target_of_host(host), priority, gate)

    def _stir(self) -> None:
        """Take note that something has changed that requests may have waited for."""
        self._aside.stir()
        self._limits.unseen = len(self._limits.waiting_for_proxy)

    def _pop_admissible(
        self, context: CrawlContext, now: float
    ) -> tuple[Request, str, str, Hashable, float] | None:
        """Return the next request that can be sent at once.

        With its slot, its target, its wish, and the seconds for which it waited for that.
        """
        if self._delayed:
            self._let_retries_in(context, now)
        if self._aside.count or self._limits.waiting_for_proxy:
            free = context.pool.available(now)
            if free != self._free:
                self._free = free
                self._stir()
            if free <= context.admissions.unleased:
                return None
        if self._limits.waiting_for_proxy:
            for target in self._limits.some_that_wait():
                self._ready.target_changed(target)
        if self._aside.count:
            taken = self._aside.take(lambda request: self._held_aside(context, request, now))
            if taken is not None:
                request, since = taken
                slot, target = context.slots.key_of(request), context.target_of(request)
                return request, slot, target, _wish(context, request), now - since
        if self._left_out:
            self._let_in(context)
        while True:
            ready = self._pop_ready(context)
            if ready is None:
                return None
            request, slot, target = ready
            wish = _wish(context, request)
            hold = self._hold(context, request, target, wish, now)
            if hold is None:
                return request, slot, target, wish, 0.0
            self._set_aside(request, target, hold, now)

    def _pop_ready(self, context: CrawlContext) -> tuple[Request, str, str] | None:
        while True:
            request = super().pop()
            key = self._chosen.key
            if key is None:
                return None
            slot, target = self._ready.served(key)
            if key in self.pqueues:
                self._enter(context, key)
            else:
                self._ready.remove(key)
            if request is not None:  # a queue may be empty that was resumed
                return request, slot, target

    def _set_aside(self, request: Request, target: str, hold: Blocked, now: float) -> None:
        """Keep a request until its proxy is free; or leave its queue out while there is no room."""
        key = self._downloader_interface.get_slot_key(request)
        if self._aside.room > 0:
            self._aside.add(request, hold, key, target, now)
            return
        super().push(request)
        self._left_out[key] = None
        if key in self._ready:
            self._ready.remove(key)

    def _let_in(self, context: CrawlContext) -> None:
        """Serve as many of the queues that were left out as there is room for what they may give."""
        for key in list(islice(self._left_out, self._aside.room)):
            del self._left_out[key]
            if key in self.pqueues:
                self._enter(context, key)

    def _held_aside(self, context: CrawlContext, request: Request, now: float) -> Blocked | None:
        """Return why a request that was set aside is still held."""
        slot = context.slots.key_of(request)
        ready_at = self._limits.slot_ready_at(slot, now)
        if ready_at is None or ready_at > now:
            return Blocked(reason=f"slot {slot} is full", waits_for=slot, retry_at=ready_at)
        target = context.target_of(request)
        if self._limits.target_room(target, now) <= 0:
            retry_at = self._limits.target_ready_at(target, now)
            return Blocked(reason=f"{target} is held", waits_for=target, retry_at=retry_at)
        hold = self._hold(context, request, target, _wish(context, request), now)
        if (
            hold is None
            and request_meta.is_retry(request)
            and self._limits.target_room(RETRIES, now) <= 0
        ):
            retry_at = self._limits.target_ready_at(RETRIES, now)
            return Blocked(reason="retries are held back", waits_for=RETRIES, retry_at=retry_at)
        return hold

    @staticmethod
    def _hold(
        context: CrawlContext, request: Request, target: str, wish: Hashable, now: float
    ) -> Blocked | None:
        """Return why a request's session or filter has no proxy now.

        Whatever the user's filter raises is the middleware's to raise: its request is to fail, not
        the queue.
        """
        if wish is None or target in context.dropped_targets:
            return None
        try:
            want = Want(
                target=target,
                session=request_meta.session_of(request, context.settings.session_meta_key),
                proxy_filter=request_meta.filter_of(request),
                tunnel=request_meta.tunnel_of(request),
            )
            return context.pool.blocked(want, now, context.admissions.wishing(wish))
        except Exception:
            return None

    def _wake_in_time(self, context: CrawlContext, now: float) -> None:
        """Have the engine ask again when time alone next sets something free."""
        moments = [
            self._ready.next_timer(),
            self._aside.next_timer(now),
            self._delayed.next_timer(),
        ]
        exhausted = context.pool.available(now) <= context.admissions.unleased
        if exhausted or self._aside.count or self._limits.waiting_for_proxy:
            moments.append(context.pool.next_change())
        if not exhausted and (self._aside.unseen > 0 or self._limits.unseen > 0):
            moments.append(now + _NEXT_LOOK)
        times = [moment for moment in moments if moment is not None and now < moment < float("inf")]
        if times:
            context.wake_engine_at(min(times))
