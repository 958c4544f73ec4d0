"""A long_term: what a proxy usually does, and what is expected of it when nothing newer is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.core.proxies.long_term import LongTerm

from .helpers import carry_through, cooling, make_pool, proxies


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("+"), st.floats(0.05, 20)), st.tuples(st.just("-"), st.floats(0, 1))
        ),
        max_size=300,
    )
)
def test_a_habit_stays_within_what_was_seen(steps: list[tuple[str, float]]) -> None:
    long_term = LongTerm()
    for kind, value in steps:
        if kind == "+":
            long_term.succeeded(value)
        else:
            long_term.failed(value)
    seen = [value for kind, value in steps if kind == "+"]
    assert 0 <= long_term.success <= 1
    assert long_term.attempts <= 100
    assert min(seen, default=1.0) - 1e-9 <= long_term.slowness <= max(seen, default=1.0) + 1e-9


def test_it_is_the_mean_while_attempts_are_few() -> None:
    long_term = LongTerm()
    for slowness in (1.0, 1.0, 4.0):
        long_term.succeeded(slowness)
    long_term.failed(1.0)
    assert long_term.slowness == pytest.approx(2.0)
    assert long_term.success == pytest.approx(0.75)


@pytest.mark.parametrize("answers", [(9.0, 1.0), (1.0, 9.0)])
def test_of_the_first_two_answers_the_faster_counts(answers: tuple[float, float]) -> None:
    long_term = LongTerm()
    for slowness in answers:
        long_term.succeeded(slowness)
    assert long_term.slowness == 1.0


def test_a_failure_that_is_laid_at_others_doors_counts_for_the_proxy() -> None:
    long_term = LongTerm()
    for _ in range(50):
        long_term.failed(0.1)
    assert long_term.success == pytest.approx(0.9)


def test_a_bad_quarter_of_an_hour_does_not_make_a_bad_proxy() -> None:
    long_term = LongTerm()
    for _ in range(100):
        long_term.succeeded(1.0)
    for _ in range(10):
        long_term.succeeded(20.0)
    assert long_term.slowness < 1.5


def test_a_proxy_is_known_again_when_what_it_did_lately_has_faded() -> None:
    pool = make_pool(proxies(3), health=cooling(threshold=1000))
    for turn in range(100):
        for name in ("p0", "p1", "p2"):
            seconds = 0.5 if name == "p0" else 2.0
            carry_through(pool, name, turn, Outcome.SUCCESS, latency=seconds, duration=seconds)
    usual = pool.explain("p0", 100).slowness
    for turn in range(100, 110):
        carry_through(pool, "p0", turn, Outcome.SUCCESS, latency=8.0, duration=8.0)
    assert pool.explain("p0", 110).slowness > 2 * usual
    assert pool.explain("p0", 2000).slowness < 1.5 * usual


def test_a_proxy_is_known_again_after_a_few_answers_as_usual_when_it_was_slow_for_a_while() -> None:
    pool = make_pool(proxies(3), health=cooling(threshold=1000))
    for turn in range(100):
        for name in ("p0", "p1", "p2"):
            carry_through(pool, name, turn, Outcome.SUCCESS, latency=1.0, duration=1.0)
    usual = pool.explain("p0", 100)
    for turn in range(100, 130):
        failed = turn % 3 == 0
        outcome = Outcome.PROXY_FAULT if failed else Outcome.SUCCESS
        carry_through(pool, "p0", turn, outcome, latency=8.0, duration=8.0)
    slowed = pool.explain("p0", 130)
    assert slowed.slowness > 2 * usual.slowness
    assert slowed.success < usual.success - 0.1
    for turn in range(130, 134):
        carry_through(pool, "p0", turn, Outcome.SUCCESS, latency=1.0, duration=1.0)
    again = pool.explain("p0", 134)
    assert again.slowness < 1.5 * usual.slowness
    assert again.success > usual.success - 0.12
