"""The gates: what each gateway has room for, counted with the free leases of the proxies behind it.

Keeps the books that choosing reads; what ended leases say about a gateway is judged elsewhere. A
gateway with a single proxy has no gate, unless its policy is set by name.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..gateways.breaker import Breaker
from ..gateways.limit import GatewayLimit, GatewayPolicy
from ..limits.budget import Limit
from ..limits.own_limit import Proven

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from ..proxies.groups import Group
    from ..proxies.health import Health
    from ..proxies.record import Record
    from ..proxies.table import Member

#: What the gate of the whole pool is called.
WHOLE_POOL = ""

# Where most gateways have no room, so many that have are looked at, and so many proxies of each.
_GATES_SAMPLED = 16
_MEMBERS_SAMPLED = 16
# A gateway that says no of one proxy so often in a row, while others get through, that by chance it
# would come this seldom, does not say it for having too much to do.
_BY_CHANCE = 0.0001
# The share of attempts that a gateway rejects is taken to be so much at least.
_SHARE_MIN = 0.2


class Before(NamedTuple):
    """A member's health, and what it was ``before`` a run of failures."""

    member: Member
    health: Health
    before: Health


class Gate:
    """One gateway, or the whole pool.

    ``members``: how many proxies it has; ``serving``: those of them in good standing. ``leases`` and
    ``proxies``: how many could be granted, on how many proxies, as counted in the pool's sums; ``shut``:
    whether none although proxies are free. ``before``: the healths of those that failed in the present
    run of failures, as they were before it; ``groups``: the records of their groups, likewise;
    ``failures``: the classes of these; ``borne``: the limit at
    that time. ``proven``: how many requests at once, of late.
    """

    __slots__ = (
        "_answered",
        "_answered_latest",
        "_free_positions",
        "_rejected",
        "before",
        "borne",
        "breaker",
        "failures",
        "free_members",
        "free_on_members",
        "groups",
        "leases",
        "limit",
        "members",
        "name",
        "position",
        "proven",
        "proxies",
        "serving",
        "shut",
    )

    def __init__(self, name: str, policy: GatewayPolicy) -> None:
        self.name = name
        self.limit = GatewayLimit(policy)
        self.breaker = Breaker()
        self.proven = Proven()
        self._answered = self._rejected = 0  # attempts
        self._answered_latest = float("-inf")  # when the latest that was answered had been granted
        self.members = 0
        self.serving = 0
        self.before: dict[str, Before] = {}
        self.groups: dict[Group, Record] = {}
        self.failures: Counter[str] = Counter()
        self.borne = self.limit.limit
        self.leases = 0
        self.proxies = 0
        self.shut = False
        self.free_on_members = 0
        self.free_members: list[Member] = []
        self._free_positions: dict[int, int] = {}
        self.position: int | None = None

    @property
    def tripped(self) -> bool:
        """Whether nothing but probes goes this way."""
        return self.breaker.tripped_at is not None

    def heard(self, granted_at: float, *, rejected: bool) -> None:
        """Take note that an attempt was answered, or rejected because of the load."""
        if rejected:
            self._rejected += 1
        else:
            self._answered += 1
            self._answered_latest = max(self._answered_latest, granted_at)

    def rejects_for_itself(self, member: Member, granted_at: float, now: float) -> bool:
        """Take note of a rejection; return whether it is about the proxy, and not about the load."""
        if not self._answered_latest > member.rejected_at <= granted_at:
            return False  # it says no more than the one before
        # How it went for the others since its last one: rejections come in storms, and in a storm
        # several in a row say nothing.
        answered = self._answered - member.answered_before
        rejected = self._rejected - member.rejected_before + 1
        member.rejected_by_chance *= max(_SHARE_MIN, rejected / (rejected + answered))
        member.rejected_at = now
        member.answered_before, member.rejected_before = self._answered, self._rejected
        return member.rejected_by_chance < _BY_CHANCE

    def room(self, now: float) -> int:
        """Return how many requests may go this way now."""
        if self.breaker.tripped_at is None:
            limit = self.limit
            room = int(limit.limit) - limit.in_flight
            return room if room > 0 else 0
        probe = self.breaker.may_probe(now) and self.limit.in_flight < self.limit.hard_cap
        return 1 if probe else 0

    def set_free(self, member: Member, free: int) -> None:
        """Count a member's free leases in place of those that it had."""
        self.free_on_members += free - member.free
        if (free > 0) is (member.free > 0):
            return
        positions, members = self._free_positions, self.free_members
        if free:
            positions[member.index] = len(members)
            members.append(member)
        else:
            position, last = positions.pop(member.index), members.pop()
            if last is not member:
                members[position] = last
                positions[last.index] = position


