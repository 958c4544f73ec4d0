"""What ended leases say about gateways and the pool: limits, trips, and what is taken back for them.

Stands before learning: what an outage has done is nobody else's fault. It chooses nothing.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

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

if TYPE_CHECKING:
    from ..attempt import Attempt
    from ..events import EventBus
    from ..gateways.gateway import Gateway
    from ..proxies.groups import Group
    from ..proxies.health import Health
    from ..proxies.record import Record
    from ..proxies.table import Node
    from .availability import Availability
    from .gateways import Gateways

# Answers are told to the breaker of the whole pool so many at a time, while nothing fails.
_QUIET_ANSWERS = 16
_NOT_IN_SERVICE = (COOLING, PROBING, OUT)
# What a pool whose outage is over grows back to, at least.
_WHOLE_BORNE_MIN = 8


def _is_sure(outcome: Outcome, failure: str) -> bool:
    """Return whether no target can have caused a failure."""
    return outcome is PROXY_FAULT and failure in BEFORE_THE_TARGET


class Before(NamedTuple):
    """A node's health, and what it was ``before`` a run of failures."""

    node: Node
    health: Health
    before: Health


class FailureRun:
    """What a run of failures at one gateway has cost.

    ``before``: the healths of those that failed in it, by their names, as they were before it;
    ``groups``: the records of their groups, likewise.
    """

    __slots__ = ("before", "groups")

    def __init__(self) -> None:
        self.before: dict[str, Before] = {}
        self.groups: dict[Group, Record] = {}


