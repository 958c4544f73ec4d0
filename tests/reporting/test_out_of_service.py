"""What the report at the end of a crawl draws as a proxy's time out of service."""

from __future__ import annotations

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.reporting.crawl_report import OutOfService

from ..core.helpers import acquire, carry_through, cooling, make_pool, proxies, put_out


def test_a_drained_proxy_that_recovers_is_out_of_service_until_it_is_enabled() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=1, first=10))
    out = OutOfService(pool.events)
    carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    probe = acquire(pool, 50, proxy_filter={"name": "p0"})
    pool.drain("p0", 60)
    pool.release(probe, Outcome.SUCCESS, 70)
    pool.enable("p0", 100)
    pool.drain("p0", 200)
    assert out.until(250, since_epoch=1000) == {"p0": [(1000, 1100), (1200, 1250)]}


def test_a_proxy_that_is_enabled_while_it_cools_down_stays_out_of_service_until_it_recovers() -> (
    None
):
    pool = make_pool(proxies(2), health=cooling(threshold=1, first=10))
    out = OutOfService(pool.events)
    carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    pool.drain("p0", 1)
    pool.enable("p0", 2)
    carry_through(pool, "p0", 50, Outcome.SUCCESS)
    assert out.until(60, since_epoch=0) == {"p0": [(0, 50)]}


def test_a_proxy_that_was_out_is_in_service_when_it_is_enabled() -> None:
    pool = make_pool(proxies(2))
    out = OutOfService(pool.events)
    put_out(pool, "p0", 0)
    pool.enable("p0", 5)
    pool.remove("p1", 6)
    assert out.until(60, since_epoch=0) == {"p0": [(0, 5)]}
