"""Retries that wait for their time before they enter their queue: kept in memory, for seconds.

Pure bookkeeping: the times come from the caller, who puts what is left back when the crawl ends.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrapy import Request

# Those beyond wait for nothing but the budget, in their queue.
_AT_MOST = 1000


class DelayedRetries:
    """Requests, each with the moment at which it is due, in seconds; of equal ones, the first first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Request]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def is_full(self) -> bool:
        """Whether no more are to be added."""
        return len(self._heap) >= _AT_MOST

    def add(self, request: Request, due: float) -> None:
        """Keep a request until it is due."""
        heappush(self._heap, (due, next(self._numbers), request))

    def take(self, now: float) -> Request | None:
        """Take one that is due, the longest due first."""
        if not self._heap or self._heap[0][0] > now:
            return None
        return heappop(self._heap)[2]

    def next_timer(self) -> float | None:
        """Return when the next one is due, or ``None``."""
        return self._heap[0][0] if self._heap else None

    def clear(self) -> list[Request]:
        """Give all of them up; return them."""
        requests = [request for _, _, request in sorted(self._heap, key=lambda one: one[:2])]
        self._heap.clear()
        return requests
