"""What reporters need of Scrapy: the opening and closing of the spider, periodic calls, threads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.utils.asyncio import create_looping_call, is_asyncio_available
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.threads import deferToThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Spider as Spider  # what receivers are passed, if they ask for it
    from scrapy.utils.asyncio import AsyncioLoopingCall
    from twisted.internet.task import LoopingCall

    from .observed import ObservedCrawl


def on_opened(crawl: ObservedCrawl, receiver: Callable[..., Any]) -> None:
    """Call ``receiver``, which is held weakly, when the spider is opened."""
    crawl.crawler.signals.connect(receiver, signal=signals.spider_opened)


def on_closed(crawl: ObservedCrawl, receiver: Callable[..., Any]) -> None:
    """Call ``receiver``, which is held weakly, when the spider is closed; a coroutine is awaited."""
    crawl.crawler.signals.connect(receiver, signal=signals.spider_closed)


async def in_thread(function: Callable[[], None]) -> None:
    """Run what takes long in another thread, and wait for its end."""
    if is_asyncio_available():
        await asyncio.to_thread(function)
    else:
        await maybe_deferred_to_future(deferToThread(function))


class PeriodicCall:
    """Calls a function again and again in the crawl's thread, from its start until it is stopped."""

    def __init__(self) -> None:
        self._loop: AsyncioLoopingCall | LoopingCall | None = None

    @property
    def running(self) -> bool:
        """Whether it is being called."""
        return self._loop is not None and bool(self._loop.running)

    def start(
        self, seconds: float, function: Callable[..., Any], *arguments: Any, now: bool = False
    ) -> None:
        """Begin.

        :param seconds: between two calls.
        :param now: whether the first one comes at once.
        """
        self._loop = create_looping_call(function, *arguments)
        self._loop.start(seconds, now=now)

    def stop(self) -> None:
        """Make no further call. May be called at any time."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
