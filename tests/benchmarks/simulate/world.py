"""The world behind the pool: proxies, gateways and targets, and what comes of an attempt.

It decides from hidden figures, and tells whoever sends nothing but how the attempt ended, and when.
What a rule may know does not belong here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from math import exp
from random import Random
from typing import TYPE_CHECKING

from scrapy_proxybalance.pool import Outcome
from scrapy_proxybalance.pool.outcome import PROXY_AUTH

from .draws import Stream
from .plan import Overload, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine
    from .plan import GatewayPlan, PoolPlan, Scenario, TargetPlan

# Seconds until a connection is refused, or a gateway says no.
QUICK = 0.05
# A failed attempt of a live proxy: so many parts of a latency until it is reset, half of the time.
RESET_AFTER = (0.1, 0.5)
# A page that is an error, or a refusal, takes so many parts of what a page takes.
ERROR_PART = 0.5
_WEAK_SUCCESS = 0.6
# A request that comes when it was told to is not too early by what floats round.
_ROUNDING = 1e-6
# Shape of the beta distribution that gives the sigmas of 0.40..1.15 a mean of 0.63.
_SIGMA_SHAPE = (2.0, 4.52)


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


@dataclass
class HiddenProxy:
    """What a proxy is like, and what it does now.

    :param downs: its downtimes that are not over: from, to, and whether connections are refused
        meanwhile, or hang.
    :param working: the attempts under way that it has work with: all but those that hang.
    :param mortal: whether it is ever down.
    """

    index: int
    cap: int
    median: float
    sigma: float
    success: float
    knee: int
    gateway: int | None
    downs: list[tuple[float, float, bool]] = field(default_factory=list)
    in_flight: int = 0
    working: int = 0
    mortal: bool = False

    def down_at(self, now: float) -> tuple[float, float, bool] | None:
        """Return the downtime under way, or else the next one; times never go back."""
        while self.downs and self.downs[0][1] <= now:
            self.downs.pop(0)
        return self.downs[0] if self.downs else None

    def is_down(self, now: float) -> bool:
        """Return whether it is dead at a moment."""
        return any(start <= now < end for start, end, _ in self.downs)


def draw_proxies(plan: PoolPlan, gateways: int, seconds: float, rng: Random) -> list[HiddenProxy]:
    """Draw the proxies of a world; proxy i is behind gateway i modulo their number."""
    proxies = []
    low, high = plan.sigma
    for index in range(plan.size):
        proxy = HiddenProxy(
            index=index,
            cap=plan.cap,
            median=plan.median * exp(plan.spread * rng.gauss(0.0, 1.0)),
            sigma=low + (high - low) * rng.betavariate(*_SIGMA_SHAPE),
            success=_WEAK_SUCCESS if rng.random() < plan.weak else rng.uniform(*plan.success),
            knee=rng.randint(*plan.knee),
            gateway=index % gateways if gateways else None,
        )
        if plan.churn is not None:
            up, down = plan.churn.up, plan.churn.down
            is_down = rng.random() < down / (up + down)
            now = 0.0
            while now < seconds:
                lasts = rng.expovariate(1.0 / (down if is_down else up))
                if is_down:
                    proxy.downs.append((now, now + lasts, rng.random() < 0.5))
                now += lasts
                is_down = not is_down
        if plan.black_hole and index == 0:
            proxy.downs = [(0.0, float("inf"), True)]
        proxy.mortal = bool(proxy.downs)
        proxies.append(proxy)
    return proxies


class HiddenGateway:
    """A gateway, and what is in it now."""

    def __init__(self, plan: GatewayPlan) -> None:
        self.plan = plan
        self.in_flight = 0
        self.waiting: deque[Callable[[], None]] = deque()

    def is_full(self, now: float) -> bool:
        """Return whether the limit is reached."""
        limit = self.plan.limit
        return limit is not None and self.in_flight >= limit.at(now)


class HiddenTarget:
    """A target, and what it is busy with now."""

    def __init__(self, plan: TargetPlan) -> None:
        self.plan = plan
        self.in_flight = 0
        self._tokens = plan.rate or 0.0
        self._counted_at = 0.0

    def ready_at(self, now: float) -> float | None:
        """Return when one more request is not too much; ``None`` if one has to end first."""
        limit, rate = self.plan.max_in_flight, self.plan.rate
        if limit is not None and self.in_flight >= limit:
            return None
        if rate is None:
            return now
        self._count(now, rate)
        return now + max(0.0, 1.0 - self._tokens) / rate

    def refuses(self, now: float) -> bool:
        """Count a request that arrives; return whether it is too much."""
        limit, rate = self.plan.max_in_flight, self.plan.rate
        if limit is not None and self.in_flight >= limit:
            return True
        if rate is None:
            return False
        self._count(now, rate)
        if self._tokens < 1.0 - _ROUNDING:
            return True
        self._tokens -= 1.0
        return False

    def _count(self, now: float, rate: float) -> None:
        self._tokens = min(rate, self._tokens + rate * (now - self._counted_at))
        self._counted_at = now


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

    def send(self, proxy: int, target: int, timeout: float, ended: Callable[[End], None]) -> None:
        """Start an attempt; ``ended`` is called once, when it is over."""
        hidden, aim = self.proxies[proxy], self.targets[target]
        if hidden.in_flight >= hidden.cap:
            raise RuntimeError(f"proxy {proxy} is sent more than its cap of {hidden.cap}")
        now = self._engine.now
        hidden.in_flight += 1
        self.in_flight += 1
        self.started += 1
        stream = self._streams[proxy]
        luck = (stream.uniform(), stream.normal(), stream.uniform())
        gateway = self.gateways[hidden.gateway] if hidden.gateway is not None else None

        def over(end: End) -> None:
            hidden.in_flight -= 1
            self.in_flight -= 1
            end.seconds = self._engine.now - now
            if end.outcome is Outcome.SUCCESS:
                end.latency = end.seconds
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
        luck: tuple[float, float, float],
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
        luck: tuple[float, float, float],
        hang: End,
    ) -> End:
        """Return how an attempt ends that nothing interrupts, and for which there is all the time."""
        now = self._engine.now
        works, deviate, kind = luck
        seconds = proxy.median * self.slowness(proxy, now) * exp(proxy.sigma * deviate)
        seconds = seconds * target.plan.factor_at(now) + target.plan.extra
        if gateway is not None:
            seconds += gateway.plan.latency
        seconds *= max(1.0, (proxy.working + 1) / proxy.knee)
        if works >= proxy.success:
            if kind >= 0.5:
                return hang
            low, high = RESET_AFTER
            seconds *= low + (high - low) * 4.0 * (kind % 0.25)
            if kind < 0.25:
                return End(Outcome.PROXY_FAULT, "no_response", seconds)
            return End(Outcome.AMBIGUOUS, "connection_lost", seconds)
        if target.refuses(now):
            seconds *= ERROR_PART
            return End(Outcome.TARGET_SIGNAL, "429", seconds, working=False, retry_after=1.0)
        if within(target.plan.errors, now):
            return End(Outcome.AMBIGUOUS, "502", seconds * ERROR_PART)
        return End(Outcome.SUCCESS, None, seconds)
