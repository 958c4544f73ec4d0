"""The world behind the pool: what comes of an attempt.

It decides from hidden figures, and tells whoever sends nothing but how the attempt ended, and when.
What a rule may know does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import exp
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.core.outcome import PROXY_AUTH

from .draws import Stream
from .hidden import HiddenGateway, HiddenTarget, draw_proxies
from .plan import Overload, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine
    from .hidden import HiddenProxy
    from .plan import Scenario

# Seconds until a connection is refused, or a gateway says no.
QUICK = 0.05
# A failed attempt of a live proxy: so many parts of a latency until it is reset, half of the time.
RESET_AFTER = (0.1, 0.5)
# A page that is an error, or a refusal, takes so many parts of what a page takes.
ERROR_PART = 0.5


@dataclass
class End:
    """How an attempt ended.

    :param seconds: what it took in all.
    :param latency: seconds to the headers of a page.
    :param working: whether the proxy and the target had work with it. What hangs, or is refused at
        once, slows nothing else down.
    :param retry_after: what a target asked for.
    """

    outcome: Outcome
    failure: str | None
    seconds: float
    latency: float | None = None
    working: bool = True
    retry_after: float | None = None


class Luck(NamedTuple):
    """What was drawn for an attempt: whether it works, how fast, how it fails; and its page's."""

    works: float
    deviate: float
    kind: float
    weight: float


