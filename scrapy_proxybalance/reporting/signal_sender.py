"""Scrapy signals for the users' own code, from the events of targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from twisted.internet.defer import DeferredList

from ..core.events import TargetPaused, TargetRamping, TargetSuspended
from ..signals import target_paused, target_resumed, target_suspended
from .scrapy_hooks import on_closed

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from .figures import Figures
    from .observed import ObservedCrawl


class SignalSender:
    """Sends the signals of :mod:`scrapy_proxybalance.signals`.

    :param context: whose pool's events it sees.
    :param figures: which has seen them before.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._crawler = context.crawler
        self._figures = figures
        self._under_way: set[Deferred[Any]] = set()
        subscribe = context.pool.events.subscribe
        subscribe(self._paused, TargetPaused)
        subscribe(self._resumed, TargetRamping)
        subscribe(self._suspended, TargetSuspended)
        on_closed(context, self.wait)

    async def wait(self) -> None:
        """Wait until every receiver has ended: what ends a crawl is to be told all the same."""
        await maybe_deferred_to_future(DeferredList(list(self._under_way)))

    def _paused(self, event: TargetPaused) -> None:
        self._send(
            target_paused,
            event.target,
            reason=event.reason,
            seconds=event.until - event.now,
            step=event.step,
        )

    def _resumed(self, event: TargetRamping) -> None:
        self._send(
            target_resumed, event.target, seconds=self._figures.targets[event.target].last_pause
        )

    def _suspended(self, event: TargetSuspended) -> None:
        self._send(target_suspended, event.target, reason=event.reason)

    def _send(self, signal: object, target: str, **arguments: Any) -> None:
        sending = deferred_from_coro(
            self._crawler.signals.send_catch_log_async(
                signal,
                target=target,
                held=self._figures.targets[target].held,
                spider=self._crawler.spider,
                **arguments,
            )
        )
        self._under_way.add(sending)
        sending.addBoth(lambda _: self._under_way.discard(sending))
