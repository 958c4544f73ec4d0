"""The book of admissions: what the queue has let out and has not yet come back.

Pure counting: it decides nothing and knows neither the pool nor Scrapy's engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from scrapy import Request


class AdmissionBook:
    """Counts admitted requests per download slot, and those that have no lease yet.

    ``in_use``: whether a queue writes into it, so that the middleware can rely on admission.
    """

    def __init__(self) -> None:
        self.in_use = False
        self._admitted: dict[Request, tuple[str, str]] = {}  # to slot and target
        self._waiting: set[Request] = set()
        self._in_slot: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._admitted)

    @property
    def unleased(self) -> int:
        """How many admitted requests have no lease yet."""
        return len(self._waiting)

    def admit(self, request: Request, slot: str, target: str, *, waits_for_lease: bool) -> None:
        """Enter a request that leaves the queue."""
        self._admitted[request] = (slot, target)
        self._in_slot[slot] = self._in_slot.get(slot, 0) + 1
        if waits_for_lease:
            self._waiting.add(request)

    def leased(self, request: Request) -> bool:
        """Take note that a request needs its reservation no longer; return whether it was admitted."""
        self._waiting.discard(request)
        return request in self._admitted

    def strike(self, request: Request) -> None:
        """Strike a request out: it is not under way any more."""
        admitted = self._admitted.pop(request, None)
        if admitted is None:
            return
        self._waiting.discard(request)
        slot = admitted[0]
        left = self._in_slot[slot] - 1
        if left:
            self._in_slot[slot] = left
        else:
            del self._in_slot[slot]

    def sweep(self, active: Container[Request]) -> bool:
        """Strike out every request that is not under way any more; return whether there was one."""
        gone = [request for request in self._admitted if request not in active]
        for request in gone:
            self.strike(request)
        return bool(gone)

    def in_slot(self, slot: str) -> int:
        """Return how many admitted requests of a slot are under way."""
        return self._in_slot.get(slot, 0)

    def on_the_way_to(self, target: str) -> bool:
        """Return whether an admitted request to a target has no lease yet."""
        return any(self._admitted[request][1] == target for request in self._waiting)
