"""Requests that were taken from their queue and found to wait for a proxy of their own choice.

They are kept in memory, in groups that wait for the same thing (a session's proxy, a filter) and are
of one queue, so that one look at a group's first request answers for all of it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from scrapy import Request

    from ...core import Blocked

# So many requests are looked at, and kept aside in memory, in search of one whose session or filter
# has a proxy free.
_AT_MOST = 1000
_GROUPS_PER_LOOK = 64


class _Group:
    __slots__ = ("requests", "retry_at", "target")

    def __init__(self, target: str) -> None:
        self.target = target
        self.requests: deque[tuple[Request, float]] = deque()  # and since when, in seconds
        self.retry_at: float | None = None  # when time alone frees something for it, in seconds


class WaitingRequests:
    """The requests that were set aside, in the order in which they came, by group.

    ``count``: how many. ``unseen``: groups that have not been looked at since something changed.
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, _Group] = OrderedDict()
        self.count = 0
        self.unseen = 0

    @property
    def room(self) -> int:
        """How many more can be taken in."""
        return _AT_MOST - self.count

    def add(self, request: Request, hold: Blocked, queue: str, target: str, now: float) -> None:
        """Set a request aside.

        :param queue: the key of the one that it comes from, for one target.
        :param now: the time, in seconds.
        """
        key = (hold.waits_for, queue, target)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(target)
        group.requests.append((request, now))
        group.retry_at = hold.retry_at
        self.count += 1

    def stir(self) -> None:
        """Take note that something has changed: every group is worth a look."""
        self.unseen = len(self._groups)

    def take(self, held: Callable[[Request], Blocked | None]) -> tuple[Request, float] | None:
        """Take the first request that is not held any more, and since when it was set aside.

        Every group gets its turn.

        :param held: returns why a request is held, or ``None``.
        """
        for _ in range(min(len(self._groups), _GROUPS_PER_LOOK)):
            key, group = next(iter(self._groups.items()))
            self._groups.move_to_end(key)
            self.unseen -= 1
            hold = held(group.requests[0][0])
            if hold is None:
                self.count -= 1
                taken = group.requests.popleft()
                if not group.requests:
                    del self._groups[key]
                return taken
            group.retry_at = hold.retry_at
        return None

    def next_timer(self, now: float) -> float | None:
        """Return when time alone next frees something, in seconds, after ``now``; or ``None``."""
        moments = (group.retry_at for group in self._groups.values())
        return min((when for when in moments if when is not None and when > now), default=None)

    def give_back(self, target: str) -> list[Request]:
        """Give up what waits for a target; return it."""
        keys = [key for key, group in self._groups.items() if group.target == target]
        requests = [one for key in keys for one, _ in self._groups.pop(key).requests]
        self.count -= len(requests)
        return requests

    def clear(self) -> list[Request]:
        """Give all of them up; return them."""
        requests = [one for group in self._groups.values() for one, _ in group.requests]
        self._groups.clear()
        self.count = 0
        return requests
