"""Admission: the scheduler's priority queue that lets out only what can be sent at once.

What must not or cannot be sent now stays here, in memory or on disk: it takes no slot of
``CONCURRENT_REQUESTS``, starves nobody, and is still there when the crawl is resumed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from scrapy.pqueues import DownloaderAwarePriorityQueue, DownloaderInterface

from . import request_meta
from .middleware import ProxyBalanceMiddleware

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from scrapy import Request
    from scrapy.core.downloader import Slot
    from scrapy.crawler import Crawler

    from .balancer import Balancer
    from .pool import Hold

# So many requests are looked at, and kept aside in memory, in search of one whose session or filter
# has a proxy free.
_ASIDE_AT_MOST = 1000
_GROUPS_PER_POP = 64

# Parts a download slot from a target where the two differ.
_SEPARATOR = "|"


def _queue_key(slot: str, target: str) -> str:
    """Return the key of the queue that holds the requests of one slot to one target."""
    return slot if slot == target else f"{slot}{_SEPARATOR}{target}"


def _slot_and_target(key: str) -> tuple[str, str]:
    """Take a queue's key apart."""
    slot, _, target = key.rpartition(_SEPARATOR)
    return slot or target, target


class _ReadySlots(DownloaderInterface):
    """Shows the queue only what may be sent now, so that Scrapy's own order holds among that."""

    def __init__(self, crawler: Crawler, balancer: Balancer) -> None:
        super().__init__(crawler)
        self._balancer = balancer
        self._default_concurrency = crawler.settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN")
        self._slot_settings: dict[str, dict[str, Any]] = crawler.settings.getdict("DOWNLOAD_SLOTS")

    def stats(self, possible_slots: Iterable[str]) -> list[tuple[int, str]]:
        """Return the queues that may be served, each with the active requests of its slot."""
        slots, held = self.downloader.slots, self._held_targets()
        ready = []
        for key in possible_slots:
            slot_key, target = _slot_and_target(key)
            slot = slots.get(slot_key)
            if target not in held and self._has_room(slot_key, slot):
                ready.append((len(slot.active) if slot is not None else 0, key))
        return ready

    def get_slot_key(self, request: Request) -> str:
        """Return the key of the queue that a request belongs to."""
        slot: str = self.downloader.get_slot_key(request)
        return _queue_key(slot, request_meta.target_of(request))

    def _held_targets(self) -> set[str]:
        """Return the targets that get nothing now; one that may be probed gets one at a time."""
        balancer, now = self._balancer, self._balancer.clock()
        gate, book = balancer.pool.targets, balancer.book
        return {
            target
            for target, _, _ in gate
            if target not in balancer.dropped_targets
            and (not gate.may_send(target, now) or book.on_the_way_to(target))
        }

    def _has_room(self, slot_key: str, slot: Slot | None) -> bool:
        """Whether a request that is let into a download slot now will be sent soon.

        That is so while fewer are under way than its concurrency (Scrapy's own limit lets more
        through: a request counts only once its task has started), and, where it has a delay, while
        no more than the next one waits there already.
        """
        under_way = self._balancer.book.in_slot(slot_key)
        if slot is None:
            own = self._slot_settings.get(slot_key, {})
            return under_way < own.get("concurrency", self._default_concurrency)  # type: ignore[no-any-return]
        if slot.delay and under_way > len(slot.transferring) + 1:
            self._balancer.wake_engine_at(self._balancer.clock() + slot.delay)
            return False
        return under_way < slot.concurrency


