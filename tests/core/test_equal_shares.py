"""Equally fast proxies get equal shares, however little there is to do. Time is made up."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from statistics import median
from typing import TYPE_CHECKING

import pytest

from scrapy_proxybalance.core import Attempt, Outcome

from .helpers import acquire, make_pool, proxies

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = range(20)
FAST = 0.005
# Of 20 proxies 8 are equally fast, and the others slower, up to 0.3 s.
MIXED = [FAST] * 8 + [FAST + 0.295 * (number + 1) / 12 for number in range(12)]


def loopback(usual: float, first: bool, rng: Random) -> float:
    """Return the seconds of an answer: some noise, and at times the wait for a connection."""
    hiccup = 0.05 if first and rng.random() < 0.1 else 0.0
    return usual + rng.expovariate(1 / 0.003) + hiccup


def internet(usual: float, first: bool, rng: Random) -> float:  # noqa: ARG001
    """Return the seconds of an answer, log-normal as of public proxies."""
    return usual * rng.lognormvariate(0.0, 0.63)


def crawl(
    usual: list[float],
    seed: int,
    time: Callable[[float, bool, Random], float] = loopback,
    *,
    requests: int = 1000,
    at_once: int = 5,
    strategy: str = "weighted",
) -> list[int]:
    """Return how many requests each proxy carries of a crawl that never waits for anything else."""
    nodes = proxies(len(usual))
    pool = make_pool(nodes, seed=seed, strategy=strategy)
    seconds = {node.name: each for node, each in zip(nodes, usual, strict=True)}
    carried = dict.fromkeys(seconds, 0)
    rng, now = Random(seed + 1000), 0.0
    under_way: list[tuple[float, int, float, Attempt]] = []
    for number in range(requests):
        if len(under_way) == at_once:
            now, _, took, attempt = heappop(under_way)
            pool.release(attempt, Outcome.SUCCESS, now, duration=took)
        attempt = acquire(pool, now, target="shop.test")
        name = attempt.proxy.name
        took = time(seconds[name], not carried[name], rng)
        carried[name] += 1
        heappush(under_way, (now + took, number, took, attempt))
    return list(carried.values())


def most_over_least(shares: list[int]) -> float:
    return max(shares) / max(1, min(shares))


@pytest.mark.parametrize(
    ("time", "usual", "size"), [(loopback, FAST, 20), (loopback, FAST, 10), (internet, 1.0, 20)]
)
def test_equals_get_equal_shares_whatever_their_first_answers_were(
    time: Callable[[float, bool, Random], float], usual: float, size: int
) -> None:
    for seed in SEEDS:
        assert most_over_least(crawl([usual] * size, seed, time)) <= 2


def test_the_fastest_get_equal_shares_beside_slower_ones() -> None:
    found = [most_over_least(crawl(MIXED, seed)[:8]) for seed in SEEDS]
    assert median(found) <= 1.75
    assert sorted(found)[-2] <= 3


def test_the_slower_ones_get_little_all_the_same() -> None:
    for seed in SEEDS:
        assert sum(crawl(MIXED, seed)[8:]) <= 120


def test_differences_below_what_a_page_costs_do_not_concentrate_traffic() -> None:
    usual = [0.001 + 0.004 * number / 19 for number in range(20)]
    for seed in SEEDS:
        assert most_over_least(crawl(usual, seed)) <= 3


def test_proxies_that_do_differ_are_still_told_apart() -> None:
    fast_and_slow = [0.5] * 8 + [3.0] * 12
    for seed in range(5):
        assert sum(crawl(fast_and_slow, seed, internet)[8:]) <= 150


@pytest.mark.parametrize(
    "strategy", ["round_robin", "weighted_round_robin", "least_connections", "least_used"]
)
def test_strategies_that_know_no_times_let_equals_take_turns(strategy: str) -> None:
    for seed in range(3):
        assert most_over_least(crawl([FAST] * 20, seed, strategy=strategy)) <= 1.25
