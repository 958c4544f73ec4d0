"""The counts behind the summary and the stats file, from events as the pool emits them."""

from __future__ import annotations

import random

import pytest

from scrapy_proxybalance.pool import Outcome, Pool, PoolPolicy, Proxy
from scrapy_proxybalance.reporting.figures import Figures
from scrapy_proxybalance.reporting.summary import summary_lines


def watched_pool(size: int) -> tuple[Pool, Figures]:
    proxies = [
        Proxy(host="proxy.example", port=port, name=f"p{port}") for port in range(1, size + 1)
    ]
    pool = Pool(proxies, PoolPolicy(), rng=random.Random(3))
    return pool, Figures(pool)


def test_percentiles_and_success_rate_are_those_of_what_was_judged() -> None:
    pool, figures = watched_pool(1)
    for number in range(100):
        lease = pool.acquire(float(number), target="shop.example")
        pool.release(lease, Outcome.SUCCESS, float(number), latency=number / 100)
    for outcome in (Outcome.IGNORED, Outcome.PROXY_FAULT):
        pool.release(pool.acquire(200.0), outcome, 200.0, failure="dns")
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
    pool.release(pool.acquire(0.0), Outcome.SUCCESS, 1.0, latency=0.7)
    assert figures.proxies["p1"].latency_percentile(95) == 0.7


def test_the_summary_of_a_large_pool_shows_the_busiest_and_sums_up_the_rest() -> None:
    pool, figures = watched_pool(100)
    leases = [pool.acquire(0.0, target="shop.example") for _ in range(100)]
    for lease in leases:
        pool.release(lease, Outcome.SUCCESS, 1.0, latency=0.1)
    lines = list(summary_lines(pool, figures, 1.0))
    assert len(lines) == 1 + 30 + 1
    assert lines[-1] == "and 70 more, with 70 requests together (70.0%)"


def test_the_summary_names_the_targets_that_refused() -> None:
    pool, figures = watched_pool(1)
    lease = pool.acquire(0.0, target="shop.example")
    pool.release(lease, Outcome.TARGET_SIGNAL, 1.0, failure="429")
    pool.targets.refused("shop.example", sent_at=0.0, now=1.0, reason="response 429")
    assert list(summary_lines(pool, figures, 1.0))[-1] == (
        "target shop.example: 1 requests, 1 refusals, 1 pauses"
    )


def test_a_crawl_of_very_many_targets_is_counted_in_bounded_memory() -> None:
    pool, figures = watched_pool(1)
    for number in range(3000):
        lease = pool.acquire(float(number), target=f"host-{number}.example")
        pool.release(lease, Outcome.SUCCESS, float(number))
    assert len(figures.targets) == 1000
