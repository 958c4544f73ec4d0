"""What an outcome teaches: who pays for it, the proxy, the target or nobody, and how.

Changes healths, and tells the target gate and the evidence; chooses nothing and counts no leases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import CooldownStarted, ProxyOut, ProxyRecovered
from .evidence import Evidence
from .health import HealthState
from .outcome import PROXY_AUTH, Outcome

if TYPE_CHECKING:
    from random import Random

    from .events import EventBus
    from .health import HealthPolicy
    from .lease import Lease
    from .targets import TargetGate

_LATENCY_SMOOTHING = 0.05


class Teacher:
    """Passes outcomes on to whom they concern.

    :param policy: when proxies are sent out.
    :param targets: is told which targets answer.
    :param rng: jitters the cooldowns.
    :param events: is told of cooldowns and recoveries.
    """

    def __init__(
        self, policy: HealthPolicy, targets: TargetGate, rng: Random, events: EventBus
    ) -> None:
        self._policy = policy
        self._targets = targets
        self._rng = rng
        self._events = events
        self._evidence = Evidence()
        self.usual_latency: float | None = None  # of the whole pool, in seconds

    def learn(
        self,
        lease: Lease,
        outcome: Outcome,
        now: float,
        *,
        latency: float | None,
        duration: float | None,  # noqa: ARG002
        failure: str | None,
        gateway_shared: bool,
    ) -> bool:
        """Learn from an ended lease; return whether the proxy pays for it.

        :param latency: seconds to the response's headers.
        :param duration: seconds to the end of the body, or to the failure; nothing is made of it yet.
        :param failure: the class of failure, in a word.
        :param gateway_shared: whether other proxies have the same host and port.
        """
        if outcome is Outcome.IGNORED:
            return False
        if outcome is Outcome.SUCCESS:
            self._targets.answered(lease.target, lease.granted_at, now)
            self._evidence.answered(lease.target, lease.proxy.name)
            self._carried(lease, latency, now)
            return False
        if outcome is Outcome.TARGET_SIGNAL:
            # The proxy has done its work; but a refusal comes faster than a page.
            self._carried(lease, None, now)
            return False
        if failure == PROXY_AUTH:
            return self._refused_credentials(lease, now)
        if outcome is Outcome.AMBIGUOUS:
            blameless = self._evidence.fails_through_others(lease.target, lease.proxy.name)
            self._evidence.failed(lease.target, lease.proxy.name)
            if blameless:
                return False
        health = lease.member.health
        if outcome is Outcome.GATEWAY_FAULT and not gateway_shared:
            # What a lone proxy answers to CONNECT is as often its word on the target.
            others_get_through = self._evidence.answers_through_others(
                lease.target, lease.proxy.name
            )
            self._evidence.failed(lease.target, lease.proxy.name)
            if not others_get_through:
                return False
        elif outcome is Outcome.GATEWAY_FAULT and health.state is not HealthState.PROBING:
            health.blemished(self._policy)
            return False
        if health.failed(lease.generation, now, self._policy, self._rng):
            self._events.emit(
                CooldownStarted(
                    now=now,
                    proxy=lease.member.proxy,
                    until=health.cooldown_until,
                    step=health.cooldowns,
                )
            )
        return True

    def _carried(self, lease: Lease, latency: float | None, now: float) -> None:
        if latency is not None:
            usual = self.usual_latency
            self.usual_latency = (
                latency if usual is None else usual + _LATENCY_SMOOTHING * (latency - usual)
            )
        if lease.member.health.succeeded(latency, lease.generation, self._policy):
            self._events.emit(ProxyRecovered(now=now, proxy=lease.member.proxy))

    def _refused_credentials(self, lease: Lease, now: float) -> bool:
        member = lease.member
        if member.proxy.identity != lease.proxy.identity:
            return False  # the credentials have been changed since
        if member.health.state is not HealthState.OUT:
            member.health.put_out()
            self._events.emit(
                ProxyOut(now=now, proxy=member.proxy, reason="its credentials were refused")
            )
        return True
