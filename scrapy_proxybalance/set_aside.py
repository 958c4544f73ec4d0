"""Requests that were taken from their queue and found to wait for a proxy of their own choice.

They are kept in memory, in groups that wait for the same thing (a session's proxy, a filter), so
that one look at a group's first request answers for all of it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from scrapy import Request

    from .pool import Hold

# So many requests are looked at, and kept aside in memory, in search of one whose session or filter
# has a proxy free.
_AT_MOST = 1000
_GROUPS_PER_LOOK = 64


class SetAside:
    """The requests that were set aside, in the order in which they came, by group."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, deque[Request]] = OrderedDict()
        self._count = 0
        #: When time alone frees something for one of those looked at last, in seconds.
        self.retry_at: float | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Request]:
        for group in self._groups.values():
            yield from group

    @property
    def is_full(self) -> bool:
        """Whether no more can be taken in."""
        return self._count >= _AT_MOST

    def add(self, request: Request, hold: Hold) -> None:
        """Set a request aside."""
        self._groups.setdefault(hold.waits_for, deque()).append(request)
        self._count += 1
        self._note(hold.retry_at)

    def take(self, held: Callable[[Request], Hold | None]) -> Request | None:
        """Take the first request that is not held any more; every group gets its turn.

        :param held: returns why a request is held, or ``None``.
        """
        self.retry_at = None
        for _ in range(min(len(self._groups), _GROUPS_PER_LOOK)):
            waits_for, group = next(iter(self._groups.items()))
            self._groups.move_to_end(waits_for)
            hold = held(group[0])
            if hold is None:
                self._count -= 1
                request = group.popleft()
                if not group:
                    del self._groups[waits_for]
                return request
            self._note(hold.retry_at)
        return None

    def clear(self) -> list[Request]:
        """Give all of them up; return them."""
        requests = list(self)
        self._groups.clear()
        self._count = 0
        return requests

    def _note(self, retry_at: float | None) -> None:
        if retry_at is not None and (self.retry_at is None or retry_at < self.retry_at):
            self.retry_at = retry_at
