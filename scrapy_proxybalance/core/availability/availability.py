"""Who can take a request now, how many, and when that changes next.

Computes each member's free leases again whenever something happened to it or its time has come, and
keeps the strategies in step. Grants nothing and learns nothing.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ..proxies.health import COOLING, OUT
from ..proxies.score import load_factor
from ..strategies.active import tell

if TYPE_CHECKING:
    from ..limits.ledger import Ledger
    from ..proxies.table import Member, Members
    from ..strategies.active import Strategies
    from .gateways import Gate, Gates

# A probe that succeeds has so many others made at once.
_BROUGHT_FORWARD = 3
# So many that are due next are looked at for them.
_LOOKED_AT = 16


class Availability:
    """The members' free leases.

    :param members: whose.
    :param ledger: knows what they hold.
    :param strategies: are told of every change.
    :param gates: know what the gateways have room for.
    """

    def __init__(
        self, members: Members, ledger: Ledger, strategies: Strategies, gates: Gates
    ) -> None:
        self._members = members
        self._gates = gates
        self._ledger = ledger
        self._strategies = strategies
        self._timers: list[tuple[float, int]] = []
        self._looked_at = float("-inf")
        self._hidden = 0  # leases that would be free, were it not for an outage of the pool
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
        if self._gates.disturbed:
            self._looked_at = now
            for gate in self._gates.tripped.values():
                self.recount(gate, now)
            self.limit(now)

    def next_change(self) -> float | None:
        """Return when a cooldown, a rate or a probe next sets a member free; ``None`` if none will."""
        timers = self._timers
        while timers and self._members.at(timers[0][1]).timer != timers[0][0]:
            heappop(timers)  # overtaken by what happened since
        moment = timers[0][0] if timers else None
        probe_at = self._gates.next_probe(self._looked_at)
        if probe_at is not None and (moment is None or probe_at < moment):
            return probe_at
        return moment

    def refresh(self, member: Member, now: float) -> None:
        """Compute again how many leases a member can take."""
        name, health = member.proxy.name, member.health
        free, serving = 0, member.in_good_standing
        if serving:
            free = self._ledger.available(name, now)
            carries = member.carries
            if carries < member.cap:
                free = max(0, min(free, carries - self._ledger.in_flight(name)))
            if not free and self._ledger.ready_at(name) > now:
                self._wake(member, self._ledger.ready_at(name))
        elif member.draining:
            member.timer = None  # no time brings it back
        else:
            resting = health.state is COOLING or health.state is OUT
            if resting and now >= health.cooldown_until:
                health.begin_probe()
                resting = False
            if resting:
                self._ledger.rest(name, health.cooldown_until)
                self._wake(member, health.cooldown_until)
            else:
                if not member.probe_out:
                    free = min(1, self._ledger.available(name, now))
                if not free and self._ledger.ready_at(name) > now:
                    self._wake(member, self._ledger.ready_at(name))
        if member.gate is not None:
            self._set_free_behind(member.gate, member, free, now)
        elif free != member.free:
            self._set_free(member, free)
        if self._gates.narrowed:
            self.limit(now)
        if member.serving is not serving:
            member.serving = serving
            change = 1 if serving else -1
            self.serving += change
            if member.gate is not None:
                member.gate.serving += change
        in_flight = member.in_flight = self._ledger.in_flight(name)
        member.load = load_factor(in_flight, member.cap) if in_flight else 1.0
        for strategy in self._strategies.in_use:
            tell(strategy, member)

    def bring_forward(self, now: float) -> list[Member]:
        """End the cooldowns that would end next: who comes back seldom comes back alone.

        :return: of whom.
        """
        brought: list[Member] = []
        out: list[tuple[float, int]] = []
        for _ in range(_LOOKED_AT):
            self.next_change()  # clears away what was overtaken
            if not self._timers or len(brought) == _BROUGHT_FORWARD:
                break
            member = self._members.at(self._timers[0][1])
            if member.health.state is OUT:
                out.append(heappop(self._timers))  # another proxy's answer says nothing of that
                continue
            if member.health.state is not COOLING:
                break  # a rate comes first
            heappop(self._timers)
            self.end_cooldown(member, now)
            brought.append(member)
        for timer in out:
            heappush(self._timers, timer)
        return brought

    def end_cooldown(self, member: Member, now: float) -> bool:
        """Let a member be probed now; return whether it was cooling down."""
        if member.health.state is not COOLING:
            return False
        member.timer = None
        member.health.cooldown_until = now
        self._ledger.rest(member.proxy.name, now)
        self.refresh(member, now)
        return True

    def take_back(self, member: Member, now: float) -> None:
        """Count a member again whose cooldown, or time out of the pool, is as if it had not been."""
        member.priced_at = float("-inf")
        member.probe_out = False
        self._ledger.rest(member.proxy.name, float("-inf"))
        self.refresh(member, now)

    def withdraw(self, member: Member, now: float) -> None:
        """Count nothing as free on a member."""
        if member.gate is not None:
            self._set_free_behind(member.gate, member, 0, now)
        else:
            self._set_free(member, 0)

    def recount(self, gate: Gate, now: float) -> None:
        """Count again what is free behind a gate."""
        leases, members = self._gates.recount(gate, now)
        self.free += leases
        self.free_members += members

    def limit(self, now: float) -> None:
        """Count no more as free than the whole pool may grant."""
        free = self.free + self._hidden
        self.free = min(free, self._gates.whole_room(now)) if self._gates.narrowed else free
        self._hidden = free - self.free

    def _set_free(self, member: Member, free: int) -> None:
        self.free += free - member.free
        if (free > 0) is not (member.free > 0):
            self.free_members += 1 if free else -1
        member.free = free

    def _set_free_behind(self, gate: Gate, member: Member, free: int, now: float) -> None:
        if free != member.free:
            gate.set_free(member, free)
            member.free = free
        self.recount(gate, now)

    def _wake(self, member: Member, when: float) -> None:
        if member.timer != when:
            member.timer = when
            heappush(self._timers, (when, member.index))
