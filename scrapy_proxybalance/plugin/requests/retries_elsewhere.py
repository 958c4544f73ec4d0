"""Has pages fetched again through another proxy that are a proxy's own, or may be.

These count, and are logged, as any other retry. What ``RetryMiddleware`` retries by itself is left to
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.downloadermiddlewares.retry import get_retry_request

from ...http.messages import SAFE_METHODS

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from ...core import Verdict


class RetriesElsewhere:
    """Retries as often as ``RETRY_TIMES`` allows.

    :param crawler: whose settings hold.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._enabled = crawler.settings.getbool("RETRY_ENABLED")
        self._times = crawler.settings.getint("RETRY_TIMES")
        self._retried_anyway = {int(code) for code in crawler.settings.getlist("RETRY_HTTP_CODES")}

    def after(self, request: Request, verdict: Verdict, response: Response) -> Request | None:
        """Return the request that asks for a page elsewhere, if it may be asked for once more."""
        spider = self._crawler.spider
        if (
            not self._enabled
            or spider is None
            or request.meta.get("dont_retry")
            or response.status in self._retried_anyway
            or request.method not in SAFE_METHODS
        ):
            return None
        most = request.meta.get("max_retry_times", self._times)
        if request.meta.get("retry_times", 0) >= most:
            return None
        return get_retry_request(
            request,
            spider=spider,
            reason=f"{verdict.failure or response.status} (of a proxy's?)",
            max_retry_times=most,
        )
