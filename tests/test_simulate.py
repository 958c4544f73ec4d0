"""The simulator that the benchmarks of the choice rest on: small worlds, in virtual time."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from math import inf, isnan, nan
from typing import TYPE_CHECKING

import numpy as np
import pytest

from scrapy_proxybalance.core import STRATEGIES, Outcome

from .benchmarks.simulate import __main__ as command_line
from .benchmarks.simulate.bounds import Kind, bound, knapsack, optimum
from .benchmarks.simulate.client import Client, Log
from .benchmarks.simulate.contenders import Ours, Plain, RandomChoice
from .benchmarks.simulate.costs import best_cost, cost, figures
from .benchmarks.simulate.engine import Engine
from .benchmarks.simulate.measures import Figures, jain, recovery
from .benchmarks.simulate.plan import (
    Churn,
    GatewayPlan,
    Load,
    Overload,
    PoolPlan,
    Scenario,
    Steps,
    TargetPlan,
)
from .benchmarks.simulate.report import summary
from .benchmarks.simulate.runs import CONTENDERS, OURS, Bounds, Cell, run, simulate
from .benchmarks.simulate.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .benchmarks.simulate.world import End

EVERY_CONTENDER = (*CONTENDERS, *(f"{OURS}{name}" for name in STRATEGIES))

# A bit of everything, for half a minute; more workers than places.
ROUGH = Scenario(
    "rough",
    "",
    pool=PoolPlan(size=20, churn=Churn(up=30.0, down=10.0), slowdown=((10.0, 15.0),)),
    gateways=(
        GatewayPlan(limit=Steps(((0.0, 30.0), (20.0, 10.0)))),
        GatewayPlan(limit=Steps(((0.0, 20.0),)), overload=Overload.QUEUE, outages=((5.0, 7.0),)),
    ),
    targets=(
        TargetPlan(hangs=((12.0, 18.0),)),
        TargetPlan(errors=((20.0, 22.0),), rate=2.0),
        TargetPlan(slow=((5.0, 10.0),), max_in_flight=8),
    ),
    load=Load(workers=100, timeout=6.0, heavy=0.05),
    seconds=40.0,
    warm_up=5.0,
)
CALM = Scenario("calm", "", pool=PoolPlan(size=30), load=Load(workers=0.6), seconds=300.0)


def world_of(scenario: Scenario, seed: int = 1) -> World:
    return World(scenario, seed, Engine())


@pytest.mark.parametrize("contender", EVERY_CONTENDER)
def test_the_same_seed_gives_the_same_figures_to_the_digit(contender: str) -> None:
    first, again = (replace(run(ROUGH, contender, 3), pick_us=0.0) for _ in range(2))
    assert repr(first) == repr(again)
    assert repr(first) != repr(replace(run(ROUGH, contender, 4), pick_us=0.0))


@pytest.mark.parametrize("contender", EVERY_CONTENDER)
def test_every_attempt_ends_once_and_is_counted_off_by_the_contender(contender: str) -> None:
    world, client = simulate(ROUGH, contender, 1)
    assert world.started > 100
    assert len(client.log.attempts) + world.in_flight == world.started
    assert sum(proxy.in_flight for proxy in world.proxies) == world.in_flight
    rule = client.contender
    if isinstance(rule, Plain):
        assert rule.in_flight == [proxy.in_flight for proxy in world.proxies]
    elif isinstance(rule, Ours):
        seen = [shown.in_flight for shown in rule.pool.snapshot(ROUGH.seconds)]
        assert seen == [proxy.in_flight for proxy in world.proxies]


def test_the_world_refuses_what_is_above_a_proxys_cap() -> None:
    world = world_of(replace(CALM, pool=PoolPlan(size=1, cap=2)))
    for _ in range(2):
        world.send(0, 0, 30.0, lambda _: None)
    with pytest.raises(RuntimeError, match="proxy 0 is sent more than its cap of 2"):
        world.send(0, 0, 30.0, lambda _: None)


def test_the_nth_attempt_through_a_proxy_meets_the_same_luck_whatever_came_between() -> None:
    quiet = replace(CALM, pool=PoolPlan(size=3, knee=(100, 100), cap=100))
    alone, ends = world_of(quiet), []
    alone.send(1, 0, 30.0, lambda end: ends.append(end))
    alone._engine.run(60.0)
    among, others = world_of(quiet), []
    for proxy in (0, 2, 0, 1):
        among.send(proxy, 0, 30.0, lambda end: others.append(end))
    among._engine.run(60.0)
    assert ends[0] in others


class Peaks:
    """The most attempts that were under way at once, by gateway, in a world."""

    def __init__(self, world: World) -> None:
        self.peaks: Counter[int] = Counter()
        self._world = world
        engine = world._engine
        for tick in range(int(world.scenario.seconds * 10)):
            engine.at(tick / 10, self._look)

    def _look(self) -> None:
        for index, gateway in enumerate(self._world.gateways):
            self.peaks[index] = max(self.peaks[index], gateway.in_flight)


@pytest.mark.parametrize("overload", Overload)
def test_a_gateway_lets_no_more_through_than_its_limit(overload: Overload) -> None:
    gateway = GatewayPlan(limit=Steps(((0.0, 10.0),)), overload=overload)
    scenario = replace(ROUGH, gateways=(gateway,), targets=(TargetPlan(),))
    engine = Engine()
    world = World(scenario, 1, engine)
    peaks = Peaks(world)
    client = Client(engine, world, RandomChoice(scenario, 1), scenario.load, 1)
    client.start()
    engine.run(scenario.seconds)
    assert peaks.peaks[0] == 10
    rejected = [end for *_, end in client.log.attempts if end is Outcome.GATEWAY_FAULT]
    assert bool(rejected) is (overload is Overload.REJECT)


def test_what_waits_in_a_gateway_gives_up_at_its_timeout() -> None:
    gateway = GatewayPlan(limit=Steps(((0.0, 0.0),)), overload=Overload.QUEUE)
    world = world_of(replace(CALM, gateways=(gateway,)))
    ends: list[End] = []
    world.send(0, 0, 7.0, ends.append)
    world._engine.run(60.0)
    assert [(end.outcome, end.failure, end.seconds) for end in ends] == [
        (Outcome.AMBIGUOUS, "timeout", 7.0)
    ]


def test_a_target_answers_429_above_its_rate_and_asks_to_wait() -> None:
    sure = PoolPlan(size=50, success=(1.0, 1.0), weak=0.0)
    world = world_of(replace(CALM, pool=sure, targets=(TargetPlan(rate=5.0),)))
    ends: list[End] = []
    for proxy in range(50):
        world.send(proxy, 0, 1000.0, ends.append)
    world._engine.run(1000.0)
    assert Counter(end.outcome for end in ends) == {
        Outcome.SUCCESS: 5,
        Outcome.TARGET_SIGNAL: 45,
    }
    assert {end.retry_after for end in ends} == {None, 1.0}


@pytest.mark.parametrize("timeout", [30.0, 4.0])
def test_the_formula_of_the_cost_agrees_with_what_the_world_does(timeout: float) -> None:
    plan = PoolPlan(
        size=1, cap=1, spread=0.0, sigma=(0.8, 0.8), success=(0.8, 0.8), weak=0.0, knee=(1, 1)
    )
    world = world_of(replace(CALM, pool=plan, targets=(TargetPlan(factor=1.5, extra=0.4),)))
    expected = cost(figures(world, world.proxies, 0, 0.0), timeout)
    attempts, fetched, seconds, working = 30_000, 0, 0.0, 0.0
    ends: list[End] = []
    for _ in range(attempts):
        world.send(0, 0, timeout, ends.append)
        world._engine.run(world._engine.now + timeout)
    for end in ends:
        fetched += end.outcome is Outcome.SUCCESS
        seconds += end.seconds
        working += end.seconds if end.working else 0.0
    assert seconds / fetched == pytest.approx(float(expected.seconds[0]), rel=0.03)
    assert working / fetched == pytest.approx(float(expected.working[0]), rel=0.03)
    assert attempts / fetched == pytest.approx(float(expected.attempts[0]), rel=0.02)


def test_the_best_timeout_costs_no_more_than_any_other() -> None:
    world = world_of(CALM)
    hidden = figures(world, world.proxies, 0, 0.0)
    best = best_cost(hidden, 30.0)
    for timeout in (1.0, 3.0, 9.0, 30.0):
        assert (best.seconds <= cost(hidden, timeout).seconds * 1.02).all()
    assert best.timeout.max() <= 30.0


@pytest.mark.parametrize("places", [5.0, 40.0, 1000.0])
def test_the_linear_program_finds_what_the_cheapest_first_does(places: float) -> None:
    world = world_of(CALM)
    costs = cost(figures(world, world.proxies, 0, 0.0), 30.0)
    kind = Kind(costs=costs, places=places, wanted=None, at_once=None, rate=None)
    found = optimum(world.proxies, [kind], {})
    assert found.sum() == pytest.approx(knapsack(world.proxies, costs, places))
    half = replace(kind, places=places / 2.0)
    assert optimum(world.proxies, [half, half], {}).sum() == pytest.approx(found.sum())


def test_the_linear_program_keeps_every_limit() -> None:
    world = world_of(replace(CALM, gateways=(GatewayPlan(),)))
    costs = cost(figures(world, world.proxies, 0, 0.0), 30.0)
    free = Kind(costs=costs, places=1000.0, wanted=None, at_once=None, rate=None)
    unlimited = optimum(world.proxies, [free], {}).sum()
    assert optimum(world.proxies, [replace(free, wanted=2.0)], {}).sum() == pytest.approx(2.0)
    assert optimum(world.proxies, [replace(free, at_once=1.0)], {}).sum() < unlimited
    limited = optimum(world.proxies, [free], {0: 12.0}).sum()
    assert limited == pytest.approx(knapsack(world.proxies, costs, 12.0))
    timeouts_too = optimum(world.proxies, [replace(free, rate=2.0)], {}).sum()
    assert 1.9 < timeouts_too <= 2.0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("best_timeouts", [False, True])
def test_the_clairvoyant_greedy_comes_near_the_bound_and_not_above(
    seed: int, best_timeouts: bool
) -> None:
    contender = "clairvoyant-timeouts" if best_timeouts else "clairvoyant"
    goodput = run(CALM, contender, seed).goodput
    assert 0.9 < goodput / bound(CALM, seed, best_timeouts=best_timeouts) < 1.03


@pytest.mark.parametrize("contender", EVERY_CONTENDER)
def test_nobody_fetches_more_than_the_bound(contender: str) -> None:
    adapts = contender == "clairvoyant-timeouts" or contender.startswith("ours:")
    most = bound(CALM, 1, best_timeouts=adapts)
    assert 0.2 * most < run(CALM, contender, 1).goodput < 1.03 * most


def test_in_an_open_loop_the_bound_is_what_arrives_and_what_waits_is_made_up_for() -> None:
    calm = replace(CALM, load=Load(arrivals=3.0), targets=(TargetPlan(),))
    assert bound(calm, 1, best_timeouts=False) == pytest.approx(3.0)
    down = replace(calm, targets=(TargetPlan(hangs=((100.0, 120.0),)),))
    assert bound(down, 1, best_timeouts=False) == pytest.approx(3.0)
    at_the_end = replace(calm, targets=(TargetPlan(hangs=((270.0, 300.0),)),))
    assert bound(at_the_end, 1, best_timeouts=False) == pytest.approx(3.0 * 210.0 / 240.0)


def test_what_is_down_is_worth_nothing_to_the_bound() -> None:
    outage = (GatewayPlan(outages=((60.0, 180.0),)),)
    whole = bound(replace(CALM, gateways=(GatewayPlan(),)), 1, best_timeouts=False)
    half = bound(replace(CALM, gateways=outage), 1, best_timeouts=False)
    assert half == pytest.approx(whole / 2.0)


def test_jains_index_is_one_for_equal_shares_and_one_nth_for_one_share() -> None:
    assert jain(np.array([5, 5, 5, 5])) == pytest.approx(1.0)
    assert jain(np.array([9, 0, 0])) == pytest.approx(1 / 3)


def recovered(moments: Sequence[float]) -> float:
    scenario = replace(CALM, seconds=300.0, event=(100.0, 120.0))
    return recovery(scenario, Log(fetched=[(moment, 1.0, 1) for moment in moments]))


def test_recovery_is_counted_from_the_end_of_the_trouble() -> None:
    before = [60.0 + tick / 10 for tick in range(400)]
    assert recovered(before + [130.0 + tick / 10 for tick in range(1000)]) == pytest.approx(
        14.5, abs=0.6
    )
    assert recovered(before + [120.0 + tick / 5 for tick in range(900)]) == inf
    assert isnan(recovery(CALM, Log()))


def test_the_interval_of_a_mean_is_students() -> None:
    value = summary([1.0, 2.0, 3.0, 4.0, 5.0])
    assert value.mean == 3.0
    assert value.within == pytest.approx(2.776 * 1.5811 / 5**0.5, rel=1e-3)
    assert summary([1.0, inf]).text(1) == "never"
    assert summary([2.0]).text(1) == "2.0"


def test_a_run_that_was_stopped_goes_on_with_what_its_file_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[Cell]] = []

    def work_out_all(cells: Sequence[Cell], _: int) -> Iterator[tuple[Cell, Figures | Bounds]]:
        asked.append(list(cells))
        for cell in cells:
            figures = dict.fromkeys((field.name for field in fields(Figures)), float(cell.seed))
            yield (
                cell,
                Bounds(2.0, 3.0)
                if cell.contender is None
                else Figures(**{**figures, "recovery": nan, "curve": [1.0]}),
            )

    monkeypatch.setattr(command_line, "work_out_all", work_out_all)
    kept = str(tmp_path / "runs.json")

    def printed(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["simulate", *arguments, "--json", kept])
        command_line.main()
        return capsys.readouterr().out

    printed("--scenarios", "equal", "--contenders", "random", "--seeds", "1")
    both = ("--scenarios", "equal", "--contenders", "random", "--seeds", "2")
    table = printed(*both)
    assert [len(cells) for cells in asked] == [3, 3]
    assert not set(asked[0]) & set(asked[1])
    assert printed(*both) == table
    assert asked[2] == []
