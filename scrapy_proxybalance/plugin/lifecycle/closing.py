"""Ends the requests in flight through the pool within seconds when the spider is being closed.

Scrapy waits for all of them, which takes ``DOWNLOAD_TIMEOUT`` where a proxy hangs; a container that is
stopped gets 10 s. Says which downloads are given up, and ends them. The middleware decides about their
requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.utils.asyncio import create_looping_call, is_asyncio_available
from twisted.internet.defer import Deferred

from ...util.wording import counted
from .. import request_meta
from ..scrapy_internals import watch_downloads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy import Request
    from scrapy.http import Response
    from scrapy.utils.asyncio import AsyncioLoopingCall
    from twisted.internet.task import LoopingCall

    from ..context import CrawlContext
    from ..scrapy_internals import Download

logger = logging.getLogger("scrapy_proxybalance")

#: Seconds that a response has to begin in, after the spider is being closed and the request was sent.
BEGINS_WITHIN = 2.0
#: Seconds after which every response has to be there, from when the spider is being closed.
ENDS_WITHIN = 4.0

_LOOK_SECONDS = 0.5


class GivenUpError(Exception):
    """Given to a request in flight when the spider is closing; never leaves the middleware."""


class Closing:
    """Gives up, once the spider is being closed, the downloads that would hold it up.

    With whatever download handler: it is the task of the download that is cancelled.

    :param context: knows what is in flight.
    """

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._cancels: dict[Request, Callable[[], Any]] = {}
        self._given_up: set[Request] = set()
        self._since: float | None = None
        self._loop: AsyncioLoopingCall | LoopingCall | None = None
        context.crawler.signals.connect(self._spider_opened, signal=signals.spider_opened)
        context.crawler.signals.connect(self._spider_closed, signal=signals.spider_closed)

    def _spider_opened(self) -> None:
        watch_downloads(self._context.crawler.engine.downloader, self._download)
        self._loop = create_looping_call(self._look)
        self._loop.start(_LOOK_SECONDS, now=False)

    def _spider_closed(self) -> None:
        if self._loop is not None and self._loop.running:
            self._loop.stop()

    async def _download(self, download: Download, request: Request) -> Response:
        """Download, and be ready to give that up."""
        response: Awaitable[Response] = download(request)
        task = asyncio.current_task() if is_asyncio_available() else None
        if task is not None:
            self._cancels[request] = task.cancel
        else:
            response = Deferred.fromCoroutine(download(request))
            self._cancels[request] = response.cancel
        try:
            return await response
        except (asyncio.CancelledError, Exception):
            if request in self._given_up:
                raise GivenUpError from None
            raise
        finally:
            del self._cancels[request]
            self._given_up.discard(request)

    def _look(self) -> None:
        context = self._context
        if not context.closing:
            return
        now = context.clock()
        if self._since is None:
            self._since = now
        ends = now >= self._since + ENDS_WITHIN
        late = [
            request
            for request, attempt in context.attempts()
            if request in self._cancels
            and request not in self._given_up
            and attempt.proxy is not None
            and (
                ends
                or (
                    not request_meta.has_headers(request)
                    and now >= max(self._since, attempt.started_at) + BEGINS_WITHIN
                )
            )
        ]
        if late:
            logger.info(
                "The spider is closing, and gives up %s without a response so far; what came from the "
                "scheduler goes back to it",
                counted(len(late), "request"),
                extra={"spider": context.crawler.spider},
            )
        for request in late:
            self._given_up.add(request)
            self._cancels[request]()
