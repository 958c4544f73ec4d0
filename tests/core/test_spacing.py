"""Spacing: the same proxy goes to a target at most once in so many seconds."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import (
    Attempt,
    Blocked,
    NoProxyMatchesError,
    Outcome,
    Pool,
    ProxyFilter,
    Rate,
    TargetPolicy,
)
from scrapy_proxybalance.core.choosing.spacing import Spacing

from .helpers import (
    ALL_STRATEGIES,
    acquire,
    blocked,
    carry,
    cooling,
    make_pool,
    proxies,
    proxy,
    refuses,
)

SLOW = "slow.test"
QUICK = "quick.test"


def spaced_pool(count: int = 2, *, spacing: float = 5.0, rule: Any = None, **policy: Any) -> Pool:
    nodes = proxies(count) if isinstance(count, int) else count
    rules = {SLOW: TargetPolicy(spacing=spacing, **(rule or {}))}
    return make_pool(nodes, targets_by_name=rules, **policy)


def held(pool: Pool, now: float, **request: Any) -> Blocked:
    hold = blocked(pool, now, **request)
    assert hold is not None
    return hold


# The books


def test_what_is_due_is_forgotten() -> None:
    spacing = Spacing()
    spacing.granted(SLOW, "a", 0, 5)
    spacing.granted(SLOW, "b", 2, 5)
    assert dict(spacing.resting(SLOW, 4.9)) == {"a": 5, "b": 7}
    assert dict(spacing.resting(SLOW, 5)) == {"b": 7}
    assert not spacing.resting(SLOW, 7)
    assert len(spacing) == 0


def test_the_first_that_rests_is_the_first_that_is_due() -> None:
    spacing = Spacing()
    for now, name in enumerate(["a", "b", "a"]):
        spacing.granted(SLOW, name, now, 5)
    assert list(spacing.resting(SLOW, 3).items()) == [("b", 6), ("a", 7)]


def test_nothing_is_kept_for_targets_that_nobody_asks_for_any_more() -> None:
    spacing = Spacing()
    for number in range(1000):
        spacing.granted(f"{number}.test", "a", number, 5)
        assert len(spacing) <= 12
    spacing.granted("long.test", "a", 1000, 10_000)
    for number in range(1000):
        spacing.granted(f"{number}.test", "a", 2000 + number, 5)
        assert len(spacing) <= 13
    assert spacing.resting("long.test", 3000)


def test_a_proxy_that_is_forgotten_rests_nowhere() -> None:
    spacing = Spacing()
    spacing.granted(SLOW, "a", 0, 5)
    spacing.granted(QUICK, "a", 0, 5)
    spacing.granted(QUICK, "b", 0, 5)
    spacing.forget("a")
    assert not spacing.resting(SLOW, 1)
    assert list(spacing.resting(QUICK, 1)) == ["b"]
    assert len(spacing) == 1


# The pool


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.IGNORED])
def test_a_proxy_rests_at_the_target_from_the_grant_of_its_lease(
    strategy: str, outcome: Outcome
) -> None:
    pool = spaced_pool(3, strategy=strategy)
    used = [carry(pool, now, outcome, target=SLOW).proxy.name for now in (0, 1, 2)]
    assert sorted(used) == ["p0", "p1", "p2"]
    assert refuses(pool, 4.9, target=SLOW).retry_at == 5
    assert carry(pool, 5, target=SLOW).proxy.name == used[0]


def test_other_targets_are_not_slowed() -> None:
    pool = spaced_pool(1)
    carry(pool, 0, target=SLOW)
    for _ in range(20):
        carry(pool, 0, target=QUICK)
        carry(pool, 0)
    assert blocked(pool, 0, target=QUICK) is None
    refuses(pool, 0, target=SLOW)


def test_the_hosts_of_a_domain_share_their_rest_and_those_of_a_pattern_do_not() -> None:
    rule = TargetPolicy(spacing=5)
    pool = make_pool(proxies(1), targets_by_name={".one.test": rule, "*.each.test": rule})
    assert carry(pool, 0, target="a.one.test").target == ".one.test"
    refuses(pool, 1, target="b.one.test")
    assert blocked(pool, 1, target="one.test:8080") is not None
    carry(pool, 0, target="a.each.test")
    carry(pool, 0, target="b.each.test")
    refuses(pool, 1, target="b.each.test")


def test_the_crawls_own_spacing_holds_at_each_target_by_itself() -> None:
    pool = make_pool(proxies(1), targets=TargetPolicy(spacing=5))
    carry(pool, 0, target=SLOW)
    carry(pool, 0, target=QUICK)
    refuses(pool, 1, target=SLOW)
    refuses(pool, 1, target=QUICK)


def test_a_removed_proxy_that_comes_back_does_not_rest() -> None:
    pool = spaced_pool(2)
    carry(pool, 0, target=SLOW)
    used = carry(pool, 0, target=SLOW).proxy
    pool.remove(used.name, 1)
    pool.add(used, 1)
    assert carry(pool, 1, target=SLOW).proxy.name == used.name


def test_an_updated_proxy_goes_on_resting() -> None:
    pool = spaced_pool(1)
    carry(pool, 0, target=SLOW)
    pool.update(proxy("p0", country="de"), 1)
    refuses(pool, 4, target=SLOW)


def test_a_session_waits_until_its_proxy_has_rested() -> None:
    pool = spaced_pool(5)
    name = carry(pool, 0, target=SLOW, session="s").proxy.name
    hold = held(pool, 1, target=SLOW, session="s")
    assert (hold.retry_at, name in hold.reason) == (5, True)
    assert refuses(pool, 1, target=SLOW, session="s").retry_at == 5
    assert carry(pool, 1, target=QUICK, session="s").proxy.name == name
    assert carry(pool, 5, target=SLOW, session="s").proxy.name == name


def test_a_new_session_does_not_start_on_a_proxy_that_rests() -> None:
    pool = spaced_pool(4, max_in_flight=9)
    leases = [acquire(pool, 0, target=SLOW, session=f"s{number}") for number in range(4)]
    assert len({attempt.proxy.name for attempt in leases}) == 4
    refuses(pool, 0, target=SLOW, session="another")


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
def test_a_proxy_to_be_avoided_is_used_rather_than_one_that_rests(strategy: str) -> None:
    pool = spaced_pool(3, strategy=strategy)
    for name in ("p0", "p1"):
        carry(pool, 0, target=SLOW, proxy_filter={"name": name})
    assert carry(pool, 1, target=SLOW, avoid={"p2"}).proxy.name == "p2"
    refuses(pool, 1, target=SLOW, avoid={"p2"})


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
def test_the_only_one_of_many_that_does_not_rest_is_found(strategy: str) -> None:
    pool = spaced_pool(200, strategy=strategy, spacing=1000)
    used = {carry(pool, now / 10, target=SLOW).proxy.name for now in range(200)}
    assert len(used) == 200
    refuses(pool, 20, target=SLOW)


# Holds


def test_a_hold_says_when_the_first_resting_proxy_is_due() -> None:
    pool = spaced_pool(3)
    for now, name in enumerate(["p0", "p1", "p2"]):
        carry(pool, now, target=SLOW, proxy_filter={"name": name})
    assert held(pool, 3, target=SLOW).retry_at == 5
    assert held(pool, 3, target=SLOW, proxy_filter={"name": ["p1", "p2"]}).retry_at == 6
    assert SLOW in held(pool, 3, target=SLOW).reason
    assert blocked(pool, 5, target=SLOW) is None


def test_a_hold_ends_with_whatever_comes_first() -> None:
    pool = spaced_pool(
        [proxy("p0", rate=Rate(1, 3)), proxy("p1")], health=cooling(threshold=1, first=100)
    )
    carry(pool, 0, target=SLOW, proxy_filter={"name": "p1"})
    carry(pool, 0, target=QUICK, proxy_filter={"name": "p0"})
    assert held(pool, 1, target=SLOW).retry_at == 3
    carry(pool, 3, target=SLOW)
    assert held(pool, 3, target=SLOW).retry_at == 5


def test_requests_that_wait_for_a_targets_spacing_are_told_from_others() -> None:
    rule = TargetPolicy(spacing=5)
    pool = make_pool(proxies(1, country="de"), targets_by_name={SLOW: rule, "third.test": rule})
    for target in (SLOW, "third.test"):
        carry(pool, 0, target=target, session="s")
    german = {"country": "de"}
    pinned = held(pool, 1, target=SLOW, session="s").waits_for
    waits = [
        held(pool, 1, target=SLOW).waits_for,
        held(pool, 1, target="third.test").waits_for,
        held(pool, 1, target=SLOW, proxy_filter=german).waits_for,
        held(pool, 1, target="third.test", proxy_filter=german).waits_for,
        pinned,
        held(pool, 1, target="third.test", session="s").waits_for,
    ]
    assert len(set(waits)) == 6
    assert held(pool, 2, target=SLOW, proxy_filter={"country": ["de"]}).waits_for == waits[2]
    assert held(pool, 2, target=SLOW, session="s").waits_for == pinned


def test_each_proxy_counts_once_for_what_was_let_go_already() -> None:
    pool = spaced_pool(3, max_in_flight=9)
    carry(pool, 0, target=SLOW)
    assert blocked(pool, 0, target=SLOW, ahead=1) is None
    assert blocked(pool, 0, target=SLOW, ahead=2) is not None
    assert blocked(pool, 0, target=QUICK, ahead=26) is None
    assert blocked(pool, 0, target=QUICK, ahead=27) is not None


# Whatever happens


steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "end", "wait"]),
        st.sampled_from([SLOW, "a.slow.test", QUICK]),
        st.sampled_from([None, None, "s1", "s2"]),
        st.sampled_from([None, {"name": ["p0", "p1"]}]),
        st.sampled_from([0.25, 1.0, 2.0]),
    ),
    max_size=60,
)


@given(
    st.sampled_from(ALL_STRATEGIES),
    steps,
    st.sampled_from([{}, {"proxy_filter": ProxyFilter({"tags": "x"})}]),
)
def test_no_two_grants_of_a_proxy_at_a_target_are_closer_than_its_spacing(
    strategy: str, lives: list[Any], rule: dict[str, Any]
) -> None:
    spacing = {SLOW: 2.0, ".slow.test": 5.0, QUICK: 0.0}
    pool = make_pool(
        [proxy(f"p{n}", max_in_flight=1 + n % 2, tags=["x"] if n < 3 else []) for n in range(5)],
        strategy=strategy,
        targets_by_name={
            SLOW: TargetPolicy(spacing=2.0, **rule),
            ".slow.test": TargetPolicy(spacing=5.0, **rule),
        },
    )
    last: dict[tuple[str, str], float] = {}
    leases: list[Attempt] = []
    now = 0.0
    for step, target, session, proxy_filter, pause in lives:
        if step == "wait":
            now += pause
        elif step == "end" and leases:
            pool.release(leases.pop(0), Outcome.SUCCESS, now)
        elif step == "send":
            request = {"target": target, "session": session, "proxy_filter": proxy_filter}
            try:
                hold = blocked(pool, now, **request)
            except NoProxyMatchesError:  # the session is on a proxy that the target may not get
                assert session is not None
                with pytest.raises(NoProxyMatchesError):
                    acquire(pool, now, **request)
                continue
            if hold is not None:
                assert refuses(pool, now, **request).retry_at == hold.retry_at
                assert hold.retry_at is None or hold.retry_at > now
                continue
            attempt = acquire(pool, now, **request)
            leases.append(attempt)
            pair = (attempt.target, attempt.proxy.name)
            assert now - last.get(pair, float("-inf")) >= spacing[attempt.target]
            last[pair] = now


@given(
    st.integers(0, 6), st.integers(0, 6), st.integers(0, 7), st.sampled_from([None, ["p1", "p2"]])
)
def test_nothing_is_let_go_besides_what_the_pool_can_carry(
    before: int, elsewhere: int, besides: int, names: list[str] | None
) -> None:
    pool = spaced_pool([proxy(f"p{n}", max_in_flight=1 + n % 2) for n in range(4)])
    for target, count in ((SLOW, before), (QUICK, elsewhere)):
        for _ in range(count):
            if blocked(pool, 0, target=target) is None:
                acquire(pool, 0, target=target)
    proxy_filter = {"name": names} if names else None
    free = blocked(pool, 0, target=SLOW, proxy_filter=proxy_filter, ahead=besides) is None
    granted = 0
    while blocked(pool, 0, target=SLOW, proxy_filter=proxy_filter) is None:
        acquire(pool, 0, target=SLOW, proxy_filter=proxy_filter)
        granted += 1
    assert free is (granted > besides)


def test_choices_among_spaced_proxies_stay_weighted() -> None:
    pool = make_pool(
        [proxy("heavy", weight=3), *proxies(2)],
        strategy="weighted_round_robin",
        targets_by_name={SLOW: TargetPolicy(spacing=1)},
    )
    rng = Random(3)
    now, used = 0.0, []
    for _ in range(300):
        now += 1 + rng.random()
        used.append(carry(pool, now, target=SLOW).proxy.name)
    assert 0.5 < used.count("heavy") / len(used) < 0.7
