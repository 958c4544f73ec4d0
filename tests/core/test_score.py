"""The score: what moves it and which way, and that what it is made of can be shown."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from math import isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import HealthPolicy, HealthState, Outcome, Pool
from scrapy_proxybalance.core.outcome import PROXY_AUTH
from scrapy_proxybalance.core.proxies.health import Health
from scrapy_proxybalance.core.proxies.score import Expectation, expected, explain_score

from .helpers import acquire, blocked, carry_through, cooling, make_pool, proxies, proxy, shown

POLICY = HealthPolicy(failure_threshold=10_000)

shares = st.floats(0, 1)
times = st.floats(0.05, 20)
expectations = st.builds(Expectation, st.floats(0.01, 0.99), times, times)


@st.composite
def lives(draw: st.DrawFn, lost: float | None = None) -> tuple[Health, float]:
    """Draw what may have become of a proxy in service, and the time at which it has.

    Its failures take all the same time if ``lost`` is given.
    """
    health, now = Health(), 0.0
    for success in draw(st.lists(st.booleans(), max_size=40)):
        now += draw(st.floats(0, 100))
        if success:
            health.succeeded(draw(times), 0, now, POLICY)
        else:
            time = lost if lost is not None else draw(times)
            health.failed(draw(shares), time, 0, now, POLICY, Random(1))
    return health, now


def value(health: Health, now: float) -> float:
    return explain_score(1.0, health, Expectation(), 0, 4, now).value


# What is shown


def test_proxies_that_nothing_is_known_of_score_in_proportion_to_their_weights() -> None:
    pool = make_pool([proxy("a"), proxy("b", weight=2.5)])
    assert pool.explain("b", 0).value == pytest.approx(2.5 * pool.explain("a", 0).value)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(list(Outcome)),
            st.none() | st.floats(0, 500),
            st.floats(0, 1000),
            st.sampled_from([None] * 9 + [PROXY_AUTH]),
        ),
        max_size=40,
    )
)
def test_a_score_is_positive_in_service_and_nothing_else_and_made_of_what_is_shown(
    steps: list[tuple[str, Outcome, float | None, float, str | None]],
) -> None:
    nodes = [proxy("a"), proxy("b", weight=3), proxy("c", provider="other")]
    pool = make_pool(nodes, health=cooling(threshold=3, first=100))
    now = 0.0
    for name, outcome, duration, passed, failure in steps:
        now += passed
        if blocked(pool, now, proxy_filter={"name": name}) is None:
            carry_through(pool, name, now, outcome, latency=duration, failure=failure)
        for node in nodes:
            score, seen = pool.explain(node.name, now), shown(pool, node.name, now)
            sits_out = seen.state in (HealthState.COOLING, HealthState.OUT)
            assert isfinite(score.value)
            assert (score.value == 0) is sits_out
            assert seen.score == score.value
            assert score.value == pytest.approx(
                score.weight * score.recovery * score.doubt / (score.cost * score.load)
            )
            assert 0 < score.success < 1
            assert 0 < score.slowness <= score.cost
            assert score.lost >= 0
            assert score.forgiven >= 0
            assert score.load == 1


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(list(Outcome)), times), max_size=20),
    st.integers(0, 4),
    st.floats(10, 1e4),
)
def test_the_score_that_is_explained_is_the_one_that_is_chosen_by(
    steps: list[tuple[str, Outcome, float]], in_flight: int, later: float
) -> None:
    pool = make_pool([proxy("a", weight=3), proxy("b", provider="one")], health=POLICY)
    for now, (name, outcome, duration) in enumerate(steps):
        carry_through(pool, name, now, outcome, latency=duration)
    for _ in range(in_flight):
        acquire(pool, len(steps), proxy_filter={"name": "a"})
    later += len(steps)
    for index, name in enumerate("ab"):
        chosen_by = pool._strategies.in_use[0]._view.score(index, later)
        assert 0 < chosen_by == pytest.approx(pool.explain(name, later).value)


def test_an_unknown_proxy_has_no_score() -> None:
    with pytest.raises(KeyError):
        make_pool(proxies(1)).explain("p9", 0)


def test_each_request_in_flight_lowers_the_score() -> None:
    pool = make_pool([proxy("a", max_in_flight=3)])
    values = [pool.explain("a", 0).value]
    for _ in range(3):
        acquire(pool, 0)
        values.append(pool.explain("a", 0).value)
    assert values == sorted(set(values), reverse=True)


def test_a_proxy_that_may_carry_more_is_loaded_less_by_the_same_requests() -> None:
    pool = make_pool([proxy("small", max_in_flight=2), proxy("big", max_in_flight=20)])
    for name in ("small", "big"):
        acquire(pool, 0, proxy_filter={"name": name})
    assert pool.explain("big", 0).value > pool.explain("small", 0).value


# Success


def test_successes_raise_the_score_above_that_of_an_unknown_proxy_and_faults_lower_it() -> None:
    pool = make_pool(proxies(3), health=cooling(threshold=10))
    for _ in range(5):
        carry_through(pool, "p0", 0, Outcome.SUCCESS, latency=1.0)
        carry_through(pool, "p1", 0, Outcome.PROXY_FAULT, latency=1.0)
    good, unknown, bad = (pool.explain(name, 0) for name in ("p0", "p2", "p1"))
    assert good.success > unknown.success > bad.success
    assert good.value > unknown.value > bad.value


@given(st.data(), times)
def test_one_more_failure_like_those_before_never_raises_the_score(
    data: st.DataObject, lost: float
) -> None:
    health, now = data.draw(lives(lost))
    for _ in range(3):
        before = value(health, now)
        health.failed(1.0, lost, 0, now, POLICY, Random(1))
        assert value(health, now) <= before * (1 + 1e-9)


@given(lives())
def test_who_is_charged_more_of_a_failure_scores_no_better(life: tuple[Health, float]) -> None:
    health, now = life
    values = []
    for share in (0.0, 0.25, 0.5, 1.0):
        copy = deepcopy(health)
        copy.failed(share, 1.0, 0, now, POLICY, Random(1))
        values.append(value(copy, now))
    assert values == sorted(values, reverse=True)


def test_faults_in_a_row_weigh_more_than_as_many_between_successes() -> None:
    in_a_row, between = Health(), Health()
    for number in range(12):
        success = number % 4
        _told(between, success=bool(success), now=0)
        _told(in_a_row, success=number < 9, now=0)
    assert value(in_a_row, 0) < 0.8 * value(between, 0)


def test_suspicion_fades_so_that_somebody_finds_out() -> None:
    health = Health()
    for number in range(13):
        _told(health, success=number < 10, now=0)
    then, soon, later = (value(health, now) for now in (0, 60, 600))
    assert later > soon > then


def _told(health: Health, *, success: bool, now: float) -> None:
    if success:
        health.succeeded(1.0, 0, now, POLICY)
    else:
        health.failed(1.0, 1.0, 0, now, POLICY, Random(1))


def test_a_proxy_that_always_fails_still_has_a_score() -> None:
    pool = make_pool([proxy("a")], health=cooling(threshold=10_000))
    for _ in range(1000):
        carry_through(pool, "a", 0, Outcome.PROXY_FAULT)
    assert pool.explain("a", 0).value > 0


# A black hole


@pytest.mark.parametrize("outcome", [Outcome.PROXY_FAULT, Outcome.AMBIGUOUS, Outcome.GATEWAY_FAULT])
@pytest.mark.parametrize("duration", [0.0, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("answering", [1, 8])
def test_what_fails_never_scores_above_what_was_never_tried(
    outcome: Outcome, duration: float, answering: int
) -> None:
    pool = make_pool(proxies(10), health=cooling(threshold=10_000))
    for turn in range(30):
        for number in range(answering):
            carry_through(pool, f"p{number}", turn, Outcome.SUCCESS, target="t", latency=1.0)
        carry_through(pool, "p8", turn, outcome, target="t", latency=duration)
        black_hole, untried = (pool.explain(name, turn).value for name in ("p8", "p9"))
        assert black_hole < untried


@pytest.mark.parametrize("after", [0, 60, 300])
def test_latency_without_success_attracts_nobody(after: float) -> None:
    pool = make_pool(proxies(12), health=cooling(threshold=10_000))
    for turn in range(20):
        for number in range(10):
            carry_through(pool, f"p{number}", turn, Outcome.SUCCESS, target="t", latency=1.0)
        carry_through(pool, "p10", turn, Outcome.AMBIGUOUS, target="t", latency=0.01)
        carry_through(pool, "p11", turn, Outcome.SUCCESS, target="t", latency=3.0)
    assert pool.explain("p10", 19 + after).value < pool.explain("p11", 19 + after).value


# Time


def _after(own: float, usual: float) -> Pool:
    pool = make_pool(proxies(3))
    for now in range(100):
        carry_through(pool, "p0", now, Outcome.SUCCESS, target="t", latency=usual)
    for now in range(100, 110):
        carry_through(pool, "p0", now, Outcome.SUCCESS, target="t", latency=usual)
        carry_through(pool, "p1", now, Outcome.SUCCESS, target="t", latency=own)
    return pool


@pytest.mark.parametrize("usual", [0.1, 1.0, 10.0])
def test_a_faster_proxy_scores_better_whatever_the_usual_time(usual: float) -> None:
    by_time = [
        _after(usual * times, usual).explain("p1", 110).value
        for times in (0.1, 0.5, 1.0, 2.0, 10.0)
    ]
    assert by_time == sorted(set(by_time), reverse=True)


def test_a_single_time_counts_within_bounds() -> None:
    for own, longest in ((1e-9, 1e-3), (1e9, 1e3)):
        assert _after(own, 1.0).explain("p1", 110).value == pytest.approx(
            _after(longest, 1.0).explain("p1", 110).value, rel=0.1
        )


def test_a_slow_target_makes_no_slow_proxies() -> None:
    pool = make_pool(proxies(2))
    for now in range(100):
        carry_through(pool, "p0", now, Outcome.SUCCESS, target="slow.test", latency=10.0)
        carry_through(pool, "p1", now, Outcome.SUCCESS, target="fast.test", latency=0.1)
    slow, fast = pool.explain("p0", 100), pool.explain("p1", 100)
    assert slow.value == pytest.approx(fast.value, rel=0.25)


def test_a_target_that_only_a_slow_proxy_serves_does_not_hide_that_it_is_slow() -> None:
    pool = make_pool(proxies(6))
    for now in range(200):
        for number in range(5):
            carry_through(pool, f"p{number}", now, Outcome.SUCCESS, target="all.test", latency=1.0)
        carry_through(pool, "p5", now, Outcome.SUCCESS, target="all.test", latency=4.0)
        for _ in range(3):
            carry_through(pool, "p5", now, Outcome.SUCCESS, target="its-own.test", latency=4.0)
    assert pool.explain("p5", 200).slowness > 2.5 * pool.explain("p0", 200).slowness


def test_a_refusal_by_the_target_is_no_evidence_of_a_fast_proxy() -> None:
    pool = make_pool(proxies(3))
    for now in range(10):
        carry_through(pool, "p0", now, Outcome.SUCCESS, latency=1.0)
        carry_through(pool, "p1", now, Outcome.TARGET_SIGNAL, latency=0.01)
    assert pool.explain("p1", 10).slowness == pytest.approx(pool.explain("p2", 10).slowness)


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.AMBIGUOUS])
def test_the_whole_duration_counts_where_it_is_known(outcome: Outcome) -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=10_000))
    for now in range(20):
        for name, duration in (("p0", 1.0), ("p1", 5.0)):
            attempt = acquire(pool, now, target="t", proxy_filter={"name": name})
            pool.release(attempt, outcome, now, latency=0.1, duration=duration)
        for name in ("p0", "p1"):
            carry_through(pool, name, now, Outcome.SUCCESS, target="t", latency=1.0)
    assert pool.explain("p0", 20).value > pool.explain("p1", 20).value


# Forgetting


@given(lives(), expectations, st.lists(st.floats(1, 1e4), min_size=2, max_size=6))
def test_what_is_known_fades_towards_what_is_expected_of_the_group(
    life: tuple[Health, float], prior: Expectation, waits: list[float]
) -> None:
    health, now = life
    distances = []
    for wait in sorted(waits):
        success, slowness, lost = expected(health.record, prior, now + wait)
        distances.append(
            (abs(success - prior.success), abs(slowness - prior.slowness), abs(lost - prior.lost))
        )
    for sooner, later in pairwise(distances):
        assert all(b <= a + 1e-9 for a, b in zip(sooner, later, strict=True))
    assert expected(health.record, prior, now + 1e7) == pytest.approx(
        (prior.success, prior.slowness, prior.lost)
    )


@given(lives(), expectations)
def test_what_to_expect_lies_between_what_was_seen_and_the_group(
    life: tuple[Health, float], prior: Expectation
) -> None:
    health, now = life
    success, slowness, lost = expected(health.record, prior, now)
    assert 0 < success < 1
    assert min(0.05, prior.slowness) * 0.999 <= slowness <= 20.001
    assert 0 <= lost <= 20.001
