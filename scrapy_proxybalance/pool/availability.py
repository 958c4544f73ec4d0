"""Who can take a request now, how many, and when that changes next.

Works out each member's free leases anew whenever something happened to it or its time has come, and
keeps the strategies in step. Grants nothing and learns nothing.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from .health import HealthState
from .strategies.active import tell

if TYPE_CHECKING:
    from .ledger import Ledger
    from .members import Member, Members
    from .strategies.active import Strategies


class Availability:
    """The members' free leases.

    :param members: whose.
    :param ledger: knows what they hold.
    :param strategies: are told of every change.
    """

    def __init__(self, members: Members, ledger: Ledger, strategies: Strategies) -> None:
        self._members = members
        self._ledger = ledger
        self._strategies = strategies
        self._timers: list[tuple[float, int]] = []
        #: How many leases could be granted, on how many members, and how many members are in good
        #: standing.
        self.free = 0
        self.free_members = 0
        self.serving = 0

    def advance(self, now: float) -> None:
        """Look again at every member whose time has come."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            when, index = heappop(timers)
            member = self._members.at(index)
            if member.timer == when:
                member.timer = None
                self.refresh(member, now)

    def next_change(self) -> float | None:
        """Return when a cooldown or a rate next sets a member free, or ``None`` if none will."""
        timers = self._timers
        while timers and self._members.at(timers[0][1]).timer != timers[0][0]:
            heappop(timers)  # overtaken by what happened since
        return timers[0][0] if timers else None

    def refresh(self, member: Member, now: float) -> None:
        """Work out anew how many leases a member can take."""
        name, health = member.proxy.name, member.health
        free = 0
        if not member.draining and health.state is not HealthState.OUT:
            if health.state is HealthState.COOLING and now >= health.cooldown_until:
                health.begin_probe()
            if health.state is HealthState.COOLING:
                self._ledger.rest(name, health.cooldown_until)
                self._wake(member, health.cooldown_until)
            else:
                if health.state is not HealthState.PROBING or not member.probe_out:
                    free = self._ledger.available(name, now)
                if health.state is HealthState.PROBING:
                    free = min(1, free)
                if not free and self._ledger.ready_at(name) > now:
                    self._wake(member, self._ledger.ready_at(name))
        self.free += free - member.free
        if (free > 0) is not (member.free > 0):
            self.free_members += 1 if free else -1
        member.free = free
        if member.serving is not member.in_good_standing:
            member.serving = not member.serving
            self.serving += 1 if member.serving else -1
        member.in_flight = self._ledger.in_flight(name)
        for strategy in self._strategies.in_use:
            tell(strategy, member)

    def _wake(self, member: Member, when: float) -> None:
        if member.timer != when:
            member.timer = when
            heappush(self._timers, (when, member.index))
