"""What Scrapy does not promise and no public means gives; ``tests/test_scrapy_internals.py`` guards it.

Each function says why no public means will do. What a subclass of Scrapy's relies on is in the subclass:
``admission.py``, ``robots.py`` and ``download_handler.py``.
"""

from __future__ import annotations

from collections.abc import Sized
from functools import partial
from typing import TYPE_CHECKING, Any

from scrapy.downloadermiddlewares.httpcache import HttpCacheMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import TypeAlias

    from scrapy import Request
    from scrapy.core.downloader import Downloader
    from scrapy.core.engine import ExecutionEngine
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.internet.defer import Deferred

    Download: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

_DOWNLOADER = "scrapy.core.downloader"


def wake(engine: ExecutionEngine) -> None:
    """Make the engine ask its scheduler now.

    Publicly it does so only when a request ends or is scheduled, and every 5 seconds.
    """
    slot = engine._slot  # noqa: SLF001
    if slot is not None and slot.closing is None:
        slot.nextcall.schedule()


def is_closing(engine: ExecutionEngine) -> bool:
    """Return whether the spider is being closed: ``spider_closed`` comes only after the drain."""
    slot = engine._slot  # noqa: SLF001
    return not engine.running or slot is None or slot.closing is not None


def take_unsent(
    downloader: Downloader, slot_key: str
) -> Iterator[tuple[Request, Deferred[Response]]]:
    """Take the requests out of a download slot's queue that have passed every middleware.

    Each comes with the Deferred that its middlewares wait for.
    """
    slot = downloader.slots.get(slot_key)
    while slot is not None and slot.queue:
        yield slot.queue.popleft()


def watch_downloads(
    downloader: Downloader,
    watch: Callable[[Download, Request], Coroutine[Any, Any, Response]],
) -> None:
    """Run every download from now on through ``watch(download, request)``.

    It runs within the task of the download. No signal does, and without that task nobody can end one.
    """
    handlers = downloader.handlers
    handlers.download_request_async = partial(watch, handlers.download_request_async)  # type: ignore[method-assign]


def reached_downloader(exception: BaseException) -> bool:
    """Return whether a request was on its way to a download handler when this was raised.

    Else a middleware on the way there has raised it, and nothing was sent. ``process_exception`` is not
    told which it was; the traceback is. Without one, the request is taken to have been on its way.
    """
    traceback = exception.__traceback__
    if traceback is None:
        return True
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == _DOWNLOADER:
            return True
        traceback = traceback.tb_next
    return False


def start_is_over(engine: ExecutionEngine) -> bool:
    """Return whether ``spider.start()`` has given all that it had: there is no signal for that."""
    return engine._start is None  # noqa: SLF001


def scheduled(engine: ExecutionEngine) -> int:
    """Return how many requests the scheduler says that it holds; 0 if it does not say.

    ``engine.scheduler`` is new in Scrapy 2.19.
    """
    slot = engine._slot  # noqa: SLF001
    return len(slot.scheduler) if slot is not None and isinstance(slot.scheduler, Sized) else 0


def wrap_cache_storage(crawler: Crawler, wrap: Callable[[Any], Any]) -> None:
    """Put another storage in the place of that of Scrapy's HTTP cache, if the crawl has one.

    The storage's class is a setting, but it is built from settings only, and knows no crawler.
    """
    cache = crawler.get_downloader_middleware(HttpCacheMiddleware)
    if cache is not None:
        cache.storage = wrap(cache.storage)
