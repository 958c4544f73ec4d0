"""Has pages fetched again whose attempts ended in an exception that Scrapy does not know.

``RetryMiddleware`` sends again what is in ``RETRY_EXCEPTIONS``, and download handlers from elsewhere
raise exceptions of their own. These count, and are logged, as any other retry.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from scrapy.downloadermiddlewares.retry import RetryMiddleware, get_retry_request
from scrapy.settings import default_settings
from scrapy.utils.misc import load_object

from ...core.followup import FAILED
from ...core.verdict import CERTIFICATE, Verdict

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler


class UnknownFailures:
    """Retries in ``RetryMiddleware``'s place, if it is there.

    :param crawler: whose settings hold.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @cached_property
    def _enabled(self) -> bool:
        return self._crawler.get_downloader_middleware(RetryMiddleware) is not None

    @cached_property
    def _known(self) -> tuple[type[BaseException], ...]:
        """Those that Scrapy sends again, or that the user has decided not to send again."""
        settings = self._crawler.settings
        names = [*settings.getlist("RETRY_EXCEPTIONS"), *default_settings.RETRY_EXCEPTIONS]
        return tuple(load_object(name) for name in names)

    def retry(self, request: Request, verdict: Verdict, exception: Exception) -> Request | None:
        """Return a request that has failed through the pool, to be sent again if nobody else would."""
        spider = self._crawler.spider
        if (
            not (verdict.outcome in FAILED or verdict.failure == CERTIFICATE)
            or not self._enabled
            or spider is None
            or request.meta.get("dont_retry")
            or isinstance(exception, self._known)
        ):
            return None
        return get_retry_request(
            request,
            spider=spider,
            reason=exception,
            max_retry_times=request.meta.get("max_retry_times"),
            priority_adjust=request.meta.get("priority_adjust"),
        )
