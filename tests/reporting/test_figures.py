"""The counts behind the summary and the stats file, from events as the pool emits them."""

from __future__ import annotations

import random

import pytest

from scrapy_proxybalance.core import Outcome, Pool, PoolPolicy, Proxy
from scrapy_proxybalance.reporting.figures import Figures
from scrapy_proxybalance.reporting.summary import summary_lines

from ..core.helpers import acquire


def watched_pool(size: int, **policy: str) -> tuple[Pool, Figures]:
    proxies = [
        Proxy(host="proxy.example", port=port, name=f"p{port}") for port in range(1, size + 1)
    ]
    pool = Pool(proxies, PoolPolicy(**policy), rng=random.Random(3))
    return pool, Figures(pool)


def test_percentiles_and_success_rate_are_those_of_what_was_judged() -> None:
    pool, figures = watched_pool(1)
    for number in range(100):
        attempt = acquire(pool, float(number), target="shop.example")
        pool.release(attempt, Outcome.SUCCESS, float(number), latency=number / 100)
    for outcome in (Outcome.IGNORED, Outcome.PROXY_FAULT):
        pool.release(acquire(pool, 200.0), outcome, 200.0, failure="dns")
    counted = figures.proxies["p1"]
    assert counted.requests == 102
    assert counted.success_rate == 100 / 101
    assert counted.latency_percentile(50) == pytest.approx(0.495)
    assert counted.latency_percentile(95) == pytest.approx(0.9405)
    assert counted.failures == {"dns": 2}


def test_a_proxy_that_was_never_used_has_no_rate_and_no_latency() -> None:
    counted = watched_pool(1)[1].proxies["p1"]
    assert (counted.success_rate, counted.latency_percentile(50)) == (None, None)


def test_a_single_response_is_its_own_percentile() -> None:
    pool, figures = watched_pool(1)
    pool.release(acquire(pool, 0.0), Outcome.SUCCESS, 1.0, latency=0.7)
    assert figures.proxies["p1"].latency_percentile(95) == 0.7


def test_the_summary_of_a_large_pool_shows_the_busiest_and_sums_up_the_rest() -> None:
    pool, figures = watched_pool(100, strategy="round_robin")
    leases = [acquire(pool, 0.0, target="shop.example") for _ in range(100)]
    for attempt in leases:
        pool.release(attempt, Outcome.SUCCESS, 1.0, latency=0.1)
    lines = list(summary_lines(pool, figures, 1.0))
    assert len(lines) == 1 + 30 + 1
    assert lines[-1] == "and 70 more, with 70 requests together (70.0%)"


def test_the_summary_names_the_targets_that_refused() -> None:
    pool, figures = watched_pool(1)
    attempt = acquire(pool, 0.0, target="shop.example")
    pool.release(attempt, Outcome.TARGET_SIGNAL, 1.0, failure="429")
    pool.targets.refused("shop.example", started_at=0.0, now=1.0, reason="response 429")
    assert list(summary_lines(pool, figures, 1.0))[-1] == (
        "target shop.example: requests 1, refusals 1, pauses 1 (0 s), held 0 (0 at most)"
    )


def test_a_crawl_of_very_many_targets_is_counted_in_bounded_memory() -> None:
    pool, figures = watched_pool(1)
    for number in range(3000):
        attempt = acquire(pool, float(number), target=f"host-{number}.example")
        pool.release(attempt, Outcome.SUCCESS, float(number))
    assert len(figures.targets) == 1000


TARGET = "shop.example"


def refuse(pool: Pool, now: float) -> None:
    pool.targets.refused(TARGET, started_at=now, now=now, reason="response 429", wait=10.0)


def answer_probe(pool: Pool, now: float) -> None:
    pool.targets.send(TARGET, now)
    pool.targets.answered(TARGET, now, now)
    pool.targets.ended(TARGET)


def test_the_seconds_paused_are_those_of_every_pause_and_of_the_one_that_is_running() -> None:
    pool, figures = watched_pool(1)
    refuse(pool, 100.0)
    figures.sample(104.0)
    assert figures.targets[TARGET].seconds_paused == 4.0
    answer_probe(pool, 130.0)
    figures.sample(200.0)
    target = figures.targets[TARGET]
    assert (target.seconds_paused, target.last_pause) == (30.0, 30.0)
    refuse(pool, 300.0)
    figures.sample(302.0)
    target = figures.targets[TARGET]
    assert (target.pauses, target.reopened, target.seconds_paused) == (2, 1, 32.0)


def test_a_probe_that_is_refused_does_not_interrupt_the_seconds_paused() -> None:
    pool, figures = watched_pool(1)
    refuse(pool, 100.0)
    pool.targets.send(TARGET, 120.0)
    refuse(pool, 121.0)
    pool.targets.ended(TARGET)
    answer_probe(pool, 200.0)
    target = figures.targets[TARGET]
    assert (target.pauses, target.reopened) == (2, 1)
    assert (target.seconds_paused, target.last_pause) == (100.0, 100.0)


def test_a_suspension_ends_the_seconds_paused() -> None:
    pool, figures = watched_pool(1)
    refuse(pool, 100.0)
    pool.targets.suspend(TARGET, 107.0, "response 403")
    figures.sample(500.0)
    target = figures.targets[TARGET]
    assert (target.suspended, target.reopened, target.seconds_paused) == (True, 0, 7.0)


def test_what_is_held_is_sampled_when_a_pause_begins_and_ends_and_in_between() -> None:
    held = 5
    pool = Pool([Proxy(host="proxy.example", port=1)], PoolPolicy(), rng=random.Random(3))
    figures = Figures(pool, lambda _: held)
    refuse(pool, 100.0)
    assert (figures.targets[TARGET].held, figures.targets[TARGET].held_max) == (5, 5)
    held = 8
    figures.sample(101.0)
    held = 2
    answer_probe(pool, 130.0)
    assert (figures.targets[TARGET].held, figures.targets[TARGET].held_max) == (2, 8)


def test_only_targets_that_have_refused_are_sampled() -> None:
    asked: list[str] = []

    def held(target: str) -> int:
        asked.append(target)
        return 0

    pool = Pool([Proxy(host="proxy.example", port=1)], PoolPolicy(), rng=random.Random(3))
    figures = Figures(pool, held)
    pool.release(acquire(pool, 0.0, target="polite.example"), Outcome.SUCCESS, 1.0)
    refuse(pool, 2.0)
    asked.clear()
    figures.sample(3.0)
    assert asked == [TARGET]