class World:
    """The proxies, gateways and targets of a scenario, drawn with a seed."""

    def __init__(self, scenario: Scenario, seed: int, engine: Engine) -> None:
        self.scenario = scenario
        self.proxies = draw_proxies(
            scenario.pool, len(scenario.gateways), scenario.seconds, Random(seed)
        )
        self.targets = [HiddenTarget(plan) for plan in scenario.targets]
        self.gateways = [HiddenGateway(plan) for plan in scenario.gateways]
        self.in_flight = 0
        self.started = 0
        self._engine = engine
        self._streams = [Stream(seed, index) for index in range(len(self.proxies))]
        for gateway in self.gateways:
            for when in gateway.plan.limit.changes if gateway.plan.limit is not None else ():
                engine.at(when, partial(self._let_in, gateway))

    def capacity(self) -> int:
        """Return how many attempts all proxies carry at once without any being slowed down."""
        return sum(min(proxy.cap, proxy.knee) for proxy in self.proxies)

    def slowness(self, proxy: HiddenProxy, now: float) -> float:
        """Return how many times slower than usual a proxy is."""
        plan = self.scenario.pool
        slow = bool(plan.slowdown) and proxy.index % 2 == 1 and within(plan.slowdown, now)
        return plan.slowdown_factor if slow else 1.0

    def send(
        self,
        proxy: int,
        target: int,
        timeout: float,
        ended: Callable[[End], None],
        weight: float = 1.0,
    ) -> None:
        """Start an attempt; ``ended`` is called once, when it is over.

        :param weight: by which the page takes longer than others.
        :raises RuntimeError: if the proxy is at its cap.
        """
        hidden, aim = self.proxies[proxy], self.targets[target]
        if hidden.in_flight >= hidden.cap:
            raise RuntimeError(f"proxy {proxy} is sent more than its cap of {hidden.cap}")
        now = self._engine.now
        hidden.in_flight += 1
        self.in_flight += 1
        self.started += 1
        stream = self._streams[proxy]
        luck = Luck(stream.uniform(), stream.normal(), stream.uniform(), weight)
        gateway = self.gateways[hidden.gateway] if hidden.gateway is not None else None

        def over(end: End) -> None:
            hidden.in_flight -= 1
            self.in_flight -= 1
            end.seconds = self._engine.now - now
            if end.outcome is Outcome.SUCCESS:
                end.latency = end.seconds / weight
            ended(end)

        def enter() -> None:
            left = timeout - (self._engine.now - now)
            end = self._outcome(hidden, aim, gateway, luck, left)
            if gateway is not None:
                gateway.in_flight += 1
            hidden.working += end.working
            aim.in_flight += end.working

            def leave() -> None:
                hidden.working -= end.working
                aim.in_flight -= end.working
                if gateway is not None:
                    gateway.in_flight -= 1
                    self._let_in(gateway)
                over(end)

            self._engine.at(self._engine.now + end.seconds, leave)

        if gateway is None or self._refusal(gateway) is not None or not gateway.is_full(now):
            enter()
        elif gateway.plan.overload is Overload.REJECT:
            end = End(Outcome.GATEWAY_FAULT, "connect_503", 0.0)
            self._engine.at(now + QUICK + gateway.plan.latency, lambda: over(end))
        else:
            self._queue(gateway, timeout, enter, over)

    def _queue(
        self,
        gateway: HiddenGateway,
        timeout: float,
        enter: Callable[[], None],
        over: Callable[[End], None],
    ) -> None:
        """Let an attempt wait for its gateway, at most until its timeout."""
        waits = True

        def let_in() -> None:
            nonlocal waits
            waits = False
            enter()

        def give_up() -> None:
            if waits:
                gateway.waiting.remove(let_in)
                over(End(Outcome.AMBIGUOUS, "timeout", 0.0))

        gateway.waiting.append(let_in)
        self._engine.at(self._engine.now + timeout, give_up)

    def _let_in(self, gateway: HiddenGateway) -> None:
        while gateway.waiting and not gateway.is_full(self._engine.now):
            gateway.waiting.popleft()()

    def _refusal(self, gateway: HiddenGateway) -> str | None:
        """Return how a gateway that is out of order refuses a connection now, if it is."""
        if within(gateway.plan.outages, self._engine.now):
            return "connection_refused"
        if within(gateway.plan.password_refused, self._engine.now):
            return PROXY_AUTH
        return None

    def _outcome(
        self,
        proxy: HiddenProxy,
        target: HiddenTarget,
        gateway: HiddenGateway | None,
        luck: Luck,
        timeout: float,
    ) -> End:
        """Return how an attempt that sets out now ends, with the seconds until then."""
        now = self._engine.now
        hang = End(Outcome.AMBIGUOUS, "timeout", timeout, working=False)
        quick = QUICK
        if gateway is not None:
            quick += gateway.plan.latency
            refusal = self._refusal(gateway)
            if refusal is not None:
                return End(Outcome.PROXY_FAULT, refusal, quick, working=False)
        down = proxy.down_at(now)
        if down is not None and down[0] <= now:
            if down[2]:
                return End(Outcome.PROXY_FAULT, "connection_refused", quick, working=False)
            return hang
        if within(target.plan.hangs, now):
            return hang
        end = self._answer(proxy, target, gateway, luck, hang)
        if down is not None and down[0] < now + end.seconds:
            if not down[2]:
                return hang
            end = End(Outcome.AMBIGUOUS, "connection_lost", down[0] - now)
        if gateway is not None:
            for start, _ in gateway.plan.outages:
                if now < start < now + end.seconds:
                    end = End(Outcome.AMBIGUOUS, "connection_lost", start - now)
        if end.seconds > timeout:
            return End(Outcome.AMBIGUOUS, "timeout", timeout, working=end.working)
        return end

    def _answer(
        self,
        proxy: HiddenProxy,
        target: HiddenTarget,
        gateway: HiddenGateway | None,
        luck: Luck,
        hang: End,
    ) -> End:
        """Return how an attempt ends that nothing interrupts, and for which there is all the time."""
        now = self._engine.now
        seconds = proxy.median * self.slowness(proxy, now) * exp(proxy.sigma * luck.deviate)
        seconds *= luck.weight
        seconds = seconds * target.plan.factor_at(now) + target.plan.extra
        if gateway is not None:
            seconds += gateway.plan.latency
        seconds *= max(1.0, (proxy.working + 1) / proxy.knee)
        if luck.works >= proxy.success:
            if luck.kind >= 0.5:
                return hang
            low, high = RESET_AFTER
            seconds *= low + (high - low) * 4.0 * (luck.kind % 0.25)
            if luck.kind < 0.25:
                return End(Outcome.PROXY_FAULT, "no_response", seconds)
            return End(Outcome.AMBIGUOUS, "connection_lost", seconds)
        if target.refuses(now):
            seconds *= ERROR_PART
            return End(Outcome.TARGET_SIGNAL, "429", seconds, working=False, retry_after=1.0)
        if within(target.plan.errors, now):
            return End(Outcome.AMBIGUOUS, "502", seconds * ERROR_PART)
        return End(Outcome.SUCCESS, None, seconds)
