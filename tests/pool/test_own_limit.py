"""A proxy's own limit: halved when it closes what is too much for it, and grown back by answers."""

from __future__ import annotations

from math import inf
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.pool import HealthState, Outcome, Pool
from scrapy_proxybalance.pool.events import CooldownStarted
from scrapy_proxybalance.pool.outcome import NO_RESPONSE
from scrapy_proxybalance.pool.own_limit import (
    OwnLimit,
    after_answered,
    after_closed,
    often_closed,
)

from .helpers import Events, carry_through, make_pool, proxies, shown

ONLY = {"name": "p0"}


# Whether it may be for their number


def test_three_closed_of_the_last_eight_may_be_for_their_number() -> None:
    recent = 0
    for _ in range(2):
        recent = after_answered(after_closed(recent))
    assert not often_closed(recent)
    recent = after_closed(recent)
    assert often_closed(recent)
    for _ in range(7):
        recent = after_answered(recent)
    assert not often_closed(recent)


@given(st.lists(st.booleans(), max_size=40))
def test_the_last_eight_count(closed: list[bool]) -> None:
    recent = 0
    for one in closed:
        recent = after_closed(recent) if one else after_answered(recent)
    assert often_closed(recent) == (sum(closed[-8:]) >= 3)


# The limit


def test_the_limit_is_half_of_what_was_in_flight() -> None:
    assert OwnLimit(9, 0).limit == 4
    assert OwnLimit(2, 0).limit == 1


def test_what_had_gone_out_before_the_cut_does_not_cut_again() -> None:
    limit = OwnLimit(16, 10)
    for _ in range(15):
        assert limit.closed(9, 15, 11)
    assert limit.limit == 8
    limit.closed(10, 8, 12)
    assert limit.limit == 4


def test_it_grows_by_one_after_ten_answers_for_each_request_that_it_carries() -> None:
    limit = OwnLimit(2, 0)
    for expected, answers in ((1, 9), (2, 1), (2, 19), (3, 1), (3, 29), (4, 1)):
        for _ in range(answers):
            limit.answered()
        assert limit.limit == expected


def test_one_that_closes_the_only_connection_has_no_limit_for_a_while() -> None:
    limit = OwnLimit(2, 0)
    assert not limit.closed(1, 1, 2)
    assert limit.limit == inf
    assert not limit.closed(3, 8, 4)
    assert limit.limit == inf
    assert not limit.is_over(8, 4)
    assert limit.is_over(8, 70)
    assert limit.closed(70, 8, 71)
    assert limit.limit == 4


@given(
    st.integers(2, 100),
    st.lists(st.none() | st.tuples(st.floats(0, 50), st.integers(2, 100)), max_size=200),
)
def test_it_is_never_below_one_and_grows_by_answers_only(
    in_flight: int, steps: list[tuple[float, int] | None]
) -> None:
    limit, now = OwnLimit(in_flight, 0), 0.0
    for step in steps:
        before, now = limit.limit, now + 1
        if step is None:
            limit.answered()
            assert limit.limit in (before, before + 1)
        else:
            limit.closed(min(now, step[0]), step[1], now)
            assert 1 <= limit.limit <= before


# In the pool


def closes_above(pool: Pool, bears: int, rounds: int) -> None:
    """Send as much as is let go, again and again, through a proxy that bears so many at once."""
    for now in range(1, 1 + rounds):
        leases = []
        while pool.hold(now, matching=ONLY) is None:
            leases.append(pool.acquire(now, matching=ONLY))
        for number, lease in enumerate(reversed(leases)):
            if len(leases) - number > bears:
                pool.release(lease, Outcome.AMBIGUOUS, now + 0.1, failure=NO_RESPONSE)
            else:
                pool.release(lease, Outcome.SUCCESS, now + 0.1)


def test_a_proxy_that_closes_what_is_too_much_carries_less_and_does_not_cool_down() -> None:
    pool = make_pool(proxies(2, max_in_flight=16))
    events = Events(pool.events)
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    closes_above(pool, 5, 40)
    leases = []
    while pool.hold(50, matching=ONLY) is None:
        leases.append(pool.acquire(50, matching=ONLY))
    assert 2 <= len(leases) <= 6
    assert events.of(CooldownStarted) == []
    assert shown(pool, "p0", 50).state is HealthState.HEALTHY


def test_a_proxy_that_closes_whatever_is_in_flight_carries_up_to_its_cap() -> None:
    pool = make_pool(proxies(1, max_in_flight=8))
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    rng, sent = Random(1), 0
    for now in range(1, 101):
        leases = []
        while pool.hold(now, matching=ONLY) is None:
            leases.append(pool.acquire(now, matching=ONLY))
        for lease in leases:
            if rng.random() < 0.25:
                pool.release(lease, Outcome.AMBIGUOUS, now + 0.1, failure=NO_RESPONSE)
            else:
                pool.release(lease, Outcome.SUCCESS, now + 0.1)
        sent += len(leases)
    assert sent >= 700


def test_a_proxy_that_closes_no_more_carries_up_to_its_cap_again() -> None:
    pool = make_pool(proxies(2, max_in_flight=8))
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    closes_above(pool, 2, 5)
    assert len(pool.snapshot(6)) == 2
    closes_above(pool, 100, 200)
    leases = []
    while pool.hold(300, matching=ONLY) is None:
        leases.append(pool.acquire(300, matching=ONLY))
    assert len(leases) == 8


def test_one_that_closes_a_single_request_is_judged_as_for_any_failure() -> None:
    pool = make_pool(proxies(2))
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    for _ in range(60):
        if shown(pool, "p0", 1).state is HealthState.HEALTHY:
            carry_through(pool, "p0", 1, Outcome.AMBIGUOUS, failure=NO_RESPONSE)
        carry_through(pool, "p1", 1, Outcome.SUCCESS)
    assert shown(pool, "p0", 1).state is HealthState.COOLING
