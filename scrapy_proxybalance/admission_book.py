"""The book of admissions: what the queue has let out and has not yet come back.

Pure counting: it decides nothing and knows neither the pool nor Scrapy's engine.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Container

    from scrapy import Request


@attrs.define(slots=True)
class _Admission:
    slot: str
    target: str
    waits_for_lease: bool


class AdmissionBook:
    """Counts admitted requests per download slot, and those that have no lease yet.

    ``in_use``: whether a queue writes into it, so that the middleware can rely on admission.
    """

    def __init__(self) -> None:
        self.in_use = False
        self.unleased = 0
        self._admitted: dict[Request, _Admission] = {}
        self._slots: Counter[str] = Counter()
        self._unleased_targets: Counter[str] = Counter()

    def admit(self, request: Request, slot: str, target: str, *, waits_for_lease: bool) -> None:
        """Enter a request that leaves the queue."""
        self._admitted[request] = _Admission(slot, target, waits_for_lease)
        self._slots[slot] += 1
        if waits_for_lease:
            self.unleased += 1
            self._unleased_targets[target] += 1

    def leased(self, request: Request) -> bool:
        """Take note that a request needs its reservation no longer; return whether it was admitted."""
        admission = self._admitted.get(request)
        if admission is None:
            return False
        self._release_reservation(admission)
        return True

    def strike(self, request: Request) -> None:
        """Strike a request out: it is not under way any more."""
        admission = self._admitted.pop(request, None)
        if admission is None:
            return
        self._release_reservation(admission)
        self._slots[admission.slot] -= 1
        if not self._slots[admission.slot]:
            del self._slots[admission.slot]

    def sweep(self, active: Container[Request]) -> bool:
        """Strike out every request that is not under way any more; return whether there was one."""
        gone = [request for request in self._admitted if request not in active]
        for request in gone:
            self.strike(request)
        return bool(gone)

    def in_slot(self, slot: str) -> int:
        """Return how many admitted requests of a slot are under way."""
        return self._slots[slot]

    def on_the_way_to(self, target: str) -> int:
        """Return how many admitted requests to a target have no lease yet."""
        return self._unleased_targets[target]

    def _release_reservation(self, admission: _Admission) -> None:
        if not admission.waits_for_lease:
            return
        admission.waits_for_lease = False
        self.unleased -= 1
        self._unleased_targets[admission.target] -= 1
        if not self._unleased_targets[admission.target]:
            del self._unleased_targets[admission.target]
