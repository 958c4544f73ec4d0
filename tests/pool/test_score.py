"""The score: what moves it, how far, and that its factors can be shown."""

from __future__ import annotations

from math import prod

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.pool import Outcome, Pool

from .helpers import carry_through, cooling, make_pool, proxies, proxy, shown


def test_a_proxy_that_nothing_is_known_of_scores_its_weight() -> None:
    pool = make_pool([proxy("a"), proxy("b", weight=2.5)])
    assert pool.explain("a").value == 1.0
    assert pool.explain("b").value == 2.5


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(list(Outcome)), st.floats(0.01, 50)),
        max_size=40,
    )
)
def test_the_score_is_the_product_of_the_factors_that_are_shown(
    steps: list[tuple[str, Outcome, float]],
) -> None:
    pool = make_pool([proxy("a"), proxy("b", weight=3)], health=cooling(threshold=5, first=1))
    for step, (name, outcome, latency) in enumerate(steps):
        carry_through(pool, name, 1000.0 * step, outcome, latency=latency)
        for other in ("a", "b"):
            score = pool.explain(other)
            factors = attrs.astuple(score)
            assert all(factor >= 0 for factor in factors)
            assert score.value == pytest.approx(prod(factors))
            assert shown(pool, other, 1000.0 * step).score == score.value


def test_an_unknown_proxy_has_no_score() -> None:
    with pytest.raises(KeyError):
        make_pool(proxies(1)).explain("p9")


def test_each_request_in_flight_lowers_the_load_factor() -> None:
    pool = make_pool([proxy("a")])
    loads = []
    for _ in range(3):
        pool.acquire(0)
        loads.append(pool.explain("a").load)
    assert loads == [1 / 4, 1 / 9, 1 / 16]


def test_each_fault_in_a_row_halves_the_share_and_a_success_restores_it() -> None:
    pool = make_pool([proxy("a")], health=cooling(threshold=10))
    penalties = []
    for _ in range(6):
        carry_through(pool, "a", 0, Outcome.PROXY_FAULT)
        penalties.append(pool.explain("a").penalty)
    assert penalties == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16, 1 / 16]
    carry_through(pool, "a", 0, Outcome.SUCCESS)
    assert pool.explain("a").penalty == 1.0


def _after_latencies(own: float, usual: float) -> Pool:
    pool = make_pool(proxies(2))
    for now in range(300):
        carry_through(pool, "p0", now, Outcome.SUCCESS, latency=usual)
    carry_through(pool, "p1", 300, Outcome.SUCCESS, latency=own)
    return pool


@pytest.mark.parametrize(
    ("own", "usual", "factor"),
    [(2.0, 1.0, 0.5), (0.5, 1.0, 2.0), (0.001, 1.0, 4.0), (500.0, 1.0, 0.1)],
)
def test_latency_counts_relative_to_the_pools_within_bounds(
    own: float, usual: float, factor: float
) -> None:
    assert _after_latencies(own, usual).explain("p1").latency == pytest.approx(factor, rel=0.06)


def test_a_refusal_by_the_target_is_no_evidence_of_a_fast_proxy() -> None:
    pool = make_pool(proxies(2))
    for now in range(10):
        carry_through(pool, "p0", now, Outcome.SUCCESS, latency=1.0)
        carry_through(pool, "p1", now, Outcome.TARGET_SIGNAL, latency=0.01)
    assert pool.explain("p1").latency == 1.0
    assert shown(pool, "p1", 10).latency is None


def test_successes_raise_the_score_above_that_of_an_unknown_proxy_and_faults_lower_it() -> None:
    pool = make_pool(proxies(3), health=cooling(threshold=10))
    for _ in range(5):
        carry_through(pool, "p0", 0, Outcome.SUCCESS)
        carry_through(pool, "p1", 0, Outcome.PROXY_FAULT)
    assert pool.explain("p0").success > pool.explain("p2").success > pool.explain("p1").success


def test_a_proxy_that_always_fails_still_has_a_score() -> None:
    pool = make_pool([proxy("a")], health=cooling(threshold=10_000))
    for _ in range(1000):
        carry_through(pool, "a", 0, Outcome.PROXY_FAULT)
    assert pool.explain("a").value > 0
