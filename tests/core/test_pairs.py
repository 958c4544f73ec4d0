"""Pairs of a proxy and a target that do not go together: who rests where, and who speaks for all."""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import (
    HealthState,
    NoProxyAvailableError,
    NoProxyMatchesError,
    Outcome,
)
from scrapy_proxybalance.core.choosing.pairs import CONNECT, Pairs
from scrapy_proxybalance.core.errors import TargetRefusedError
from scrapy_proxybalance.core.events import CooldownStarted, PairRested, TargetRefused
from scrapy_proxybalance.core.outcome import HOST_REFUSED, NO_CONNECT

from .helpers import (
    Events,
    acquire,
    blocked,
    carry,
    carry_through,
    make_pool,
    proxies,
    refuses,
    shown,
)

SITE, OTHER = "denied.test", "fine.test"

acts = st.lists(
    st.tuples(
        st.sampled_from(["refused", "answered", "forget", "wait"]),
        st.sampled_from([SITE, OTHER, CONNECT]),
        st.sampled_from(["p0", "p1", "p2"]),
        st.floats(0, 200),
    ),
    max_size=60,
)


def test_a_pair_rests_for_a_minute_and_each_further_time_for_twice_as_long() -> None:
    pairs, now, rests = Pairs(), 0.0, []
    for _ in range(9):
        pairs.rest(SITE, "p0", now)
        until = pairs.resting(SITE, now)["p0"]
        rests.append(until - now)
        now = until
    assert rests == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_what_was_under_way_does_not_make_a_rest_longer() -> None:
    pairs = Pairs()
    for now in (0, 1, 2):
        pairs.rest(SITE, "p0", now)
    assert dict(pairs.resting(SITE, 3)) == {"p0": 60}


def test_an_answer_ends_the_rest_and_forgets_how_often_it_was() -> None:
    pairs = Pairs()
    pairs.rest(SITE, "p0", 0)
    pairs.rest(SITE, "p0", 60)
    pairs.answered(SITE, "p0")
    assert SITE not in pairs
    pairs.rest(SITE, "p0", 200)
    assert dict(pairs.resting(SITE, 200)) == {"p0": 260}


def test_nobody_rests_elsewhere() -> None:
    pairs = Pairs()
    pairs.rest(SITE, "p0", 0)
    assert not pairs.resting(OTHER, 0)
    assert OTHER not in pairs


@pytest.mark.parametrize(("proxies", "enough"), [(1, 6), (2, 6), (3, 6), (6, 6), (20, 8)])
def test_six_refusals_of_all_proxies_or_of_eight_of_them_speak_for_all(
    proxies: int, enough: int
) -> None:
    pairs = Pairs()
    said = [pairs.refused(SITE, f"p{number % proxies}", 0, proxies) for number in range(enough + 1)]
    assert said == [False] * (enough - 1) + [True, False]
    assert pairs.refused_until(SITE) == 60


def test_a_proxy_that_has_been_at_a_host_rests_after_a_second_refusal_in_a_row() -> None:
    pairs = Pairs()
    pairs.refused(SITE, "p0", 0, 20, got_through=True)
    assert not pairs.resting(SITE, 0)
    pairs.answered(SITE, "p0")
    pairs.refused(SITE, "p0", 1, 20, got_through=True)
    assert not pairs.resting(SITE, 1)
    pairs.refused(SITE, "p0", 2, 20, got_through=True)
    assert dict(pairs.resting(SITE, 2)) == {"p0": 62}


def test_only_all_of_them_speak_for_all_that_do_no_connect() -> None:
    pairs = Pairs()
    assert not any(pairs.refused(CONNECT, f"p{number}", 0, 20) for number in range(19))
    assert pairs.refused(CONNECT, "p19", 0, 20)


def test_whoever_is_due_again_no_longer_speaks_for_all() -> None:
    pairs = Pairs()
    for _ in range(3):
        assert not pairs.refused(SITE, "p0", 0, 2)
    for _ in range(3):
        assert not pairs.refused(SITE, "p1", 60, 2)
    assert pairs.refused(SITE, "p0", 61, 2)
    assert pairs.refused_until(SITE) == 120


def test_one_page_that_a_proxy_does_not_fetch_says_nothing_of_the_host() -> None:
    pairs = Pairs()
    for now in range(9):
        assert not pairs.refused(SITE, "p0", now, 20, page="/forbidden")
    assert not pairs.resting(SITE, 9)
    pairs.refused(SITE, "p0", 9, 20, page="/also-forbidden")
    assert dict(pairs.resting(SITE, 9)) == {"p0": 69}


