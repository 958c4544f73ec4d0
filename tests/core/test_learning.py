"""What an outcome teaches: who pays for a failure, the proxy, the gateway or the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import HealthState, NoProxyAvailableError, Outcome, Pool
from scrapy_proxybalance.core.events import AttemptEnded, CooldownStarted

from .helpers import Events, carry_through, cooling, make_pool, proxies, proxy, shown

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Proxy

AMBIGUOUS = Outcome.AMBIGUOUS
BAD, GOOD = "bad.test", "good.test"


def watched_pool(*, known: bool = False) -> tuple[Pool, Events]:
    """Make a pool of eight; they have done well for a while, up to time 0, if they are ``known``."""
    pool = make_pool(proxies(8), health=cooling(threshold=3))
    events = Events(pool.events)
    if known:
        for turn in range(-20, 0):
            for number in range(8):
                carry_through(pool, f"p{number}", turn, Outcome.SUCCESS, target=GOOD)
    return pool, events


def charged(events: Events) -> list[float]:
    """Return the proxies' parts of all failures."""
    return [
        event.charged
        for event in events.of(AttemptEnded)
        if event.outcome not in (Outcome.SUCCESS, Outcome.TARGET_SIGNAL, Outcome.IGNORED)
    ]


@pytest.mark.parametrize(
    ("outcome", "paid"),
    [
        (Outcome.SUCCESS, 0),
        (Outcome.PROXY_FAULT, 1),
        (Outcome.TARGET_SIGNAL, 0),
        (Outcome.IGNORED, 0),
    ],
)
def test_each_outcome_is_charged_to_whom_it_belongs(outcome: Outcome, paid: float) -> None:
    pool, events = watched_pool()
    for _ in range(3):
        carry_through(pool, "p0", 0, outcome, target=BAD, failure="why", latency=0.5)
    assert [event.charged for event in events.of(AttemptEnded)] == [paid] * 3
    assert len(events.of(CooldownStarted)) == paid


@pytest.mark.parametrize("outcome", [AMBIGUOUS, Outcome.GATEWAY_FAULT])
def test_a_failure_that_may_be_anybodys_is_parted(outcome: Outcome) -> None:
    pool, events = watched_pool()
    carry_through(pool, "p0", 0, outcome, target=BAD)
    assert 0 < charged(events)[0] < 1


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(list(Outcome)),
            st.sampled_from([BAD, GOOD]),
            st.floats(0, 100),
        ),
        max_size=60,
    )
)
def test_nobody_pays_for_less_than_nothing_or_more_than_it_all(
    steps: list[tuple[int, Outcome, str, float]],
) -> None:
    nodes = [*gateway_exits(2), *(proxy(f"p{number}") for number in (2, 3))]
    pool = make_pool(nodes, health=cooling(threshold=10_000))
    events, now = Events(pool.events), 0.0
    for number, outcome, target, passed in steps:
        now += passed
        try:
            carry_through(pool, f"p{number}", now, outcome, target=target)
        except NoProxyAvailableError:  # an outage of the gateway, or of the pool
            continue
        paid = events.of(AttemptEnded)[-1].charged
        assert 0 <= paid <= 1
        if outcome is Outcome.PROXY_FAULT and number > 1:
            assert paid == 1
        if outcome in (Outcome.SUCCESS, Outcome.TARGET_SIGNAL, Outcome.IGNORED):
            assert paid == 0


def test_what_others_pay_is_shown_as_forgiven() -> None:
    pool, events = watched_pool(known=True)
    for turn in range(40):
        carry_through(pool, f"p{turn % 8}", 0, AMBIGUOUS, target=BAD)
    assert pool.explain("p0", 0).forgiven > 1
    assert sum(pool.explain(f"p{number}", 0).forgiven for number in range(8)) == pytest.approx(
        sum(1 - paid for paid in charged(events)), rel=0.1
    )


def test_the_end_of_a_lease_is_told_as_it_was() -> None:
    pool, events = watched_pool()
    attempt = carry_through(pool, "p0", 5, Outcome.SUCCESS, target=BAD, latency=0.25)
    carry_through(pool, "p0", 6, AMBIGUOUS, target=BAD, failure="timeout")
    first, second = events.of(AttemptEnded)
    assert (first.attempt, first.now, first.outcome) == (attempt, 5, Outcome.SUCCESS)
    assert (first.latency, first.failure) == (0.25, None)
    assert (second.latency, second.failure) == (None, "timeout")


