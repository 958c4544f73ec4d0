"""What a world is made of, as a scenario writes it down: numbers and windows of time, no behaviour.

Times are seconds from the beginning. A window is ``(from, to)``.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum

Window = tuple[float, float]


def within(windows: tuple[Window, ...], now: float) -> bool:
    """Return whether a moment lies in one of the windows."""
    return bool(windows) and any(start <= now < end for start, end in windows)


@dataclass(frozen=True)
class Steps:
    """A value that changes at some moments: ``(from, value)`` in order, the first from 0."""

    steps: tuple[tuple[float, float], ...]

    def at(self, now: float) -> float:
        """Return the value at a moment."""
        return self.steps[bisect_right(self.steps, (now, float("inf"))) - 1][1]

    @property
    def changes(self) -> tuple[float, ...]:
        """When the value changes."""
        return tuple(when for when, _ in self.steps[1:])


class Overload(Enum):
    """What a gateway does with more than its limit."""

    REJECT = "reject"
    QUEUE = "queue"


@dataclass(frozen=True)
class GatewayPlan:
    """The entry that several proxies share.

    :param limit: requests at once; ``None`` for no limit.
    :param overload: what happens to more than that.
    :param latency: seconds that it adds to every request.
    :param outages: windows in which it refuses every connection.
    :param password_refused: windows in which it answers every request with 407.
    """

    limit: Steps | None = None
    overload: Overload = Overload.REJECT
    latency: float = 0.0
    outages: tuple[Window, ...] = ()
    password_refused: tuple[Window, ...] = ()


@dataclass(frozen=True)
class TargetPlan:
    """What a target does.

    :param factor: by which it multiplies a proxy's latency.
    :param extra: seconds that it adds.
    :param hangs: windows in which nothing comes of any attempt.
    :param errors: windows in which it answers 502.
    :param slow: windows in which it multiplies by ``slow_factor`` besides.
    :param max_in_flight: requests at once above which it answers 429.
    :param rate: requests per second above which it answers 429, with a burst of a second's worth.
    """

    factor: float = 1.0
    extra: float = 0.0
    hangs: tuple[Window, ...] = ()
    errors: tuple[Window, ...] = ()
    slow: tuple[Window, ...] = ()
    slow_factor: float = 10.0
    max_in_flight: int | None = None
    rate: float | None = None

    def factor_at(self, now: float) -> float:
        """Return by what it multiplies at a moment."""
        return self.factor * self.slow_factor if within(self.slow, now) else self.factor

    def is_down(self, now: float) -> bool:
        """Return whether nothing can be fetched from it at a moment."""
        return within(self.hangs, now) or within(self.errors, now)


@dataclass(frozen=True)
class Churn:
    """Proxies that come and go: exponential times, in the long run and at the start."""

    up: float = 1800.0
    down: float = 600.0


@dataclass(frozen=True)
class PoolPlan:
    """What proxies are drawn from. Every user's cap is the same; what is hidden is theirs.

    :param size: how many proxies.
    :param cap: requests at once that the user allows on a proxy.
    :param median: the middle proxy's median latency in seconds.
    :param spread: sigma of the log-normal distribution of median latencies.
    :param sigma: range of the sigma of a proxy's latency over time, mean 0.63 with the default.
    :param success: range of most proxies' share of attempts that succeed.
    :param weak: share of proxies that succeed in 0.6 of their attempts only.
    :param knee: range of the attempts at once up to which a proxy is as fast as it can be.
    :param churn: how they come and go; ``None`` if they stay.
    :param black_hole: whether the first one fails every attempt at once.
    :param slowdown: windows in which every other proxy is ``slowdown_factor`` times slower.
    """

    size: int = 200
    cap: int = 4
    median: float = 2.2
    spread: float = 0.79
    sigma: tuple[float, float] = (0.40, 1.15)
    success: tuple[float, float] = (0.90, 0.99)
    weak: float = 0.1
    knee: tuple[int, int] = (2, 6)
    churn: Churn | None = None
    black_hole: bool = False
    slowdown: tuple[Window, ...] = ()
    slowdown_factor: float = 10.0


@dataclass(frozen=True)
class Load:
    """How much is asked for: a closed loop of workers, or an open one of arrivals.

    :param workers: that always have a page to fetch, the same number for each target. A share of
        what the pool can carry at once (see :meth:`~.world.World.capacity`) if below 1.5.
    :param arrivals: pages per second, instead of workers.
    :param timeout: the user's, in seconds.
    :param attempts: at most so many for a page.
    :param heavy: share of pages that take ``heavy_factor`` times as long. The bounds know of none.
    """

    workers: float = 0.0
    arrivals: float = 0.0
    timeout: float = 30.0
    attempts: int = 3
    heavy: float = 0.0
    heavy_factor: float = 5.0

    def workers_at(self, target: int, targets: int, capacity: int) -> int:
        """Return how many workers a target has, of so many targets."""
        workers = round(self.workers * capacity) if self.workers < 1.5 else int(self.workers)
        return workers // targets + (target < workers % targets)


@dataclass(frozen=True)
class Scenario:
    """A world, a load, and how long to look.

    :param event: a window of trouble whose end recovery is counted from.
    :param warm_up: seconds that do not count.
    """

    name: str
    about: str
    pool: PoolPlan = field(default_factory=PoolPlan)
    gateways: tuple[GatewayPlan, ...] = ()
    targets: tuple[TargetPlan, ...] = (TargetPlan(),) * 4
    load: Load = field(default_factory=Load)
    seconds: float = 600.0
    warm_up: float = 60.0
    event: Window | None = None
