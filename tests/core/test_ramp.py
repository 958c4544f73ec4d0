"""What a target has sustained, and how its traffic grows back below it."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.targets.ramp import Ramp, Sustained, Traffic

sustained_rates = st.floats(0.01, 1000)
lengths = st.floats(0.5, 3600)
beginnings = st.floats(0, 1e6)

#: A moment is worked out to so many seconds.
MOMENT = 0.001


# The curve


@given(sustained_rates, st.integers(1, 200), lengths, st.lists(st.floats(0, 20), min_size=2))
def test_a_ramp_never_takes_back_what_it_has_given(
    sustained: float, peak: int, seconds: float, parts: list[float]
) -> None:
    ramp = Ramp(sustained, peak, seconds, 0)
    moments = [part * seconds for part in sorted(parts)]
    rates = [ramp.rate(moment) for moment in moments]
    assert rates == pytest.approx(sorted(rates), rel=1e-12)
    caps = [ramp.max_in_flight(moment) for moment in moments]
    assert caps == sorted(caps)


@given(sustained_rates, lengths, beginnings)
def test_a_ramp_begins_below_what_was_sustained_and_ends_below_it(
    sustained: float, seconds: float, now: float
) -> None:
    ramp = Ramp(sustained, 1, seconds, now)
    assert ramp.rate(now) == pytest.approx(0.8 * sustained)
    assert ramp.ends_at == now + seconds
    assert ramp.rate(ramp.ends_at) == pytest.approx(0.95 * sustained)


@given(sustained_rates, lengths, st.floats(0, 5))
def test_a_ramp_makes_no_leaps(sustained: float, seconds: float, part: float) -> None:
    ramp = Ramp(sustained, 1, seconds, 0)
    step = seconds / 1000
    here, there = ramp.rate(part * seconds), ramp.rate(part * seconds + step)
    assert there - here <= 0.01 * sustained


def test_a_ramp_goes_beyond_what_was_sustained_slowly_and_then_fast() -> None:
    ramp = Ramp(10, 1, 60, 0)
    assert ramp.rate(1.9 * 60) < 10 < ramp.rate(2.1 * 60)
    assert ramp.rate(3 * 60) < 15
    assert ramp.rate(20 * 60) > 1000


@pytest.mark.parametrize(("peak", "first", "last"), [(1, 1, 1), (10, 8, 10), (100, 80, 95)])
def test_a_ramp_lets_grow_what_is_in_flight_too(peak: int, first: int, last: int) -> None:
    ramp = Ramp(10, peak, 60, 0)
    assert (ramp.max_in_flight(0), ramp.max_in_flight(60)) == (first, last)


# The pace


def allowed(ramp: Ramp, begin: float, end: float) -> float:
    """How many requests the rate allows in a time: Simpson's rule, which is exact for its curve."""
    middle = min(max(begin, ramp.ends_at), end)
    whole = 0.0
    for first, last in ((begin, middle), (middle, end)):
        rates = ramp.rate(first) + 4 * ramp.rate((first + last) / 2) + ramp.rate(last)
        whole += (last - first) / 6 * rates
    return whole


@given(sustained_rates, lengths)
def test_the_first_request_of_a_ramp_is_spaced_as_the_others(
    sustained: float, seconds: float
) -> None:
    ramp = Ramp(sustained, 1, seconds, 0)
    assert allowed(ramp, 0, ramp.ready_at()) >= 1 - 1e-6
    assert allowed(ramp, 0, ramp.ready_at() - MOMENT) <= 1 + 1e-6


@given(sustained_rates, lengths, st.integers(1, 100))
def test_requests_that_go_as_soon_as_they_may_are_spaced_evenly(
    sustained: float, seconds: float, count: int
) -> None:
    ramp = Ramp(sustained, 1, seconds, 0)
    for number in range(1, count + 1):
        now = ramp.ready_at()
        assert allowed(ramp, 0, now) >= number * (1 - 1e-6)
        assert allowed(ramp, 0, now - MOMENT) <= number * (1 + 1e-6)
        ramp.take(now, 0)


@given(sustained_rates, lengths, st.lists(st.floats(0, 3), min_size=1, max_size=50))
def test_being_late_is_made_up_for_by_half_an_interval_at_most(
    sustained: float, seconds: float, lates: list[float]
) -> None:
    ramp = Ramp(sustained, 1, seconds, 0)
    sent: list[float] = []
    for late in lates:
        now = ramp.ready_at() + late / sustained
        ramp.take(now, sys.maxsize)  # so much is under way that no time was idle
        sent.append(now)
    for first, moment in enumerate(sent):
        for later in range(first + 1, len(sent)):
            most = allowed(ramp, moment, sent[later])
            assert later - first <= most + 0.5 + 1e-6 * (1 + most)


# Idle time


