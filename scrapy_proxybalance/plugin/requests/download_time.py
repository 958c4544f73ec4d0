"""How long an attempt really took: from when its download began until all of its body was there.

The wait in a download slot (``DOWNLOAD_DELAY``) is not the proxy's and does not count. Scrapy tells
nobody when a download begins; what it tells is put together here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from scrapy import signals

from .. import request_meta

if TYPE_CHECKING:
    from scrapy import Request

    from ...core import AnyAttempt
    from ..context import CrawlContext


class DownloadTime:
    """Measures the attempts of a crawl.

    Where no slot has a delay an attempt begins when it departs. Else its beginning is told by its
    latency, which Scrapy measures, and by the moment at which its headers came. To be told that
    moment costs each request 10 us, so that is asked for only where it is needed.

    :param context: knows what is under way.
    """

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._listens = False
        self._headers_at: WeakKeyDictionary[AnyAttempt, float] = WeakKeyDictionary()
        settings = context.crawler.settings
        if settings.getfloat("DOWNLOAD_DELAY") or settings.getbool("AUTOTHROTTLE_ENABLED"):
            self._listen()

    def _listen(self) -> None:
        self._listens = True
        connect = self._context.crawler.signals.connect
        connect(self._headers_received, signal=signals.headers_received)

    def _headers_received(self, request: Request) -> None:
        attempt = self._context.attempt_of(request)
        if attempt is not None:
            self._headers_at[attempt] = self._context.clock()

    def of(self, request: Request, attempt: AnyAttempt, *, timed_out: bool = False) -> float | None:
        """Return the seconds that an attempt, which has just ended, took.

        :param timed_out: whether it was cut off by its timeout, which begins with the download.
        :return: ``None`` where nobody knows: it may have waited in a slot with a delay.
        """
        now, slots = self._context.clock(), self._context.slots
        since_departure = now - attempt.started_at
        if not slots.has_delay(request.meta.get("download_slot") or slots.key_of(request)):
            return since_departure
        if not self._listens:
            self._listen()
        seconds: Any = None
        if timed_out:
            seconds = request_meta.timeout_of(request)
        elif attempt in self._headers_at:
            seconds = request.meta.get("download_latency", 0.0) + now - self._headers_at[attempt]
        # A user may have written anything.
        return min(seconds, since_departure) if isinstance(seconds, int | float) else None
