"""What Scrapy's HTTP cache stores and serves: no failure of a proxy, and no refusal of a target.

``HttpCacheMiddleware`` (900) has a response before it is judged (740), and its policies cannot know the
verdict. So its storage is wrapped: what the user's policy stores waits for the verdict, and what is in
the storage already is judged before it is served. The policy and the storage stay the user's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from scrapy import signals

from ...core import Outcome
from ..scrapy_internals import wrap_cache_storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request, Spider
    from scrapy.http import Response

    from ...core.verdict import Verdict
    from ..context import CrawlContext

# Of a page that is the site's answer, whatever it says.
_KEPT = (Outcome.SUCCESS, Outcome.IGNORED)


class JudgedCache:
    """Makes the cache of one crawl store and serve only what was judged to be an answer of the site.

    A status of ``RETRY_HTTP_CODES`` is not such an answer: by that setting it is temporary, and retried.

    :param context: knows which requests will be judged.
    :param judge: returns whose fault a response was.
    """

    def __init__(
        self, context: CrawlContext, judge: Callable[[Request, Response], Verdict]
    ) -> None:
        self._context = context
        self._judge = judge
        retried = context.crawler.settings.getlist("RETRY_HTTP_CODES")
        self._passing = frozenset(map(int, retried))
        self._waiting: WeakKeyDictionary[Request, _Waiting] = WeakKeyDictionary()
        context.crawler.signals.connect(self.wrap, signal=signals.spider_opened)

    def wrap(self) -> None:
        """Put a storage that asks here in the place of the cache's, if there is a cache."""
        wrap_cache_storage(self._context.crawler, lambda storage: _JudgedStorage(storage, self))

    def is_served(self, request: Request, response: Response) -> bool:
        """Return whether a response that was stored at some time may be served."""
        return self._is_answer(response, self._judge(request, response))

    def store(self, storage: Any, spider: Spider, request: Request, response: Response) -> None:
        """Store a response when its verdict is there; at once if nobody is going to judge it."""
        if self._context.attempt_of(request) is None:
            storage.store_response(spider, request, response)
        else:
            self._waiting[request] = _Waiting(storage, spider, response)

    def delivered(self, request: Request, verdict: Verdict) -> None:
        """Store what waits for this verdict, if it is an answer; what is fetched again is not stored."""
        waiting = self._waiting.pop(request, None)
        if waiting is not None and self._is_answer(waiting.response, verdict):
            waiting.storage.store_response(waiting.spider, request, waiting.response)

    def _is_answer(self, response: Response, verdict: Verdict) -> bool:
        return verdict.outcome in _KEPT and response.status not in self._passing


class _Waiting(NamedTuple):
    """What waits for a verdict. Without its request, which has to go when nobody else has it."""

    storage: Any
    spider: Spider
    response: Response


class _JudgedStorage:
    """A cache storage that asks before it stores and serves; for the rest it is the user's own."""

    def __init__(self, storage: Any, cache: JudgedCache) -> None:
        self._storage = storage
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def retrieve_response(self, spider: Spider, request: Request) -> Response | None:
        response: Response | None = self._storage.retrieve_response(spider, request)
        if response is None or not self._cache.is_served(request, response):
            return None
        return response

    def store_response(self, spider: Spider, request: Request, response: Response) -> None:
        self._cache.store(self._storage, spider, request, response)
