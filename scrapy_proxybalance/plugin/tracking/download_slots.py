"""Scrapy's own limits per download slot, held as they were meant.

Scrapy's downloader lets more through than ``CONCURRENT_REQUESTS_PER_DOMAIN``, because a request
counts only once its task has started; here it counts from the moment it is let out.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.core.downloader import Downloader
    from scrapy.crawler import Crawler

    from .admissions import Admissions


class DownloadSlots:
    """Knows which download slots have room.

    :param crawler: whose downloader it is.
    :param admissions: counts what is under way.
    """

    def __init__(self, crawler: Crawler, admissions: Admissions) -> None:
        self._crawler = crawler
        self._admissions = admissions
        self._concurrency = crawler.settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN")
        self._delay = crawler.settings.getfloat("DOWNLOAD_DELAY")
        self._own: dict[str, dict[str, Any]] = crawler.settings.getdict("DOWNLOAD_SLOTS")

    @cached_property
    def _downloader(self) -> Downloader:
        return self._crawler.engine.downloader  # there is none before the crawl begins

    def key_of(self, request: Request) -> str:
        """Return the key of a request's slot."""
        key: str = self._downloader.get_slot_key(request)
        return key

    def ready_at(self, key: str, now: float) -> float | None:
        """Return from when a request that is let into a slot will be sent soon.

        That is while fewer are under way than its concurrency and, where it has a delay, while no
        more than the next one waits there already: what waits in a slot is out of the queue.

        :return: seconds; ``now`` if it has room; ``None`` if a request has to end first.
        """
        under_way = self._admissions.in_slot(key)
        concurrency, delay, transferring = self._limits(key)
        if under_way >= concurrency:
            return None
        return now + delay if delay and under_way > transferring + 1 else now

    def has_delay(self, key: str) -> bool:
        """Return whether a request that is let into a slot may have to wait there for its turn."""
        return self._limits(key)[1] > 0

    def may_depart(self, key: str) -> bool:
        """Return whether one more request may be sent, whether or not it came from the queue."""
        return self._admissions.departed_in_slot(key) < self._limits(key)[0]

    def is_transferring(self, request: Request) -> bool:
        """Return whether a request is on the wire, and does not wait in its slot any more."""
        slot = self._downloader.slots.get(self.key_of(request))
        return slot is not None and request in slot.transferring

    def _limits(self, key: str) -> tuple[int, float, int]:
        """Return a slot's concurrency, its delay and how many requests it is transferring."""
        slot = self._downloader.slots.get(key)
        if slot is not None:
            return slot.concurrency, slot.delay, len(slot.transferring)
        own = self._own.get(key, {})
        return own.get("concurrency", self._concurrency), own.get("delay", self._delay), 0
