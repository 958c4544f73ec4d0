"""What ended leases say about gateways and the pool: limits, trips, and what is taken back for them.

Stands before learning: what an outage has done is nobody else's fault. It chooses nothing.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from ..events import CooldownTakenBack, GatewayReopened, GatewayTripped, PoolReopened, PoolTripped
from ..gateways.limit import GatewayLimit, GatewayPolicy
from ..outcome import (
    AMBIGUOUS,
    BEFORE_THE_TARGET,
    GATEWAY_FAULT,
    IGNORED,
    NOT_FOR_THE_LOAD,
    PROXY_AUTH,
    PROXY_FAULT,
    SUCCESS,
    WITHOUT_A_WORD,
    Outcome,
)
from ..proxies.health import COOLING, HEALTHY, OUT, PROBING
from .gateways import Before

if TYPE_CHECKING:
    from ..events import EventBus
    from ..lease import Lease
    from ..proxies.table import Member
    from .availability import Availability
    from .gateways import Gate, Gates

# Answers are told to the breaker of the whole pool so many at a time, while nothing fails.
_QUIET_ANSWERS = 16
_NOT_IN_SERVICE = (COOLING, PROBING, OUT)
# What a pool whose outage is over grows back to, at least.
_WHOLE_BORNE_MIN = 8


def _is_sure(outcome: Outcome, failure: str) -> bool:
    """Return whether no target can have caused a failure."""
    return outcome is PROXY_FAULT and failure in BEFORE_THE_TARGET


class Outages:
    """Watches how leases end.

    :param gates: whose limits and breakers are told.
    :param availability: is told what changes.
    :param events: is told of outages.
    """

    def __init__(self, gates: Gates, availability: Availability, events: EventBus) -> None:
        self._gates = gates
        self._availability = availability
        self._events = events

    def granted(self, lease: Lease, now: float) -> None:
        """Count a lease that goes out; it is a probe if its gateway, or the pool, has tripped.

        Need not be called for one without a gate while nothing is disturbed.
        """
        whole, gate = self._gates.whole, lease.gate
        if gate is not None:
            gate.limit.granted()
            if gate.tripped:
                lease.gateway_probe = True
                gate.breaker.probe(now)
        if whole.tripped:
            lease.pool_probe = True
            whole.breaker.probe(now)

    def ended(
        self,
        lease: Lease,
        outcome: Outcome,
        now: float,
        *,
        latency: float | None,
        failure: str | None,
        answered: bool,
        repeated: bool,
    ) -> bool:
        """Learn from a lease that has ended; return whether an outage was to blame for its failure.

        :param answered: that its target has answered, so that it got through, whatever was said.
        :param repeated: that its gateway has said no of the same proxy so often that it is not the load.

        Need not be called for a success without a gate as often as ``Gates.quiet_answers`` says.
        """
        gates, gate = self._gates, lease.gate
        excused = False
        if answered:
            if gate is not None:
                gate.heard(lease.granted_at, rejected=False)
                gate.limit.answered(
                    lease.granted_at,
                    latency if outcome is SUCCESS else None,
                    lease.timed_as,
                    now,
                )
                if gate.breaker.answered(lease.target, lease.granted_at, now):
                    self._reopen(gate, now)
            whole = gates.whole
            whole.breaker.count(_QUIET_ANSWERS - gates.quiet_answers)
            if whole.breaker.answered(lease.target, lease.granted_at, now):
                self._reopen(whole, now)
            elif gates.narrowed and not whole.tripped:
                self._widen(lease, now)
            gates.quiet_answers = 0 if gates.narrowed else _QUIET_ANSWERS
        elif outcome is not IGNORED:
            excused = self._failed(lease, outcome, failure or outcome.value, now, repeated=repeated)
        if gate is not None:
            gate.limit.in_flight -= 1
            if lease.gateway_probe:
                gate.breaker.probes_out -= 1
            if gate is not lease.member.gate:
                self._availability.recount(gate, now)
        if lease.pool_probe:
            gates.whole.breaker.probes_out -= 1
        return excused

    def explained(self, lease: Lease) -> bool:
        """Return whether a lease's target fails by itself, while others get through the same way."""
        gate = lease.gate
        return self._gates.whole.breaker.explains(lease.target) or (
            gate is not None and gate.breaker.explains(lease.target)
        )

    def nobody_serves(self, lease: Lease, now: float) -> None:
        """Take it for an outage if the last proxies of a gateway, or of the pool, have just cooled down.

        That takes a run of failures that looks like one: nobody is left to make it longer.
        """
        for gate in (lease.gate, self._gates.whole):
            if gate is None or gate.tripped or not gate.breaker.suspicious:
                continue
            serving = self._availability.serving if gate is self._gates.whole else gate.serving
            if not serving:
                gate.breaker.trip(now)
                self._trip(gate, now)
                lease.outage_suspected = True

    # Failures

    def _failed(
        self, lease: Lease, outcome: Outcome, failure: str, now: float, *, repeated: bool
    ) -> bool:
        whole, gate = self._gates.whole, lease.gate
        overload = False
        if gate is not None:
            rejected = outcome is GATEWAY_FAULT and not failure.startswith(NOT_FOR_THE_LOAD)
            if rejected and not (repeated or gate.tripped or self.explained(lease)):
                gate.heard(lease.granted_at, rejected=True)
                overload = gate.limit.rejected(lease.granted_at, now)
            if gate.members:  # else they have all moved away
                self._note(gate, lease, outcome, failure, now)
        if self._gates.quiet_answers:
            whole.breaker.count(_QUIET_ANSWERS - self._gates.quiet_answers)
            self._gates.quiet_answers = 0
        reliable = lease.member.answered and (
            lease.member.health.state is HEALTHY
            # or was, before it paid for the present run of failures
            or (whole.breaker.running > 0 and lease.proxy.name in whole.before)
        )
        if reliable and not (gate is not None and gate.tripped):
            # That one fails which is on trial, or has never answered, says nothing about the others.
            self._note(whole, lease, outcome, failure, now)
        out = whole.tripped or (gate is not None and gate.tripped)
        lease.outage_suspected = (lease.outage_suspected or out) and (
            _is_sure(outcome, failure) or not self.explained(lease)
        )
        return overload or (out and failure != PROXY_AUTH)

    def _note(self, gate: Gate, lease: Lease, outcome: Outcome, failure: str, now: float) -> None:
        """Take note of a failure at a gate, and trip it if that is the last straw."""
        breaker, member = gate.breaker, lease.member
        before, was_tripped = breaker.signs, gate.tripped
        whole = gate is self._gates.whole
        trips = breaker.failed(
            lease.proxy.gateway if whole else lease.proxy.name,
            lease.target,
            lease.granted_at,
            now,
            sure=_is_sure(outcome, failure),
            gateways_word=not whole and (outcome is not AMBIGUOUS or failure in WITHOUT_A_WORD),
            prompt=outcome is PROXY_FAULT or failure in WITHOUT_A_WORD,
            credentials=failure == PROXY_AUTH,
            proxies=2 if whole else gate.members,
        )
        if was_tripped and not gate.tripped:
            self._reopen(gate, now, explained_by=lease.target)
            return
        if breaker.signs > before:
            if not before:
                gate.before.clear()
                gate.groups.clear()
                gate.failures.clear()
                gate.borne = self._borne(gate)
            gate.failures[failure] += 1
            lease.outage_suspected = lease.outage_suspected or breaker.suspicious
        elif not gate.tripped:
            return
        self._remember(gate, member)
        if trips:
            self._trip(gate, now)
            if failure == PROXY_AUTH:
                self._remember(gate, member)  # it will be out in a moment

    @staticmethod
    def _remember(gate: Gate, member: Member) -> None:
        """Keep a member's health as it is before it pays for what has happened."""
        if member.in_good_standing and member.proxy.name not in gate.before:
            gate.before[member.proxy.name] = Before(member, member.health, copy(member.health))
            for group in (member.group.top, member.group):
                if group not in gate.groups:
                    gate.groups[group] = copy(group.record)

    def _borne(self, gate: Gate) -> float:
        """Return what a gate is known to bear."""
        gates = self._gates
        if gate is not gates.whole:
            return gate.limit.borne
        return max(float(gates.in_flight), gate.limit.borne if gates.narrowed else 0.0)

    def _trip(self, gate: Gate, now: float) -> None:
        gates = self._gates
        [(failure, _)] = gate.failures.most_common(1)
        if gate is gates.whole:
            gates.narrowed = True
            gates.disturbed = True
            self._events.emit(PoolTripped(now=now, failure=failure, targets=gate.breaker.suspects))
        else:
            gates.tripped[gate.name] = gate
            gates.disturbed = True
            self._events.emit(
                GatewayTripped(
                    now=now,
                    gateway=gate.name,
                    failure=failure,
                    proxies=gate.members,
                    targets=gate.breaker.suspects,
                )
            )
        for group, record in gate.groups.items():
            group.put_back(record, now)
        gate.groups.clear()
        # Those whose credentials were refused stay out until something gets through.
        self._take_back(gate, now, out=False)

    def _take_back(self, gate: Gate, now: float, *, out: bool) -> None:
        """Give those that paid for an outage back the health that they had before it."""
        for name, known in list(gate.before.items()):
            member, health, before = known.member, known.health, known.before
            if health.state is OUT and not out:
                continue
            del gate.before[name]
            if member.health is not health:
                continue  # it has been taken back already, or has new credentials
            before.generation = health.generation + 1
            member.health = before
            self._availability.take_back(member, now)
            if health.state in _NOT_IN_SERVICE:
                self._events.emit(CooldownTakenBack(now=now, proxy=member.proxy))

    # The end of an outage

    def _reopen(self, gate: Gate, now: float, explained_by: str | None = None) -> None:
        """Let traffic grow back.

        :param explained_by: the target that fails by itself, where that was all.
        """
        if gate is self._gates.whole:
            self._reopen_pool(now, explained_by)
        else:
            self._reopen_gateway(gate, now, explained_by)

    def _reopen_gateway(self, gate: Gate, now: float, explained_by: str | None) -> None:
        self._gates.settle(gate)
        gate.limit.restart(gate.borne, now)
        self._take_back(gate, now, out=True)
        self._availability.recount(gate, now)
        self._events.emit(
            GatewayReopened(
                now=now,
                gateway=gate.name,
                seconds=gate.breaker.lasted,
                explained_by=explained_by,
            )
        )

    def _reopen_pool(self, now: float, explained_by: str | None) -> None:
        whole = self._gates.whole
        borne = max(_WHOLE_BORNE_MIN, int(whole.borne))
        whole.limit = GatewayLimit(GatewayPolicy(fixed=borne))
        whole.limit.restart(float(borne), now)
        self._take_back(whole, now, out=True)
        self._events.emit(
            PoolReopened(now=now, seconds=whole.breaker.lasted, explained_by=explained_by)
        )

    def _widen(self, lease: Lease, now: float) -> None:
        """Let the pool's traffic grow back, and go without a limit when it has."""
        gates = self._gates
        limit = gates.whole.limit
        limit.in_flight = gates.in_flight
        limit.answered(lease.granted_at, None, lease.target, now)
        if not limit.restarting:
            gates.narrowed = False
            gates.disturbed = bool(gates.tripped)
            self._availability.limit(now)
