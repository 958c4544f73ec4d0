"""Which session is on which proxy: a map with an idle expiry and a bound, and each one's share.

Knows proxies by name only; the pool decides whether a proxy is healthy, and what to do when it
is lost.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from math import ceil
from typing import TYPE_CHECKING

from ..events import SessionEnded, SessionReassigned, SessionStarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..events import EventBus
    from ..proxies.proxy import Proxy


class Sessions:
    """Sessions in the order of their last use.

    :param ttl: seconds of idleness after which a session is forgotten.
    :param limit: sessions remembered; the longest idle one gives way to a new one.
    :param events: is told when a session starts, moves and ends.
    """

    def __init__(self, ttl: float, limit: int, events: EventBus) -> None:
        self._ttl = ttl
        self._limit = limit
        self._events = events
        self._pinned: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._on_proxy: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._pinned)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((session, proxy) for session, (proxy, _) in self._pinned.items())

    def find(self, session: str, now: float) -> str | None:
        """Return the name of a session's proxy; first forget the sessions that are past their time."""
        while self._pinned:
            oldest, (_, used) = next(iter(self._pinned.items()))
            if now - used <= self._ttl:
                break
            self.end(oldest, now, "expired")
        pinned = self._pinned.get(session)
        return pinned[0] if pinned is not None else None

    def has_share(self, session: str, proxy: str, max_in_flight: int) -> bool:
        """Return whether a session may have one more request in flight on its proxy.

        The proxy's cap is divided among the sessions that are on it, each having at least 1: they
        can go nowhere else.
        """
        share = ceil(max_in_flight / max(1, self._on_proxy[proxy]))
        return self._in_flight[session] < share

    def on_proxy(self, proxy: str) -> int:
        """Return how many sessions are on a proxy."""
        return self._on_proxy[proxy]

    def claimed(self, session: str, proxy: Proxy, now: float) -> None:
        """Take note that a session has got an attempt: it is on that proxy from now on."""
        self._in_flight[session] += 1
        before = self._unpin(session)
        self._pinned[session] = (proxy.name, now)
        self._on_proxy[proxy.name] += 1
        if len(self._pinned) > self._limit:
            self.end(next(iter(self._pinned)), now, "evicted")
        if before is None:
            self._events.emit(SessionStarted(now=now, session=session, proxy=proxy))
        elif before != proxy.name:
            self._events.emit(SessionReassigned(now=now, session=session, lost=before, proxy=proxy))

    def released(self, session: str) -> None:
        """Take note that one attempt of a session has ended."""
        self._in_flight[session] -= 1
        if not self._in_flight[session]:
            del self._in_flight[session]

    def end(self, session: str, now: float, reason: str) -> None:
        """Forget which proxy a session is on, if it is on one."""
        if self._unpin(session) is not None:
            self._events.emit(SessionEnded(now=now, session=session, reason=reason))

    def _unpin(self, session: str) -> str | None:
        pinned = self._pinned.pop(session, None)
        if pinned is None:
            return None
        proxy = pinned[0]
        self._on_proxy[proxy] -= 1
        if not self._on_proxy[proxy]:
            del self._on_proxy[proxy]
        return proxy