class Outages:
    """Watches how leases end.

    :param gateways: whose limits and breakers are told.
    :param availability: is told what changes.
    :param events: is told of outages.
    """

    def __init__(self, gateways: Gateways, availability: Availability, events: EventBus) -> None:
        self._gateways = gateways
        self._availability = availability
        self._events = events
        # Of the whole pool, and of the gateways at which something has failed.
        self._runs: WeakKeyDictionary[Gateway, FailureRun] = WeakKeyDictionary()
        self._runs[gateways.whole] = FailureRun()

    def granted(self, attempt: Attempt, now: float) -> None:
        """Count an attempt that goes out; it is a probe if its gateway, or the pool, has tripped.

        Need not be called for one without a gateway while nothing is disturbed.
        """
        whole, gateway = self._gateways.whole, attempt.gateway
        if gateway is not None:
            gateway.limit.granted()
            if gateway.tripped:
                attempt.gateway_probe = True
                gateway.breaker.probe(now)
        if whole.tripped:
            attempt.pool_probe = True
            whole.breaker.probe(now)

    def ended(
        self,
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        *,
        latency: float | None,
        failure: str | None,
        answered: bool,
        repeated: bool,
    ) -> bool:
        """Learn from an attempt that has ended; return whether an outage was to blame for its failure.

        :param answered: that its target has answered, so that it got through, whatever was said.
        :param repeated: that its gateway has said no of the same proxy so often that it is not the load.

        Need not be called for a success without a gateway as often as ``Gateways.quiet_answers`` says.
        """
        gateways, gateway = self._gateways, attempt.gateway
        excused = False
        if answered:
            if gateway is not None:
                gateway.heard(attempt.started_at, rejected=False)
                gateway.limit.answered(
                    attempt.started_at,
                    latency if outcome is SUCCESS else None,
                    attempt.timed_as,
                    now,
                )
                if gateway.breaker.answered(attempt.target, attempt.started_at, now):
                    self._reopen(gateway, now)
            whole = gateways.whole
            whole.breaker.count(_QUIET_ANSWERS - gateways.quiet_answers)
            if whole.breaker.answered(attempt.target, attempt.started_at, now):
                self._reopen(whole, now)
            elif gateways.narrowed and not whole.tripped:
                self._widen(attempt, now)
            gateways.quiet_answers = 0 if gateways.narrowed else _QUIET_ANSWERS
        elif outcome is not IGNORED:
            excused = self._failed(
                attempt, outcome, failure or outcome.value, now, repeated=repeated
            )
        if gateway is not None:
            gateway.limit.in_flight -= 1
            if attempt.gateway_probe:
                gateway.breaker.probes_out -= 1
            if gateway is not attempt.node.gateway:
                self._availability.recount(gateway, now)
        if attempt.pool_probe:
            gateways.whole.breaker.probes_out -= 1
        return excused

    def explained(self, attempt: Attempt) -> bool:
        """Return whether an attempt's target fails by itself, while others get through the same way."""
        gateway = attempt.gateway
        return self._gateways.whole.breaker.explains(attempt.target) or (
            gateway is not None and gateway.breaker.explains(attempt.target)
        )

    def nobody_serves(self, attempt: Attempt, now: float) -> None:
        """Take it for an outage if the last proxies of a gateway, or of the pool, have just cooled down.

        That takes a run of failures that looks like one: nobody is left to make it longer.
        """
        for gateway in (attempt.gateway, self._gateways.whole):
            if gateway is None or gateway.tripped or not gateway.breaker.suspicious:
                continue
            serving = (
                self._availability.serving if gateway is self._gateways.whole else gateway.serving
            )
            if not serving:
                gateway.breaker.trip(now)
                self._trip(gateway, now)
                attempt.outage_suspected = True

    def forget(self, node: Node) -> None:
        """Keep nothing of a node that is about to leave its gateway."""
        for gateway in (self._gateways.whole, node.gateway):
            if gateway is not None and gateway in self._runs:
                self._runs[gateway].before.pop(node.proxy.name, None)

    # Failures

    def _failed(
        self, attempt: Attempt, outcome: Outcome, failure: str, now: float, *, repeated: bool
    ) -> bool:
        whole, gateway = self._gateways.whole, attempt.gateway
        overload = False
        if gateway is not None:
            rejected = outcome is GATEWAY_FAULT and not failure.startswith(NOT_FOR_THE_LOAD)
            if rejected and not (repeated or gateway.tripped or self.explained(attempt)):
                gateway.heard(attempt.started_at, rejected=True)
                overload = gateway.limit.rejected(attempt.started_at, now)
            if gateway.nodes:  # else they have all moved away
                self._note(gateway, attempt, outcome, failure, now)
        if self._gateways.quiet_answers:
            whole.breaker.count(_QUIET_ANSWERS - self._gateways.quiet_answers)
            self._gateways.quiet_answers = 0
        reliable = attempt.node.answered and (
            attempt.node.health.state is HEALTHY
            # or was, before it paid for the present run of failures
            or (whole.breaker.running > 0 and attempt.proxy.name in self._runs[whole].before)
        )
        if reliable and not (gateway is not None and gateway.tripped):
            # That one fails which is on trial, or has never answered, says nothing about the others.
            self._note(whole, attempt, outcome, failure, now)
        out = whole.tripped or (gateway is not None and gateway.tripped)
        attempt.outage_suspected = (attempt.outage_suspected or out) and (
            _is_sure(outcome, failure) or not self.explained(attempt)
        )
        return overload or (out and failure != PROXY_AUTH)

    def _note(
        self, gateway: Gateway, attempt: Attempt, outcome: Outcome, failure: str, now: float
    ) -> None:
        """Take note of a failure at a gateway, and trip it if that is the last straw."""
        breaker, node = gateway.breaker, attempt.node
        before, was_tripped = breaker.signs, gateway.tripped
        whole = gateway is self._gateways.whole
        trips = breaker.failed(
            attempt.proxy.gateway if whole else attempt.proxy.name,
            attempt.target,
            attempt.started_at,
            now,
            sure=_is_sure(outcome, failure),
            gateways_word=not whole and (outcome is not AMBIGUOUS or failure in WITHOUT_A_WORD),
            prompt=outcome is PROXY_FAULT or failure in WITHOUT_A_WORD,
            credentials=failure == PROXY_AUTH,
            proxies=2 if whole else gateway.nodes,
        )
        if was_tripped and not gateway.tripped:
            self._reopen(gateway, now, explained_by=attempt.target)
            return
        if breaker.signs > before:
            if not before:
                self._runs[gateway] = FailureRun()
                gateway.failures.clear()
                gateway.sustained = self._sustained(gateway)
            gateway.failures[failure] += 1
            attempt.outage_suspected = attempt.outage_suspected or breaker.suspicious
        elif not gateway.tripped:
            return
        self._remember(gateway, node)
        if trips:
            self._trip(gateway, now)
            if failure == PROXY_AUTH:
                self._remember(gateway, node)  # it will be out in a moment

    def _remember(self, gateway: Gateway, node: Node) -> None:
        """Keep a node's health as it is before it pays for what has happened."""
        run = self._runs[gateway]
        if node.in_good_standing and node.proxy.name not in run.before:
            run.before[node.proxy.name] = Before(node, node.health, copy(node.health))
            for group in (node.group.top, node.group):
                if group not in run.groups:
                    run.groups[group] = copy(group.record)

    def _sustained(self, gateway: Gateway) -> float:
        """Return what a gateway is known to bear."""
        gateways = self._gateways
        if gateway is not gateways.whole:
            return gateway.limit.sustained
        return max(float(gateways.in_flight), gateway.limit.sustained if gateways.narrowed else 0.0)

    def _trip(self, gateway: Gateway, now: float) -> None:
        gateways = self._gateways
        [(failure, _)] = gateway.failures.most_common(1)
        if gateway is gateways.whole:
            gateways.narrowed = True
            gateways.disturbed = True
            self._events.emit(
                PoolTripped(now=now, failure=failure, targets=gateway.breaker.suspects)
            )
        else:
            gateways.tripped[gateway.name] = gateway
            gateways.disturbed = True
            self._events.emit(
                GatewayTripped(
                    now=now,
                    gateway=gateway.name,
                    failure=failure,
                    proxies=gateway.nodes,
                    targets=gateway.breaker.suspects,
                )
            )
        run = self._runs[gateway]
        for group, record in run.groups.items():
            group.put_back(record, now)
        run.groups.clear()
        # Those whose credentials were refused stay out until something gets through.
        self._take_back(gateway, now, out=False)

    def _take_back(self, gateway: Gateway, now: float, *, out: bool) -> None:
        """Give those that paid for an outage back the health that they had before it."""
        run = self._runs.get(gateway)
        if run is None:
            return
        for name, known in list(run.before.items()):
            node, health, before = known.node, known.health, known.before
            if health.state is OUT and not out:
                continue
            del run.before[name]
            if node.health is not health:
                continue  # it has been taken back already, or has new credentials
            before.generation = health.generation + 1
            node.health = before
            self._availability.take_back(node, now)
            if health.state in _NOT_IN_SERVICE:
                self._events.emit(CooldownTakenBack(now=now, proxy=node.proxy))

    # The end of an outage

    def _reopen(self, gateway: Gateway, now: float, explained_by: str | None = None) -> None:
        """Let traffic grow back.

        :param explained_by: the target that fails by itself, where that was all.
        """
        if gateway is self._gateways.whole:
            self._reopen_pool(now, explained_by)
        else:
            self._reopen_gateway(gateway, now, explained_by)

    def _reopen_gateway(self, gateway: Gateway, now: float, explained_by: str | None) -> None:
        self._gateways.settle(gateway)
        gateway.limit.restart(gateway.sustained, now)
        self._take_back(gateway, now, out=True)
        self._availability.recount(gateway, now)
        self._events.emit(
            GatewayReopened(
                now=now,
                gateway=gateway.name,
                seconds=gateway.breaker.lasted,
                explained_by=explained_by,
            )
        )

    def _reopen_pool(self, now: float, explained_by: str | None) -> None:
        whole = self._gateways.whole
        sustained = max(_WHOLE_BORNE_MIN, int(whole.sustained))
        whole.limit = GatewayLimit(GatewayPolicy(max_in_flight=sustained))
        whole.limit.restart(float(sustained), now)
        self._take_back(whole, now, out=True)
        self._events.emit(
            PoolReopened(now=now, seconds=whole.breaker.lasted, explained_by=explained_by)
        )

    def _widen(self, attempt: Attempt, now: float) -> None:
        """Let the pool's traffic grow back, and go without a limit when it has."""
        gateways = self._gateways
        limit = gateways.whole.limit
        limit.in_flight = gateways.in_flight
        limit.answered(attempt.started_at, None, attempt.target, now)
        if not limit.restarting:
            gateways.narrowed = False
            gateways.disturbed = bool(gateways.tripped)
            self._availability.limit(now)
