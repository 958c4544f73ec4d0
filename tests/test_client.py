"""The pool without Scrapy: what its loop of ten lines does when proxies fail and sites refuse."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from scrapy_proxybalance import ProxyPool
from scrapy_proxybalance.core import (
    ConfigurationError,
    NoProxyAvailableError,
    Outcome,
    PoolPolicy,
    Rate,
    Step,
    TargetPolicy,
    TargetState,
)

from .crawl.crawling import crawl_test

if TYPE_CHECKING:
    from scrapy_proxybalance.client import Page

ONE = "http://user:secret-word@one.example:8080"
TWO = {"url": "http://two.example:8080", "name": "two", "country": "de"}
THREE = {"url": "http://three.example:8080", "name": "three"}
URL = "https://shop.example/page"
SITE = "shop.example"


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pool_of(*proxies: Any, clock: Clock | None = None, **policy: Any) -> ProxyPool:
    return ProxyPool(proxies, PoolPolicy(**policy), clock=clock or Clock(), rng=random.Random(7))


def paused(pool: ProxyPool) -> bool:
    return pool.core.targets.state(SITE) is TargetState.PAUSED


def test_an_attempt_carries_the_url_with_credentials_and_shows_none() -> None:
    attempt = pool_of(ONE).page(URL).acquire_nowait()
    assert attempt.proxy.url == ONE
    assert "secret-word" not in repr(attempt)


def test_a_page_that_came_is_delivered_and_teaches_the_pool_how_long_it_took() -> None:
    clock = Clock()
    pool = pool_of(TWO, clock=clock)
    page = pool.page(URL)
    page.acquire_nowait()
    assert pool.core.in_flight == 1
    clock.now = 0.25
    assert not page.answered(200, body=b"a page").sends_again
    (snapshot,) = pool.core.snapshot(clock())
    assert pool.core.in_flight == 0
    assert (snapshot.duration, snapshot.outcomes) == (pytest.approx(0.25), 1)


def test_a_connection_that_is_cut_is_tried_again_through_another_proxy_and_counts() -> None:
    pool = pool_of(TWO, THREE)
    page = pool.page(URL, retries=1)
    first = page.acquire_nowait().proxy.name
    assert page.failed(ConnectionResetError("cut")).step is Step.RETRY
    assert page.acquire_nowait().proxy.name != first
    assert not page.failed(ConnectionResetError("cut")).sends_again


def test_what_may_not_be_sent_twice_is_not_retried() -> None:
    page = pool_of(TWO, THREE).page(URL, method="POST")
    page.acquire_nowait()
    assert not page.failed(ConnectionResetError("cut")).sends_again


def test_wrong_credentials_cost_no_retry_and_put_the_proxy_out_when_they_never_work() -> None:
    pool = pool_of(TWO, THREE)
    for number in range(6):
        page = pool.page(f"http://{number}.example/", retries=0, proxy_filter={"name": "two"})
        page.acquire_nowait()
        followup = page.answered(407, {"Proxy-Authenticate": "Basic"})
        assert followup.step is Step.SEND_AGAIN
        if pool.core.in_service == 1:
            break
    assert pool.core.in_service == 1


def test_a_429_pauses_its_target_for_as_long_as_it_says_and_the_page_goes_again_for_free() -> None:
    clock = Clock()
    pool = pool_of(TWO, THREE, clock=clock)
    page, other = pool.page(URL, retries=0), pool.page("https://other.example/")
    page.acquire_nowait()
    assert page.answered(429, [("Retry-After", "30")]).step is Step.SEND_AGAIN
    with pytest.raises(NoProxyAvailableError, match=r"shop\.example is paused") as held:
        page.acquire_nowait()
    assert held.value.retry_at == pytest.approx(31, abs=2)
    other.acquire_nowait()
    clock.now = 34.0
    assert page.acquire_nowait().target_probe


@pytest.mark.parametrize("end", ["refused", "forbidden", "failed", "no proxy", "cancelled"])
def test_no_end_of_a_probe_leaves_its_target_waiting_for_ever(end: str) -> None:
    clock = Clock()
    pool = pool_of(TWO, clock=clock, max_in_flight=1, targets=TargetPolicy(pause=10))
    page = pool.page(URL)
    page.acquire_nowait()
    page.answered(429)
    clock.now = 20.0
    if end == "no proxy":
        busy = pool.page("https://other.example/")
        busy.acquire_nowait()
        with pytest.raises(NoProxyAvailableError):
            page.acquire_nowait()
        busy.answered(200, body=b"a page")
    else:
        assert page.acquire_nowait().target_probe
        if end == "refused":
            page.answered(429)
        elif end == "forbidden":
            page.answered(403)
        elif end == "failed":
            page.failed(ConnectionResetError("cut"))
        else:
            page.cancel()
    clock.now = 200.0
    assert pool.page(URL).acquire_nowait().target_probe


def test_a_403_is_delivered_and_several_in_a_row_pause_the_target() -> None:
    pool = pool_of(TWO, THREE)
    for number in range(3):
        assert not paused(pool)
        page = pool.page(f"{URL}/{number}")
        page.acquire_nowait()
        assert not page.answered(403, body=b"no").sends_again
    assert paused(pool)


def test_retries_are_held_back_when_most_requests_fail() -> None:
    pool = ProxyPool([TWO, THREE], retry_share=0.0, retries_per_second=1.0, clock=Clock())
    pages = [pool.page(f"{URL}/{number}") for number in range(2)]
    for page in pages:
        page.acquire_nowait()
        page.failed(ConnectionResetError("cut"))
    pages[0].acquire_nowait()
    with pytest.raises(NoProxyAvailableError, match="held back"):
        pages[1].acquire_nowait()


def test_a_keyboard_interrupt_ends_the_attempt_and_charges_nobody() -> None:
    pool = pool_of(TWO)
    before = pool.core.explain("two", 0.0)
    page = pool.page(URL)
    page.acquire_nowait()
    assert not page.failed(KeyboardInterrupt()).sends_again
    assert pool.core.in_flight == 0
    assert pool.core.explain("two", 0.0) == before


def test_an_attempt_ends_before_the_next_one_begins_and_ends_once() -> None:
    page = pool_of(TWO).page(URL)
    page.acquire_nowait()
    with pytest.raises(RuntimeError, match="has not ended"):
        page.acquire_nowait()
    page.answered(200, body=b"a page")
    with pytest.raises(RuntimeError, match="acquire one first"):
        page.answered(200, body=b"a page")


def test_filters_and_bad_entries_are_those_of_the_settings() -> None:
    pool = pool_of(ONE, TWO)
    page = pool.page(URL, proxy_filter={"country": "de"})
    assert page.acquire_nowait().proxy.name == "two"
    with pytest.raises(ConfigurationError, match=r"proxies\[0\].*names no port"):
        pool_of("http://one.example")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://shop.example/", "shop.example"),
        ("https://shop.example:443/", "shop.example"),
        ("http://shop.example:8000/", "shop.example:8000"),
        ("http://[2001:db8::1]/", "[2001:db8::1]"),
    ],
)
def test_the_target_of_a_page_is_its_host_as_a_crawl_calls_it(url: str, target: str) -> None:
    assert pool_of(TWO).page(url).acquire_nowait().target == target


def test_after_many_answers_a_page_gets_a_timeout_that_fits_and_one_that_is_cut_off_goes_again() -> (
    None
):
    clock = Clock()
    pool = pool_of(TWO, THREE, clock=clock)
    for number in range(40):
        page = pool.page(f"{URL}/{number}", timeout=60)
        page.acquire_nowait()
        clock.now += 1.0
        page.answered(200, body=b"page %d" % number)
    page = pool.page(URL, timeout=60)
    timeout = page.acquire_nowait().timeout
    assert timeout is not None
    assert 5 <= timeout < 60
    clock.now += timeout
    assert page.failed(TimeoutError()).step is Step.SEND_AGAIN


def ended(page: Page) -> None:
    page.answered(200, body=b"a page")


@crawl_test
async def test_whoever_waits_gets_the_proxy_in_turn() -> None:
    pool = ProxyPool([TWO], PoolPolicy(max_in_flight=1))
    held = pool.page(URL)
    held.acquire_nowait()
    served: list[int] = []

    async def work(number: int) -> None:
        page = pool.page(URL)
        await page.acquire(timeout=30)
        served.append(number)
        ended(page)

    workers = [asyncio.ensure_future(work(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert served == []
    ended(held)
    await asyncio.gather(*workers)
    assert pool.core.in_flight == 0
    assert served == [0, 1, 2, 3, 4]


@crawl_test
async def test_whoever_waits_gets_the_proxy_when_its_rate_allows_it() -> None:
    pool = ProxyPool([TWO], PoolPolicy(rate=Rate(50, 1)))
    for _ in range(3):
        page = pool.page(URL)
        assert (await page.acquire(timeout=30)).proxy.name == "two"
        ended(page)


@crawl_test
async def test_waiting_ends_with_its_timeout() -> None:
    pool = ProxyPool([TWO], PoolPolicy(max_in_flight=1))
    pool.page(URL).acquire_nowait()
    with pytest.raises(NoProxyAvailableError, match="at its cap"):
        await pool.page(URL).acquire(timeout=0.01)


@crawl_test
async def test_nobody_waits_for_a_target_that_is_suspended() -> None:
    pool = ProxyPool([TWO])
    pool.core.targets.suspend(SITE, pool.clock(), "it said so")
    with pytest.raises(NoProxyAvailableError, match=r"shop\.example"):
        await pool.page(URL).acquire()


@crawl_test
async def test_a_waiter_that_gives_up_leaves_its_turn_to_the_next() -> None:
    pool = ProxyPool([TWO], PoolPolicy(max_in_flight=1))
    held = pool.page(URL)
    held.acquire_nowait()
    first = asyncio.ensure_future(pool.page(URL).acquire())
    second = asyncio.ensure_future(pool.page(URL).acquire())
    await asyncio.sleep(0)
    first.cancel()
    ended(held)
    assert (await second).proxy.name == "two"
    assert first.cancelled()


def test_the_core_and_the_client_need_no_scrapy() -> None:
    code = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("scrapy", "twisted"):
            raise ImportError(name)
sys.meta_path.insert(0, Nowhere())
from scrapy_proxybalance import Outcome, ProxyPool
pool = ProxyPool(["http://one.example:8080"])
page = pool.page("http://shop.example/")
page.acquire_nowait()
assert page.answered(200, body=b"page").verdict.outcome is Outcome.SUCCESS
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert Outcome.SUCCESS.value == "success"