class Gates:
    """The gates of a pool.

    :param default: what holds for gateways that several proxies share.
    :param by_name: what holds instead for some, by ``host:port``, shared or not.
    """

    def __init__(
        self, default: GatewayPolicy, by_name: Mapping[str, GatewayPolicy] | None = None
    ) -> None:
        self._default = default
        self._by_name = dict(by_name or {})
        self._gates: dict[str, Gate] = {}
        self._alone: dict[str, Member] = {}
        self._open: list[Gate] = []
        self.tripped: dict[str, Gate] = {}
        #: How many gates have no room although their members have.
        self.shut = 0
        #: Leases that are out, in all.
        self.in_flight = 0
        #: The gate of the whole pool, which matters only while it is narrowed by an outage.
        self.whole = Gate(WHOLE_POOL, GatewayPolicy(fixed=sys.maxsize))
        self.narrowed = False
        #: Whether anything has tripped, or has not grown back.
        self.disturbed = False
        #: So many answers need not be told to the breaker of the whole pool now.
        self.quiet_answers = 0

    def __iter__(self) -> Iterator[Gate]:
        return iter(self._gates.values())

    def settle(self, gate: Gate) -> None:
        """Take note that a gateway is tripped no longer."""
        self.tripped.pop(gate.name, None)
        self.disturbed = self.narrowed or bool(self.tripped)

    def rotates(self, name: str) -> bool:
        """Return whether each new connection to a gateway has another exit."""
        return self._by_name.get(name, self._default).rotating

    # Who is behind which

    def alone(self, name: str) -> Member | None:
        """Return the only member at a gateway without a gate."""
        return self._alone.get(name)

    def join(self, member: Member) -> None:
        """Take note of a new member, or of a new gateway of one.

        Nothing of it, nor of one that has been alone there, may be counted as free yet.
        """
        name = member.proxy.gateway
        gate = self._gates.get(name)
        if gate is None:
            alone = self._alone.pop(name, None)
            if alone is None and name not in self._by_name:
                self._alone[name] = member
                return
            gate = self._gates[name] = Gate(name, self._by_name.get(name, self._default))
            if alone is not None:
                self._enter(alone, gate)
        self._enter(member, gate)

    @staticmethod
    def _enter(member: Member, gate: Gate) -> None:
        member.gate = gate
        gate.members += 1
        gate.serving += member.serving

    def leave(self, member: Member, name: str) -> None:
        """Take note that a member, which has no free lease any more, has left a gateway."""
        gate, member.gate = member.gate, None
        self.whole.before.pop(member.proxy.name, None)
        if gate is None:
            self._alone.pop(name, None)
            return
        gate.members -= 1
        gate.serving -= member.serving
        gate.before.pop(member.proxy.name, None)
        if not gate.members:
            del self._gates[name]
            self.settle(gate)

    # What is free

    def recount(self, gate: Gate, now: float) -> tuple[int, int]:
        """Compute again what is free behind a gate; return by how much leases and proxies change."""
        room = gate.room(now)
        leases, proxies = gate.free_on_members, len(gate.free_members)
        if room < leases:
            leases = room
            proxies = min(room, proxies)
        changes = leases - gate.leases, proxies - gate.proxies
        gate.leases, gate.proxies = leases, proxies
        shut = gate.free_on_members > 0 and not leases
        if shut is not gate.shut:
            gate.shut = shut
            self.shut += 1 if shut else -1
        if (leases > 0) is (gate.position is not None):
            return changes
        if leases:
            gate.position = len(self._open)
            self._open.append(gate)
        elif gate.position is not None:
            last = self._open.pop()
            if last is not gate:
                self._open[gate.position] = last
                last.position = gate.position
            gate.position = None
        return changes

    def whole_room(self, now: float) -> int:
        """Return how many leases the pool may grant while it is narrowed."""
        self.whole.limit.in_flight = self.in_flight
        return self.whole.room(now)

    def next_probe(self, now: float) -> float | None:
        """Return when, after ``now``, the next probe may go; ``None`` if that is not what is awaited."""
        gates = [*self.tripped.values(), *([self.whole] if self.whole.tripped else ())]
        moments = (gate.breaker.next_probe for gate in gates)
        return min((when for when in moments if when is not None and when > now), default=None)

    def in_service(self, serving: int) -> int:
        """Return how many of so many proxies in good standing are not cut off by an outage."""
        if self.whole.tripped:
            return 0
        return serving - sum(gate.serving for gate in self.tripped.values())

    def reachable(self, member: Member) -> bool:
        """Return whether no outage cuts a member off: of its gateway, or of the whole pool."""
        gate = member.gate
        return not (self.whole.tripped or (gate is not None and gate.tripped))

    # What can be seen

    def limits(self) -> tuple[Limit, ...]:
        """Return the limit of every gate."""
        return tuple(
            Limit(
                kind="gateway",
                name=gate.name,
                limit=0 if gate.tripped or self.whole.tripped else int(gate.limit.limit),
                in_flight=gate.limit.in_flight,
            )
            for gate in self._gates.values()
        )

    def explain(self, others: int) -> Limit:
        """Return what the gates carry together, with what the proxies without one do."""
        limits = self.limits()
        total = sum(limit.limit for limit in limits) + (0 if self.whole.tripped else others)
        if self.narrowed and not self.whole.tripped:
            total = min(total, int(self.whole.limit.limit))
        name = limits[0].name if len(limits) == 1 and not self._alone else ""
        return Limit(kind="gateway", name=name, limit=total, in_flight=self.in_flight)

    # What choosing asks

    def fits(self, member: Member, besides: int = 0) -> bool:
        """Return whether a member's gateway has room for more than ``besides``."""
        gate = member.gate
        return gate is None or gate.leases > besides

    def sample(self, rng: Random) -> list[int]:
        """Return the indices of some free members behind gates with room, and of those without one."""
        gates = self._open
        if len(gates) > _GATES_SAMPLED:
            gates = rng.sample(gates, _GATES_SAMPLED)
        found = [member.index for member in self._alone.values() if member.free]
        for gate in gates:
            members = gate.free_members
            if len(members) > _MEMBERS_SAMPLED:
                members = rng.sample(members, _MEMBERS_SAMPLED)
            found += [member.index for member in members]
        return found
