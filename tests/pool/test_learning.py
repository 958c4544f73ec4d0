"""Blame: who pays for a failure, the proxy, the gateway, the target or nobody."""

from __future__ import annotations

import pytest

from scrapy_proxybalance.pool import HealthState, Outcome, Pool
from scrapy_proxybalance.pool.events import CooldownStarted, LeaseEnded

from .helpers import Events, carry_through, cooling, make_pool, proxies, proxy, shown

AMBIGUOUS = Outcome.AMBIGUOUS
BAD, GOOD = "bad.test", "good.test"


def watched_pool(count: int = 8) -> tuple[Pool, Events]:
    pool = make_pool(proxies(count), health=cooling(threshold=3))
    return pool, Events(pool.events)


def charged(events: Events) -> list[bool]:
    return [event.charged for event in events.of(LeaseEnded)]


@pytest.mark.parametrize(
    ("outcome", "paid"),
    [
        (Outcome.SUCCESS, False),
        (Outcome.PROXY_FAULT, True),
        (Outcome.GATEWAY_FAULT, False),
        (Outcome.TARGET_SIGNAL, False),
        (Outcome.AMBIGUOUS, True),
        (Outcome.IGNORED, False),
    ],
)
def test_each_outcome_is_charged_to_whom_it_belongs(outcome: Outcome, paid: bool) -> None:
    pool, events = watched_pool()
    for _ in range(3):
        carry_through(pool, "p0", 0, outcome, target=BAD, failure="why", latency=0.5)
    assert charged(events) == [paid] * 3
    assert len(events.of(CooldownStarted)) == (1 if paid else 0)


def test_the_end_of_a_lease_is_told_as_it_was() -> None:
    pool, events = watched_pool()
    lease = carry_through(pool, "p0", 5, Outcome.SUCCESS, target=BAD, latency=0.25)
    carry_through(pool, "p0", 6, AMBIGUOUS, target=BAD, failure="timeout")
    first, second = events.of(LeaseEnded)
    assert (first.lease, first.now, first.outcome) == (lease, 5, Outcome.SUCCESS)
    assert (first.latency, first.failure) == (0.25, None)
    assert (second.latency, second.failure) == (None, "timeout")


# Ambiguous failures


def test_a_target_that_fails_through_everybody_costs_nobody_a_cooldown() -> None:
    pool, events = watched_pool()
    for turn in range(100):
        carry_through(pool, f"p{turn % 8}", turn, AMBIGUOUS, target=BAD)
    assert events.of(CooldownStarted) == []
    assert not any(charged(events)[10:])


def test_a_proxy_is_not_charged_where_the_target_failed_through_four_others() -> None:
    pool, events = watched_pool()
    for number in range(1, 5):
        carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
    for _ in range(10):
        carry_through(pool, "p0", 1, AMBIGUOUS, target=BAD)
    assert charged(events)[4:] == [False] * 10
    assert shown(pool, "p0", 1).outcomes == 0


def test_a_proxy_is_charged_while_there_is_little_evidence_against_the_target() -> None:
    pool, events = watched_pool()
    for number in range(1, 4):
        carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
    carry_through(pool, "p0", 1, AMBIGUOUS, target=BAD)
    assert charged(events)[-1]


def test_a_proxys_own_failures_are_no_evidence_against_the_target() -> None:
    pool = make_pool(proxies(8), health=cooling(threshold=100))
    events = Events(pool.events)
    for _ in range(30):
        carry_through(pool, "p0", 0, AMBIGUOUS, target=BAD)
    assert charged(events) == [True] * 30


def test_a_proxy_is_charged_where_others_get_through() -> None:
    pool, events = watched_pool()
    carry_through(pool, "p0", 0, AMBIGUOUS, target=BAD)
    for number in range(1, 8):
        carry_through(pool, f"p{number}", 1, Outcome.SUCCESS, target=BAD)
    for _ in range(2):
        carry_through(pool, "p0", 2, AMBIGUOUS, target=BAD)
    assert [event.proxy.name for event in events.of(CooldownStarted)] == ["p0"]


def test_a_target_that_fails_is_no_excuse_elsewhere() -> None:
    pool, events = watched_pool()
    for number in range(1, 8):
        carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
    carry_through(pool, "p0", 1, AMBIGUOUS, target=GOOD)
    assert charged(events)[-1]


def test_a_fault_that_is_clearly_the_proxys_is_charged_even_where_the_target_fails() -> None:
    pool, events = watched_pool()
    for number in range(1, 8):
        carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
    carry_through(pool, "p0", 1, Outcome.PROXY_FAULT, target=BAD)
    assert charged(events)[-1]


