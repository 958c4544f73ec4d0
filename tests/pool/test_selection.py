"""The strategies: in proportion, in turn, by load; and that none forgets anybody."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrapy_proxybalance.pool import STRATEGIES, Outcome, Pool, Strategy

from .helpers import (
    ALL_STRATEGIES,
    carry,
    carry_through,
    chi_square,
    cooling,
    make_pool,
    proxies,
    proxy,
    shown,
)

if TYPE_CHECKING:
    from scrapy_proxybalance.pool import Lease

# A chi-square with k degrees of freedom is above these once in 100,000 times.
CHI_SQUARE_LIMIT = {2: 23.1, 3: 25.9, 4: 28.5, 5: 30.9}
every_strategy = pytest.mark.parametrize("strategy", ALL_STRATEGIES)


def made(name: str, weights: list[float], *, score: float | None = None) -> Strategy:
    strategy = STRATEGIES[name]()
    for index, weight in enumerate(weights):
        strategy.set(index, score=weight if score is None else score, weight=weight, in_flight=0)
    return strategy


def warm(strategy: Strategy, size: int) -> Strategy:
    for _ in range(2 * size):
        strategy.learned()
    return strategy


def picks(strategy: Strategy, count: int, among: list[int] | None = None) -> list[int | None]:
    rng = Random(5)
    return [strategy.pick(rng, among) for _ in range(count)]


# What holds for all


def test_the_strategies_tested_here_are_all_there_are() -> None:
    assert set(ALL_STRATEGIES) == set(STRATEGIES)


@every_strategy
def test_nothing_is_picked_where_nothing_may_be_used(strategy: str) -> None:
    chooser = made(strategy, [1.0, 2.0, 3.0], score=0.0)
    assert picks(chooser, 1) == [None]
    assert picks(chooser, 1, [0, 2]) == [None]
    assert picks(chooser, 1, []) == [None]
    assert picks(STRATEGIES[strategy](), 1) == [None]


@given(
    strategy=st.sampled_from(ALL_STRATEGIES),
    steps=st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from([0.0, 0.0, 0.5, 1.0]),
            st.integers(0, 3),
            st.booleans(),
            st.none() | st.lists(st.integers(0, 5), unique=True),
        ),
        max_size=60,
    ),
)
@settings(max_examples=300)
def test_a_pick_is_always_one_that_may_be_used_if_there_is_one(
    strategy: str, steps: list[tuple[int, float, int, bool, list[int] | None]]
) -> None:
    chooser, rng = STRATEGIES[strategy](), Random(1)
    scores = dict.fromkeys(range(6), 0.0)
    for index in scores:
        chooser.set(index, score=0.0, weight=1.0, in_flight=0)
    for index, score, in_flight, learned, among in steps:
        chooser.set(index, score=score, weight=1.0 + index, in_flight=in_flight)
        scores[index] = score
        if learned:
            chooser.learned()
        candidates = scores if among is None else among
        usable = {candidate for candidate in candidates if scores[candidate] > 0}
        picked = chooser.pick(rng, among)
        assert picked in usable if usable else picked is None


def _run(pool: Pool, count: int, *, slots: int, start: float = 0.0) -> Counter[str]:
    """Send ``count`` requests, ``slots`` at once, each 0.2 to 2 s long; count them by proxy."""
    rng, now, used = Random(3), start, Counter[str]()
    open_leases: list[tuple[float, Lease]] = []
    for _ in range(count):
        if len(open_leases) == slots:
            open_leases.sort(key=lambda entry: entry[0])
            now, lease = open_leases.pop(0)
            pool.release(lease, Outcome.SUCCESS, now, latency=now - lease.granted_at)
        lease = pool.acquire(now)
        used[lease.proxy.name] += 1
        open_leases.append((now + rng.uniform(0.2, 2.0), lease))
    for end, lease in sorted(open_leases, key=lambda entry: entry[0]):
        pool.release(lease, Outcome.SUCCESS, end, latency=end - lease.granted_at)
    return used


@every_strategy
@pytest.mark.parametrize("slots", [1, 12, 32])
def test_every_proxy_gets_work(strategy: str, slots: int) -> None:
    used = _run(make_pool(proxies(8), strategy=strategy), 800, slots=slots)
    assert set(used) == {f"p{number}" for number in range(8)}
    assert min(used.values()) > 800 / 8 / 3


@every_strategy
def test_every_proxy_gets_work_when_every_request_has_a_filter(strategy: str) -> None:
    pool = make_pool(proxies(6, country="de"), strategy=strategy)
    used = Counter(carry(pool, now, matching={"country": "de"}).proxy.name for now in range(600))
    assert len(used) == 6
    assert min(used.values()) > 40


@every_strategy
@pytest.mark.parametrize("matching", [None, {"country": "de"}])
def test_asking_why_a_request_is_held_takes_nobodys_turn(
    strategy: str, matching: dict[str, str] | None
) -> None:
    pool = make_pool(proxies(2, country="de"), strategy=strategy)
    used: Counter[str] = Counter()
    for now in range(200):
        assert pool.hold(now, matching=matching) is None
        assert pool.hold(now, matching=matching, session=f"new-{now}") is None
        used[carry(pool, now, matching=matching).proxy.name] += 1
    assert min(used["p0"], used["p1"]) > 50


@every_strategy
def test_every_proxy_gets_work_when_half_of_it_comes_in_sessions(strategy: str) -> None:
    pool = make_pool(proxies(4), strategy=strategy)
    used: Counter[str] = Counter()
    for now in range(400):
        used[carry(pool, now, session=f"s{now % 40}").proxy.name] += 1
        used[carry(pool, now).proxy.name] += 1
    assert min(used[f"p{number}"] for number in range(4)) > 100


@every_strategy
def test_a_recovered_proxy_gets_its_fair_share_again(strategy: str) -> None:
    pool = make_pool(proxies(8), strategy=strategy, health=cooling(threshold=3, first=5))
    _run(pool, 100, slots=4)
    for _ in range(3):
        carry_through(pool, "p3", 1000, Outcome.PROXY_FAULT)
    assert shown(pool, "p3", 1001).cooldown_left > 0
    _run(pool, 2000, slots=4, start=1001)
    used = _run(pool, 4000, slots=4, start=5000)
    assert used["p3"] == pytest.approx(4000 / 8, rel=0.25)


# Round robin


def test_round_robin_goes_in_the_order_of_the_pool_whatever_the_weight() -> None:
    assert picks(made("round_robin", [1, 5, 9]), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_skips_what_may_not_be_used_and_comes_back_to_it() -> None:
    chooser = made("round_robin", [1, 1, 1, 1])
    assert picks(chooser, 1) == [0]
    chooser.set(1, score=0, weight=1, in_flight=0)
    assert picks(chooser, 4) == [2, 3, 0, 2]
    chooser.set(1, score=1, weight=1, in_flight=0)
    assert picks(chooser, 4) == [3, 0, 1, 2]


def test_round_robin_among_some_goes_in_turn() -> None:
    assert picks(made("round_robin", [1] * 6), 5, [4, 1, 3]) == [1, 3, 4, 1, 3]


# Weighted round robin


def test_weighted_round_robin_keeps_the_weights_in_every_cycle() -> None:
    chooser = made("weighted_round_robin", [1, 2, 3])
    cycles = [Counter(picks(chooser, 6)) for _ in range(20)]
    assert cycles == [Counter({0: 1, 1: 2, 2: 3})] * 20


def test_weighted_round_robin_keeps_the_weights_among_some() -> None:
    chooser = made("weighted_round_robin", [1, 2, 3, 4])
    assert Counter(picks(chooser, 250, [0, 3])) == {0: 50, 3: 200}


@pytest.mark.parametrize("among", [None, [0, 1, 2]])
def test_weighted_round_robin_lets_nobody_catch_up_on_what_it_missed(
    among: list[int] | None,
) -> None:
    chooser = made("weighted_round_robin", [1, 1, 1])
    chooser.set(2, score=0, weight=1, in_flight=0)
    assert 2 not in picks(chooser, 300, among)
    chooser.set(2, score=1, weight=1, in_flight=0)
    assert Counter(picks(chooser, 30, among))[2] <= 11


@pytest.mark.parametrize("among", [None, [0, 1, 2]])
def test_weighted_round_robin_gives_a_newcomer_its_share_and_no_more(
    among: list[int] | None,
) -> None:
    chooser = made("weighted_round_robin", [1, 1])
    picks(chooser, 300, None if among is None else [0, 1])
    chooser.set(2, score=1, weight=1, in_flight=0)
    assert 9 <= Counter(picks(chooser, 30, among))[2] <= 11


def test_a_weight_that_was_raised_counts_at_once() -> None:
    pool = make_pool(
        [proxy("a"), proxy("b", weight=0.01)], strategy="weighted_round_robin", max_in_flight=9
    )
    for now in range(10):
        carry(pool, now)
    pool.update(proxy("b", weight=1), 10)
    used = Counter(carry(pool, 10 + now).proxy.name for now in range(40))
    assert used["b"] >= 15


def test_a_newcomer_does_not_wait_out_the_turn_of_the_one_whose_place_it_takes() -> None:
    pool = make_pool(
        [proxy("a"), proxy("b", weight=0.01)], strategy="weighted_round_robin", max_in_flight=9
    )
    for now in range(10):
        carry(pool, now)
    pool.remove("b", 10)
    pool.add(proxy("c"), 10)
    used = Counter(carry(pool, 10 + now).proxy.name for now in range(40))
    assert used["c"] >= 15


# Least connections


def test_least_connections_picks_the_least_loaded_for_its_weight() -> None:
    chooser = made("least_connections", [1, 1, 4])
    for index, (weight, in_flight) in enumerate([(1, 2), (1, 1), (4, 3)]):
        chooser.set(index, score=1, weight=weight, in_flight=in_flight)
    assert picks(chooser, 1) == [2]
    assert picks(chooser, 1, [0, 1]) == [1]


def test_least_connections_picks_the_longest_unused_among_equals() -> None:
    pool = make_pool(proxies(4), strategy="least_connections")
    names = [carry(pool, now).proxy.name for now in range(8)]
    assert names == ["p0", "p1", "p2", "p3"] * 2


def test_least_connections_spreads_leases_evenly() -> None:
    pool = make_pool(proxies(5), strategy="least_connections", max_in_flight=4)
    for _ in range(15):
        pool.acquire(0)
    assert [seen.in_flight for seen in pool.snapshot(0)] == [3] * 5


# Weighted


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_a_cold_pool_tries_every_proxy_once_before_any_twice(count: int) -> None:
    pool = make_pool(proxies(count))
    first = [carry(pool, now).proxy.name for now in range(count)]
    assert sorted(first) == sorted(f"p{number}" for number in range(count))


def test_a_cold_pool_tries_every_proxy_once_even_if_the_first_answers_are_slow_to_come() -> None:
    pool = make_pool(proxies(20))
    assert len({pool.acquire(0).proxy.name for _ in range(20)}) == 20


def test_a_cold_pool_goes_by_weight() -> None:
    pool = make_pool([proxy("a", weight=1), proxy("b", weight=2), proxy("c", weight=3)])
    assert Counter(carry(pool, now).proxy.name for now in range(6)) == {"a": 1, "b": 2, "c": 3}


def test_what_is_cancelled_does_not_end_the_cold_start() -> None:
    pool = make_pool(proxies(5))
    names = [carry(pool, now, Outcome.IGNORED).proxy.name for now in range(100)]
    assert Counter(names) == {f"p{number}": 20 for number in range(5)}


@pytest.mark.parametrize("among", [None, [0, 2, 4, 5]])
def test_weighted_picks_are_in_proportion_to_the_scores(among: list[int] | None) -> None:
    scores = [1.0, 2.0, 3.0, 0.0, 0.5, 6.0]
    chooser = warm(made("weighted", scores), len(scores))
    shares = {index: scores[index] for index in (among or [0, 1, 2, 4, 5])}
    counts = Counter(picks(chooser, 20_000, among))
    assert set(counts) == set(shares)
    assert chi_square(counts, shares) < CHI_SQUARE_LIMIT[len(shares) - 1]


@pytest.mark.parametrize(
    ("matching", "names"),
    [(None, ["a", "b", "c", "d", "e"]), ({"country": "de"}, ["a", "c", "e"])],
)
def test_a_pool_picks_in_proportion_to_the_scores_that_it_explains(
    matching: dict[str, str] | None, names: list[str]
) -> None:
    pool = make_pool(
        [
            proxy("a", country="de", weight=2),
            proxy("b", country="fr"),
            proxy("c", country="de"),
            proxy("d", country="fr", weight=3),
            proxy("e", country="de", weight=0.5),
        ],
        health=cooling(threshold=50),
    )
    history = {"a": "sfsf", "b": "ssss", "c": "sssf", "d": "ffss", "e": "ssss"}
    latency = {"a": 0.5, "b": 1.0, "c": 2.0, "d": 1.5, "e": 0.2}
    for name, outcomes in history.items():
        for code in outcomes:
            outcome = Outcome.SUCCESS if code == "s" else Outcome.PROXY_FAULT
            carry_through(pool, name, 0, outcome, latency=latency[name])
    shares = {name: pool.explain(name).value for name in names}
    assert max(shares.values()) > 2 * min(shares.values())
    # Nothing is learned from what is ignored, so the scores stay as they are.
    counts = Counter(
        carry(pool, 1, Outcome.IGNORED, matching=matching).proxy.name for _ in range(20_000)
    )
    assert {name: pool.explain(name).value for name in names} == shares
    assert chi_square(counts, shares) < CHI_SQUARE_LIMIT[len(shares) - 1]