def test_a_page_that_a_proxy_fetches_in_between_says_that_it_goes_to_the_host() -> None:
    pairs = Pairs()
    for number in range(9):
        assert not pairs.refused(SITE, "p0", number, 20, page=f"/{number}")
        pairs.answered(SITE, "p0")
    assert SITE not in pairs


def test_one_that_gets_through_opens_the_target_to_all() -> None:
    pairs = Pairs()
    for name in ("p0", "p1") * 3:
        pairs.refused(SITE, name, 0, 2)
    pairs.answered(SITE, "p1")
    assert pairs.refused_until(SITE) < 0
    assert dict(pairs.resting(SITE, 1)) == {"p0": 60}


def test_a_proxy_that_has_left_is_forgotten() -> None:
    pairs = Pairs()
    pairs.refused(SITE, "p0", 0, 20)
    pairs.forget("p0")
    assert SITE not in pairs
    assert not pairs.refused(SITE, "p1", 0, 2)


def test_no_more_than_so_many_targets_are_remembered() -> None:
    pairs = Pairs()
    for number in range(2001):
        pairs.rest(f"{number}.test", "p0", 0)
    assert "0.test" not in pairs
    assert "2000.test" in pairs


@given(acts)
def test_whoever_rests_is_due_later_and_nobody_is_kept_that_is_due(
    heard: list[tuple[str, str, str, float]],
) -> None:
    pairs, now = Pairs(), 0.0
    for act, target, name, seconds in heard:
        if act == "refused":
            told = pairs.refused(target, name, now, 6)
            assert not told or pairs.refused_until(target) > now
            assert name in pairs.resting(target, now)
        elif act == "answered":
            pairs.answered(target, name)
            assert name not in pairs.resting(target, now)
            assert pairs.refused_until(target) <= now
        elif act == "forget":
            pairs.forget(name)
        else:
            now += seconds
        for target_ in (SITE, OTHER, CONNECT):
            resting = pairs.resting(target_, now)
            assert all(now < until <= now + 3600 for until in resting.values())
            if now < pairs.refused_until(target_):
                assert target_ in pairs


# In the pool

HOST = {"outcome": Outcome.PROXY_FAULT, "failure": HOST_REFUSED}
TUNNEL = {"outcome": Outcome.PROXY_FAULT, "failure": NO_CONNECT}


def test_a_proxy_that_refuses_one_host_is_not_asked_for_it_and_carries_the_others() -> None:
    pool = make_pool(proxies(2))
    events = Events(pool.events)
    for _ in range(20):
        carry(pool, 0, target=SITE, proxy_filter={"name": "p1"})
    for _ in range(3):
        carry_through(pool, "p0", 0, target=SITE, **HOST)
    assert {carry(pool, 1, target=SITE).proxy.name for _ in range(40)} == {"p1"}
    assert {carry(pool, 1, target=OTHER).proxy.name for _ in range(40)} == {"p0", "p1"}
    assert pool.narrows(SITE)
    assert not pool.narrows(OTHER)
    assert events.of(CooldownStarted) == []


def test_a_host_that_all_refuse_fails_at_once_and_is_asked_again_after_the_rest() -> None:
    pool = make_pool(proxies(3))
    events = Events(pool.events)
    for number in range(6):
        carry_through(pool, f"p{number % 3}", 0, target=SITE, **HOST)
    assert [event.target for event in events.of(TargetRefused)] == [SITE]
    for ask in (acquire, blocked):
        with pytest.raises(TargetRefusedError, match=SITE):
            ask(pool, 1, target=SITE)
    carry(pool, 1, target=OTHER)
    carry(pool, 61, target=SITE)
    carry(pool, 61, target=SITE)


@pytest.mark.parametrize(("tunnel", "rests"), [(None, False), (f"{SITE}:443", True)])
def test_a_single_page_is_about_the_host_where_the_proxy_is_told_nothing_else(
    tunnel: str | None, rests: bool
) -> None:
    pool = make_pool(proxies(1))
    for _ in range(6):
        attempt = acquire(pool, 0, target=SITE, tunnel=tunnel)
        pool.release(attempt, now=0, page="https://denied.test/page", **HOST)
    hold = None
    with contextlib.suppress(TargetRefusedError):
        hold = blocked(pool, 1, target=SITE)
        assert not rests
    assert hold is None


