"""What proxies, gateways and targets are like, and what they are busy with: hidden from every rule.

State and drawing only; what comes of an attempt is the world's business.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import exp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .plan import GatewayPlan, PoolPlan, TargetPlan

_WEAK_SUCCESS = 0.6
# A request that comes when it was told to is not too early by what floats round.
_ROUNDING = 1e-6
# Shape of the beta distribution that gives the sigmas of 0.40..1.15 a mean of 0.63.
_SIGMA_SHAPE = (2.0, 4.52)


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
