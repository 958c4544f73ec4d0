"""Outages of gateways and of the pool: called, probed, ended, and charged to nobody."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import attrs
import pytest

from scrapy_proxybalance.core import (
    Attempt,
    GatewayPolicy,
    HealthState,
    NoProxyAvailableError,
    Outcome,
    Pool,
    Proxy,
    ProxySnapshot,
)
from scrapy_proxybalance.core.events import (
    CooldownStarted,
    CooldownTakenBack,
    GatewayReopened,
    GatewayTripped,
    PoolReopened,
    PoolTripped,
)
from scrapy_proxybalance.core.gateways.breaker import Breaker
from scrapy_proxybalance.core.outcome import PROXY_AUTH

from .helpers import (
    Events,
    acquire,
    blocked,
    carry,
    carry_through,
    cooling,
    make_pool,
    proxies,
    put_out,
    refuses,
    shown,
)

GATE = "gate.test:8080"
REFUSED = {"outcome": Outcome.PROXY_FAULT, "failure": "connection_refused"}
REJECTED = {"outcome": Outcome.GATEWAY_FAULT, "failure": "connect_503"}


def shared(count: int, host: str = "gate.test", prefix: str = "g") -> list[Proxy]:
    """Return so many proxies of one gateway."""
    return [
        Proxy(name=f"{prefix}{number}", host=host, port=8080, username=f"user-{number}")
        for number in range(count)
    ]


def end(
    pool: Pool, attempt: Attempt, now: float, outcome: Outcome, failure: str | None = None
) -> None:
    assert pool.release(attempt, outcome, now, failure=failure)


def in_use(count: int = 6, **policy: Any) -> tuple[Pool, Events]:
    """Return a pool behind one gateway that has carried requests to two targets."""
    pool = make_pool(shared(count), **policy)
    events = Events(pool.events)
    for number in range(4 * count):
        carry_through(
            pool, f"g{number % count}", 0, Outcome.SUCCESS, target=f"{number % 2}.test", latency=1.0
        )
    return pool, events


def fail_until_tripped(pool: Pool, now: float, at_most: int = 30, **how: Any) -> tuple[int, float]:
    """Send one request after the other that fails; return how many it took, and the time."""
    events = Events(pool.events)
    for number in range(at_most):
        try:
            attempt = acquire(pool, now, target=f"{number % 2}.test")
        except NoProxyAvailableError:
            break
        now += 0.1
        end(pool, attempt, now, **how)
        if events.of(GatewayTripped) or events.of(PoolTripped):
            return number + 1, now
    return at_most, now


# Tripping


def test_a_gateway_that_refuses_every_connection_trips_after_a_handful() -> None:
    pool, events = in_use()
    taken, now = fail_until_tripped(pool, 1.0, **REFUSED)
    assert taken <= 8
    [tripped] = events.of(GatewayTripped)
    assert (tripped.gateway, tripped.proxies) == (GATE, 6)
    assert tripped.failure == "connection_refused"
    assert pool.available(now) == 0
    assert pool.in_service == 0
    assert refuses(pool, now).retry_at == pytest.approx(now + 1)


def test_a_gateway_that_rejects_everything_trips_only_after_its_answers_had_time_to_come() -> None:
    pool, events = in_use()
    leases = [acquire(pool, 1.0, target=f"{number % 2}.test") for number in range(16)]
    for attempt in leases[:14]:
        end(pool, attempt, 1.05, **REJECTED)
    assert not events.of(GatewayTripped)
    end(pool, leases[14], 1.5, Outcome.SUCCESS)
    for attempt in leases[15:]:
        end(pool, attempt, 2.5, **REJECTED)
    assert not events.of(GatewayTripped)
    _, now = fail_until_tripped(pool, 3.0, **REJECTED)
    assert events.of(GatewayTripped)
    assert now <= 6


def test_a_gateway_where_half_of_the_attempts_fail_does_not_trip() -> None:
    pool, events = in_use(20)
    for number in range(2000):
        how: dict[str, Any] = {"outcome": Outcome.SUCCESS} if number % 4 < 2 else dict(REJECTED)
        carry(pool, float(number), target=f"{number % 2}.test", **how)
    assert not events.of(GatewayTripped)


@pytest.mark.parametrize("failing", [0.05, 0.1, 0.3])
def test_failures_that_come_by_chance_are_no_outage_in_three_hundred_thousand_attempts(
    failing: float,
) -> None:
    breaker, rng = Breaker(), Random(0)
    for number in range(300_000):
        now, target = number / 100, f"{rng.randrange(4)}.test"
        if rng.random() >= failing:
            breaker.answered(target, now - 1.0, now)
        else:
            assert not breaker.failed(
                f"g{rng.randrange(50)}",
                target,
                now - 1.0,
                now,
                sure=False,
                gateways_word=False,
                prompt=True,
                credentials=False,
                proxies=50,
            )


@pytest.mark.parametrize("how", [REJECTED, {"outcome": Outcome.AMBIGUOUS, "failure": "timeout"}])
def test_a_target_that_is_down_trips_neither_gateway_nor_pool(how: dict[str, Any]) -> None:
    pool, events = in_use()
    for number in range(300):
        carry(pool, 1.0 + number / 10, target="0.test", **how)
    assert not events.of(GatewayTripped)
    assert not events.of(PoolTripped)


def test_targets_that_have_never_answered_trip_nothing() -> None:
    pool, events = in_use()
    for number in range(300):
        carry(pool, 1.0 + number / 10, target=f"dead-{number}.test", **REJECTED)
    assert not events.of(GatewayTripped)


def test_a_gateway_trips_by_its_only_target_if_it_says_itself_that_it_cannot() -> None:
    for how, trips in ((REJECTED, 1), ({"outcome": Outcome.AMBIGUOUS, "failure": "timeout"}, 0)):
        pool = make_pool(shared(6))
        events = Events(pool.events)
        for number in range(20):
            carry(pool, number / 10, target="only.test", latency=0.1)
        for number in range(60):
            if not pool.available(3.0 + number / 10):
                break
            carry(pool, 3.0 + number / 10, target="only.test", **how)
        assert len(events.of(GatewayTripped)) == trips


def test_one_bad_exit_cools_down_and_does_not_trip_its_gateway() -> None:
    pool, events = in_use()
    for number in range(17):
        if shown(pool, "g0", 1.0 + number).state is HealthState.HEALTHY:
            carry_through(pool, "g0", 1.0 + number, target="0.test", **REFUSED)
        carry_through(pool, "g1", 1.0 + number, target="0.test", outcome=Outcome.SUCCESS)
    assert shown(pool, "g0", 18.0).state is HealthState.COOLING
    assert not events.of(GatewayTripped)


def test_a_gateway_trips_from_the_start_when_it_accepts_no_credentials() -> None:
    pool = make_pool(shared(30))
    events = Events(pool.events)
    for name in ("g0", "g1"):
        put_out(pool, name, 0.0)
    taken, now = fail_until_tripped(pool, 0.0, outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH)
    assert taken <= 9
    assert events.of(GatewayTripped)[0].failure == PROXY_AUTH
    states = [seen.state for seen in pool.snapshot(now)]
    assert states.count(HealthState.OUT) == 2
    # What is out comes back when something gets through: the account was to blame.
    carry(pool, now + 1, target="0.test")
    assert all(seen.state is HealthState.HEALTHY for seen in pool.snapshot(now + 1))


# While it lasts


def test_while_it_lasts_probes_go_alone_after_a_second_and_then_every_two() -> None:
    pool, _ = in_use()
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    gaps = []
    for _ in range(6):
        when = refuses(pool, now).retry_at
        assert when is not None
        assert when == pool.next_change()
        gaps.append(when - now)
        now = when
        assert pool.available(now) == 1
        carry(pool, now, target="0.test", **REFUSED)
    assert gaps == pytest.approx([1, 2, 2, 2, 2, 2])


def test_a_probe_that_hangs_does_not_keep_the_others_waiting() -> None:
    pool, events = in_use()
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    hanging = acquire(pool, now + 1, target="0.test")
    assert pool.available(now + 1) == 0
    carry(pool, now + 3, target="0.test")
    assert events.of(GatewayReopened)
    end(pool, hanging, now + 60, Outcome.AMBIGUOUS, "timeout")


def test_what_fails_while_it_lasts_is_charged_to_nobody_and_gets_another_try() -> None:
    pool, events = in_use()
    late = acquire(pool, 0.5, target="0.test")
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    end(pool, late, now, Outcome.AMBIGUOUS, "timeout")
    assert late.outage_suspected
    probe = carry(pool, now + 1, target="0.test", **REFUSED)
    assert probe.outage_suspected
    assert not events.of(CooldownStarted)[1:]


def test_an_answer_to_what_went_out_before_does_not_end_it() -> None:
    pool, events = in_use()
    late = acquire(pool, 0.5, target="0.test")
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    end(pool, late, now, Outcome.SUCCESS)
    assert not events.of(GatewayReopened)
    assert pool.available(now) == 0


def test_requests_of_a_session_wait_for_the_gateway_of_their_proxy() -> None:
    pool, _ = in_use()
    carry(pool, 0.5, target="0.test", session="alice")
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    error = refuses(pool, now, session="alice")
    assert "gateway" in str(error)
    assert error.retry_at == pytest.approx(now + 1)


# The end of it


def assert_as_before(pool: Pool, now: float, before: dict[str, ProxySnapshot]) -> None:
    """Check that every proxy is as it was; what is expected of its group may be a moment younger."""
    for seen in pool.snapshot(now):
        known = before[seen.proxy.name]
        assert seen.score == pytest.approx(known.score, rel=0.01)
        assert seen.success_rate == pytest.approx(known.success_rate, rel=0.01)
        assert (seen.state, seen.cooldowns) == (known.state, known.cooldowns)
        assert seen.outcomes == pytest.approx(known.outcomes)


def test_what_it_has_cost_the_proxies_is_taken_back() -> None:
    pool, events = in_use(2)
    before = {seen.proxy.name: seen for seen in pool.snapshot(1.0)}
    fail_until_tripped(pool, 1.0, **REFUSED)
    assert events.of(GatewayTripped)
    assert {event.proxy.name for event in events.of(CooldownTakenBack)} == {
        event.proxy.name for event in events.of(CooldownStarted)
    }
    assert_as_before(pool, 1.0, before)


def test_an_answer_reopens_it_and_traffic_grows_back_by_doubling() -> None:
    pool, events = in_use(20, max_in_flight=4, gateways=GatewayPolicy(max_in_flight=32))
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    carry(pool, now + 1, target="0.test")
    assert events.of(GatewayReopened)[0].seconds == pytest.approx(1.0)
    now += 1
    rounds = []
    while pool.available(now) < 32:
        leases = [acquire(pool, now, target="0.test") for _ in range(pool.available(now))]
        rounds.append(len(leases))
        now += 1.0
        for attempt in leases:
            end(pool, attempt, now, Outcome.SUCCESS)
    assert rounds[0] <= 5
    assert all(after <= 2 * before for before, after in pairwise(rounds))
    assert len(rounds) <= 4


def test_a_big_gateway_begins_again_with_a_tenth_of_what_it_bore() -> None:
    pool, _ = in_use(200, max_in_flight=4, gateways=GatewayPolicy(max_in_flight=300))
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    carry(pool, now + 1, target="0.test")
    assert pool.available(now + 1) == 30


def test_what_was_under_suspicion_before_it_was_certain_gets_another_try() -> None:
    pool, _ = in_use()
    suspected = [
        carry(pool, 1.0 + number / 10, target="0.test", **REFUSED).outage_suspected
        for number in range(5)
    ]
    assert suspected == [False, False, True, True, True]
    alone = carry(pool, 2.0, target="0.test", outcome=Outcome.SUCCESS)
    assert not alone.outage_suspected


# The pool


def test_the_pool_trips_when_nothing_gets_through_any_of_its_gateways() -> None:
    pool = make_pool(proxies(10))
    events = Events(pool.events)
    for number in range(40):
        carry(pool, number / 40, target=f"{number % 2}.test")
    before = {seen.proxy.name: seen for seen in pool.snapshot(1.0)}
    taken, now = fail_until_tripped(pool, 1.0, **REFUSED)
    assert taken <= 8
    assert events.of(PoolTripped)
    assert pool.available(now) == 0
    assert pool.in_service == 0
    assert_as_before(pool, 1.0, before)
    carry(pool, now + 1, target="0.test")
    assert events.of(PoolReopened)
    assert pool.available(now + 1) <= 5


def test_proxies_on_trial_trip_no_pool_however_many_of_them_fail_in_a_row() -> None:
    pool = make_pool(proxies(40), health=cooling(threshold=1))
    events = Events(pool.events)
    for number in range(80):
        carry_through(pool, f"p{number % 40}", 0.0, Outcome.SUCCESS, target=f"{number % 2}.test")
    for number in range(30):
        carry_through(pool, f"p{number}", 1.0, **REFUSED, target="0.test")
        carry_through(pool, f"p{30 + number % 10}", 1.0, Outcome.SUCCESS, target="1.test")
    for number in range(30):
        carry_through(pool, f"p{number}", 40.0, **REFUSED, target=f"{number % 2}.test")
    assert len(events.of(CooldownStarted)) == 60
    assert not events.of(PoolTripped)


def test_a_gateway_that_refuses_all_credentials_trips_while_earlier_requests_are_answered() -> None:
    pool, events = in_use(40)
    earlier = [acquire(pool, 1.0, target=f"{number % 2}.test") for number in range(12)]
    for number, attempt in enumerate(earlier):
        now = 1.1 + number / 10
        refused = acquire(pool, now, target=f"{number % 2}.test", avoid=[attempt.proxy.name])
        end(pool, refused, now, Outcome.PROXY_FAULT, PROXY_AUTH)
        end(pool, attempt, now, Outcome.SUCCESS)
        if events.of(GatewayTripped):
            break
    [tripped] = events.of(GatewayTripped)
    assert tripped.failure == PROXY_AUTH
    assert {seen.state for seen in pool.snapshot(now)} == {HealthState.HEALTHY}
    carry(pool, now + 1, target="0.test")
    assert events.of(GatewayReopened)
    assert {seen.state for seen in pool.snapshot(now + 1)} == {HealthState.HEALTHY}


def test_a_few_changed_passwords_trip_no_gateway_though_they_are_refused_at_once() -> None:
    pool, events = in_use(200)
    earlier = [acquire(pool, 1.0, target=f"{number % 2}.test") for number in range(19)]
    for number in range(60):
        now = 1.1 + number / 100
        attempt = earlier.pop(0)
        end(pool, attempt, now, Outcome.SUCCESS)
        earlier.append(acquire(pool, now, target="1.test"))
        if number % 4 == 0:
            put_out(pool, f"g{number // 4}", now)
    assert not events.of(GatewayTripped)
    assert len([seen for seen in pool.snapshot(now) if seen.state is HealthState.OUT]) == 15


def test_dead_exits_of_a_gateway_are_found_and_do_not_cost_it_its_limit() -> None:
    pool, events = in_use(40)
    rng, now, dead = Random(1), 1.0, {f"g{number}" for number in range(10)}
    out: list[tuple[float, Attempt]] = []
    for _ in range(6000):
        while len(out) < 30:
            try:
                attempt = acquire(pool, now, target=f"{rng.randrange(3)}.test")
            except NoProxyAvailableError:
                break
            took = 0.3 if attempt.proxy.name in dead else rng.lognormvariate(0.0, 0.5)
            out.append((now + took, attempt))
        now, attempt = min(out, key=lambda pair: pair[0])
        out.remove((now, attempt))
        works = attempt.proxy.name not in dead
        end(pool, attempt, now, **({"outcome": Outcome.SUCCESS} if works else REJECTED))
    [limit] = pool.gateway_limits()
    assert limit.limit >= 30
    assert {event.proxy.name for event in events.of(CooldownStarted)} == dead
    assert not events.of(GatewayTripped)


@pytest.mark.parametrize("seed", range(10))
def test_exits_of_a_gateway_that_rejects_in_bursts_pay_nothing_for_it(seed: int) -> None:
    rng, now, capacity = Random(seed), 1.0, 5
    pool, events = in_use(12)
    out: list[tuple[float, Attempt, bool]] = []
    for _ in range(2000):
        while len(out) < 40:
            try:
                attempt = acquire(pool, now, target="0.test")
            except NoProxyAvailableError:
                break
            works = sum(1 for _, _, served in out if served) < capacity
            # Rejections come back much sooner than answers, so that an exit gets several in a burst.
            took = rng.uniform(0.05, 0.06) if works else rng.uniform(0.001, 0.01)
            out.append((now + took, attempt, works))
        done = min(out, key=lambda one: one[0])
        out.remove(done)
        now, attempt, works = done
        end(pool, attempt, now, **({"outcome": Outcome.SUCCESS} if works else REJECTED))
    assert not events.of(CooldownStarted)


def test_credentials_that_are_refused_now_and_then_trip_nothing() -> None:
    pool, events = in_use(40)
    for number in range(30):
        now = 1.0 + number / 10
        put_out(pool, f"g{number}", now)
        carry(pool, now, target="1.test")
    assert not events.of(GatewayTripped)
    assert len([seen for seen in pool.snapshot(now) if seen.state is HealthState.OUT]) == 30


def test_a_proxy_that_is_removed_while_the_pool_fails_is_not_missed() -> None:
    pool = make_pool(proxies(10))
    events = Events(pool.events)
    for number in range(40):
        carry(pool, 0.0, target=f"{number % 2}.test")
    for number in range(4):
        carry_through(pool, f"p{number}", 1.0, target=f"{number % 2}.test", **REFUSED)
        pool.remove(f"p{number}", 1.0)
    fail_until_tripped(pool, 1.0, **REFUSED)
    assert events.of(PoolTripped)
    assert len(pool) == 6


def test_a_pool_that_has_grown_back_has_no_limit_of_its_own_any_more() -> None:
    pool = make_pool(proxies(10))
    for number in range(40):
        carry(pool, 0.0, target=f"{number % 2}.test")
    _, now = fail_until_tripped(pool, 1.0, **REFUSED)
    carry(pool, now + 1, target="0.test")
    for _ in range(6):
        now += 1.0
        leases = [acquire(pool, now, target="0.test") for _ in range(pool.available(now))]
        for attempt in leases:
            end(pool, attempt, now, Outcome.SUCCESS)
    assert pool.available(now) == pool.capacity


def test_a_list_of_mostly_dead_proxies_does_not_trip_the_pool() -> None:
    pool = make_pool(proxies(200))
    events = Events(pool.events)
    for number in range(150):
        carry(pool, float(number), target=f"{number % 2}.test", **REFUSED)
    assert not events.of(PoolTripped)


# Room


def test_a_full_gateway_is_passed_over_for_one_with_room() -> None:
    pool = make_pool(
        [*shared(50), *shared(50, "other.test", "o"), *proxies(2)],
        gateways_by_name={GATE: GatewayPolicy(max_in_flight=3)},
        gateways=GatewayPolicy(start=5),
    )
    assert pool.available(0.0) == 3 + 5 + 8
    names = [acquire(pool, 0.0).proxy.name[0] for _ in range(16)]
    assert sorted(names) == ["g"] * 3 + ["o"] * 5 + ["p"] * 8
    assert "gateway" in str(refuses(pool, 0.0))


def test_a_filter_gets_no_more_than_the_room_of_its_gateways() -> None:
    pool = make_pool(shared(5), gateways=GatewayPolicy(start=7))
    wanted = {"name": ["g0", "g1", "g2"]}
    assert blocked(pool, 0.0, proxy_filter=wanted, ahead=6) is None
    assert blocked(pool, 0.0, proxy_filter=wanted, ahead=7) is not None


def test_a_lone_proxy_has_no_limit_until_another_one_shares_its_gateway() -> None:
    first, second, third = shared(3)
    first = attrs.evolve(first, username=None)
    pool = make_pool([first], max_in_flight=10, gateways=GatewayPolicy(start=6))
    assert pool.available(0.0) == 10
    pool.add(second, 0.0)
    assert pool.available(0.0) == 6
    pool.add(third, 0.0)
    assert pool.available(0.0) == 6
    for node in (first, second, third):
        pool.remove(node.name, 0.0)
    assert pool.available(0.0) == 0
    pool.add(first, 0.0)
    assert pool.available(0.0) == 10


def test_a_proxy_that_moves_to_another_gateway_counts_there() -> None:
    pool = make_pool([*shared(2), *shared(2, "other.test", "o")], gateways=GatewayPolicy(start=3))
    attempt = acquire(pool, 0.0, proxy_filter={"name": "g0"})
    moved = Proxy(name="g0", host="other.test", port=8080, username="moved")
    pool.update(moved, 0.0)
    assert {limit.name: limit.in_flight for limit in pool.gateway_limits()} == {
        GATE: 1,
        "other.test:8080": 0,
    }
    assert pool.available(0.0) == 2 + 3
    end(pool, attempt, 1.0, Outcome.IGNORED)
    assert pool.available(1.0) == 3 + 3


# What binds


def test_the_least_of_target_gateways_and_pool_is_named() -> None:
    pool = make_pool([*shared(5), *proxies(1)], gateways=GatewayPolicy(start=6))
    attempt = acquire(pool, 0.0, target="0.test")
    budget = pool.explain_limit("0.test", 0.0)
    assert (budget.target.limit, budget.gateways.limit, budget.pool.limit) == (float("inf"), 10, 24)
    assert budget.binds is budget.gateways
    assert budget.gateways.in_flight == budget.pool.in_flight == 1
    assert [limit.name for limit in budget.each_gateway] == [GATE]
    end(pool, attempt, 0.0, Outcome.SUCCESS)
    pool.targets.suspend("0.test", 0.0, "enough")
    assert pool.explain_limit("0.test", 0.0).binds.kind == "target"
    assert "target 0.test: limit 0, in flight 0" in str(pool.explain_limit("0.test", 0.0))


def test_without_limits_of_gateways_the_pool_binds() -> None:
    budget = make_pool(proxies(3)).explain_limit("0.test", 0.0)
    assert budget.binds is budget.pool
    assert str(budget).startswith("pool binds")


def _failures_until_it_trips(breaker: Breaker, begin: float) -> int:
    for number in range(1, 100):
        now = begin + number / 100
        tripped = breaker.failed(
            f"p{number}",
            "well.example",
            now,
            now,
            sure=True,
            gateways_word=False,
            prompt=True,
            credentials=False,
            proxies=50,
        )
        if tripped:
            return number
    raise AssertionError("it never trips")


def test_a_target_that_explains_its_failures_leaves_nothing_in_the_run() -> None:
    until = []
    for late in ([], [1.5]):  # sent before what the other target has answered
        breaker = Breaker()
        how: dict[str, Any] = {"sure": False, "gateways_word": False, "prompt": True}
        how |= {"credentials": False, "proxies": 50}
        breaker.answered("well.example", 0.0, 0.1)
        breaker.answered("down.example", 0.0, 0.1)
        for number in range(3):
            breaker.failed(f"p{number}", "down.example", 0.5, 1.0, **how)
        breaker.answered("well.example", 2.0, 2.1)
        for started_at in [*late, 2.2, 2.2, 2.2]:
            breaker.failed("p1", "down.example", started_at, 2.5, **how)
        assert not breaker.running
        until.append(_failures_until_it_trips(breaker, 3.0))
    assert until[0] == until[1]
