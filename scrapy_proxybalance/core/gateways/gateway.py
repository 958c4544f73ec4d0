"""One gateway: its limit, its breaker, and counts of what is free behind it.

It knows the proxies behind it by their indices only.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..limits.own_limit import Proven
from .breaker import Breaker
from .limit import GatewayLimit

if TYPE_CHECKING:
    from .limit import GatewayPolicy
    from .rejections import Rejections

# A gateway that says no of one proxy so often in a row, while others get through, that by chance it
# would come this seldom, does not say it for having too much to do.
_BY_CHANCE = 0.0001
# The share of attempts that a gateway rejects is taken to be so much at least.
_SHARE_MIN = 0.2


class Gateway:
    """One gateway, or the whole pool.

    ``nodes``: how many proxies it has; ``serving``: those of them in good standing. ``leases`` and
    ``proxies``: how many could be granted, on how many proxies, as counted in the pool's sums; ``shut``:
    whether none although proxies are free; ``free_members``: the indices of these, ``free_on_members``:
    their free leases. ``failures``: the classes of those of the present run of failures; ``sustained``:
    the limit before it. ``proven``: how many requests at once, of late.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_answered_latest",
        "_free_positions",
        "_rejected",
        "breaker",
        "failures",
        "free_members",
        "free_on_members",
        "leases",
        "limit",
        "name",
        "nodes",
        "position",
        "proven",
        "proxies",
        "serving",
        "shut",
        "sustained",
    )

    def __init__(self, name: str, policy: GatewayPolicy) -> None:
        self.name = name
        self.limit = GatewayLimit(policy)
        self.breaker = Breaker()
        self.proven = Proven()
        self._answered = self._rejected = 0  # attempts
        self._answered_latest = float("-inf")  # when the latest that was answered had been granted
        self.nodes = 0
        self.serving = 0
        self.failures: Counter[str] = Counter()
        self.sustained = self.limit.limit
        self.leases = 0
        self.proxies = 0
        self.shut = False
        self.free_on_members = 0
        self.free_members: list[int] = []
        self._free_positions: dict[int, int] = {}
        self.position: int | None = None

    @property
    def tripped(self) -> bool:
        """Whether nothing but probes goes this way."""
        return self.breaker.tripped_at is not None

    def heard(self, started_at: float, *, rejected: bool) -> None:
        """Take note that an attempt was answered, or rejected because of the load."""
        if rejected:
            self._rejected += 1
        else:
            self._answered += 1
            self._answered_latest = max(self._answered_latest, started_at)

    def rejects_for_itself(self, rejections: Rejections, started_at: float, now: float) -> bool:
        """Take note of a rejection; return whether it is about the proxy, and not about the load.

        :param rejections: that there were of that proxy.
        """
        if not self._answered_latest > rejections.at <= started_at:
            return False  # it says no more than the one before
        # How it went for the others since its last one: rejections come in storms, and in a storm
        # several in a row say nothing.
        answered = self._answered - rejections.answered_before
        rejected = self._rejected - rejections.rejected_before + 1
        rejections.by_chance *= max(_SHARE_MIN, rejected / (rejected + answered))
        rejections.at = now
        rejections.answered_before, rejections.rejected_before = self._answered, self._rejected
        return rejections.by_chance < _BY_CHANCE

    def room(self, now: float) -> int:
        """Return how many requests may go this way now."""
        if self.breaker.tripped_at is None:
            limit = self.limit
            room = int(limit.limit) - limit.in_flight
            return room if room > 0 else 0
        probe = self.breaker.may_probe(now) and self.limit.in_flight < self.limit.hard_cap
        return 1 if probe else 0

    def set_free(self, index: int, before: int, free: int) -> None:
        """Count the free leases of the proxy with an index in place of those that it had ``before``."""
        self.free_on_members += free - before
        if (free > 0) is (before > 0):
            return
        positions, members = self._free_positions, self.free_members
        if free:
            positions[index] = len(members)
            members.append(index)
        else:
            position, last = positions.pop(index), members.pop()
            if last != index:
                members[position] = last
                positions[last] = position