class ProxyBalanceQueue(DownloaderAwarePriorityQueue):
    """Scrapy's queue, less what has to be held. Set as ``SCHEDULER_PRIORITY_QUEUE`` by the add-on.

    Requests of one download slot that go to different targets are kept in queues of their own, so
    that a paused target holds nobody else. Without the middleware it is Scrapy's queue unchanged.
    """

    def __init__(self, crawler: Crawler, *args: Any, **kwargs: Any) -> None:
        middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        self._balancer = middleware.balancer if middleware is not None else None
        self._aside: OrderedDict[Hashable, deque[Request]] = OrderedDict()
        self._aside_count = 0
        super().__init__(crawler, *args, **kwargs)
        if self._balancer is not None:
            self._balancer.book.in_use = True
            self._downloader_interface = _ReadySlots(crawler, self._balancer)

    def pop(self) -> Request | None:
        """Return the next request that can be sent at once, or ``None``."""
        balancer = self._balancer
        if balancer is None:
            return super().pop()
        request = self._pop_admissible(balancer)
        if request is None and balancer.has_swallowed and balancer.sweep():
            request = self._pop_admissible(balancer)
        if request is not None:
            balancer.book.admit(
                request,
                self._downloader_interface.downloader.get_slot_key(request),
                request_meta.target_of(request),
                waits_for_lease=request_meta.is_remote(request),
            )
        elif len(self):
            self._wake_in_time(balancer)
        return request

    def push(self, request: Request) -> None:
        """Take a request in; one that a middleware has copied under way loses the proxy it had."""
        if self._balancer is not None:
            request_meta.forget_choice(request)
        super().push(request)

    def close(self) -> dict[str, list[int]]:
        """Put back what was set aside, and close."""
        for group in self._aside.values():
            for request in group:
                self.push(request)
        self._aside.clear()
        self._aside_count = 0
        return super().close()

    def __len__(self) -> int:
        """Return how many requests may yet be sent: those to suspended targets do not count.

        So a crawl that has nothing else left comes to an end, and what is held stays on disk.
        """
        waiting = super().__len__() + self._aside_count
        if self._balancer is None or not waiting:
            return waiting
        return waiting - sum(map(self._count, self._balancer.suspended_targets()))

    def _count(self, target: str) -> int:
        queued = sum(
            len(q) for key, q in self.pqueues.items() if _slot_and_target(key)[1] == target
        )
        aside = sum(
            request_meta.target_of(request) == target
            for group in self._aside.values()
            for request in group
        )
        return queued + aside

    def _pop_admissible(self, balancer: Balancer) -> Request | None:
        now = balancer.clock()
        if balancer.pool.available(now) <= balancer.book.unleased:
            return None
        request = self._pop_aside(balancer, now)
        while request is None and self._aside_count < _ASIDE_AT_MOST:
            request = super().pop()
            if request is None:
                return None
            hold = self._hold(balancer, request, now)
            if hold is not None:
                self._aside.setdefault(hold.waits_for, deque()).append(request)
                self._aside_count += 1
                request = None
        return request

    def _pop_aside(self, balancer: Balancer, now: float) -> Request | None:
        """Return a request that was set aside and whose session or filter now has a proxy free."""
        interface = self._downloader_interface
        for _ in range(min(len(self._aside), _GROUPS_PER_POP)):
            waits_for, group = next(iter(self._aside.items()))
            self._aside.move_to_end(waits_for)
            key = interface.get_slot_key(group[0])
            if interface.stats([key]) and self._hold(balancer, group[0], now) is None:
                request = group.popleft()
                self._aside_count -= 1
                if not group:
                    del self._aside[waits_for]
                return request
        return None

    @staticmethod
    def _hold(balancer: Balancer, request: Request, now: float) -> Hold | None:
        """Return why a request's session or filter has no proxy now.

        Whatever the user's filter raises is the middleware's to raise: its request is to fail, not
        the queue.
        """
        session = request_meta.session_of(request, balancer.settings.session_meta_key)
        matching = request_meta.filter_of(request)
        if (session is None and matching is None) or request_meta.proxy_is_users(request):
            return None
        try:
            return balancer.pool.hold(now, session=session, matching=matching)
        except Exception:
            return None

    def _wake_in_time(self, balancer: Balancer) -> None:
        """Have the engine ask again when a pause, a cooldown or a rate next sets something free."""
        now = balancer.clock()
        moments = [until for _, _, until in balancer.pool.targets if now < until < float("inf")]
        change = balancer.pool.next_change()
        if change is not None:
            moments.append(change)
        if moments:
            balancer.wake_engine_at(min(moments))
