"""One run: a scenario, a contender, a seed; and the figures that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrapy_proxybalance.pool import Outcome

from .clairvoyant import Clairvoyant
from .client import Client, Log
from .contenders import Contender, Ours, RandomChoice
from .engine import Engine
from .literature import HotCold, PeakEwma, RotatingProxies, TextbookScore
from .plain_rules import LeastConnections, RoundRobin
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .plan import Scenario

CONTENDERS: dict[str, Callable[[Scenario, World, int], Contender]] = {
    "round-robin": lambda scenario, _, seed: RoundRobin(scenario, seed),
    "least-connections": lambda scenario, _, seed: LeastConnections(scenario, seed),
    "textbook": lambda scenario, _, seed: TextbookScore(scenario, seed),
    "peak-ewma": lambda scenario, _, seed: PeakEwma(scenario, seed),
    "rotating-proxies": lambda scenario, _, seed: RotatingProxies(scenario, seed),
    "hot-cold": lambda scenario, _, seed: HotCold(scenario, seed),
    "random": lambda scenario, _, seed: RandomChoice(scenario, seed),
    "clairvoyant": lambda _, world, __: Clairvoyant(world, best_timeouts=False),
    "clairvoyant-timeouts": lambda _, world, __: Clairvoyant(world, best_timeouts=True),
}
# What the pool's strategies are called among the contenders: "ours:weighted".
OURS = "ours:"


@dataclass(frozen=True)
class Figures:
    """What a run shows; everything but ``pick_us`` depends on the seed alone."""

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


def make(name: str, scenario: Scenario, world: World, seed: int) -> Contender:
    """Return a contender by its name.

    :raises ValueError: for an unknown one.
    """
    if name.startswith(OURS):
        return Ours(scenario, seed, name.removeprefix(OURS))
    if name not in CONTENDERS:
        known = ", ".join((f"{OURS}STRATEGY", *CONTENDERS))
        raise ValueError(f"unknown contender {name!r}; use one of {known}")
    return CONTENDERS[name](scenario, world, seed)


def run(scenario: Scenario, contender: str, seed: int) -> Figures:
    """Simulate."""
    engine = Engine()
    world = World(scenario, seed, engine)
    client = Client(engine, world, make(contender, scenario, world, seed), scenario.load, seed)
    client.start()
    engine.run(scenario.seconds)
    return measure(scenario, world, client.log)


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
    )


def jain(counts: NDArray[np.int64]) -> float:
    """Return Jain's index: 1 if all have the same, 1/n if one has everything (Jain et al., 1984)."""
    squares = float((counts.astype(float) ** 2).sum())
    return float(counts.sum()) ** 2 / (len(counts) * squares) if squares else float("nan")


# Goodput is back when so much of it, over so many seconds, is.
_BACK = 0.9
_SLIDING = 5.0


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
