"""Cuts attempts off that take much longer than their target usually needs, and never loses a page so.

Which requests may be cut off, and what becomes of those that were. How long is long is the pool's to
say; what it learns from is measured elsewhere.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

from scrapy.utils.httpobj import urlparse_cached

from ...core.outcome import TIMEOUT
from ...http.messages import SAFE_METHODS
from .. import request_meta
from ..classify import classify

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler

    from ...core import History
    from ..context import CrawlContext

logger = logging.getLogger("scrapy_proxybalance")


def crawls_timeout(crawler: Crawler) -> float:
    """Return what DownloadTimeoutMiddleware gives every request that has no timeout of its own.

    In seconds; 0 for none.
    """
    configured = crawler.settings.getfloat("DOWNLOAD_TIMEOUT")
    return float(getattr(crawler.spider, "download_timeout", configured) or 0)


class AdaptiveTimeout:
    """Sets timeouts in the crawl's place, and takes them back.

    :param context: whose pool knows how long targets take.
    """

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._enabled = context.settings.adaptive_timeout
        settings = context.crawler.settings
        self._retries = settings.getbool("RETRY_ENABLED")
        self._retry_times = settings.getint("RETRY_TIMES")

    @cached_property
    def _crawls_own(self) -> float:
        return crawls_timeout(self._context.crawler)

    def own(self, request: Request) -> float | None:
        """Return the timeout of a request if a shorter one may end it; ``None`` if not, in seconds.

        Left alone is a request that sets its own timeout; one whose method is not safe to repeat; one
        that would not be sent again, whatever happens to it; and robots.txt, which others wait for.
        """
        if (
            not self._enabled
            or request.method not in SAFE_METHODS
            or urlparse_cached(request).path == "/robots.txt"
        ):
            return None
        own = request_meta.timeout_of(request)
        if not own or own != self._crawls_own or self._is_last(request):
            return None
        return float(own)

    def cut_off(self, request: Request, exception: Exception, history: History) -> bool:
        """Give a request its own timeout back; return whether it was ours that ended the attempt.

        Then it has to be sent again.
        """
        seconds = request_meta.timeout_of(request)
        if not request_meta.restore_timeout(request):
            return False
        if classify(request, exception).failure != TIMEOUT:
            return False
        history.cuts += 1
        logger.debug(
            "%s took longer than %.1f s, which is long for its target: it is sent again and gets more "
            "time; that costs no retry",
            request,
            seconds,
            extra={"spider": self._context.crawler.spider},
        )
        return True

    def _is_last(self, request: Request) -> bool:
        """Whether RetryMiddleware would not have this request sent again."""
        if not self._retries or request.meta.get("dont_retry"):
            return True
        most = request.meta.get("max_retry_times")
        most = self._retry_times if most is None else most
        return bool(request.meta.get("retry_times", 0) >= most)
