"""The figures of a run, worked out from its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrapy_proxybalance.core import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .client import Log
    from .plan import Scenario
    from .world import World

# Goodput is back when so much of it, over so many seconds, is.
_BACK = 0.9
_SLIDING = 5.0


@dataclass(frozen=True)
class Figures:
    """What a run shows after its warm-up; everything but ``pick_us`` depends on the seed alone.

    :param goodput: pages fetched per second.
    :param first_succeeds: share of first attempts that fetch their page.
    :param attempts_per_success: attempts of all kinds, by pages fetched.
    :param lost: share of pages that were given up.
    :param p50: half of the pages were fetched within so many seconds from when they were wanted.
    :param p99: nearly all of them were.
    :param refused: share of attempts that a target or a gateway refused for being too many.
    :param jain: Jain's index of attempts over the proxies that never die and mostly succeed.
    :param top_share: of all attempts, those through the proxy that had most.
    :param recovery: seconds; see :func:`recovery`.
    :param pick_us: microseconds of CPU until a proxy was chosen, or none.
    :param curve: pages per second over five seconds each, from the beginning.
    """

    goodput: float
    first_succeeds: float
    attempts_per_success: float
    lost: float
    p50: float
    p99: float
    pick_us: float
    refused: float
    jain: float
    top_share: float
    recovery: float
    curve: list[float]


def measure(scenario: Scenario, world: World, log: Log) -> Figures:
    """Work out the figures of what happened after the warm-up."""
    start = scenario.warm_up
    seconds = scenario.seconds - start
    fetched = [page for page in log.fetched if page[0] >= start]
    lost = sum(when >= start for when in log.lost)
    attempts = [attempt for attempt in log.attempts if attempt[0] >= start]
    firsts = [attempt[3] is Outcome.SUCCESS for attempt in attempts if attempt[2] == 1]
    refusals = (Outcome.TARGET_SIGNAL, Outcome.GATEWAY_FAULT)
    took = np.array([page[1] for page in fetched] or [float("nan")])
    per_proxy = np.bincount([attempt[1] for attempt in attempts], minlength=len(world.proxies))
    healthy = per_proxy[[not proxy.mortal and proxy.success > 0.6 for proxy in world.proxies]]
    return Figures(
        goodput=len(fetched) / seconds,
        first_succeeds=sum(firsts) / max(1, len(firsts)),
        attempts_per_success=len(attempts) / max(1, len(fetched)),
        lost=lost / max(1, lost + len(fetched)),
        p50=float(np.quantile(took, 0.5)),
        p99=float(np.quantile(took, 0.99)),
        pick_us=1e6 * log.pick_seconds / max(1, log.picks),
        refused=sum(attempt[3] in refusals for attempt in attempts) / max(1, len(attempts)),
        jain=jain(healthy),
        top_share=float(per_proxy.max() / max(1, per_proxy.sum())),
        recovery=recovery(scenario, log),
        curve=curve(scenario, log),
    )


def jain(counts: NDArray[np.int64]) -> float:
    """Return Jain's index: 1 if all have the same, 1/n if one has everything (Jain et al., 1984)."""
    squares = float((counts.astype(float) ** 2).sum())
    return float(counts.sum()) ** 2 / (len(counts) * squares) if squares else float("nan")


def recovery(scenario: Scenario, log: Log) -> float:
    """Return the seconds from the end of the event until goodput is back, NaN without an event.

    What it was before is that between the warm-up and the event. Infinite if it never is.
    """
    if scenario.event is None:
        return float("nan")
    begins, ends = scenario.event
    moments = np.array([when for when, _, _ in log.fetched])
    before = np.count_nonzero((moments >= scenario.warm_up) & (moments < begins))
    wanted = _BACK * before / (begins - scenario.warm_up) * _SLIDING
    ticks = np.arange(ends, scenario.seconds, 0.5)
    counts = np.searchsorted(moments, ticks) - np.searchsorted(moments, ticks - _SLIDING)
    back = np.flatnonzero(counts >= wanted)
    return float(ticks[back[0]] - ends) if len(back) else float("inf")


def curve(scenario: Scenario, log: Log) -> list[float]:
    """Return the pages per second in each stretch of five seconds."""
    edges = np.arange(0.0, scenario.seconds + _SLIDING / 2.0, _SLIDING)
    counts, _ = np.histogram([when for when, _, _ in log.fetched], edges)
    return [float(count) / _SLIDING for count in counts]
