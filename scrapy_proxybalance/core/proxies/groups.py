"""What is known of a group of proxies: what to expect of one that nothing is known of.

Of a gateway that several share; or else of a provider and country; and above them of the whole pool.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from .differences import Differences
from .filters import folded
from .record import Record
from .score import Expectation, expected

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .health import Health
    from .proxy import Proxy

# The outcomes that a group's record remembers, about.
_WINDOW = 400
# An expectation holds for so many seconds, or until there are so many more outcomes than it rests on.
_HOLDS = 0.5
_MORE = 1.1

_UNKNOWN = Expectation()


class Group:
    """A group's record. A proxy's attempts count for less, the more of its own are known.

    So the record tells of a node taken at random, and not of those that are picked the most.

    :param above: the group that this one is a part of.
    """

    __slots__ = (
        "_above",
        "_expected_again_at",
        "_expected_at",
        "_outcomes",
        "differences",
        "expectation",
        "record",
        "top",
    )

    def __init__(self, above: Group | None = None) -> None:
        self._above = above
        #: The group that all others are a part of.
        self.top: Group = self if above is None else above.top
        self.record = Record()
        #: Of the whole pool's answers.
        self.differences: Differences = Differences() if above is None else above.top.differences
        self._expected_at = float("-inf")
        self._outcomes = 0
        self._expected_again_at = 1.0  # as many outcomes
        #: What to expect of a node that nothing is known of, as of a moment ago.
        self.expectation: Expectation = above.expectation if above is not None else _UNKNOWN

    def timed(self, slowness: float, health: Health) -> None:
        """Take note of how long a node's answer took, beside the one before."""
        long_term, value = health.long_term, log(slowness)
        before, long_term.latest = long_term.latest, value
        if before is not None:
            self.differences.add(value, before, _weight(health.record))

    def succeeded(self, slowness: float, own: Record, now: float) -> None:
        """Take note of a node's success.

        :param own: the node's own record.
        """
        self.record.succeeded(slowness, now, _WINDOW, _weight(own))
        self._expect(now)
        if self._above is not None:
            self._above.succeeded(slowness, own, now)

    def failed(self, share: float, lost: float, own: Record, now: float) -> None:
        """Take note of a node's failure; see :meth:`Record.failed`."""
        self.record.failed(share, lost, now, _WINDOW, _weight(own))
        self._expect(now)
        if self._above is not None:
            self._above.failed(share, lost, own, now)

    def put_back(self, record: Record, now: float) -> None:
        """Go back to what the record was before."""
        self.record = record
        self._expected_at = float("-inf")
        self._expect(now)

    def _expect(self, now: float) -> None:
        self._outcomes += 1
        if now < self._expected_at + _HOLDS and self._outcomes < self._expected_again_at:
            return
        self._expected_at = now
        self._expected_again_at = self._outcomes * _MORE
        above = self._above.expectation if self._above is not None else _UNKNOWN
        self.expectation = Expectation(
            *expected(self.record, above, now), weight=self.differences.weight
        )


def _weight(own: Record) -> float:
    return 1.0 / (1.0 + own.successes + own.failures)


class Groups:
    """The groups of a pool."""

    def __init__(self) -> None:
        self.whole = Group()
        self._groups: dict[Hashable, Group] = {}

    def of(self, proxy: Proxy, *, shares_gateway: bool) -> Group:
        """Return the group of a proxy.

        :param shares_gateway: whether other proxies have the same host and port.
        """
        if shares_gateway:
            key: Hashable = proxy.gateway
        elif proxy.provider is not None or proxy.country is not None:
            key = (folded(proxy.provider), folded(proxy.country))
        else:
            return self.whole
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self.whole)
        return group
