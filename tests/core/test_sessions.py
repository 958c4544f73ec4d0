"""Sessions: they stay, they end, they are spread, and they move only when their proxy is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from scrapy_proxybalance.core import Outcome, Pool, Rate, SessionLostError
from scrapy_proxybalance.core.choosing.sessions import Sessions
from scrapy_proxybalance.core.events import (
    EventBus,
    SessionEnded,
    SessionReassigned,
    SessionStarted,
)

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
)

every_strategy = pytest.mark.parametrize("strategy", ALL_STRATEGIES)
FAULT = Outcome.PROXY_FAULT


def pinned(pool: Pool) -> dict[str, str]:
    return dict(pool.sessions)


# Staying


@every_strategy
def test_a_session_stays_on_its_proxy_for_fifty_requests(strategy: str) -> None:
    pool = make_pool(proxies(10), strategy=strategy)
    events = Events(pool.events)
    names = set()
    for now in range(50):
        names.add(carry(pool, now, session="s").proxy.name)
        for _ in range(5):
            carry(pool, now)
    assert len(names) == 1
    assert [event.session for event in events.of(SessionStarted)] == ["s"]


def test_a_session_stays_through_faults_below_the_threshold() -> None:
    pool = make_pool(proxies(10))
    outcomes = [FAULT, FAULT, Outcome.SUCCESS] * 10
    names = {
        carry(pool, now, outcome, session="s").proxy.name for now, outcome in enumerate(outcomes)
    }
    assert len(names) == 1


def test_a_session_waits_for_its_busy_proxy_though_others_are_free() -> None:
    pool = make_pool(proxies(5), max_in_flight=1)
    first = acquire(pool, 0, session="s")
    assert refuses(pool, 0, session="s").retry_at is None
    pool.release(first, Outcome.SUCCESS, 1)
    assert acquire(pool, 1, session="s").proxy is first.proxy


def test_a_session_waits_for_the_rate_of_its_proxy_and_is_told_until_when() -> None:
    pool = make_pool(proxies(5), rate=Rate(1, 10))
    first = carry(pool, 0, session="s")
    assert refuses(pool, 3, session="s").retry_at == 10
    assert carry(pool, 10, session="s").proxy is first.proxy


def test_a_session_does_not_move_away_from_a_proxy_that_is_to_be_avoided() -> None:
    pool = make_pool(proxies(5))
    name = carry(pool, 0, session="s").proxy.name
    assert carry(pool, 1, session="s", avoid={name}).proxy.name == name


# Ending


def test_a_session_that_is_idle_for_too_long_is_forgotten() -> None:
    pool = make_pool(proxies(2), session_ttl=60)
    events = Events(pool.events)
    carry(pool, 0, session="s")
    carry(pool, 60, session="s")
    carry(pool, 121, session="s")
    assert [(event.session, event.reason) for event in events.of(SessionEnded)] == [
        ("s", "expired")
    ]
    assert [event.now for event in events.of(SessionStarted)] == [0, 121]


def test_only_the_idle_sessions_are_forgotten() -> None:
    pool = make_pool(proxies(2), session_ttl=60)
    for session in "abc":
        carry(pool, 0, session=session)
    carry(pool, 50, session="b")
    carry(pool, 100, session="d")
    assert set(pinned(pool)) == {"b", "d"}


def test_a_session_that_was_ended_begins_anew() -> None:
    pool = make_pool(proxies(2))
    events = Events(pool.events)
    carry(pool, 0, session="s")
    pool.end_session("s", 1)
    assert pinned(pool) == {}
    carry(pool, 2, session="s")
    assert [event.reason for event in events.of(SessionEnded)] == ["ended"]
    assert len(events.of(SessionStarted)) == 2
    assert events.of(SessionReassigned) == []


def test_ending_an_unknown_session_is_nothing() -> None:
    pool = make_pool(proxies(2))
    events = Events(pool.events)
    pool.end_session("s", 0)
    assert events.seen == []


def test_a_session_may_end_while_its_requests_are_in_flight() -> None:
    pool = make_pool(proxies(1))
    attempt = acquire(pool, 0, session="s")
    pool.end_session("s", 1)
    assert pool.release(attempt, Outcome.SUCCESS, 2)
    assert pool.in_flight == 0
    assert pinned(pool) == {}


def test_no_more_sessions_are_remembered_than_the_limit() -> None:
    pool = make_pool(proxies(2), session_limit=3)
    for number in range(20):
        carry(pool, number, session=f"s{number}")
        assert len(pool.sessions) <= 3


def test_the_longest_idle_session_gives_way() -> None:
    pool = make_pool(proxies(2), session_limit=3)
    events = Events(pool.events)
    for now, session in enumerate(["a", "b", "c", "a", "d", "e", "a", "d", "e"]):
        carry(pool, now, session=session)
    assert set(pinned(pool)) == {"a", "d", "e"}
    ended = [(event.session, event.reason) for event in events.of(SessionEnded)]
    assert ended == [("b", "evicted"), ("c", "evicted")]


# Losing the proxy


def lose(pool: Pool, name: str, how: str, now: float = 10) -> None:
    if how == "removed":
        pool.remove(name, now)
    elif how == "cooling":
        for _ in range(3):
            carry_through(pool, name, now, FAULT)
    else:
        put_out(pool, name, now)


every_loss = pytest.mark.parametrize("how", ["removed", "cooling", "out"])


@every_loss
def test_reassign_moves_a_session_on_and_says_so(how: str) -> None:
    pool = make_pool(proxies(3))
    events = Events(pool.events)
    lost = carry(pool, 0, session="s").proxy.name
    lose(pool, lost, how)
    names = {carry(pool, 11 + step, session="s").proxy.name for step in range(20)}
    assert len(names) == 1
    assert lost not in names
    (moved,) = events.of(SessionReassigned)
    assert (moved.session, moved.lost, {moved.proxy.name}) == ("s", lost, names)


def test_a_session_does_not_go_back_when_its_first_proxy_recovers() -> None:
    pool = make_pool(proxies(2))
    lost = carry(pool, 0, session="s").proxy.name
    lose(pool, lost, "cooling")
    second = carry(pool, 11, session="s").proxy.name
    carry_through(pool, lost, 100, Outcome.SUCCESS)
    assert {carry(pool, 101, session="s").proxy.name for _ in range(20)} == {second}


def test_a_session_that_nobody_could_take_over_in_the_meantime_goes_on_where_it_was() -> None:
    pool = make_pool(proxies(2), health=cooling())
    events = Events(pool.events)
    carry(pool, 0, session="s", proxy_filter={"name": "p0"})
    lose(pool, "p0", "cooling")
    pool.drain("p1", 10)
    assert refuses(pool, 11, session="s").retry_at == pool.next_change()
    assert carry(pool, 100, session="s").proxy.name == "p0"
    assert events.of(SessionReassigned) == []


def test_wait_holds_a_session_until_its_proxy_comes_back() -> None:
    pool = make_pool(proxies(3), session_lost="wait")
    name = carry(pool, 0, session="s").proxy.name
    lose(pool, name, "cooling")
    until = refuses(pool, 11, session="s").retry_at
    assert until is not None
    assert 10 + 27 <= until <= 10 + 33
    assert carry(pool, until, session="s").proxy.name == name


def test_whoever_waits_for_a_cooling_and_rate_limited_proxy_is_not_told_to_ask_in_the_past() -> (
    None
):
    pool = make_pool(
        proxies(2, rate=Rate(1, 100)), session_lost="wait", health=cooling(threshold=1, first=10)
    )
    name = carry(pool, 0, FAULT, session="s").proxy.name
    for now in (5, 50, 99):
        hold, refusal = blocked(pool, now, session="s"), refuses(pool, now, session="s")
        assert hold is not None
        for retry_at in (hold.retry_at, refusal.retry_at):
            assert retry_at is not None
            assert now < retry_at <= 100
    assert carry(pool, 100, session="s").proxy.name == name


def test_wait_does_not_wait_for_a_proxy_that_was_removed() -> None:
    pool = make_pool(proxies(3), session_lost="wait")
    lose(pool, carry(pool, 0, session="s").proxy.name, "removed")
    with pytest.raises(SessionLostError, match="'s'"):
        acquire(pool, 11, session="s")


def test_wait_waits_for_a_proxy_that_is_out_if_its_credentials_have_worked() -> None:
    pool = make_pool(proxies(3), session_lost="wait", health=cooling(threshold=1, first=10))
    name = carry(pool, 0, session="s").proxy.name
    lose(pool, name, "out")
    hold = blocked(pool, 11, session="s")
    assert hold is not None
    assert hold.retry_at is not None
    assert carry(pool, hold.retry_at, session="s").proxy.name == name


def test_wait_does_not_wait_for_a_proxy_whose_credentials_have_never_worked() -> None:
    pool = make_pool(proxies(3), session_lost="wait")
    name = acquire(pool, 0, session="s").proxy.name
    lose(pool, name, "out")
    with pytest.raises(SessionLostError, match="'s'"):
        acquire(pool, 11, session="s")


@pytest.mark.parametrize("now", [11, 500])
def test_wait_does_not_wait_for_a_cooling_proxy_that_is_leaving(now: float) -> None:
    pool = make_pool(proxies(3), session_lost="wait", health=cooling(threshold=1))
    name = carry(pool, 0, session="s").proxy.name
    acquire(pool, 1, proxy_filter={"name": name})
    carry_through(pool, name, 10, FAULT)
    pool.remove(name, 10)
    with pytest.raises(SessionLostError, match="'s'"):
        acquire(pool, now, session="s")


@every_loss
def test_fail_keeps_failing_a_lost_session_with_an_error_that_names_it(how: str) -> None:
    pool = make_pool(proxies(3), session_lost="fail")
    name = carry(pool, 0, session="s").proxy.name
    lose(pool, name, how)
    for now in (11, 12, 13):
        with pytest.raises(SessionLostError, match=f"'s'.*{name}"):
            blocked(pool, now, session="s")
        with pytest.raises(SessionLostError, match=f"'s'.*{name}"):
            acquire(pool, now, session="s")
    assert acquire(pool, 14, session="another").session == "another"


@every_loss
def test_a_lost_session_that_was_ended_may_begin_anew(how: str) -> None:
    pool = make_pool(proxies(3), session_lost="fail")
    lost = carry(pool, 0, session="s").proxy.name
    lose(pool, lost, how)
    pool.end_session("s", 11)
    assert carry(pool, 12, session="s").proxy.name != lost


def test_a_failing_session_goes_on_when_its_proxy_is_back() -> None:
    pool = make_pool(proxies(3), session_lost="fail")
    name = carry(pool, 0, session="s").proxy.name
    lose(pool, name, "cooling")
    with pytest.raises(SessionLostError):
        acquire(pool, 11, session="s")
    assert carry(pool, 50, session="s").proxy.name == name


# Spreading and sharing


@every_strategy
@pytest.mark.parametrize("other_traffic", [False, True])
def test_new_sessions_are_spread_over_the_pool(strategy: str, other_traffic: bool) -> None:
    pool = make_pool(proxies(10), strategy=strategy)
    for now in range(200):
        carry(pool, now, session=f"s{now}")
        if other_traffic:
            carry(pool, now)
    crowd = Counter(pinned(pool).values())
    assert sum(crowd.values()) == 200
    assert max(crowd.values()) <= 30


def test_new_sessions_go_to_the_few_sessions_side_even_if_the_score_prefers_the_other() -> None:
    pool = make_pool([proxy("good", weight=20), proxy("poor", weight=1)])
    for now in range(200):
        carry(pool, now, session=f"s{now}")
    assert Counter(pinned(pool).values())["poor"] >= 20


def test_a_new_session_keeps_off_proxies_that_are_to_be_avoided() -> None:
    pool = make_pool(proxies(2))
    for number in range(40):
        carry_through(pool, "p1", 0, Outcome.SUCCESS, session=f"s{number}")
    for number in range(20):
        assert carry(pool, 1, session=f"new-{number}", avoid={"p0"}).proxy.name == "p1"


def test_a_session_takes_no_more_than_its_share_of_a_cap() -> None:
    pool = make_pool([proxy("a", max_in_flight=6)])
    for session in "xyz":
        carry(pool, 0, session=session)
    leases = [acquire(pool, 1, session="x"), acquire(pool, 1, session="x")]
    refuses(pool, 1, session="x")
    assert acquire(pool, 1, session="y").session == "y"
    pool.release(leases[0], Outcome.SUCCESS, 2)
    assert acquire(pool, 2, session="x").session == "x"


def test_a_session_alone_on_a_proxy_may_use_the_whole_cap() -> None:
    pool = make_pool([proxy("a", max_in_flight=6)])
    assert [acquire(pool, 0, session="x").proxy.name for _ in range(6)] == ["a"] * 6


def test_every_session_may_have_one_request_in_flight_however_many_share_a_proxy() -> None:
    pool = make_pool([proxy("a", max_in_flight=2)])
    for number in range(9):
        carry(pool, 0, session=f"s{number}")
    assert acquire(pool, 1, session="s0").session == "s0"
    assert acquire(pool, 1, session="s1").session == "s1"


def test_a_share_grows_when_other_sessions_end() -> None:
    pool = make_pool([proxy("a", max_in_flight=4)])
    for session in "xy":
        carry(pool, 0, session=session)
    for _ in range(2):
        acquire(pool, 0, session="x")
    refuses(pool, 0, session="x")
    pool.end_session("y", 0)
    assert acquire(pool, 0, session="x").session == "x"


# The map itself


def test_the_map_counts_the_sessions_on_each_proxy() -> None:
    sessions = Sessions(60, 10, EventBus())
    a, b = proxies(2)
    sessions.claimed("x", a, 0)
    sessions.claimed("y", a, 0)
    sessions.claimed("y", b, 1)
    assert (sessions.on_proxy("p0"), sessions.on_proxy("p1")) == (1, 1)
    sessions.end("x", 2, "ended")
    assert (sessions.on_proxy("p0"), len(sessions)) == (0, 1)
    assert (sessions.find("x", 2), sessions.find("y", 2)) == (None, "p1")


def test_a_hold_on_a_session_says_what_it_waits_for() -> None:
    pool = make_pool(proxies(2), max_in_flight=1)
    name = acquire(pool, 0, session="s").proxy.name
    hold, same = blocked(pool, 0, session="s"), blocked(pool, 0, session="s")
    assert hold is not None
    assert same is not None
    assert name in hold.reason
    assert hold.waits_for == same.waits_for
