"""Watches for a crawl in which only paused targets are left, says so, and has it wait or end.

What is held then stays in the scheduler: with ``JOBDIR`` it is there when the crawl is resumed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.utils.asyncio import create_looping_call

from ...core import TargetState
from ...core.events import TargetRamping
from ...util.wall_clock import local_time
from ...util.wording import counted
from ..scrapy_internals import scheduled, start_is_over

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy.utils.asyncio import AsyncioLoopingCall
    from twisted.internet.task import LoopingCall

    from ..context import CrawlContext

logger = logging.getLogger("scrapy_proxybalance")

#: Why a spider was closed by the watch; ``{targets}`` is filled in.
REASON_ONLY_PAUSED = "proxybalance_only_paused: {targets}"

_SECONDS = 1.0
_NAMES = 3


class OnlyPausedWatch:
    """Looks every second whether anything is left to do but to wait for paused targets.

    A probe that is refused does not change that; a target that answers again does.
    """

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._since: float | None = None
        self._loop: AsyncioLoopingCall | LoopingCall | None = None
        context.pool.events.subscribe(self._target_answers, TargetRamping)
        context.crawler.signals.connect(self.start, signal=signals.spider_opened)
        context.crawler.signals.connect(self.stop, signal=signals.spider_closed)

    def start(self) -> None:
        """Begin to look."""
        self._loop = create_looping_call(self.look)
        self._loop.start(_SECONDS, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()

    def look(self) -> None:
        """Look once, and do what the settings say."""
        context, settings = self._context, self._context.settings
        waiting = {} if context.closing else self._waiting()
        if not waiting:
            self._since = None
            return
        now = context.clock()
        at_once = settings.idle_when_paused == "close"
        if self._since is None:
            self._since = now
            self._tell(waiting, now, at_once=at_once)
        if at_once or now - self._since >= settings.idle_timeout:
            context.close_spider(REASON_ONLY_PAUSED.format(targets=_some(waiting)))

    def _waiting(self) -> dict[str, int]:
        """Return how many requests each paused target has; nothing if there is anything else to do."""
        context = self._context
        engine, gate = context.crawler.engine, context.pool.targets
        scraper = engine.scraper.slot
        if not start_is_over(engine) or scraper is None or not scraper.is_idle():
            return {}
        under_way = [context.target_of(request) for request in engine.downloader.active]
        if self._since is None and under_way:
            return {}
        if any(gate.state(target) is not TargetState.PROBING for target in under_way):
            return {}
        held = {
            target: context.held(target)
            for target, state, _ in gate
            if state is not TargetState.SUSPENDED
        }
        # Its length does not count what is held for suspended targets.
        if sum(held.values()) != scheduled(engine):
            return {}
        for target in under_way:
            held[target] += 1
        return {target: count for target, count in held.items() if count}

    def _tell(self, waiting: dict[str, int], now: float, *, at_once: bool) -> None:
        first = min(until for target, _, until in self._context.pool.targets if target in waiting)
        seconds = max(0.0, first - now)
        if at_once:
            then = "The spider is closed; with JOBDIR, what is held is kept"
        else:
            then = (
                "The crawl waits; it is closed if none of them answers for "
                f"{self._context.settings.idle_timeout:g} s (PROXYBALANCE_IDLE_TIMEOUT)"
            )
        logger.info(
            "Only paused targets are left: %s, with %s held; the first one is due at %s "
            "(in %.0f s). %s.",
            _some(waiting),
            counted(sum(waiting.values()), "request"),
            local_time(seconds, self._context.wall_clock()),
            seconds,
            then,
        )

    def _target_answers(self, event: TargetRamping) -> None:  # noqa: ARG002
        self._since = None


def _some(targets: Iterable[str]) -> str:
    """Return a few names, and how many more there are."""
    names = sorted(targets)
    some = ", ".join(names[:_NAMES])
    return f"{some} and {len(names) - _NAMES} more" if len(names) > _NAMES else some