def test_a_target_that_works_again_is_no_excuse_any_more() -> None:
    pool, events = watched_pool()
    for turn in range(20):
        carry_through(pool, f"p{1 + turn % 7}", turn, AMBIGUOUS, target=BAD)
    for turn in range(20):
        carry_through(pool, f"p{1 + turn % 7}", 100 + turn, Outcome.SUCCESS, target=BAD)
    carry_through(pool, "p0", 200, AMBIGUOUS, target=BAD)
    assert charged(events)[-1]


def test_a_probe_is_not_failed_by_a_target_that_fails_through_everybody() -> None:
    pool, events = watched_pool()
    for number in range(1, 8):
        carry_through(pool, f"p{number}", 0, AMBIGUOUS, target=BAD)
    for _ in range(3):
        carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    assert carry_through(pool, "p0", 100, AMBIGUOUS, target=BAD).probe
    assert len(events.of(CooldownStarted)) == 1
    assert carry_through(pool, "p0", 100, Outcome.SUCCESS, target=GOOD).probe
    assert shown(pool, "p0", 100).state is HealthState.RECOVERING


# Gateways


def exits(count: int) -> list[dict[str, str]]:
    return [{"name": f"p{number}", "username": f"user-{number}"} for number in range(count)]


def gateway_pool(count: int) -> tuple[Pool, Events]:
    members = [proxy(host="gate.test", port=7000, **names) for names in exits(count)]
    pool = make_pool(members, health=cooling(threshold=3))
    return pool, Events(pool.events)


def test_a_gateways_faults_do_not_cool_the_exits_behind_it() -> None:
    pool, events = gateway_pool(4)
    for turn in range(100):
        carry_through(pool, f"p{turn % 4}", turn, Outcome.GATEWAY_FAULT)
    assert events.of(CooldownStarted) == []
    assert not any(charged(events))
    assert {seen.state for seen in pool.snapshot(100)} == {HealthState.HEALTHY}


def test_a_gateways_faults_lower_the_success_rate_so_that_other_gateways_get_more() -> None:
    pool, _ = gateway_pool(2)
    before = pool.explain("p0").value
    for _ in range(10):
        carry_through(pool, "p0", 0, Outcome.GATEWAY_FAULT)
    assert pool.explain("p0").value < before / 2
    assert pool.explain("p1").value == before


def test_a_lone_proxys_gateway_faults_are_not_charged_while_nobody_gets_through() -> None:
    pool, events = watched_pool()
    for turn in range(40):
        carry_through(pool, f"p{turn % 8}", turn, Outcome.GATEWAY_FAULT, target=BAD)
    assert not any(charged(events))
    assert events.of(CooldownStarted) == []


def test_a_lone_proxys_gateway_faults_are_its_own_where_others_get_through() -> None:
    pool, events = watched_pool()
    carry_through(pool, "p0", 0, Outcome.GATEWAY_FAULT, target=BAD)
    carry_through(pool, "p1", 0, Outcome.SUCCESS, target=BAD)
    for _ in range(3):
        carry_through(pool, "p0", 1, Outcome.GATEWAY_FAULT, target=BAD)
    assert charged(events) == [False, False, True, True, True]
    assert [event.proxy.name for event in events.of(CooldownStarted)] == ["p0"]


def test_a_lone_proxys_gateway_faults_are_evidence_against_the_target() -> None:
    pool, events = watched_pool()
    for number in range(1, 5):
        carry_through(pool, f"p{number}", 0, Outcome.GATEWAY_FAULT, target=BAD)
    carry_through(pool, "p0", 1, AMBIGUOUS, target=BAD)
    assert not charged(events)[-1]


def test_a_gateway_is_no_longer_shared_when_the_others_have_left() -> None:
    members = [proxy(host="gate.test", port=7000, **names) for names in exits(2)]
    pool = make_pool([*members, proxy("other")], health=cooling(threshold=3))
    events = Events(pool.events)
    carry_through(pool, "p0", 0, Outcome.GATEWAY_FAULT, target=BAD)
    pool.remove("p1", 0)
    carry_through(pool, "p0", 0, Outcome.GATEWAY_FAULT, target=BAD)
    carry_through(pool, "other", 0, Outcome.SUCCESS, target=BAD)
    for _ in range(3):
        carry_through(pool, "p0", 1, Outcome.GATEWAY_FAULT, target=BAD)
    assert [event.proxy.name for event in events.of(CooldownStarted)] == ["p0"]


def test_a_probe_that_does_not_get_past_the_gateway_has_failed() -> None:
    pool, events = gateway_pool(4)
    for _ in range(3):
        carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    assert carry_through(pool, "p0", 100, Outcome.GATEWAY_FAULT).probe
    assert [event.step for event in events.of(CooldownStarted)] == [1, 2]
