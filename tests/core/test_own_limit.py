"""A proxy's own limit: halved when it closes what is too much for it, and grown back by answers."""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import HealthState, Outcome, Pool
from scrapy_proxybalance.core.events import CooldownStarted, TargetRefused
from scrapy_proxybalance.core.limits.own_limit import OwnLimit, Proven
from scrapy_proxybalance.core.outcome import HOST_REFUSED, NO_RESPONSE, TOO_MANY

from .helpers import Events, acquire, blocked, carry_through, make_pool, proxies, proxy, shown

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Attempt

ONLY = {"name": "p0"}


# Whether it may be for their number


def test_three_closed_of_the_last_eight_may_be_for_their_number() -> None:
    proven = Proven()
    for _ in range(2):
        proven.closed()
        proven.answered(1, 0)
    assert not proven.often_closed
    proven.closed()
    assert proven.often_closed
    for _ in range(7):
        proven.answered(1, 0)
    assert not proven.often_closed


@given(st.lists(st.booleans(), max_size=40))
def test_the_last_eight_count(closed: list[bool]) -> None:
    proven = Proven()
    for one in closed:
        if one:
            proven.closed()
        else:
            proven.answered(1, 0)
    assert proven.often_closed is (sum(closed[-8:]) >= 3)


def test_what_was_carried_longer_than_a_minute_ago_is_not_known() -> None:
    proven = Proven()
    assert proven.most(0) == 0
    proven.answered(4, 0)
    proven.answered(2, 1)
    assert proven.most(60) == 4
    assert proven.most(61) == 0
    proven.answered(1, 61)
    assert proven.most(61) == 1


# The limit


def test_the_limit_is_half_of_what_was_in_flight() -> None:
    assert cut(9, 0).limit == 4
    assert cut(2, 0).limit == 1


def test_what_had_gone_out_before_the_cut_does_not_cut_again() -> None:
    limit = cut(16, 10)
    for _ in range(15):
        assert limit.closed(9, 15, 11)
    assert limit.limit == 8
    limit.closed(10, 8, 12)
    assert limit.limit == 4


def test_it_is_not_cut_below_what_the_proxy_is_known_to_carry() -> None:
    limit = OwnLimit()
    assert limit.closed(0, 16, 10, proven=11)
    assert limit.limit == 11


def test_it_grows_by_one_after_ten_answers_for_each_request_that_it_carries() -> None:
    limit = cut(2, 0)
    for expected, answers in ((1, 9), (2, 1), (2, 19), (3, 1), (3, 29), (4, 1)):
        for _ in range(answers):
            limit.answered()
        assert limit.limit == expected


def test_one_that_closes_the_only_connection_has_no_limit_for_a_while() -> None:
    limit = cut(2, 0)
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
    limit, now = cut(in_flight, 0), 0.0
    for step in steps:
        before, now = limit.limit, now + 1
        if step is None:
            limit.answered()
            assert limit.limit in (before, before + 1)
        else:
            limit.closed(min(now, step[0]), step[1], now)
            assert 1 <= limit.limit <= before


def cut(in_flight: int, now: float) -> OwnLimit:
    """Return a limit that was cut when a proxy with so many in flight had closed a connection."""
    limit = OwnLimit()
    assert limit.closed(now, in_flight, now)
    return limit


# In the pool


def closes_above(pool: Pool, bears: int, rounds: int) -> None:
    """Send as much as is let go, again and again, through a proxy that bears so many at once."""
    for now in range(1, 1 + rounds):
        leases = []
        while blocked(pool, now, proxy_filter=ONLY) is None:
            leases.append(acquire(pool, now, proxy_filter=ONLY))
        for number, attempt in enumerate(reversed(leases)):
            if len(leases) - number > bears:
                pool.release(attempt, Outcome.AMBIGUOUS, now + 0.1, failure=NO_RESPONSE)
            else:
                pool.release(attempt, Outcome.SUCCESS, now + 0.1)


def test_a_proxy_that_closes_what_is_too_much_carries_less_and_does_not_cool_down() -> None:
    pool = make_pool(proxies(2, max_in_flight=16))
    events = Events(pool.events)
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    closes_above(pool, 5, 40)
    leases = []
    while blocked(pool, 50, proxy_filter=ONLY) is None:
        leases.append(acquire(pool, 50, proxy_filter=ONLY))
    assert 2 <= len(leases) <= 6
    assert events.of(CooldownStarted) == []
    assert shown(pool, "p0", 50).state is HealthState.HEALTHY


def test_a_proxy_that_closes_whatever_is_in_flight_carries_up_to_its_cap() -> None:
    pool = make_pool(proxies(1, max_in_flight=8))
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    rng, sent = Random(1), 0
    for now in range(1, 101):
        leases = []
        while blocked(pool, now, proxy_filter=ONLY) is None:
            leases.append(acquire(pool, now, proxy_filter=ONLY))
        for attempt in leases:
            if rng.random() < 0.25:
                pool.release(attempt, Outcome.AMBIGUOUS, now + 0.1, failure=NO_RESPONSE)
            else:
                pool.release(attempt, Outcome.SUCCESS, now + 0.1)
        sent += len(leases)
    assert sent >= 700


