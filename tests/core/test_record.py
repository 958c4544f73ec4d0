"""A record: sums over attempts that newer ones push out and that time makes fade."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.proxies.record import Record
from scrapy_proxybalance.core.proxies.score import Expectation, expected

PRIOR = Expectation(0.5, 1.0, 1.0)

# Success or failure, its share or slowness, the time since the one before, its weight.
attempts = st.lists(
    st.tuples(st.booleans(), st.floats(0.01, 1), st.floats(0, 300), st.floats(0.01, 1)), max_size=60
)


def told(
    steps: list[tuple[bool, float, float, float]], window: int = 20, start: float = 0.0
) -> tuple[Record, float]:
    record, now = Record(), start
    for success, part, passed, weight in steps:
        now += passed
        if success:
            record.succeeded(part, now, window, weight)
        else:
            record.failed(part, 2.0, now, window, weight)
    return record, now


def of(outcomes: str, window: int = 20) -> float:
    """Return the success to expect after these outcomes, like ``++-``, the last one now."""
    record, now = told([(outcome == "+", 1.0, 0.0, 1.0) for outcome in outcomes], window)
    return expected(record, PRIOR, now)[0]


@given(attempts, st.integers(1, 50))
def test_no_more_is_remembered_than_the_window_has_room_for(
    steps: list[tuple[bool, float, float, float]], window: int
) -> None:
    record, _ = told(steps, window)
    kept = record.successes, record.failures, record.forgiven
    assert all(count >= 0 for count in kept)
    assert sum(kept) <= min(window, len(steps)) + 1e-9


@given(attempts, st.floats(0, 1e5), st.floats(0, 1e5))
def test_what_is_known_is_worth_less_the_longer_ago_it_is(
    steps: list[tuple[bool, float, float, float]], one: float, other: float
) -> None:
    record, now = told(steps)
    sooner, later = sorted((one, other))
    assert record.worth(now) == 1 or not steps
    assert record.worth(now + sooner) >= record.worth(now + later) >= 0


def test_after_an_hour_of_silence_nothing_is_left() -> None:
    record, now = told([(True, 1.0, 0.0, 1.0)] * 50)
    assert record.successes * record.worth(now + 3600) < 0.01


@given(attempts, st.floats(0, 1000))
def test_only_the_time_between_outcomes_matters(
    steps: list[tuple[bool, float, float, float]], start: float
) -> None:
    one, then = told(steps)
    other, later = told(steps, start=start)
    if not steps:
        return
    assert expected(one, PRIOR, then) == pytest.approx(expected(other, PRIOR, later), rel=1e-6)


def test_a_failure_is_parted_between_who_is_to_blame_and_who_is_forgiven() -> None:
    record = Record()
    record.failed(0.25, 2.0, 0, 20)
    assert (record.failures, record.forgiven) == (0.25, 0.75)
    record = Record()
    record.failed(0.25, 2.0, 0, 20, weight=0.5)
    assert (record.failures, record.forgiven) == (0.125, 0.375)


def test_the_latest_outcomes_count_the_most() -> None:
    assert of("----++++") > of("+-+-+-+-") > of("++++----")


def test_older_outcomes_are_pushed_out_by_newer_ones() -> None:
    assert of("-" * 100 + "+" * 100) == pytest.approx(of("+" * 100), abs=0.01)
    assert of("-" * 5 + "+", window=1) == of("+", window=1)


def test_a_wider_window_remembers_longer() -> None:
    then = [of("-" * 20 + "+" * 20, window) for window in (5, 20, 80)]
    assert then == sorted(set(then), reverse=True)
