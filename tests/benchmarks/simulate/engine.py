"""Virtual time: what is to happen, in order. Knows nothing of proxies or requests."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Engine:
    """A queue of calls, each with its moment; ``now`` is the moment of the one that runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._calls = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at ``when`` (seconds, not before now); of two at one moment, the first asked for."""
        self._calls += 1
        heappush(self._queue, (max(when, self.now), self._calls, call))

    def run(self, until: float) -> None:
        """Let time pass, to ``until`` and no further."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, call = heappop(queue)
            call()
        self.now = until
