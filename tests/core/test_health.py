"""Cooldowns: when a proxy is sent out, for how long, how it comes back; and refused credentials."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import HealthPolicy, HealthState, Outcome, Pool, Rate
from scrapy_proxybalance.core.events import (
    AttemptEnded,
    CooldownStarted,
    ProbeStarted,
    ProxyOut,
    ProxyRecovered,
)
from scrapy_proxybalance.core.outcome import PROXY_AUTH
from scrapy_proxybalance.core.proxies.health import Health

from .helpers import (
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

FAULT, SUCCESS = Outcome.PROXY_FAULT, Outcome.SUCCESS
ONLY = {"name": "p0"}


def pool_of_two(
    threshold: int = 3, first: float = 30.0, longest: float = 600.0, seed: int = 1
) -> tuple[Pool, Events]:
    pool = make_pool(proxies(2), seed=seed, health=cooling(threshold, first, longest))
    return pool, Events(pool.events)


def cool_down(pool: Pool, now: float, faults: int = 3) -> float:
    """Send p0 into a cooldown; return when that ends."""
    for _ in range(faults):
        carry_through(pool, "p0", now, FAULT)
    seen = shown(pool, "p0", now)
    assert seen.state is HealthState.COOLING
    return now + seen.cooldown_left


# When a cooldown starts


def test_who_is_told_of_a_change_finds_it_counted() -> None:
    pool = make_pool(proxies(3), health=cooling(1, 30, 600))
    in_service: list[tuple[str, int]] = []
    pool.events.subscribe(
        lambda event: in_service.append((type(event).__name__, pool.in_service)),
        *(CooldownStarted, ProxyRecovered, ProxyOut),
    )
    over = cool_down(pool, 0, faults=1)
    carry_through(pool, "p0", over, SUCCESS)
    while len(in_service) < 3:
        carry_through(pool, "p1", over, FAULT, failure=PROXY_AUTH)
    assert in_service == [("CooldownStarted", 2), ("ProxyRecovered", 3), ("ProxyOut", 2)]


def test_so_many_faults_in_a_row_start_a_cooldown() -> None:
    pool, events = pool_of_two()
    carry_through(pool, "p0", 0, FAULT)
    carry_through(pool, "p0", 1, FAULT)
    assert events.of(CooldownStarted) == []
    carry_through(pool, "p0", 2, FAULT)
    (started,) = events.of(CooldownStarted)
    assert (started.proxy.name, started.step, started.now) == ("p0", 1, 2)
    assert 2 + 27 <= started.until <= 2 + 33


def test_a_success_in_between_starts_the_count_anew() -> None:
    pool, events = pool_of_two()
    for outcome in (FAULT, FAULT, SUCCESS) * 10:
        carry_through(pool, "p0", 0, outcome)
    assert events.of(CooldownStarted) == []


def test_a_refusal_by_the_target_counts_as_the_proxys_success() -> None:
    pool, events = pool_of_two()
    for outcome in (FAULT, FAULT, Outcome.TARGET_SIGNAL) * 10:
        carry_through(pool, "p0", 0, outcome)
    assert events.of(CooldownStarted) == []


def test_what_is_ignored_neither_counts_nor_interrupts() -> None:
    pool, events = pool_of_two()
    for outcome in (FAULT, FAULT, Outcome.IGNORED):
        carry_through(pool, "p0", 0, outcome)
    assert events.of(CooldownStarted) == []
    assert shown(pool, "p0", 0).outcomes == pytest.approx(2, rel=0.05)
    carry_through(pool, "p0", 0, FAULT)
    assert len(events.of(CooldownStarted)) == 1


def test_other_proxies_are_not_affected() -> None:
    pool, _ = pool_of_two()
    cool_down(pool, 0)
    assert shown(pool, "p1", 0).state is HealthState.HEALTHY
    assert {carry(pool, 1).proxy.name for _ in range(20)} == {"p1"}


def test_there_is_no_lease_on_a_cooling_proxy_until_the_moment_that_is_announced() -> None:
    pool, _ = pool_of_two()
    until = cool_down(pool, 0)
    assert refuses(pool, until - 0.001, proxy_filter=ONLY).retry_at == until
    assert pool.next_change() == until
    assert acquire(pool, until, proxy_filter=ONLY).probe


# How long it lasts


def _cooldowns(pool: Pool, events: Events, count: int) -> list[float]:
    """Let every probe of p0 fail; return the lengths of its cooldowns."""
    now = cool_down(pool, 0)
    for _ in range(count - 1):
        carry_through(pool, "p0", now, FAULT)
        now = events.of(CooldownStarted)[-1].until
    started = events.of(CooldownStarted)
    assert [event.step for event in started] == list(range(1, count + 1))
    return [event.until - event.now for event in started]


@given(st.integers(0, 2**32))
def test_each_failed_probe_doubles_the_cooldown_up_to_the_longest(seed: int) -> None:
    pool, events = pool_of_two(seed=seed)
    lengths = _cooldowns(pool, events, 9)
    for length, doubled in zip(
        lengths, [30, 60, 120, 240, 480, 960, 1920, 3840, 7680], strict=True
    ):
        shortest, longest = min(600, 0.9 * doubled), min(600, 1.1 * doubled)
        assert shortest - 1e-6 <= length <= longest + 1e-6


def test_cooldowns_are_spread_over_a_fifth_of_their_length() -> None:
    lengths = []
    for seed in range(200):
        pool, _ = pool_of_two(seed=seed)
        lengths.append(cool_down(pool, 0))
    assert min(lengths) < 28
    assert max(lengths) > 32


def test_a_cooldown_stays_finite_however_often_it_doubled() -> None:
    policy = HealthPolicy(cooldown=1, cooldown_max=1e6)
    assert policy.cooldown_seconds(5000, Random(1)) == 1e6


# The probe


def test_one_request_probes_while_all_others_wait() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    probe = acquire(pool, until, proxy_filter=ONLY)
    assert probe.probe
    assert shown(pool, "p0", until).state is HealthState.PROBING
    for later in (0, 10, 1000):
        refuses(pool, until + later, proxy_filter=ONLY)
    assert [event.proxy.name for event in events.of(ProbeStarted)] == ["p0"]


def test_a_successful_probe_brings_a_part_of_the_share_and_each_success_doubles_it() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    assert pool.explain("p0", until).recovery == 0
    shares = []
    for _ in range(5):
        carry_through(pool, "p0", until, SUCCESS)
        shares.append(pool.explain("p0", until).recovery)
    assert 0 < shares[0] < 1
    assert shares == [min(1, shares[0] * 2**number) for number in range(5)]
    assert len(events.of(ProxyRecovered)) == 1
    assert shown(pool, "p0", until).state is HealthState.HEALTHY


def test_after_a_successful_probe_several_requests_may_go_at_once() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    carry_through(pool, "p0", until, SUCCESS)
    leases = [acquire(pool, until, proxy_filter=ONLY) for _ in range(4)]
    assert not any(attempt.probe for attempt in leases)
    assert len(events.of(ProbeStarted)) == 1


def test_a_fault_while_recovering_starts_a_longer_cooldown_at_once() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    carry_through(pool, "p0", until, SUCCESS)
    carry_through(pool, "p0", until, FAULT)
    first, second = events.of(CooldownStarted)
    assert second.step == 2
    assert second.until - second.now > 1.5 * (first.until - first.now)


def test_a_proxy_that_is_well_again_starts_from_the_first_cooldown() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    for _ in range(4):
        carry_through(pool, "p0", until, SUCCESS)
    cool_down(pool, until)
    assert [event.step for event in events.of(CooldownStarted)] == [1, 1]


def test_a_probe_that_was_cancelled_makes_room_for_another() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    for _ in range(3):
        assert carry_through(pool, "p0", until, Outcome.IGNORED).probe
    assert len(events.of(ProbeStarted)) == 3
    assert shown(pool, "p0", until).state is HealthState.PROBING


def test_a_probe_that_the_target_refuses_has_shown_that_the_proxy_works() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    carry_through(pool, "p0", until, Outcome.TARGET_SIGNAL)
    assert len(events.of(ProxyRecovered)) == 1


def test_the_rate_holds_for_the_probe_too() -> None:
    slow = proxy("p0", rate=Rate(1, 100))
    pool = make_pool([slow, proxy("p1")], health=cooling(threshold=1, first=10))
    carry_through(pool, "p0", 0, FAULT)
    assert refuses(pool, 50, proxy_filter=ONLY).retry_at == 100
    assert acquire(pool, 100, proxy_filter=ONLY).probe


def test_a_snapshot_taken_after_a_cooldown_shows_that_it_is_over() -> None:
    pool, _ = pool_of_two()
    until = cool_down(pool, 0)
    assert shown(pool, "p0", until + 1).state is HealthState.PROBING


# What was in flight when it began


def test_faults_that_were_in_flight_when_a_cooldown_began_count_once() -> None:
    pool, events = pool_of_two()
    leases = [acquire(pool, 0, proxy_filter=ONLY) for _ in range(4)]
    for attempt in leases:
        pool.release(attempt, FAULT, 1)
    (started,) = events.of(CooldownStarted)
    assert shown(pool, "p0", 1).cooldown_left == started.until - 1


def test_a_late_success_does_not_end_a_cooldown() -> None:
    pool, events = pool_of_two()
    late = acquire(pool, 0, proxy_filter=ONLY)
    until = cool_down(pool, 0)
    pool.release(late, SUCCESS, 5)
    assert events.of(ProxyRecovered) == []
    assert refuses(pool, 6, proxy_filter=ONLY).retry_at == until


@pytest.mark.parametrize("outcome", [SUCCESS, FAULT])
def test_a_late_outcome_decides_nothing_while_a_probe_is_out(outcome: Outcome) -> None:
    pool, events = pool_of_two()
    late = acquire(pool, 0, proxy_filter=ONLY)
    until = cool_down(pool, 0)
    probe = acquire(pool, until, proxy_filter=ONLY)
    pool.release(late, outcome, until + 1)
    assert shown(pool, "p0", until + 1).state is HealthState.PROBING
    refuses(pool, until + 1, proxy_filter=ONLY)
    pool.release(probe, SUCCESS, until + 2)
    assert len(events.of(ProxyRecovered)) == 1
    assert len(events.of(CooldownStarted)) == 1


def test_a_late_fault_does_not_send_a_recovering_proxy_back() -> None:
    pool, events = pool_of_two()
    late = acquire(pool, 0, proxy_filter=ONLY)
    until = cool_down(pool, 0)
    carry_through(pool, "p0", until, SUCCESS)
    before = pool.explain("p0", until).recovery
    pool.release(late, FAULT, until + 1)
    assert len(events.of(CooldownStarted)) == 1
    assert pool.explain("p0", until).recovery == before < 1


def test_what_is_in_flight_still_fills_the_cap_when_the_cooldown_is_over() -> None:
    pool = make_pool([proxy("p0", max_in_flight=1)], health=cooling(threshold=1, first=10))
    carry(pool, 0, FAULT)
    acquire(pool, 20)
    refuses(pool, 5000)


# Refused credentials


def user(password: str, name: str = "p0") -> dict[str, str]:
    return {"name": name, "username": "customer", "password": password}


def test_credentials_that_never_worked_put_a_proxy_out_and_say_so_once() -> None:
    pool, events = pool_of_two()
    leases = [acquire(pool, 0, proxy_filter=ONLY) for _ in range(3)]
    pool.release(leases[0], FAULT, 1, failure=PROXY_AUTH)
    assert shown(pool, "p0", 1).state is HealthState.HEALTHY
    for attempt in leases[1:]:
        pool.release(attempt, FAULT, 1, failure=PROXY_AUTH)
    assert [event.proxy.name for event in events.of(ProxyOut)] == ["p0"]
    assert shown(pool, "p0", 1).state is HealthState.OUT
    assert events.of(CooldownStarted) == []


def test_one_refusal_among_answers_puts_nobody_out_and_costs_less_than_a_fault() -> None:
    pool, events = pool_of_two()
    for number in range(600):
        carry_through(pool, "p0", number, SUCCESS)
        if number % 20 == 0:
            carry_through(pool, "p0", number, FAULT, failure=PROXY_AUTH)
            carry_through(pool, "p1", number, FAULT)
        carry_through(pool, "p1", number, SUCCESS)
    assert events.of(ProxyOut) == []
    assert shown(pool, "p0", 600).success_rate > shown(pool, "p1", 600).success_rate


@pytest.mark.parametrize(("targets", "refusals"), [(2, 3), (1, 6)])
def test_credentials_that_have_worked_are_out_after_several_refusals_in_a_row(
    targets: int, refusals: int
) -> None:
    pool, events = pool_of_two()
    carry_through(pool, "p0", 0, SUCCESS)
    for number in range(refusals):
        assert events.of(ProxyOut) == []
        carry_through(pool, "p0", 1, FAULT, failure=PROXY_AUTH, target=f"{number % targets}.test")
    assert [event.proxy.name for event in events.of(ProxyOut)] == ["p0"]


def test_one_page_that_a_working_proxy_refuses_again_and_again_says_nothing() -> None:
    pool, events = pool_of_two()
    for name in ("p0", "p1"):
        carry_through(pool, name, 0, SUCCESS, target="fine.test")
    for name in ("p0", "p1"):
        for _ in range(3):
            attempt = acquire(pool, 0, proxy_filter={"name": name}, target="shop.test")
            pool.release(attempt, FAULT, 0, failure=PROXY_AUTH, page="http://shop.test/basket")
    assert events.of(ProxyOut) == []
    assert events.of(CooldownStarted) == []


def test_a_target_that_working_proxies_refuse_one_after_the_other_puts_no_more_of_them_out() -> (
    None
):
    pool = make_pool(proxies(8))
    events = Events(pool.events)
    for number in range(8):
        carry_through(pool, f"p{number}", 0, SUCCESS, target="fine.test")
    for number in range(80):
        name = f"p{number % 8}"
        carry_through(pool, name, 1, FAULT, failure=PROXY_AUTH, target="denied.test")
        carry_through(pool, name, 1, SUCCESS, target="fine.test")
    assert events.of(ProxyOut) == []
    assert pool.in_service == 8


def test_credentials_that_have_never_worked_are_tried_by_three_requests_at_once_at_most() -> None:
    pool = make_pool([proxy(**user("some-secret"), max_in_flight=8)])
    tried = [acquire(pool, 0) for _ in range(3)]
    assert pool.available(0) == 0
    refuses(pool, 0)
    pool.release(tried[0], SUCCESS, 1)
    assert pool.available(1) == 6


def test_a_proxy_without_credentials_is_tried_by_as_many_requests_as_it_may_carry() -> None:
    assert make_pool([proxy("p0", max_in_flight=8)]).available(0) == 8


def test_a_proxy_that_is_out_is_asked_again_by_a_single_probe_after_a_while() -> None:
    pool, events = pool_of_two(first=30)
    put_out(pool, "p0", 0)
    until = refuses(pool, 0, proxy_filter=ONLY).retry_at
    assert until is not None
    assert 13.5 <= until <= 16.5
    refuses(pool, until - 0.1, proxy_filter=ONLY)
    probe = acquire(pool, until, proxy_filter=ONLY)
    assert probe.probe
    refuses(pool, until, proxy_filter=ONLY)
    pool.release(probe, SUCCESS, until + 1)
    assert [event.proxy.name for event in events.of(ProxyRecovered)] == ["p0"]
    assert shown(pool, "p0", until + 1).state is HealthState.RECOVERING


def test_a_proxy_that_stays_out_is_asked_less_and_less_often() -> None:
    pool, events = pool_of_two(first=30, longest=600)
    put_out(pool, "p0", 0)
    now, waits = 0.0, []
    for _ in range(8):
        until = refuses(pool, now, proxy_filter=ONLY).retry_at
        assert until is not None
        waits.append(until - now)
        now = until
        carry_through(pool, "p0", now, FAULT, failure=PROXY_AUTH)
    expected = [15, 30, 60, 120, 240, 300, 300, 300]
    assert all(
        0.9 * length <= wait <= 1.1 * length for wait, length in zip(waits, expected, strict=True)
    )
    assert len(events.of(ProxyOut)) == 9


def test_credentials_that_are_accepted_again_begin_with_a_short_wait_the_next_time() -> None:
    pool, _ = pool_of_two(first=30)
    put_out(pool, "p0", 0)
    for now in (20, 60):
        carry_through(pool, "p0", now, FAULT, failure=PROXY_AUTH)
    carry_through(pool, "p0", 200, SUCCESS)
    put_out(pool, "p0", 200)
    until = refuses(pool, 200, proxy_filter=ONLY).retry_at
    assert until is not None
    assert until - 200 <= 16.5


@pytest.mark.parametrize("outcome", [SUCCESS, FAULT])
def test_an_answer_to_what_was_under_way_does_not_bring_a_proxy_back_that_is_out(
    outcome: Outcome,
) -> None:
    pool, _ = pool_of_two()
    late = acquire(pool, 0, proxy_filter=ONLY)
    put_out(pool, "p0", 0)
    pool.release(late, outcome, 1)
    assert shown(pool, "p0", 1).state is HealthState.OUT
    assert carry(pool, 1).proxy.name == "p1"


def test_a_late_refusal_does_not_stand_in_for_the_probes_answer() -> None:
    pool, events = pool_of_two()
    late = acquire(pool, 0, proxy_filter=ONLY)
    put_out(pool, "p0", 0)
    probe = acquire(pool, 20, proxy_filter=ONLY)
    pool.release(late, FAULT, 21, failure=PROXY_AUTH)
    assert len(events.of(ProxyOut)) == 1
    pool.release(probe, SUCCESS, 22)
    assert shown(pool, "p0", 22).state is HealthState.RECOVERING
    carry_through(pool, "p0", 23, SUCCESS)


def test_new_credentials_bring_a_proxy_back_at_once_and_unburdened() -> None:
    pool = make_pool([proxy(**user("old-secret")), proxy("unknown")])
    carry_through(pool, "p0", 0, FAULT)
    put_out(pool, "p0", 0)
    pool.update(proxy(**user("new-secret")), 1)
    seen = shown(pool, "p0", 1)
    assert (seen.state, seen.outcomes) == (HealthState.HEALTHY, 0)
    assert seen.score == shown(pool, "unknown", 1).score
    assert acquire(pool, 1, proxy_filter=ONLY).proxy.password == "new-secret"


def test_new_credentials_bring_back_a_proxy_whose_old_ones_had_left_it_cooling() -> None:
    pool = make_pool([proxy(**user("old-secret"))], health=cooling(threshold=1, first=30))
    late = [acquire(pool, 0, target=target) for target in ("a.test", "b.test")]
    carry(pool, 0, FAULT)
    for attempt in late:
        pool.release(attempt, FAULT, 1, failure=PROXY_AUTH)
    assert shown(pool, "p0", 1).state is HealthState.OUT
    pool.update(proxy(**user("new-secret")), 2)
    assert shown(pool, "p0", 2).state is HealthState.HEALTHY
    assert pool.available(2) == 3
    assert acquire(pool, 2).proxy.password == "new-secret"


def test_a_late_refusal_of_the_old_credentials_does_not_put_the_new_ones_out() -> None:
    pool = make_pool([proxy(**user("old-secret"))])
    events = Events(pool.events)
    late = [acquire(pool, 0, target=f"{number}.test") for number in range(3)]
    for attempt in late[:2]:
        pool.release(attempt, FAULT, 1, failure=PROXY_AUTH)
    pool.update(proxy(**user("new-secret")), 2)
    pool.release(late[2], FAULT, 3, failure=PROXY_AUTH)
    carry(pool, 3, FAULT, failure=PROXY_AUTH)
    assert len(events.of(ProxyOut)) == 1
    assert acquire(pool, 4).proxy.password == "new-secret"


def test_a_late_refusal_of_the_old_credentials_is_not_charged() -> None:
    pool = make_pool([proxy(**user("old-secret"))])
    events = Events(pool.events)
    late = acquire(pool, 0)
    pool.update(proxy(**user("new-secret")), 1)
    pool.release(late, FAULT, 2, failure=PROXY_AUTH)
    assert [event.charged for event in events.of(AttemptEnded)] == [False]


@pytest.mark.parametrize("outcome", [SUCCESS, Outcome.TARGET_SIGNAL])
def test_an_answer_through_the_old_credentials_does_not_speak_for_the_new_ones(
    outcome: Outcome,
) -> None:
    pool = make_pool([proxy(**user("old-secret")), proxy("p1")])
    late = acquire(pool, 0, proxy_filter=ONLY)
    pool.update(proxy(**user("new-secret")), 1)
    pool.release(late, outcome, 2)
    leases = []
    while blocked(pool, 3, proxy_filter=ONLY) is None:
        leases.append(acquire(pool, 3, proxy_filter=ONLY, target=f"{len(leases)}.test"))
    assert len(leases) == 3
    for attempt in leases[:2]:
        pool.release(attempt, FAULT, 4, failure=PROXY_AUTH)
    assert shown(pool, "p0", 4).state is HealthState.OUT


def test_new_credentials_begin_anew_even_if_the_old_ones_were_not_refused() -> None:
    pool = make_pool([proxy(**user("old-secret")), proxy("p1")], health=cooling(threshold=1))
    events = Events(pool.events)
    late = acquire(pool, 0, proxy_filter=ONLY)
    carry_through(pool, "p0", 0, FAULT)
    pool.update(proxy(**user("new-secret")), 1)
    pool.release(late, FAULT, 2)
    assert len(events.of(CooldownStarted)) == 1
    assert shown(pool, "p0", 2).state is HealthState.HEALTHY
    assert acquire(pool, 2, proxy_filter=ONLY).proxy.password == "new-secret"


def test_an_update_that_changes_only_limits_keeps_what_was_learned() -> None:
    pool, _ = pool_of_two()
    until = cool_down(pool, 0)
    pool.update(proxy("p0", max_in_flight=9), 1)
    assert shown(pool, "p0", 1).state is HealthState.COOLING
    refuses(pool, until - 0.1, proxy_filter=ONLY)


def test_a_probe_whose_credentials_are_refused_puts_the_proxy_out() -> None:
    pool, events = pool_of_two()
    until = cool_down(pool, 0)
    carry_through(pool, "p0", until, FAULT, failure=PROXY_AUTH)
    assert len(events.of(ProxyOut)) == 1
    refuses(pool, until + 1, proxy_filter=ONLY)


def test_a_probe_of_the_old_credentials_does_not_stand_in_the_way_of_one_of_the_new() -> None:
    nodes = [proxy(**user("old-secret")), proxy("p1")]
    pool = make_pool(nodes, health=cooling(threshold=1, first=10))
    carry_through(pool, "p0", 0, FAULT)
    old = acquire(pool, 20, proxy_filter=ONLY)
    assert old.probe
    pool.update(proxy(**user("new-secret")), 20)
    carry_through(pool, "p0", 20, FAULT)
    new = acquire(pool, 40, proxy_filter=ONLY)
    assert new.probe
    pool.release(old, SUCCESS, 41)
    refuses(pool, 41, proxy_filter=ONLY)
    pool.release(new, SUCCESS, 42)
    assert shown(pool, "p0", 42).state is HealthState.RECOVERING


# Parts of faults


@pytest.mark.parametrize("share", [0.6, 0.9, 1.0])
def test_failures_that_are_mostly_the_proxys_add_up_to_a_cooldown(share: float) -> None:
    health, policy = Health(), HealthPolicy(failure_threshold=3)
    began = [health.failed(share, 1.0, 0, 0, policy, Random(1)) for _ in range(3)]
    assert began == [False, False, True]


def test_failures_that_are_mostly_somebody_elses_never_do() -> None:
    health, policy = Health(), HealthPolicy(failure_threshold=1)
    assert not any(health.failed(0.4, 1.0, 0, 0, policy, Random(1)) for _ in range(100))


def test_a_failure_that_is_nobodys_fault_starts_no_cooldown() -> None:
    health, policy = Health(), HealthPolicy(failure_threshold=1)
    assert not any(health.failed(0.0, 1.0, 0, 0, policy, Random(1)) for _ in range(1000))


@pytest.mark.parametrize(("share", "cools"), [(0.4, False), (0.6, True), (1.0, True)])
def test_a_probe_has_failed_if_the_failure_is_mostly_the_proxys(share: float, cools: bool) -> None:
    health, policy = Health(), HealthPolicy()
    for _ in range(policy.failure_threshold):
        health.failed(1.0, 1.0, 0, 0, policy, Random(1))
    health.begin_probe()
    assert health.failed(share, 1.0, 1, 0, policy, Random(1)) is cools


# The window


def test_the_window_says_how_much_is_remembered() -> None:
    rates = {}
    for window in (5, 50):
        pool = make_pool(proxies(2), health=HealthPolicy(window=window, failure_threshold=1000))
        for _ in range(100):
            carry_through(pool, "p0", 0, SUCCESS)
        for _ in range(5):
            carry_through(pool, "p0", 0, FAULT)
        rates[window] = shown(pool, "p0", 0).success_rate
        assert shown(pool, "p0", 0).outcomes <= window
    assert rates[5] < rates[50]
