"""Runs: a scenario, a contender and a seed each, and several of them at a time."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from .bounds import bound
from .clairvoyant import Clairvoyant
from .client import Client
from .contenders import Ours, RandomChoice
from .engine import Engine
from .literature import HotCold, PeakEwma, RotatingProxies, TextbookScore
from .measures import Figures, measure
from .plain_rules import LeastConnections, RoundRobin
from .scenarios import SCENARIOS
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .contenders import Contender
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
# The contender that all others are compared with.
GREEDY = "clairvoyant"


@dataclass(frozen=True)
class Cell:
    """What one process works out: a run, or with no contender the bounds of a world."""

    scenario: str
    seed: int
    contender: str | None


@dataclass(frozen=True)
class Bounds:
    """The most pages per second, with the user's timeouts and with the best."""

    users_timeouts: float
    best_timeouts: float


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


def simulate(scenario: Scenario, contender: str, seed: int) -> tuple[World, Client]:
    """Let a scenario pass."""
    engine = Engine()
    world = World(scenario, seed, engine)
    client = Client(engine, world, make(contender, scenario, world, seed), scenario.load, seed)
    client.start()
    engine.run(scenario.seconds)
    return world, client


def run(scenario: Scenario, contender: str, seed: int) -> Figures:
    """Simulate, and return the figures."""
    world, client = simulate(scenario, contender, seed)
    return measure(scenario, world, client.log)


def work_out(cell: Cell) -> tuple[Cell, Figures | Bounds]:
    """Work out one cell."""
    scenario = SCENARIOS[cell.scenario]
    if cell.contender is not None:
        return cell, run(scenario, cell.contender, cell.seed)
    return cell, Bounds(
        bound(scenario, cell.seed, best_timeouts=False),
        bound(scenario, cell.seed, best_timeouts=True),
    )


def work_out_all(cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, Figures | Bounds]]:
    """Work out all cells, so many at a time, in their order."""
    if jobs == 1:
        yield from map(work_out, cells)
        return
    with get_context("spawn").Pool(jobs) as workers:
        yield from workers.imap(work_out, cells)
