"""Rates: what can be written, and that a limiter lets through neither more nor less."""

from __future__ import annotations

from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import ConfigurationError, Rate
from scrapy_proxybalance.core.limits.rate import RateLimiter

# Binary fractions, so that the arithmetic of the test is exact.
eighths = st.integers(0, 80).map(lambda number: number / 8)
intervals = st.sampled_from([0.125, 0.25, 0.5, 1.0, 3.0])


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5/s", Rate(5, 1)),
        ("30/min", Rate(30, 60)),
        ("100/h burst=10", Rate(100, 3600, 10)),
        (" 0.5 / Second ", Rate(0.5, 1)),
        ("7/day", Rate(7, 86400)),
    ],
)
def test_a_rate_is_read_from_text(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "5", "5/", "/s", "-5/s", "0/s", "5/week", "5/s burst=x"])
def test_what_is_not_a_rate_is_named_in_the_error(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rate.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("requests", "period", "burst"),
    [
        (0, 1, 1),
        (-1, 1, 1),
        (1, 0, 1),
        (1, -1, 1),
        (float("inf"), 1, 1),
        (1, float("inf"), 1),
        (float("nan"), 1, 1),
        (1, 1, 0),
    ],
)
def test_a_rate_that_cannot_work_is_refused(requests: float, period: float, burst: int) -> None:
    with pytest.raises(ConfigurationError):
        Rate(requests, period, burst)


def test_a_rate_is_shown_in_words() -> None:
    assert str(Rate(30, 60)) == "30 per 60 s"
    assert str(Rate(100, 3600, 10)) == "100 per 3600 s burst=10"


def _room(sent: list[float], now: float, interval: float, burst: int) -> int:
    """How many more may go at ``now``, judged from every window that ends there."""
    rooms = [
        burst + floor((now - start) / interval) - sum(start <= at for at in sent) for start in sent
    ]
    return max(0, min([burst, *rooms]))


@given(st.lists(st.tuples(eighths, st.booleans()), max_size=60), intervals, st.integers(1, 6))
def test_a_limiter_allows_exactly_what_every_window_allows(
    steps: list[tuple[float, bool]], interval: float, burst: int
) -> None:
    limiter, sent, now = RateLimiter(Rate(1, interval, burst)), list[float](), 0.0
    for pause, long in steps:
        now += pause if long else pause / 10 // 0.125 * 0.125
        room = _room(sent, now, interval, burst)
        assert limiter.available(now) == room
        assert (now >= limiter.ready_at()) is (room > 0)
        if room:
            limiter.take(now)
            sent.append(now)


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=60),
    st.floats(0.01, 1000),
    st.floats(0.1, 1000),
    st.integers(1, 10),
)
def test_no_window_ever_holds_more_than_the_burst_and_the_rate(
    pauses: list[float], requests: float, period: float, burst: int
) -> None:
    limiter, sent, now = RateLimiter(Rate(requests, period, burst)), list[float](), 0.0
    for pause in pauses:
        now += pause
        for _ in range(burst + 1):
            if now >= limiter.ready_at():
                limiter.take(now)
                sent.append(now)
    interval = period / requests
    for first, start in enumerate(sent):
        for last in range(first, len(sent)):
            allowed = burst + floor((sent[last] - start) / interval + 1e-6)
            assert last - first + 1 <= allowed


@given(st.floats(0, 1e6), st.integers(2, 6), st.sampled_from([0.5, 2.0, 8.0, 60 / 7]))
def test_a_whole_burst_may_go_at_once_whatever_the_time(
    now: float, burst: int, interval: float
) -> None:
    limiter = RateLimiter(Rate(1, interval, burst))
    for left in range(burst, 0, -1):
        assert limiter.available(now) == left
        assert now >= limiter.ready_at()
        limiter.take(now)
    assert limiter.available(now) == 0


def test_a_request_conforms_again_at_the_moment_that_was_announced() -> None:
    limiter = RateLimiter(Rate(30, 60))
    limiter.take(100.0)
    assert limiter.ready_at() == 102.0
    assert limiter.available(101.99) == 0
    assert limiter.available(102.0) == 1


def test_a_long_quiet_time_earns_no_more_than_the_burst() -> None:
    limiter = RateLimiter(Rate(1, 1, burst=5))
    limiter.take(0.0)
    assert limiter.available(1_000_000.0) == 5


def test_a_limiter_that_replaces_another_counts_what_that_one_let_through() -> None:
    before = RateLimiter(Rate(1, 10))
    before.take(0.0)
    after = RateLimiter(Rate(1, 5), before)
    assert after.available(1.0) == 0
    assert after.ready_at() > 1.0


@given(st.integers(1, 4), intervals, intervals, st.integers(1, 4), eighths)
def test_a_limiter_that_replaces_another_lets_through_what_it_says_is_available(
    sent: int, old: float, new: float, burst: int, now: float
) -> None:
    before = RateLimiter(Rate(1, old, burst=4))
    for _ in range(sent):
        before.take(0.0)
    after = RateLimiter(Rate(1, new, burst), before)
    available = after.available(now)
    through = 0
    while now >= after.ready_at() and through <= burst:
        after.take(now)
        through += 1
    assert through == available
