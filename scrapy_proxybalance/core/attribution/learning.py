"""What an outcome teaches: who is charged, the proxy, the gateway, the target or nobody, and how much.

Changes healths and groups, and tells the target gate; chooses nothing and counts no leases. Whoever
is told of a change finds the pool as it is since then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import CooldownStarted, CooldownTakenBack, ProxyOut, ProxyRecovered
from ..outcome import (
    GATEWAY_FAULT,
    IGNORED,
    PROXY_AUTH,
    PROXY_FAULT,
    SUCCESS,
    TARGET_SIGNAL,
    Outcome,
)
from ..proxies.health import OUT, PROBING
from ..proxies.typical_times import TypicalTimes
from .blame import Blame
from .comparison import own_rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ..attempt import Attempt
    from ..availability.availability import Availability
    from ..events import Event, EventBus
    from ..proxies.health import HealthPolicy
    from ..proxies.table import Node
    from ..targets.gate import TargetGate

# A single answer counts as no faster and no slower than this many times the usual.
_FASTEST, _SLOWEST = 0.05, 20.0
# Where a gateway says that it could not, the proxy itself is so much less likely the cause.
_ITS_OWN_WORD = 0.3
# A useless answer of which so little is the proxy's has come from the target.
_HARDLY = 0.25
# What a proxy is charged for refusing its credentials once, which may have many causes.
_ONE_REFUSAL = 0.3


class Learner:
    """Passes outcomes on to whom they concern.

    :param policy: when proxies are sent out.
    :param targets: is told which targets answer.
    :param rng: jitters the cooldowns.
    :param events: is told of cooldowns and recoveries.
    :param availability: counts who is in service.
    :param varied: whether an attempt's proxy has another exit each time, or is the pool's only one.
    """

    def __init__(
        self,
        policy: HealthPolicy,
        targets: TargetGate,
        rng: Random,
        events: EventBus,
        availability: Availability,
        varied: Callable[[Attempt], bool],
    ) -> None:
        self._policy = policy
        self._targets = targets
        self._rng = rng
        self._events = events
        self._availability = availability
        self._blame = Blame()
        self._varied = varied
        self.usual = TypicalTimes()

    def learn(
        self,
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        *,
        expectation: tuple[float, float, float],
        duration: float | None,
        failure: str | None,
        gateway_shared: bool,
        part: float | None = None,
        page: str | None = None,
        doubtful: bool = False,
    ) -> float:
        """Learn from an ended attempt; return the part of a failure that the proxy is charged, 0 to 1.

        :param expectation: what was to be expected of it, see :func:`expected`.
        :param duration: seconds to the end of the body, or to the failure; ``None`` if not known.
        :param failure: the class of failure, in a word.
        :param gateway_shared: whether other proxies have the same host and port.
        :param part: the proxy's part, where a comparison of answers has said so already.
        :param page: what was asked for.
        :param doubtful: whether refused credentials may be about the target: see ``Refusals.add``.
        """
        if outcome is IGNORED:
            return 0.0
        if outcome is SUCCESS or outcome is TARGET_SIGNAL:
            node = attempt.node
            # Else it was through other credentials, or may be the proxy's own page.
            if attempt.generation >= node.known_since and (part is None or part < _HARDLY):
                node.answered = True
                node.useful = node.useful or outcome is SUCCESS
                node.refusals.clear()
        if outcome is SUCCESS:
            self._targets.answered(attempt.target, attempt.started_at, now)
            if part is not None:
                # A useless answer is no success, and says nothing about speed.
                return self._pays(attempt, part, None, now)
            self._carried(attempt, expectation[1], duration, now, gateway_shared=gateway_shared)
            return 0.0
        if outcome is TARGET_SIGNAL:
            # The proxy has done its work; but a refusal comes faster than a page.
            self._carried(attempt, expectation[1], None, now, gateway_shared=gateway_shared)
            return 0.0
        if failure == PROXY_AUTH:
            return self._refused_credentials(attempt, page, now, doubtful=doubtful)
        if part is not None:
            return self._pays(attempt, part, duration, now)
        rate = own_rate(expectation[0], failure)
        share = self._share(attempt, outcome, rate, now, gateway_shared=gateway_shared)
        return self._pays(attempt, share, duration, now)

    def acquit(self, node: Node, part: float, generation: int, now: float) -> None:
        """Take back what a failure has cost a proxy; see :meth:`Pool.acquit`."""
        node.priced_at = float("-inf")
        if node.health.acquit(part, generation):
            self._availability.take_back(node, now)
            self._events.emit(CooldownTakenBack(now=now, proxy=node.proxy))

    def _suspects(self, attempt: Attempt, *, gateway_shared: bool) -> tuple[str, ...]:
        if gateway_shared:
            return (attempt.target, f"gateway {attempt.proxy.gateway}")
        return (attempt.target,)

    def _carried(
        self,
        attempt: Attempt,
        own: float,
        duration: float | None,
        now: float,
        *,
        gateway_shared: bool,
    ) -> None:
        node, usual = attempt.node, self.usual
        health, group = node.health, node.group
        self._blame.succeeded(self._suspects(attempt, gateway_shared=gateway_shared), now)
        slowness = own
        if duration is not None:
            timed_as = attempt.timed_as
            relative = usual.relative(timed_as, duration)
            if relative is not None:
                slowness = min(_SLOWEST, max(_FASTEST, relative))
                group.timed(slowness, health)
            usual.add(timed_as, duration, own / group.top.expectation.slowness)
        group.succeeded(slowness, health.record, now)
        if health.succeeded(slowness, attempt.generation, now, self._policy):
            self._tell(ProxyRecovered(now=now, proxy=node.proxy), node)

    def _share(
        self, attempt: Attempt, outcome: Outcome, rate: float, now: float, *, gateway_shared: bool
    ) -> float:
        """Return the proxy's part of a failure, by how often each suspect fails elsewhere."""
        if outcome is PROXY_FAULT and not gateway_shared:
            return 1.0
        suspects = self._suspects(attempt, gateway_shared=gateway_shared)
        if outcome is PROXY_FAULT:
            suspects = suspects[1:]  # the target was not asked at all
        if outcome is GATEWAY_FAULT and gateway_shared:
            rate *= _ITS_OWN_WORD
        return self._blame.failed(suspects, rate, now)

    def _pays(self, attempt: Attempt, share: float, duration: float | None, now: float) -> float:
        """Charge the proxy its part of a failure; return it."""
        health, group = attempt.node.health, attempt.node.group
        lost = self.usual.relative(attempt.timed_as, duration) if duration is not None else None
        lost = 1.0 if lost is None else min(_SLOWEST, lost)
        group.failed(share, lost, health.record, now)
        if health.failed(
            share,
            lost,
            attempt.generation,
            now,
            self._policy,
            self._rng,
            varied=self._varied(attempt),
        ):
            self._tell(
                CooldownStarted(
                    now=now,
                    proxy=attempt.node.proxy,
                    until=health.cooldown_until,
                    step=health.cooldowns,
                ),
                attempt.node,
            )
        return share

    def _refused_credentials(
        self, attempt: Attempt, page: str | None, now: float, *, doubtful: bool
    ) -> float:
        node = attempt.node
        if node.proxy.identity != attempt.proxy.identity:
            return 0.0  # the credentials have been changed since
        if attempt.generation < node.known_since:
            return 0.0  # or somebody says that they have been put right
        health, worked = node.health, node.answered
        wrong = node.refusals.add(page, attempt.target, worked=worked, doubtful=doubtful)
        if health.state is OUT:
            return 1.0
        probing = health.state is PROBING
        if not (wrong or probing) or (probing and attempt.generation != health.generation):
            # Also for requests sent before the probe: the probe shows whether the credentials work now.
            return self._pays(attempt, _ONE_REFUSAL, None, now)
        health.put_out(now, self._policy, self._rng)
        self._tell(
            ProxyOut(
                now=now,
                proxy=node.proxy,
                reason="its credentials were refused"
                if node.proxy.username is not None
                else "it wants credentials, and its entry has none",
                until=health.cooldown_until,
            ),
            node,
        )
        return 1.0

    def _tell(self, event: Event, node: Node) -> None:
        """Emit an event once its node is counted as what it has become."""
        self._availability.refresh(node, event.now)
        self._events.emit(event)
