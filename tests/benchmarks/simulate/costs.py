"""What a success costs through a proxy, for those who know the hidden figures: formulas, in arrays.

Durations are log-normal (with a constant part besides), so that all is in closed form but for the
best timeout, which is looked for on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from .world import RESET_AFTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .hidden import HiddenProxy
    from .world import World

    Floats = NDArray[np.float64]

# The timeouts that are tried are so many, and the shortest is so many seconds.
_TIMEOUTS = 40
_SHORTEST = 0.25
# The middles of as many parts of the range after which a failing attempt is reset.
_RESETS = 4


@dataclass(frozen=True)
class Costs:
    """For every proxy: what one success costs on average, failures included.

    :param seconds: for which a place is taken.
    :param working: of these, seconds in which the proxy has work to do.
    :param attempts: that it takes.
    :param timeout: seconds after which an attempt is given up.
    """

    seconds: Floats
    working: Floats
    attempts: Floats
    timeout: Floats


@dataclass(frozen=True)
class Figures:
    """The hidden figures of all proxies towards one target at a moment, as arrays.

    :param median: of the log-normal part of the latency.
    :param extra: the constant part.
    """

    median: Floats
    extra: Floats
    sigma: Floats
    success: Floats


def figures(world: World, proxies: Sequence[HiddenProxy], target: int, now: float) -> Figures:
    """Collect the hidden figures."""
    plan = world.scenario.targets[target]
    factor = plan.factor_at(now)
    gateways = world.scenario.gateways
    return Figures(
        median=np.array([factor * world.slowness(p, now) * p.median for p in proxies]),
        extra=np.array(
            [
                plan.extra + (gateways[p.gateway].latency if p.gateway is not None else 0.0)
                for p in proxies
            ]
        ),
        sigma=np.array([p.sigma for p in proxies]),
        success=np.array([p.success for p in proxies]),
    )


def cost(hidden: Figures, timeout: float) -> Costs:
    """Return what a success costs with one timeout for all."""
    low, high = RESET_AFTER
    parts = low + (high - low) * (np.arange(_RESETS) + 0.5) / _RESETS
    reset = np.mean([_mean_until(hidden, part, timeout) for part in parts], axis=0)
    failing = (1.0 - hidden.success) / 2.0
    working = hidden.success * _mean_until(hidden, 1.0, timeout) + failing * reset
    with np.errstate(divide="ignore"):
        attempts = 1.0 / (hidden.success * _share_within(hidden, timeout))
    return Costs(
        seconds=(working + failing * timeout) * attempts,
        working=working * attempts,
        attempts=attempts,
        timeout=np.full_like(attempts, timeout),
    )


def best_cost(hidden: Figures, longest: float) -> Costs:
    """Return what a success costs with the timeout that is best for each proxy, up to the longest."""
    best = cost(hidden, longest)
    for timeout in np.geomspace(_SHORTEST, longest, _TIMEOUTS)[:-1]:
        other = cost(hidden, float(timeout))
        better = other.seconds < best.seconds
        best = Costs(
            seconds=np.where(better, other.seconds, best.seconds),
            working=np.where(better, other.working, best.working),
            attempts=np.where(better, other.attempts, best.attempts),
            timeout=np.where(better, other.timeout, best.timeout),
        )
    return best


def _depth(hidden: Figures, timeout: float) -> tuple[Floats, Floats]:
    """Return the timeout less the constant part, and by how many sigmas that is above the median."""
    left = np.maximum(timeout - hidden.extra, 1e-9)
    return left, (np.log(left) - np.log(hidden.median)) / hidden.sigma


def _share_within(hidden: Figures, timeout: float) -> Floats:
    """Return the share of durations that are within a timeout."""
    return np.asarray(ndtr(_depth(hidden, timeout)[1]), dtype=np.float64)


def _mean_until(hidden: Figures, part: float, timeout: float) -> Floats:
    """Return the mean of ``min(part * duration, timeout)``."""
    left, depth = _depth(hidden, timeout / part)
    mean = hidden.median * np.exp(hidden.sigma**2 / 2.0)
    until = mean * ndtr(depth - hidden.sigma) + left * ndtr(-depth)
    return np.asarray(part * (np.minimum(hidden.extra, timeout / part) + until), dtype=np.float64)