@pytest.mark.parametrize("refusal", [HOST, TUNNEL], ids=["host", "connect"])
def test_a_single_gateway_with_some_exits_that_refuse_goes_on_carrying_it(
    refusal: dict[str, Any],
) -> None:
    pool, rng = make_pool(proxies(1)), Random(1)
    for now in range(300):
        how = refusal if rng.random() < 0.25 else {"outcome": Outcome.SUCCESS}
        carry_through(pool, "p0", now, target=SITE, tunnel=f"{SITE}:443", **how)


def test_many_hosts_that_a_provider_forbids_send_nobody_into_a_cooldown() -> None:
    pool = make_pool(proxies(20))
    events = Events(pool.events)
    for number in range(2000):
        target = SITE if number % 5 == 0 else f"{number % 7}.test"
        try:
            attempt = acquire(pool, number / 100, target=target)
        except TargetRefusedError:
            continue
        how = HOST if target == SITE else {"outcome": Outcome.SUCCESS}
        pool.release(attempt, now=number / 100, **how)
    assert events.of(CooldownStarted) == []
    assert all(seen.state is HealthState.HEALTHY for seen in pool.snapshot(20))


def test_a_proxy_that_does_no_connect_goes_on_carrying_http() -> None:
    pool = make_pool(proxies(2))
    for _ in range(3):
        carry_through(pool, "p0", 0, target=SITE, tunnel=f"{SITE}:443", **TUNNEL)
    assert pool.some_do_no_connect
    tunnels = {carry(pool, 1, target=SITE, tunnel=f"{SITE}:443").proxy.name for _ in range(20)}
    assert tunnels == {"p1"}
    assert {carry(pool, 1, target=OTHER).proxy.name for _ in range(40)} == {"p0", "p1"}
    assert shown(pool, "p0", 1).state is HealthState.HEALTHY


def test_a_proxy_that_does_connect_after_all_is_no_longer_passed_over() -> None:
    pool = make_pool(proxies(2))
    for _ in range(3):
        carry_through(pool, "p0", 0, target=SITE, tunnel=f"{SITE}:443", **TUNNEL)
    carry_through(pool, "p0", 61, target=OTHER, tunnel=f"{OTHER}:443", outcome=Outcome.SUCCESS)
    assert not pool.some_do_no_connect


def test_a_pool_of_which_none_does_connect_says_so_for_https_and_carries_http() -> None:
    pool = make_pool(proxies(2))
    for name in ("p0", "p1") * 3:
        carry_through(pool, name, 0, target=SITE, tunnel=f"{SITE}:443", **TUNNEL)
    with pytest.raises(NoProxyMatchesError, match="CONNECT"):
        acquire(pool, 1, target=SITE, tunnel=f"{SITE}:443")
    with pytest.raises(NoProxyMatchesError, match="CONNECT"):
        blocked(pool, 1, target=OTHER, tunnel="host:443")
    carry(pool, 1, target=SITE)


def test_who_rests_at_a_target_is_waited_for_if_nobody_else_is_free() -> None:
    pool = make_pool(proxies(2, max_in_flight=1))
    for _ in range(3):
        carry_through(pool, "p0", 0, target=SITE, **HOST)
    acquire(pool, 1, proxy_filter={"name": "p1"})
    assert refuses(pool, 1, target=SITE).retry_at == 60
    hold = blocked(pool, 1, target=SITE)
    assert hold is not None
    assert hold.waits_for == ("target", SITE, None)


def test_that_a_proxy_rests_is_told_once_for_each_rest() -> None:
    pool = make_pool(proxies(8))
    events = Events(pool.events)
    for now in (0, 1, 61, 62):
        with contextlib.suppress(NoProxyAvailableError):
            carry_through(pool, "p0", now, target=SITE, **HOST)
    told = [(one.proxy.name, one.step, one.until, one.reason) for one in events.of(PairRested)]
    assert told == [("p0", 1, 60, HOST_REFUSED), ("p0", 2, 181, HOST_REFUSED)]
    assert pool.resting_pairs(100) == 1
    assert pool.resting_pairs(200) == 0


def test_that_a_target_refuses_a_proxy_alone_is_told() -> None:
    pool = make_pool(proxies(2))
    events = Events(pool.events)
    pool.keep_apart(acquire(pool, 0, target=SITE, proxy_filter={"name": "p0"}), 0)
    [told] = events.of(PairRested)
    assert (told.proxy.name, told.until, told.reason) == ("p0", 3600, "refused_alone")