def ramp_with_one_sent(sustained: float = 10, peak: int = 1, seconds: float = 60) -> Ramp:
    """A ramp that has begun at 0 and sent its first request in time."""
    ramp = Ramp(sustained, peak, seconds, 0)
    ramp.take(ramp.ready_at(), 0)
    return ramp


@given(sustained_rates, lengths, st.floats(0, 1e5))
def test_time_that_is_not_used_makes_a_ramp_grow_by_one_interval_at_most(
    sustained: float, seconds: float, idle: float
) -> None:
    ramp = ramp_with_one_sent(sustained, 1, seconds)
    ready_at = ramp.ready_at()
    used_until = ready_at + 1 / ramp.rate(ready_at)
    grown, ends_at = ramp.rate(used_until), ramp.ends_at
    now = used_until + idle
    ramp.take(now, 0)
    assert ramp.rate(now) == pytest.approx(grown, rel=1e-6)
    assert ramp.ends_at == pytest.approx(ends_at + idle)


def test_after_ever_so_long_an_idle_time_a_ramp_still_limits() -> None:
    ramp = ramp_with_one_sent(peak=4)
    for hours in range(1, 10):
        ramp.take(hours * 3600, 0)
    assert ramp.rate(9 * 3600) < 8.5
    assert ramp.max_in_flight(9 * 3600) == 4


@given(sustained_rates, lengths, st.floats(0, 0.99))
def test_a_request_that_is_late_by_less_than_an_interval_is_no_idle_time(
    sustained: float, seconds: float, part: float
) -> None:
    ramp = ramp_with_one_sent(sustained, 1, seconds)
    ends_at, ready_at = ramp.ends_at, ramp.ready_at()
    ramp.take(ready_at + part / ramp.rate(ready_at), 0)
    assert ramp.ends_at == ends_at


@pytest.mark.parametrize(("in_flight", "idle"), [(0, True), (3, True), (4, False), (7, False)])
def test_with_half_of_what_may_be_in_flight_no_time_is_idle(in_flight: int, idle: bool) -> None:
    ramp = ramp_with_one_sent(peak=9)
    assert {ramp.max_in_flight(moment) for moment in (0, 1)} == {8}
    ends_at = ramp.ends_at
    ramp.take(30, in_flight)
    assert (ramp.ends_at > ends_at) is idle


def test_what_was_not_sent_in_idle_time_is_not_made_up_for() -> None:
    ramp = ramp_with_one_sent()
    now = 1000.0
    ramp.take(now, 0)
    interval = 1 / ramp.rate(now)
    assert ramp.ready_at() - now >= 0.49 * interval
    later = ramp.ready_at()
    ramp.take(later, 0)
    assert ramp.ready_at() - later == pytest.approx(interval, rel=0.02)


# What was sustained


def test_what_was_borne_lately_is_what_was_answered_in_the_last_seconds() -> None:
    traffic = Traffic(0)
    for number in range(1000):
        traffic.answered(number)  # one a second
    for number in range(1000):
        traffic.answered(1000 + number / 10)  # ten a second, a hundred seconds long
    assert traffic.sustained(1100, lately=True).rate == pytest.approx(10, rel=0.05)
    assert traffic.sustained(1100, lately=False).rate == pytest.approx(2000 / 1100, rel=0.01)


def test_a_quiet_time_counts_as_having_borne_less() -> None:
    traffic = Traffic(0)
    for number in range(100):
        traffic.answered(number / 10)
    assert traffic.sustained(10, lately=True).rate == pytest.approx(10, rel=0.05)
    assert traffic.sustained(40, lately=True).rate < 1


@pytest.mark.parametrize("lately", [True, False])
def test_a_burst_of_less_than_a_second_counts_as_a_second(lately: bool) -> None:
    traffic = Traffic(0)
    for number in range(50):
        traffic.answered(number / 1000)
    assert traffic.sustained(0.05, lately=lately).rate <= 50


def test_what_began_anew_knows_nothing_of_before() -> None:
    traffic = Traffic(0)
    for number in range(100):
        traffic.answered(number)
    traffic.peak = 16
    traffic.start_over(100)
    sustained = traffic.sustained(110, lately=False)
    assert (sustained.answers, sustained.peak, sustained.observed) == (0, 1, 10)


def test_what_was_borne_is_an_answer_at_least_and_no_more_than_was_allowed() -> None:
    assert Sustained(answers=0, seconds=10, peak=1, observed=10).rate == 0.1
    assert Sustained(answers=100, seconds=1, peak=1, observed=10, ceiling=20).rate == 20


def test_answers_that_come_late_count_towards_what_was_borne() -> None:
    sustained = Sustained(answers=10, seconds=10, peak=1, observed=10)
    before = sustained.rate
    sustained.answers += 1
    assert sustained.rate > before