def test_a_proxy_that_closes_no_more_carries_up_to_its_cap_again() -> None:
    pool = make_pool(proxies(2, max_in_flight=8))
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    closes_above(pool, 2, 5)
    assert len(pool.snapshot(6)) == 2
    closes_above(pool, 100, 200)
    leases = []
    while blocked(pool, 300, proxy_filter=ONLY) is None:
        leases.append(acquire(pool, 300, proxy_filter=ONLY))
    assert len(leases) == 8


def test_one_that_closes_a_single_request_is_judged_as_for_any_failure() -> None:
    pool = make_pool(proxies(2))
    carry_through(pool, "p0", 0, Outcome.SUCCESS)
    for _ in range(60):
        if shown(pool, "p0", 1).state is HealthState.HEALTHY:
            carry_through(pool, "p0", 1, Outcome.AMBIGUOUS, failure=NO_RESPONSE)
        carry_through(pool, "p1", 1, Outcome.SUCCESS)
    assert shown(pool, "p0", 1).state is HealthState.COOLING


# Proxies that say so


SITE = "shop.test"
SAYS = {
    HOST_REFUSED: Outcome.PROXY_FAULT,  # Squid's maxconn
    TOO_MANY: Outcome.GATEWAY_FAULT,  # Privoxy's max-client-connections
}


def refuses_above(pool: Pool, bears: int, rounds: int, failure: str) -> list[bool]:
    """Send as much as is let go, again and again, through proxies that bear so many at once each.

    What is too much is refused at once, before the others are answered.

    :return: for each that was refused, whether it was taken to be one too many.
    """
    told = []
    for now in range(rounds):
        leases: dict[str, list[Attempt]] = {}
        while blocked(pool, now, target=SITE) is None:
            attempt = acquire(pool, now, target=SITE)
            leases.setdefault(attempt.proxy.gateway, []).append(attempt)
        for some in leases.values():
            for attempt in some[bears:]:
                pool.release(attempt, SAYS[failure], now + 0.01, failure=failure, page=f"/{now}")
                told.append(attempt.too_many)
        for some in leases.values():
            for attempt in some[:bears]:
                pool.release(attempt, Outcome.SUCCESS, now + 0.1)
    return told


@pytest.mark.parametrize("bears", [1, 2, 3])
@pytest.mark.parametrize("failure", SAYS)
def test_proxies_that_say_no_to_what_is_too_much_get_less_and_rest_nowhere(
    failure: str, bears: int
) -> None:
    pool = make_pool(proxies(4, max_in_flight=6))
    events = Events(pool.events)
    told = refuses_above(pool, bears, 50, failure)
    assert all(told)
    assert len(told) < 60
    assert events.of(CooldownStarted) == []
    assert events.of(TargetRefused) == []
    for number in range(4):
        assert blocked(pool, 60, target=SITE, proxy_filter={"name": f"p{number}"}) is None


def test_a_gateway_that_says_no_to_what_is_too_much_is_at_its_limit() -> None:
    pool = make_pool([proxy(f"p{n}", host="gate.test", username=f"u{n}") for n in range(6)])
    events = Events(pool.events)
    told = refuses_above(pool, 8, 100, HOST_REFUSED)
    assert sum(told) >= len(told) - 3
    assert events.of(TargetRefused) == []
    [limit] = pool.gateway_limits()
    assert limit.limit is not None
    assert limit.limit < 16


def test_a_proxy_that_goes_to_a_host_and_refuses_some_of_its_pages_carries_as_much_as_before() -> (
    None
):
    pool, rng, sent = make_pool(proxies(1)), Random(3), 0
    for now in range(200):
        leases = []
        while blocked(pool, now, target=SITE) is None:
            leases.append(acquire(pool, now, target=SITE))
        sent += len(leases)
        for number, attempt in enumerate(leases):
            if now > 5 and rng.random() < 0.05:
                page = f"/{now}-{number}"
                pool.release(
                    attempt, SAYS[HOST_REFUSED], now + 0.1, failure=HOST_REFUSED, page=page
                )
            else:
                pool.release(attempt, Outcome.SUCCESS, now + 0.1)
    assert sent >= 700


def test_a_proxy_that_has_never_been_at_a_host_and_refuses_it_rests_there() -> None:
    pool = make_pool(proxies(8))
    for _ in range(2):
        attempt = carry_through(
            pool, "p0", 0, SAYS[HOST_REFUSED], target=SITE, failure=HOST_REFUSED
        )
        assert not attempt.too_many
        if pool.narrows(SITE):
            break
    assert blocked(pool, 1, target=SITE, proxy_filter=ONLY) is not None


@pytest.mark.parametrize(("seconds", "for_number"), [(0.05, True), (5, False)])
def test_right_after_a_cut_another_host_is_refused_for_the_number_as_well(
    seconds: float, for_number: bool
) -> None:
    pool = make_pool(proxies(1, max_in_flight=6))
    assert refuses_above(pool, 2, 1, HOST_REFUSED)
    attempt = carry_through(
        pool, "p0", seconds, SAYS[HOST_REFUSED], target="other.test", failure=HOST_REFUSED
    )
    assert attempt.too_many is for_number


def test_idle_connections_are_few_where_few_are_carried() -> None:
    pool = make_pool(proxies(1, max_in_flight=6))
    assert acquire(pool, 0, target=SITE).idle is None
    pool = make_pool(proxies(1, max_in_flight=6))
    refuses_above(pool, 2, 3, HOST_REFUSED)
    first, second = (acquire(pool, 9, target=SITE) for _ in range(2))
    assert first.idle == 1
    assert second.idle == 0
