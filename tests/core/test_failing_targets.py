"""A target that fails by itself: told from an outage, and no gateway or proxy pays for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scrapy_proxybalance.core import NoProxyAvailableError, Outcome, Pool, Proxy
from scrapy_proxybalance.core.events import (
    CooldownStarted,
    GatewayReopened,
    GatewayTripped,
    PoolReopened,
    PoolTripped,
)
from scrapy_proxybalance.core.gateways.failing_targets import FailingTargets

from .helpers import Events, acquire, carry, make_pool, proxies

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Attempt
    from scrapy_proxybalance.core.events import Event

TWO = ("0.test", "1.test")
UPSTREAM: dict[str, Any] = {"outcome": Outcome.AMBIGUOUS, "failure": "upstream"}
CLOSED: dict[str, Any] = {"outcome": Outcome.AMBIGUOUS, "failure": "no_response"}
REJECTED: dict[str, Any] = {"outcome": Outcome.GATEWAY_FAULT, "failure": "connect_503"}
REFUSED: dict[str, Any] = {"outcome": Outcome.PROXY_FAULT, "failure": "connection_refused"}


def gateway(count: int) -> list[Proxy]:
    return [
        Proxy(name=f"g{number}", host="gate.test", port=8080, username=f"user-{number}")
        for number in range(count)
    ]


def used(nodes: list[Proxy]) -> tuple[Pool, Events]:
    """Return a pool that has carried answers of three targets."""
    pool = make_pool(nodes)
    for number in range(120):
        carry(pool, number / 100, target=f"{number % 3}.test", latency=0.1)
    return pool, Events(pool.events)


def fail(pool: Pool, now: float, count: int, how: dict[str, Any]) -> tuple[list[Attempt], float]:
    """Have two targets fail in turn, until there is an outage."""
    leases = []
    for number in range(count):
        try:
            leases.append(carry(pool, now, target=TWO[number % 2], **how))
        except NoProxyAvailableError:
            break
        now += 0.05
    return leases, now


def test_a_target_explains_its_failures_once_others_got_through_between_them() -> None:
    failing = FailingTargets()
    for now in (1.0, 2.0, 3.0):
        failing.failed("down.test", now, now)
    failing.answered("well.test", 4.0)
    for now in (5.0, 6.0):
        failing.failed("down.test", now, now)
        assert not failing.explains("down.test")
    failing.failed("down.test", 7.0, 7.0)
    assert failing.explains("down.test")
    failing.answered("down.test", 8.0)
    assert not failing.explains("down.test")


def test_answers_to_what_was_asked_before_the_failures_explain_nothing() -> None:
    failing = FailingTargets()
    for now in (1.0, 2.0, 3.0):
        failing.failed("down.test", now, now)
    failing.answered("well.test", 2.9)
    for now in range(5, 50):
        failing.failed("down.test", float(now), float(now))
    assert not failing.explains("down.test")


def test_what_was_asked_before_the_others_answered_says_nothing_of_the_time_after() -> None:
    failing = FailingTargets()
    for now in (1.0, 2.0, 3.0):
        failing.failed("down.test", now, now)
    failing.answered("well.test", 4.0)
    for _ in range(10):
        failing.failed("down.test", 3.5, 6.0)
    assert not failing.explains("down.test")


@pytest.mark.parametrize("how", [UPSTREAM, CLOSED, REJECTED])
@pytest.mark.parametrize("nodes", [proxies(6), gateway(6)], ids=["pool", "gateway"])
def test_targets_that_were_down_before_the_last_other_one_came_to_an_end_trip_nothing(
    nodes: list[Proxy], how: dict[str, Any]
) -> None:
    pool, events = used(nodes)
    now = 2.0
    for _ in range(4):
        _, now = fail(pool, now, 4, how)
        carry(pool, now, target="2.test", latency=0.1)
    leases, now = fail(pool, now, 300, how)
    assert len(leases) == 300
    assert not any(attempt.outage_suspected for attempt in leases)
    assert not events.of(PoolTripped)
    assert not events.of(GatewayTripped)


@pytest.mark.parametrize("nodes", [proxies(6), gateway(6)], ids=["pool", "gateway"])
def test_an_outage_that_targets_explain_after_all_is_taken_back(nodes: list[Proxy]) -> None:
    pool, events = used(nodes)
    _, now = fail(pool, 2.0, 6, CLOSED)
    # In flight when it trips; how they end is known only then.
    well = acquire(pool, now, target="2.test")
    late = [acquire(pool, now, target=TWO[number % 2]) for number in range(6)]
    _, now = fail(pool, now + 0.05, 20, CLOSED)
    [tripped] = events.of(PoolTripped) or events.of(GatewayTripped)
    assert tripped.targets == TWO
    pool.release(well, Outcome.SUCCESS, now, latency=0.1)
    assert pool.in_service == 0
    for attempt in late:
        pool.release(attempt, now=now, **CLOSED)
    [reopened] = events.of(PoolReopened) or events.of(GatewayReopened)
    assert reopened.explained_by in TWO
    assert pool.in_service == 6
    leases, _ = fail(pool, now + 20, 100, CLOSED)
    assert len(leases) == 100
    assert not any(attempt.outage_suspected for attempt in leases)
    assert len(events.of(PoolTripped) + events.of(GatewayTripped)) == 1


@pytest.mark.parametrize(
    ("nodes", "tripped"), [(proxies(3), PoolTripped), (gateway(3), GatewayTripped)]
)
def test_if_all_proxies_cool_down_in_a_run_that_looks_like_an_outage_it_is_one(
    nodes: list[Proxy], tripped: type[Event]
) -> None:
    pool, events = used(nodes)
    leases = [acquire(pool, 2.0, target=TWO[number % 2]) for number in range(9)]
    for attempt in leases:  # sooner than answers may take: more than that has to be awaited else
        pool.release(attempt, Outcome.AMBIGUOUS, 2.01, failure="502", part=0.9)
    assert events.of(tripped)
    assert pool.in_service == 0
    assert pool.available(3.1) == 1
    carry(pool, 3.1, target="0.test")
    assert pool.in_service == 3


def test_refused_connections_are_an_outage_even_if_only_failing_targets_are_left() -> None:
    pool, events = used(proxies(6))
    now = 2.0
    for _ in range(4):
        _, now = fail(pool, now, 4, UPSTREAM)
        carry(pool, now, target="2.test")
    leases, now = fail(pool, now, 30, REFUSED)
    assert events.of(PoolTripped)
    assert leases[-1].outage_suspected
    probe = carry(pool, now + 2, target="0.test", **REFUSED)
    assert probe.outage_suspected
    # It comes as far as its target now, which is down itself.
    assert not carry(pool, now + 6, target="0.test", **UPSTREAM).outage_suspected


@pytest.mark.parametrize("how", [UPSTREAM, CLOSED])
def test_a_provider_that_fails_for_targets_that_just_worked_is_an_outage(
    how: dict[str, Any],
) -> None:
    pool, events = used(proxies(6))
    leases, now = fail(pool, 2.0, 200, how)
    assert events.of(PoolTripped)
    # All but the first ones get another try.
    assert sum(not attempt.outage_suspected for attempt in leases) <= 2
    assert not events.of(CooldownStarted) or pool.in_service == 0
    carry(pool, now + 1, target="0.test")
    assert events.of(PoolReopened)


def test_beside_a_slow_target_two_that_are_down_trip_the_pool_once_at_most() -> None:
    pool, events = used(proxies(6))
    now = 2.0
    free = 0
    for _ in range(30):
        leases, now = fail(pool, now, 16, CLOSED)
        free += sum(attempt.outage_suspected for attempt in leases)
        now += 3.0
        carry(pool, now, target="2.test")
    assert len(events.of(PoolTripped)) <= 1
    assert free <= 16


def test_an_error_of_the_target_through_a_tunnel_is_an_answer() -> None:
    pool, events = used(proxies(6))
    for number in range(100):
        attempt = acquire(pool, 2.0 + number / 10, target=TWO[number % 2], tunnel=TWO[number % 2])
        pool.release(attempt, Outcome.AMBIGUOUS, 2.05 + number / 10, failure="502", answered=True)
        assert not attempt.outage_suspected
    assert not events.of(PoolTripped)
    assert not events.of(CooldownStarted)


def test_a_target_for_which_connect_is_rejected_costs_the_others_no_room() -> None:
    pool, events = used(gateway(6))
    [before] = pool.gateway_limits()
    now = 2.0
    for number in range(400):
        carry(pool, now, target="0.test", **REJECTED)
        now += 0.02
        carry(pool, now, target=f"{1 + number % 2}.test", latency=0.1)
    [after] = pool.gateway_limits()
    assert after.limit >= 0.8 * before.limit
    assert not events.of(CooldownStarted)
    assert not events.of(GatewayTripped)