# Ambiguous failures


def test_a_target_that_fails_through_everybody_costs_nobody_a_cooldown() -> None:
    pool, events = watched_pool()
    for turn in range(100):
        carry_through(pool, f"p{turn % 8}", turn, AMBIGUOUS, target=BAD)
        carry_through(pool, f"p{(turn + 3) % 8}", turn, Outcome.SUCCESS, target=GOOD)
    assert events.of(CooldownStarted) == []
    assert max(charged(events)[40:]) < 0.5


@pytest.mark.parametrize("known", [True, False])
def test_the_only_target_that_fails_through_everybody_costs_nobody_a_cooldown(known: bool) -> None:
    pool, events = watched_pool(known=known)
    for turn in range(100):
        carry_through(pool, f"p{turn % 8}", turn / 4, AMBIGUOUS, target=GOOD)
    assert events.of(CooldownStarted) == []


def test_a_proxy_pays_less_the_more_others_the_target_fails_through() -> None:
    paid = []
    for others in (0, 1, 3, 7):
        pool, events = watched_pool()
        for number in range(1, 1 + others):
            carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
        carry_through(pool, "p0", 1, AMBIGUOUS, target=BAD)
        paid.append(charged(events)[-1])
    assert paid == sorted(set(paid), reverse=True)


def test_a_proxy_pays_the_more_the_more_targets_it_has_failed_at() -> None:
    pool = make_pool(proxies(8), health=cooling(threshold=100))
    events = Events(pool.events)
    for number in range(1, 8):
        for turn in range(10):
            carry_through(pool, f"p{number}", turn, Outcome.SUCCESS, target=BAD)
    for number in range(1, 5):
        carry_through(pool, f"p{number}", 10, Outcome.SUCCESS, target=f"{number}.test")
        carry_through(pool, "p0", 10, AMBIGUOUS, target=f"{number}.test")
    paid = charged(events)[-4:]
    assert paid[-1] > paid[0]
    assert paid[-1] > 0.9


def test_a_target_that_has_never_answered_is_the_first_suspect() -> None:
    pool = make_pool(proxies(8), health=cooling(threshold=100))
    events = Events(pool.events)
    for _ in range(30):
        carry_through(pool, "p0", 0, AMBIGUOUS, target=BAD)
    assert max(charged(events)) < 0.5


def test_a_proxy_that_fails_where_others_get_through_is_sent_out() -> None:
    pool, events = watched_pool()
    for turn in range(10):
        for number in range(1, 8):
            carry_through(pool, f"p{number}", turn, Outcome.SUCCESS, target=BAD)
        if not events.of(CooldownStarted):
            carry_through(pool, "p0", turn, AMBIGUOUS, target=BAD)
    assert [event.proxy.name for event in events.of(CooldownStarted)] == ["p0"]


def test_a_target_that_fails_is_no_excuse_elsewhere() -> None:
    paid = {}
    for target in (BAD, GOOD):
        pool, events = watched_pool()
        for number in range(1, 8):
            carry_through(pool, f"p{number}", 0, Outcome.SUCCESS, target=GOOD)
            carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
        carry_through(pool, "p0", 1, AMBIGUOUS, target=target)
        paid[target] = charged(events)[-1]
    assert paid[BAD] < 0.5 < paid[GOOD]


def test_a_fault_that_is_clearly_the_proxys_is_its_own_even_where_the_target_fails() -> None:
    pool, events = watched_pool()
    for number in range(1, 8):
        carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
    carry_through(pool, "p0", 1, Outcome.PROXY_FAULT, target=BAD)
    assert charged(events)[-1] == 1


def test_a_fault_that_is_clearly_the_proxys_speaks_not_against_the_target() -> None:
    paid = []
    for faults in (0, 20):
        pool, events = watched_pool()
        for turn in range(faults):
            carry_through(pool, f"p{1 + turn % 7}", 0, Outcome.PROXY_FAULT, target=BAD)
        carry_through(pool, "p0", 1, AMBIGUOUS, target=BAD)
        paid.append(charged(events)[-1])
    assert paid[1] >= paid[0]


def test_an_exits_own_fault_speaks_not_against_the_target_either() -> None:
    paid = []
    for faults in (0, 20):
        pool, events = gateway_pool(8)
        for turn in range(faults):
            carry_through(pool, f"p{turn % 8}", 0, Outcome.PROXY_FAULT, target=BAD)
        carry_through(pool, "lone", 1, AMBIGUOUS, target=BAD)
        paid.append(charged(events)[-1])
    assert paid[1] >= paid[0]


