"""Who comes back seldom comes back alone: a probe that succeeds brings others forward."""

from __future__ import annotations

from scrapy_proxybalance.core import HealthState, Outcome, Pool
from scrapy_proxybalance.core.events import CooldownShortened
from scrapy_proxybalance.core.outcome import PROXY_AUTH

from .helpers import acquire, carry_through, cooling, make_pool, proxies, proxy, shown


def shortened(pool: Pool) -> list[str]:
    names: list[str] = []
    pool.events.subscribe(lambda event: names.append(event.proxy.name), CooldownShortened)
    return names


def fail(pool: Pool, name: str, now: float) -> None:
    carry_through(pool, name, now, Outcome.PROXY_FAULT)


def test_a_probe_that_succeeds_has_the_three_probed_at_once_that_were_due_next() -> None:
    pool = make_pool(proxies(6), health=cooling(threshold=1, first=100.0))
    names = shortened(pool)
    for number in range(6):
        fail(pool, f"p{number}", 20.0 * (number > 0))
    now = 109.9  # the first cooldown is over, and no other, whatever their jitter
    others = sorted(pool.snapshot(now)[1:], key=lambda one: one.cooldown_left)

    carry_through(pool, "p0", now, Outcome.SUCCESS)

    assert names == [one.proxy.name for one in others[:3]]
    seen = {one.proxy.name: one.state for one in pool.snapshot(now)}
    assert seen.pop("p0") is HealthState.RECOVERING
    for name, state in seen.items():
        assert state is (HealthState.PROBING if name in names else HealthState.COOLING)
    assert pool.available(now) == pool.policy.max_in_flight + 3


def test_a_probe_that_fails_brings_nobody_forward() -> None:
    pool = make_pool(proxies(3), health=cooling(threshold=1, first=100.0))
    names = shortened(pool)
    for number in range(3):
        fail(pool, f"p{number}", 20.0 * (number > 0))

    fail(pool, "p0", 109.9)

    assert names == []
    assert [one.state for one in pool.snapshot(109.9)] == [HealthState.COOLING] * 3


def test_a_proxy_that_is_leaving_or_out_is_not_brought_forward_and_takes_nobodys_turn() -> None:
    nodes = [proxy("leaving"), proxy("out"), *proxies(4)]
    pool = make_pool(nodes, health=cooling(threshold=1, first=100.0))
    names = shortened(pool)
    fail(pool, "p0", 0.0)
    under_way = acquire(pool, 20.0, proxy_filter={"name": "leaving"})
    refused = [
        acquire(pool, 20.0, proxy_filter={"name": "out"}, target=target)
        for target in ("a.test", "b.test")
    ]
    for name in ("leaving", "out"):
        fail(pool, name, 20.0)
    for number in range(1, 4):
        fail(pool, f"p{number}", 60.0)
    pool.remove("leaving", 95.0)
    for attempt in refused:
        pool.release(attempt, Outcome.PROXY_FAULT, 75.0, failure=PROXY_AUTH)
    assert 109.9 < 75.0 + shown(pool, "out", 75.0).cooldown_left < 140.0

    carry_through(pool, "p0", 109.9, Outcome.SUCCESS)

    assert sorted(names) == ["p1", "p2", "p3"]
    assert pool.release(under_way, Outcome.SUCCESS, 109.9)
