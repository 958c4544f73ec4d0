"""The pool without Scrapy: a few lines, with a clock, context managers and something to wait on."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from scrapy_proxybalance import Outcome, ProxyPool
from scrapy_proxybalance.core import ConfigurationError, NoProxyAvailableError, PoolPolicy, Rate

from .core.helpers import acquire
from .crawl.crawling import crawl_test

ONE = "http://user:secret-word@one.example:8080"
TWO = {"url": "http://two.example:8080", "name": "two", "country": "de"}


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pool_of(*proxies: object, **policy: object) -> ProxyPool:
    return ProxyPool(proxies, PoolPolicy(**policy), rng=random.Random(7))  # type: ignore[arg-type]


def test_a_lease_carries_the_url_with_credentials_and_shows_none() -> None:
    with pool_of(ONE).attempt(target="shop.example") as attempt:
        assert attempt.proxy.url == ONE
        assert "secret-word" not in repr(attempt)


def test_the_end_of_the_block_is_a_success_with_its_duration() -> None:
    clock = Clock()
    pool = ProxyPool([TWO], clock=clock)
    with pool.attempt():
        assert pool.core.in_flight == 1
        clock.now = 0.25
    (snapshot,) = pool.core.snapshot(clock())
    assert pool.core.in_flight == 0
    assert (snapshot.duration, snapshot.outcomes) == (pytest.approx(0.25), 1)


def test_an_exception_in_the_block_is_charged_and_goes_on() -> None:
    pool = pool_of(TWO, TWO | {"url": "http://three.example:1", "name": "three"})
    with pytest.raises(OSError, match="cut"), pool.attempt() as attempt:
        raise OSError("cut")
    assert attempt.ended
    other = {"two": "three", "three": "two"}[attempt.proxy.name]
    now = time.monotonic()
    charged, unknown = (pool.core.explain(name, now) for name in (attempt.proxy.name, other))
    assert charged.success < unknown.success


def test_what_was_said_inside_the_block_stands() -> None:
    pool = pool_of(TWO)
    for number in range(2):
        with pool.attempt(target=f"{number}.example") as attempt:
            assert pool.release(attempt, Outcome.PROXY_FAULT, failure="proxy_auth")
    with pytest.raises(NoProxyAvailableError):
        acquire(pool)


def test_a_keyboard_interrupt_ends_the_lease_and_charges_nobody() -> None:
    pool = pool_of(TWO)
    before = pool.core.explain("two", time.monotonic())
    with pytest.raises(KeyboardInterrupt), pool.attempt():
        raise KeyboardInterrupt
    assert pool.core.in_flight == 0
    assert pool.core.explain("two", time.monotonic()) == before


def test_filters_and_bad_entries_are_those_of_the_settings() -> None:
    pool = pool_of(ONE, TWO)
    assert acquire(pool, proxy_filter={"country": "de"}).proxy.name == "two"
    with pytest.raises(ConfigurationError, match=r"proxies\[0\].*names no port"):
        pool_of("http://one.example")


@crawl_test
async def test_whoever_waits_gets_the_proxy_in_turn() -> None:
    pool = pool_of(TWO, max_in_flight=1)
    held = acquire(pool)
    served: list[int] = []

    async def work(number: int) -> None:
        async with pool.lease_when_free(timeout=30):
            served.append(number)

    workers = [asyncio.ensure_future(work(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert served == []
    pool.release(held)
    await asyncio.gather(*workers)
    assert pool.core.in_flight == 0
    assert served == [0, 1, 2, 3, 4]


@crawl_test
async def test_whoever_waits_gets_the_proxy_when_its_rate_allows_it() -> None:
    pool = pool_of(TWO, rate=Rate(50, 1))
    for _ in range(3):
        async with pool.lease_when_free(timeout=30) as attempt:
            assert attempt.proxy.name == "two"


@crawl_test
async def test_waiting_ends_with_its_timeout() -> None:
    pool = pool_of(TWO, max_in_flight=1)
    acquire(pool)
    with pytest.raises(NoProxyAvailableError, match="at its cap"):
        await pool.acquire_when_free(timeout=0.01)


@crawl_test
async def test_a_waiter_that_gives_up_leaves_its_turn_to_the_next() -> None:
    pool = pool_of(TWO, max_in_flight=1)
    held = acquire(pool)
    first = asyncio.ensure_future(pool.acquire_when_free())
    second = asyncio.ensure_future(pool.acquire_when_free())
    await asyncio.sleep(0)
    first.cancel()
    pool.release(held)
    assert (await second).proxy.name == "two"
    assert first.cancelled()
