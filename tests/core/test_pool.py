"""The pool: leases and their one end, caps and rates, holds, and proxies that come, go and change."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import (
    ConfigurationError,
    HealthState,
    LocalLedger,
    NoProxyMatchesError,
    Outcome,
    Pool,
    PoolPolicy,
    ProxyFilter,
    Rate,
    TargetPolicy,
    Want,
)
from scrapy_proxybalance.core.events import AttemptEnded, AttemptStarted
from scrapy_proxybalance.core.outcome import PROXY_AUTH

from .helpers import (
    ALL_STRATEGIES,
    Events,
    acquire,
    blocked,
    carry,
    carry_through,
    cooling,
    make_pool,
    proxies,
    proxy,
    put_out,
    refuses,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SUCCESS, FAULT = Outcome.SUCCESS, Outcome.PROXY_FAULT


# Leases


def test_a_lease_says_what_it_is_for() -> None:
    pool = make_pool([proxy("a")])
    attempt = acquire(pool, 5, target="shop.test", session="s")
    assert (attempt.proxy.name, attempt.target, attempt.session) == ("a", "shop.test", "s")
    assert (attempt.started_at, attempt.probe, attempt.ended) == (5, False, False)


def test_a_lease_ends_once_and_only_the_first_end_counts() -> None:
    pool = make_pool([proxy("a")])
    events = Events(pool.events)
    attempt = acquire(pool, 0)
    assert pool.release(attempt, SUCCESS, 1)
    for outcome in Outcome:
        assert not pool.release(attempt, outcome, 2, failure=PROXY_AUTH)
    assert pool.in_flight == 0
    assert [event.outcome for event in events.of(AttemptEnded)] == [SUCCESS]
    assert shown(pool, "a", 2).outcomes == pytest.approx(1, rel=0.05)
    assert shown(pool, "a", 2).state is HealthState.HEALTHY


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_gives_the_lease_back(outcome: Outcome) -> None:
    pool = make_pool([proxy("a", max_in_flight=1)])
    attempt = acquire(pool, 0)
    assert pool.in_flight == 1
    pool.release(attempt, outcome, 1)
    assert pool.in_flight == 0
    assert shown(pool, "a", 1).in_flight == 0


def test_grants_are_announced() -> None:
    pool = make_pool([proxy("a")])
    events = Events(pool.events)
    attempt = acquire(pool, 3)
    assert [(event.now, event.attempt) for event in events.of(AttemptStarted)] == [(3, attempt)]


# Caps and rates


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
def test_no_proxy_ever_carries_more_than_its_cap(strategy: str) -> None:
    nodes = [proxy("a", max_in_flight=1), proxy("b", max_in_flight=3), proxy("c")]
    pool = make_pool(nodes, strategy=strategy, max_in_flight=2)
    names = Counter(acquire(pool, 0).proxy.name for _ in range(6))
    assert names == {"a": 1, "b": 3, "c": 2}
    assert refuses(pool, 0).retry_at is None
    assert pool.capacity == 6


def test_an_ended_lease_makes_room() -> None:
    pool = make_pool([proxy("a", max_in_flight=1)])
    attempt = acquire(pool, 0)
    refuses(pool, 1)
    pool.release(attempt, SUCCESS, 2)
    assert acquire(pool, 2).proxy.name == "a"


def test_a_rate_holds_and_the_refusal_says_until_when() -> None:
    pool = make_pool([proxy("a", rate=Rate(30, 60))])
    carry(pool, 0)
    assert refuses(pool, 1).retry_at == 2
    assert pool.next_change() == 2
    carry(pool, 2)


def test_the_pools_rate_holds_for_each_proxy_without_one_of_its_own() -> None:
    pool = make_pool([proxy("a"), proxy("b", rate=Rate(1, 1, burst=2))], rate=Rate(1, 10))
    assert Counter(carry(pool, 0).proxy.name for _ in range(3)) == {"a": 1, "b": 2}
    assert refuses(pool, 0).retry_at == 1
    assert Counter(carry(pool, 10).proxy.name for _ in range(3)) == {"a": 1, "b": 2}


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
def test_a_request_that_was_cancelled_still_counts_for_the_rate(strategy: str) -> None:
    pool = make_pool([proxy("a", rate=Rate(1, 10))], strategy=strategy)
    carry(pool, 0, Outcome.IGNORED)
    assert refuses(pool, 9).retry_at == 10


# What is available


def _exhaust(pool: Pool, now: float) -> int:
    """Take all that the pool gives at this moment; return how much that was."""
    count = 0
    while pool.available(now) and count < 100:
        acquire(pool, now)
        count += 1
    refuses(pool, now)
    return count


def test_available_counts_what_caps_rates_and_probes_allow() -> None:
    pool = make_pool(
        [
            proxy("a", max_in_flight=3),
            proxy("b", max_in_flight=9, rate=Rate(1, 1, burst=2)),
            proxy("c"),
            proxy("d"),
        ],
        health=cooling(threshold=1, first=10),
    )
    carry_through(pool, "c", 0, FAULT)
    put_out(pool, "d", 0)
    assert pool.available(0) == 5
    assert pool.available(4) == 5
    assert pool.available(20) == 7  # a probe of each that sat out
    assert _exhaust(pool, 20) == 7


def test_available_never_promises_more_than_a_burst_allows_and_catches_up_with_it() -> None:
    pool = make_pool([proxy("a", max_in_flight=9, rate=Rate(1, 1, burst=5))])
    for _ in range(4):
        carry(pool, 0)
    available = pool.available(1000)
    assert 1 <= available <= 5
    attempt = acquire(pool, 1000)
    assert pool.available(1000) == 4
    pool.release(attempt, Outcome.SUCCESS, 1000)
    assert _exhaust(pool, 1000) == 4


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(1, 4), st.sampled_from([None, Rate(1, 2), Rate(2, 1, 3)])
        ),
        max_size=4,
    ),
    st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=30),
)
def test_a_lease_is_granted_exactly_if_one_is_available(
    nodes: list[tuple[int | None, Rate | None]], steps: list[tuple[bool, float]]
) -> None:
    pool = make_pool(
        proxy(f"p{number}", max_in_flight=cap, rate=rate)
        for number, (cap, rate) in enumerate(nodes)
    )
    leases, now = [], 0.0
    for send, pause in steps:
        now += pause
        if not send and leases:
            pool.release(leases.pop(), SUCCESS, now)
        elif pool.available(now):
            assert blocked(pool, now) is None
            leases.append(acquire(pool, now))
        else:
            assert blocked(pool, now) is not None
            refuses(pool, now)


# Holds


def test_nothing_is_held_while_a_proxy_is_free() -> None:
    pool = make_pool(proxies(2))
    assert blocked(pool, 0) is None
    assert blocked(pool, 0, proxy_filter={"name": "p1"}) is None
    assert blocked(pool, 0, session="new") is None


def test_a_hold_tells_why_and_when_to_ask_again() -> None:
    pool = make_pool(
        [proxy("p0"), proxy("p1", rate=Rate(1, 10))], health=cooling(threshold=1, first=30)
    )
    carry_through(pool, "p0", 0, FAULT)
    carry_through(pool, "p1", 5, SUCCESS)
    hold = blocked(pool, 6)
    assert hold is not None
    assert hold.reason
    assert hold.retry_at == pool.next_change() == 15
    assert blocked(pool, 15) is None


def test_requests_that_wait_for_the_same_have_the_same_hold() -> None:
    pool = make_pool(proxies(2, country="de"), max_in_flight=1)
    for _ in range(2):
        acquire(pool, 0)
    plain, german = blocked(pool, 0), blocked(pool, 0, proxy_filter={"country": "de"})
    also, first = (
        blocked(pool, 0, proxy_filter={"country": ["de"]}),
        blocked(pool, 0, proxy_filter={"name": "p0"}),
    )
    assert plain is not None
    assert german is not None
    assert also is not None
    assert first is not None
    assert german.waits_for == also.waits_for
    assert len({plain.waits_for, german.waits_for, first.waits_for}) == 3


def test_a_hold_counts_what_others_will_take_first() -> None:
    pool = make_pool(proxies(2, max_in_flight=2))
    acquire(pool, 0, proxy_filter={"name": "p0"})
    assert blocked(pool, 0, ahead=2) is None
    assert blocked(pool, 0, ahead=3) is not None
    assert blocked(pool, 0, proxy_filter={"name": "p0"}, ahead=1) is not None
    assert blocked(pool, 0, proxy_filter={"name": "p1"}, ahead=1) is None


def test_a_lease_names_the_target_that_its_host_belongs_to() -> None:
    pool = make_pool(proxies(1), targets_by_name={".shop.test": TargetPolicy()})
    assert carry(pool, 0, target="www.shop.test:8080").target == ".shop.test"
    assert carry(pool, 0, target="other.test").target == "other.test"


def test_an_empty_pool_has_nothing_to_lease() -> None:
    pool = make_pool([])
    assert refuses(pool, 0).retry_at is None
    assert (len(pool), pool.available(0), pool.capacity, pool.in_service) == (0, 0, 0, 0)
    assert pool.beyond_hope


def test_a_proxy_that_left_is_not_what_to_wait_for() -> None:
    pool = make_pool(proxies(2), max_in_flight=1, health=cooling(threshold=1, first=30))
    carry_through(pool, "p0", 0, FAULT)
    acquire(pool, 0)
    pool.remove("p0", 1)
    assert refuses(pool, 1).retry_at is None


def test_a_rate_that_a_cooldown_outlasts_is_not_what_to_wait_for() -> None:
    nodes = [proxy("a", rate=Rate(1, 10)), proxy("b")]
    pool = make_pool(nodes, health=cooling(threshold=1, first=30))
    carry_through(pool, "a", 0, FAULT)
    until = shown(pool, "a", 0).cooldown_left
    assert until > 10
    refused = refuses(pool, 1, proxy_filter={"name": "a"})
    assert refused.retry_at == pool.next_change() == until


# Avoiding


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
@pytest.mark.parametrize("proxy_filter", [None, {"country": "de"}])
def test_a_proxy_that_is_to_be_avoided_is_used_only_if_there_is_no_other(
    strategy: str, proxy_filter: dict[str, str] | None
) -> None:
    pool = make_pool(proxies(3, country="de", max_in_flight=2), strategy=strategy)
    names = [
        acquire(pool, 0, proxy_filter=proxy_filter, avoid={"p0", "p2", "gone"}).proxy.name
        for _ in range(4)
    ]
    assert names[:2] == ["p1", "p1"]
    assert set(names[2:]) <= {"p0", "p2"}


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
@pytest.mark.parametrize("proxy_filter", [None, {"country": "de"}])
def test_a_proxy_that_is_to_be_avoided_strictly_is_not_used_at_all(
    strategy: str, proxy_filter: dict[str, str] | None
) -> None:
    pool = make_pool(proxies(3, country="de", max_in_flight=2), strategy=strategy)
    request = {"proxy_filter": proxy_filter, "avoid": {"p0", "p2", "gone"}, "strictly": True}
    assert [acquire(pool, 0, **request).proxy.name for _ in range(2)] == ["p1", "p1"]
    refuses(pool, 0, **request)
    assert acquire(pool, 0, proxy_filter=proxy_filter).proxy.name in ("p0", "p2")


# Preferring


@pytest.mark.parametrize("strategy", ALL_STRATEGIES)
@pytest.mark.parametrize("proxy_filter", [None, {"country": "de"}])
def test_a_proxy_that_is_preferred_is_used_while_it_is_free(
    strategy: str, proxy_filter: dict[str, str] | None
) -> None:
    pool = make_pool(proxies(5, country="de", max_in_flight=2), strategy=strategy)
    names = [acquire(pool, 0, proxy_filter=proxy_filter, prefer="p3").proxy.name for _ in range(3)]
    assert names[:2] == ["p3", "p3"]
    assert names[2] != "p3"


def test_a_preference_yields_to_all_that_must_be() -> None:
    rules = {"slow.test": TargetPolicy(spacing=5)}
    nodes = [proxy("a", country="de"), proxy("b", country="fr")]
    pool = make_pool(nodes, targets_by_name=rules, health=cooling(threshold=1))
    assert acquire(pool, 0, prefer="a", proxy_filter={"country": "fr"}).proxy.name == "b"
    assert acquire(pool, 0, prefer="a", avoid=["a"]).proxy.name == "b"
    assert acquire(pool, 0, prefer="gone").proxy.name in ("a", "b")
    assert acquire(pool, 0, prefer="a", target="slow.test").proxy.name == "a"
    assert acquire(pool, 1, prefer="a", target="slow.test").proxy.name == "b"
    carry_through(pool, "a", 2, FAULT)
    assert acquire(pool, 2, prefer="a").proxy.name == "b"


# Whether there is another one


def test_another_proxy_is_one_that_is_neither_named_nor_cooling_down_nor_out_nor_drained() -> None:
    pool = make_pool(proxies(4, max_in_flight=1), health=cooling(threshold=1, first=10))
    assert pool.has_other(Want(), 0, {"p0"})
    carry_through(pool, "p1", 0, FAULT)
    put_out(pool, "p2", 0)
    assert pool.has_other(Want(), 0, {"p0"})
    pool.drain("p3", 0)
    assert not pool.has_other(Want(), 0, {"p0"})
    assert pool.has_other(Want(), 0, ())
    assert pool.has_other(Want(), 20, {"p0"})  # p1 may be probed


def test_another_proxy_may_be_busy() -> None:
    pool = make_pool(proxies(2, max_in_flight=1))
    for _ in range(2):
        acquire(pool, 0)
    assert pool.has_other(Want(), 0, {"p0"})
    assert not pool.has_other(Want(), 0, {"p0", "p1"})


def test_another_proxy_has_to_be_one_that_the_request_and_its_target_accept() -> None:
    rules = {"de.test": TargetPolicy(proxy_filter=ProxyFilter({"country": "de"}))}
    nodes = [proxy("a", country="de"), proxy("b", country="fr"), proxy("c", country="fr")]
    pool = make_pool(nodes, targets_by_name=rules)
    assert not pool.has_other(Want(target="de.test"), 0, {"a"})
    assert pool.has_other(Want(target="other.test"), 0, {"a"})
    assert pool.has_other(Want(proxy_filter={"country": "fr"}), 0, {"b"})
    assert not pool.has_other(Want(proxy_filter={"country": "fr"}), 0, {"b", "c"})
    with pytest.raises(NoProxyMatchesError):
        pool.has_other(Want(proxy_filter={"country": "it"}), 0, ())


# Coming, going, changing


def test_a_proxy_that_joins_takes_part() -> None:
    pool = make_pool(proxies(1), max_in_flight=1)
    acquire(pool, 0)
    refuses(pool, 0)
    pool.add(proxy("new"), 1)
    assert "new" in pool
    assert acquire(pool, 1).proxy.name == "new"


def test_a_name_or_an_endpoint_with_its_credentials_joins_only_once() -> None:
    pool = make_pool([proxy("a", username="u", password="one-secret")])
    with pytest.raises(ConfigurationError, match="'a'"):
        pool.add(proxy("a", port=9), 0)
    with pytest.raises(ConfigurationError, match="'b'"):
        pool.add(proxy("b", host="a.test", username="u", password="one-secret"), 0)
    pool.add(proxy("b", host="a.test", username="v", password="one-secret"), 0)
    assert len(pool) == 2


def test_a_proxy_that_is_refused_leaves_no_trace() -> None:
    pool = make_pool([proxy("a")])
    with pytest.raises(ConfigurationError):
        pool.add(proxy("a", port=9), 0)
    pool.add(proxy("other", host="a.test", port=9), 0)
    assert [seen.proxy.name for seen in pool.snapshot(0)] == ["a", "other"]


def test_a_removed_proxy_that_carries_nothing_is_gone_at_once() -> None:
    pool = make_pool(proxies(2))
    pool.remove("p0", 0)
    assert "p0" not in pool
    assert {carry(pool, 1).proxy.name for _ in range(10)} == {"p1"}


def test_a_removed_proxy_finishes_what_it_carries_and_takes_nothing_new() -> None:
    pool = make_pool(proxies(1))
    first, second = acquire(pool, 0), acquire(pool, 0)
    pool.remove("p0", 1)
    refuses(pool, 1)
    assert shown(pool, "p0", 1).draining
    assert pool.in_service == 0
    assert pool.release(first, SUCCESS, 2)
    assert "p0" in pool
    assert pool.release(second, SUCCESS, 3)
    assert "p0" not in pool
    assert pool.in_flight == 0


def test_a_proxy_that_left_may_come_back_as_a_stranger() -> None:
    pool = make_pool(proxies(2), rate=Rate(1, 1000))
    carry_through(pool, "p0", 0, FAULT)
    pool.remove("p0", 1)
    pool.add(proxy("p0"), 2)
    assert shown(pool, "p0", 2).outcomes == 0
    assert carry_through(pool, "p0", 2, SUCCESS).proxy.name == "p0"


def test_removing_or_updating_a_stranger_is_an_error() -> None:
    pool = make_pool(proxies(1))
    with pytest.raises(KeyError):
        pool.remove("p9", 0)
    with pytest.raises(KeyError):
        pool.update(proxy("p9"), 0)


def test_an_update_changes_the_limits_and_keeps_what_is_in_flight_and_learned() -> None:
    pool = make_pool([proxy("a", max_in_flight=2)])
    carry(pool, 0, FAULT, latency=1)
    acquire(pool, 0)
    pool.update(proxy("a", max_in_flight=1), 1)
    seen = shown(pool, "a", 1)
    assert (seen.outcomes, seen.in_flight) == (pytest.approx(1, rel=0.05), 1)
    refuses(pool, 1)
    pool.update(proxy("a", max_in_flight=3), 2)
    assert pool.available(2) == 2


def test_an_update_does_not_grant_the_rate_anew() -> None:
    pool = make_pool([proxy("a", rate=Rate(1, 100))])
    carry(pool, 0)
    pool.update(proxy("a", rate=Rate(1, 100), country="de"), 1)
    assert refuses(pool, 1).retry_at == 100


def test_an_update_takes_back_a_proxy_that_was_leaving() -> None:
    pool = make_pool([proxy("a")])
    attempt = acquire(pool, 0)
    pool.remove("a", 1)
    pool.update(proxy("a"), 2)
    pool.release(attempt, SUCCESS, 3)
    assert acquire(pool, 4).proxy.name == "a"


def test_an_update_that_is_refused_changes_nothing() -> None:
    pool = make_pool([proxy("a"), proxy("b", max_in_flight=1)])
    with pytest.raises(ConfigurationError):
        pool.update(proxy("b", host="a.test", max_in_flight=9), 0)
    assert shown(pool, "b", 0).max_in_flight == 1
    assert shown(pool, "b", 0).proxy.host == "b.test"
    assert pool.available(0) == 5


# The state of the whole


def test_good_standing_and_hope_follow_the_proxies_states() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=1, first=10))
    seen = [(pool.in_service, pool.beyond_hope)]
    carry_through(pool, "p0", 0, FAULT)
    seen.append((pool.in_service, pool.beyond_hope))
    put_out(pool, "p1", 0)
    seen.append((pool.in_service, pool.beyond_hope))
    probe = acquire(pool, 20, proxy_filter={"name": "p0"})
    seen.append((pool.in_service, pool.beyond_hope))
    pool.release(probe, SUCCESS, 20)
    seen.append((pool.in_service, pool.beyond_hope))
    put_out(pool, "p0", 20)
    seen.append((pool.in_service, pool.beyond_hope))
    assert seen == [(2, False), (1, False), (0, False), (0, False), (1, False), (0, False)]


def test_a_pool_is_beyond_hope_when_all_refuse_and_refuse_again_when_they_are_asked_again() -> None:
    pool = make_pool(proxies(2), health=cooling(first=10))
    seen = []
    for now in (0, 20):
        for name in ("p0", "p1"):
            put_out(pool, name, now)
            seen.append(pool.beyond_hope)
    assert seen == [False, False, False, True]
    carry_through(pool, "p0", 60, SUCCESS)
    assert not pool.beyond_hope


def test_a_pool_of_which_one_has_ever_worked_is_not_beyond_hope_however_often_all_refuse() -> None:
    pool = make_pool(proxies(2), health=cooling(first=10))
    carry_through(pool, "p0", 0, SUCCESS)
    for now in (1, 20, 60, 120):
        for name in ("p0", "p1"):
            put_out(pool, name, now)
    assert pool.in_service == 0
    assert not pool.beyond_hope


def test_a_snapshot_of_some_proxies_shows_them_in_the_order_asked_for() -> None:
    pool = make_pool([proxy(name) for name in "abc"])
    some = pool.snapshot(1, ["c", "a"])
    assert some == [pool.snapshot(1)[2], pool.snapshot(1)[0]]
    with pytest.raises(KeyError):
        pool.snapshot(1, ["a", "stranger"])


def test_a_snapshot_shows_every_proxy_in_the_order_of_joining() -> None:
    pool = make_pool([proxy("b", max_in_flight=3), proxy("a")])
    attempt = acquire(pool, 0, session="s", proxy_filter={"name": "b"})
    pool.release(attempt, SUCCESS, 1, latency=0.5)
    acquire(pool, 1, proxy_filter={"name": "a"})
    first, second = pool.snapshot(1)
    assert (first.proxy.name, first.max_in_flight, first.outcomes) == ("b", 3, 1)
    assert (first.duration, first.sessions, first.in_flight) == (pytest.approx(0.5), 1, 0)
    assert (second.proxy.name, second.in_flight, second.duration) == ("a", 1, None)


# The ledger seam


class Contested(LocalLedger):
    """Another process is always a little faster."""

    def claim(
        self, candidates: Sequence[str], target: str, session: str | None, now: float
    ) -> str | None:
        return None if now < 10 else super().claim(candidates, target, session, now)


def test_a_proxy_that_another_process_claimed_first_is_not_leased() -> None:
    pool = Pool(proxies(1), PoolPolicy(), rng=Random(1), ledger=Contested())
    events = Events(pool.events)
    error = refuses(pool, 0, session="s")
    assert "p0" in str(error)
    assert error.retry_at is None or error.retry_at > 0
    assert (pool.in_flight, len(pool.sessions), events.seen) == (0, 0, [])
    assert acquire(pool, 10).proxy.name == "p0"
