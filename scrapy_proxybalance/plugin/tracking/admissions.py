"""Admissions: what is under way, from the queue or from elsewhere, and not yet back.

Pure counting: it decides nothing and knows neither the pool nor Scrapy's engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable

    from scrapy import Request


_Name = TypeVar("_Name", bound="Hashable")


@attrs.define
class _Entry:
    slot: str
    target: str
    admitted: bool
    waits_for_lease: bool
    wish: Hashable = None
    waited: float = 0.0
    retry: bool = False
    departed: bool = False


class Admissions:
    """Counts the requests under way per download slot, and those that have not departed yet.

    ``in_use``: whether a queue writes into it, so that the middleware can rely on admission.
    ``listeners``: are called with the slot and the target of every request that comes or goes; for one
    that departs, which is in its slot already, with ``None`` and its target.
    """

    def __init__(self) -> None:
        self.in_use = False
        self.listeners: list[Callable[[str | None, str], None]] = []
        #: How many admitted requests have yet to attempt a proxy.
        self.unleased = 0
        #: How many of them are retries.
        self.retries = 0
        self._entries: dict[Request, _Entry] = {}
        self._in_slot: dict[str, int] = {}
        self._departed_in_slot: dict[str, int] = {}
        self._on_the_way: dict[str, int] = {}
        self._wishing: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, request: Request) -> bool:
        return request in self._entries

    def admit(
        self,
        request: Request,
        slot: str,
        target: str,
        *,
        waits_for_lease: bool,
        wish: Hashable = None,
        waited: float = 0.0,
        retry: bool = False,
    ) -> None:
        """Enter a request that leaves the queue.

        :param wish: equal for requests that ask for the same proxies: a session, a filter.
        :param waited: the seconds for which it waited for such a proxy.
        :param retry: whether it will be charged to the retry budget.
        """
        if request in self._entries:
            self.strike(request)
        entry = _Entry(slot, target, True, waits_for_lease, wish, waited, retry)
        self._entries[request] = entry
        self._in_slot[slot] = self._in_slot.get(slot, 0) + 1
        if waits_for_lease:
            self.unleased += 1
            self.retries += retry
            self._on_the_way[target] = self._on_the_way.get(target, 0) + 1
            if wish is not None:
                self._wishing[wish] = self._wishing.get(wish, 0) + 1
        for listener in self.listeners:
            listener(slot, target)

    def depart(self, request: Request, slot: str, target: str) -> None:
        """Take note that a request is sent; it needs its reservation no longer."""
        entry = self._entries.get(request)
        came = entry is None
        if entry is None:
            entry = _Entry(slot, target, admitted=False, waits_for_lease=False)
            self._entries[request] = entry
            self._in_slot[slot] = self._in_slot.get(slot, 0) + 1
        if entry.waits_for_lease:
            self._settle(entry)
        entry.departed = True
        departed = self._departed_in_slot
        departed[entry.slot] = departed.get(entry.slot, 0) + 1
        for listener in self.listeners:
            listener(entry.slot if came else None, entry.target)

    def is_admitted(self, request: Request) -> bool:
        """Return whether a request under way was let out by the queue."""
        entry = self._entries.get(request)
        return entry is not None and entry.admitted

    def slot_of(self, request: Request) -> str | None:
        """Return the slot of a request under way, ``None`` if it is not."""
        entry = self._entries.get(request)
        return entry.slot if entry is not None else None

    def waited(self, request: Request) -> float:
        """Return for how many seconds a request had waited for a proxy when it left the queue."""
        entry = self._entries.get(request)
        return entry.waited if entry is not None else 0.0

    def strike(self, request: Request) -> None:
        """Strike a request out: it is not under way any more."""
        entry = self._entries.pop(request, None)
        if entry is None:
            return
        if entry.waits_for_lease:
            self._settle(entry)
        _count_down(self._in_slot, entry.slot)
        if entry.departed:
            _count_down(self._departed_in_slot, entry.slot)
        for listener in self.listeners:
            listener(entry.slot, entry.target)

    def sweep(self, active: Container[Request]) -> bool:
        """Strike out every request that is not under way any more; return whether there was one."""
        gone = [request for request in self._entries if request not in active]
        for request in gone:
            self.strike(request)
        return bool(gone)

    def in_slot(self, slot: str) -> int:
        """Return how many requests of a slot are under way."""
        return self._in_slot.get(slot, 0)

    def departed_in_slot(self, slot: str) -> int:
        """Return how many requests of a slot have been sent and are not back."""
        return self._departed_in_slot.get(slot, 0)

    def on_the_way_to(self, target: str) -> int:
        """Return how many admitted requests to a target have not departed yet."""
        return self._on_the_way.get(target, 0)

    def wishing(self, wish: Hashable) -> int:
        """Return how many admitted requests that ask for the same proxies have not departed yet."""
        return self._wishing.get(wish, 0)

    def _settle(self, entry: _Entry) -> None:
        """End the reservation."""
        entry.waits_for_lease = False
        self.unleased -= 1
        self.retries -= entry.retry
        _count_down(self._on_the_way, entry.target)
        if entry.wish is not None:
            _count_down(self._wishing, entry.wish)


def _count_down(counter: dict[_Name, int], key: _Name) -> None:
    left = counter[key] - 1
    if left:
        counter[key] = left
    else:
        del counter[key]