def test_a_target_that_works_again_is_no_excuse_any_more() -> None:
    pool, events = watched_pool(known=True)
    for turn in range(20):
        carry_through(pool, f"p{1 + turn % 7}", turn, AMBIGUOUS, target=BAD)
    carry_through(pool, "p0", 20, AMBIGUOUS, target=BAD)
    for turn in range(40):
        carry_through(pool, f"p{1 + turn % 7}", 100 + turn, Outcome.SUCCESS, target=BAD)
    for turn in range(2):
        carry_through(pool, "p1", 200 + turn, Outcome.SUCCESS, target=BAD)
        carry_through(pool, "p0", 200 + turn, AMBIGUOUS, target=BAD)
    *_, before, once, again = charged(events)
    assert before < 0.2
    assert 0.5 < once < again


def test_a_probe_is_not_failed_by_a_target_that_fails_through_everybody() -> None:
    pool, events = watched_pool(known=True)
    for _ in range(3):
        carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    for turn in range(90, 100):
        for number in range(1, 8):
            carry_through(pool, f"p{number}", turn, Outcome.SUCCESS, target=GOOD)
            carry_through(pool, f"p{number}", turn, AMBIGUOUS, target=BAD)
    assert carry_through(pool, "p0", 100, AMBIGUOUS, target=BAD).probe
    assert len(events.of(CooldownStarted)) == 1
    assert carry_through(pool, "p0", 100, Outcome.SUCCESS, target=GOOD).probe
    assert shown(pool, "p0", 100).state is HealthState.RECOVERING


# Gateways


def gateway_exits(count: int) -> list[Proxy]:
    return [
        proxy(f"p{number}", host="gate.test", port=7000, username=f"user-{number}")
        for number in range(count)
    ]


def gateway_pool(count: int) -> tuple[Pool, Events]:
    pool = make_pool([*gateway_exits(count), proxy("lone")], health=cooling(threshold=3))
    return pool, Events(pool.events)


def gateway_works(pool: Pool, names: range, turns: int = 10, since: float = 0) -> None:
    for turn in range(turns):
        for number in names:
            carry_through(pool, f"p{number}", since + turn, Outcome.SUCCESS, target=GOOD)


def test_a_gateway_that_fails_does_not_cool_the_exits_behind_it() -> None:
    pool, events = gateway_pool(8)
    gateway_works(pool, range(8))
    for turn in range(10, 100):
        carry_through(pool, f"p{turn % 8}", turn, AMBIGUOUS, target=GOOD)
    assert events.of(CooldownStarted) == []
    assert max(charged(events)[-60:]) < 0.2
    assert {seen.state for seen in pool.snapshot(100)} == {HealthState.HEALTHY}


@pytest.mark.parametrize("outcome", [Outcome.GATEWAY_FAULT, Outcome.PROXY_FAULT, AMBIGUOUS])
def test_a_single_bad_exit_behind_a_good_gateway_is_found_out(outcome: Outcome) -> None:
    pool, events = gateway_pool(8)
    for turn in range(20):
        gateway_works(pool, range(1, 8), turns=1, since=turn)
        if not events.of(CooldownStarted):
            carry_through(pool, "p0", turn, outcome, target=GOOD)
    assert [event.proxy.name for event in events.of(CooldownStarted)] == ["p0"]


def test_a_lone_proxys_gateway_faults_are_not_its_own_while_nobody_gets_through() -> None:
    pool, events = watched_pool()
    for turn in range(80):
        carry_through(pool, f"p{turn % 8}", turn, Outcome.GATEWAY_FAULT, target=BAD)
        carry_through(pool, f"p{(turn + 3) % 8}", turn, Outcome.SUCCESS, target=GOOD)
    assert max(charged(events)[40:]) < 0.5
    assert events.of(CooldownStarted) == []


def test_a_lone_proxys_gateway_faults_are_its_own_where_others_get_through() -> None:
    pool, events = watched_pool()
    for turn in range(10):
        for number in range(1, 8):
            carry_through(pool, f"p{number}", turn, Outcome.SUCCESS, target=BAD)
        if not events.of(CooldownStarted):
            carry_through(pool, "p0", turn, Outcome.GATEWAY_FAULT, target=BAD)
    assert [event.proxy.name for event in events.of(CooldownStarted)] == ["p0"]
