"""Caps and rates hold as the proxies and the origins see them, however much Scrapy would send."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from scrapy_proxybalance import ProxyBalanceMiddleware

from .crawling import crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import Iterable

# A timer may be early by so many seconds.
_CLOCKS_DIFFER = 0.01

#: Scrapy would send everything at once.
UNLIMITED = {"CONCURRENT_REQUESTS": 200, "CONCURRENT_REQUESTS_PER_DOMAIN": 200}

#: The two ways to install the plugin.
WITH_QUEUE: dict[str, Any] = {}
MIDDLEWARE_ALONE: dict[str, Any] = {
    "ADDONS": {},
    "DOWNLOADER_MIDDLEWARES": {ProxyBalanceMiddleware: 740},
}
INSTALLATIONS = [
    pytest.param(WITH_QUEUE, id="add-on"),
    pytest.param(MIDDLEWARE_ALONE, id="middleware-alone"),
]


class Waves:
    """A handler that answers nothing until so many requests are there at once, then all of those.

    So the peak is what is allowed, and not what happens to be reached. The number of pages has to
    be a multiple of ``size``.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._arrived = 0
        self._wave = asyncio.Event()

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        wave = self._wave
        self._arrived += 1
        if self._arrived == self._size:
            self._arrived, self._wave = 0, asyncio.Event()
            wave.set()
        await wave.wait()
        await asyncio.sleep(0.005)  # a page takes its time, in which more might come
        return OriginResponse(body=request.path.encode())


def pages(origin: Origin, number: int) -> list[str]:
    return [f"http://127.0.0.1:{origin.port}/{page}" for page in range(number)]


def too_soon(times: Iterable[float], began_at: float, rate: float, burst: int = 1) -> list[int]:
    """Return which of a crawl's requests came before a rate allows them, by number.

    This counts from the crawl's beginning, as requests come later on a machine that stalls, and then
    closer to each other, but none comes sooner.

    :param times: when the requests arrived, of ``time.monotonic()``.
    :param began_at: a moment before the crawl.
    :param rate: per second.
    """
    return [
        number
        for number, arrived_at in enumerate(sorted(times))
        if arrived_at < began_at + (number + 1 - burst) / rate - _CLOCKS_DIFFER
    ]


@pytest.mark.parametrize("installation", INSTALLATIONS)
@crawl_test
async def test_no_proxy_sees_more_at_once_than_its_cap(installation: dict[str, Any]) -> None:
    caps = {"one": 1, "two": 2, "five": 5}
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(Waves(sum(caps.values()))))
        proxies = [await stack.enter_async_context(ForwardProxy(name)) for name in caps]
        crawler = await crawl(
            pages(origin, 160),
            {
                **UNLIMITED,
                **installation,
                "PROXYBALANCE_PROXIES": [
                    {"url": proxy.url(), "name": proxy.name, "max_in_flight": caps[proxy.name]}
                    for proxy in proxies
                ],
            },
        )
        assert {proxy.name: proxy.peak_in_flight for proxy in proxies} == caps
    assert len(crawler.spider.responses) == 160
    assert proxybalance_stats(crawler)["in_flight/max"] == sum(caps.values())


@crawl_test
async def test_the_cap_of_the_pool_holds_for_each_proxy_that_has_none_of_its_own() -> None:
    async with (
        Origin(Waves(3 + 7)) as origin,
        ForwardProxy("plain") as plain,
        ForwardProxy("strong") as strong,
    ):
        crawler = await crawl(
            pages(origin, 100),
            {
                **UNLIMITED,
                "PROXYBALANCE_MAX_IN_FLIGHT": 3,
                "PROXYBALANCE_PROXIES": [
                    plain.url(),
                    {"url": strong.url(), "max_in_flight": 7},
                ],
            },
        )
        assert (plain.peak_in_flight, strong.peak_in_flight) == (3, 7)
    assert len(crawler.spider.responses) == 100


@pytest.mark.parametrize("installation", INSTALLATIONS)
@crawl_test
async def test_a_gateway_sees_each_of_its_usernames_at_its_own_cap(
    installation: dict[str, Any],
) -> None:
    async with (
        Origin(Waves(2 + 3)) as origin,
        ForwardProxy("gateway", credentials={"alice": "a", "bob": "b"}) as gateway,
    ):
        crawler = await crawl(
            pages(origin, 100),
            {
                **UNLIMITED,
                **installation,
                "PROXYBALANCE_PROXIES": [
                    {"url": gateway.url("alice"), "max_in_flight": 2},
                    {"url": gateway.url("bob"), "max_in_flight": 3},
                ],
            },
        )
        assert gateway.peak_in_flight_by_user == {"alice": 2, "bob": 3}
        assert gateway.peak_in_flight == 5
    assert len(crawler.spider.responses) == 100


@crawl_test
async def test_caps_hold_while_proxies_fail_and_requests_are_tried_again() -> None:
    async with AsyncExitStack() as stack:
        failing = iter(range(10_000))

        async def handler(_: OriginRequest) -> OriginResponse:
            await asyncio.sleep(0)
            return OriginResponse(500 if next(failing) % 3 == 0 else 200, body=b"page")

        origin = await stack.enter_async_context(Origin(handler))
        proxies = [await stack.enter_async_context(ForwardProxy(name)) for name in ("a", "b", "c")]
        crawler = await crawl(
            pages(origin, 100),
            {
                **UNLIMITED,
                "RETRY_TIMES": 50,
                "PROXYBALANCE_MAX_IN_FLIGHT": 3,
                "PROXYBALANCE_PROXIES": [proxy.url() for proxy in proxies],
            },
        )
        assert max(proxy.peak_in_flight for proxy in proxies) <= 3
        assert len(origin.requests) > 100
    assert len(crawler.spider.responses) == 100


@pytest.mark.parametrize("installation", INSTALLATIONS)
@crawl_test
async def test_no_proxy_sees_more_over_time_than_its_rate(installation: dict[str, Any]) -> None:
    async with (
        Origin(lambda _: OriginResponse(body=b"page")) as origin,
        ForwardProxy("slow") as slow,
        ForwardProxy("quick") as quick,
    ):
        began_at = time.monotonic()
        crawler = await crawl(
            pages(origin, 20),
            {
                **UNLIMITED,
                **installation,
                "PROXYBALANCE_RATE": "4/s",
                "PROXYBALANCE_PROXIES": [
                    {"url": slow.url(), "name": "slow"},
                    {"url": quick.url(), "name": "quick", "rate": "6/s"},
                ],
            },
        )
        assert too_soon((request.time for request in slow.requests), began_at, rate=4) == []
        assert too_soon((request.time for request in quick.requests), began_at, rate=6) == []
        assert min(len(slow.requests), len(quick.requests)) >= 2
        assert len(slow.requests) + len(quick.requests) == 20
    assert len(crawler.spider.responses) == 20


@crawl_test
async def test_a_rate_with_a_burst_lets_the_burst_through_and_no_more() -> None:
    async with (
        Origin(lambda _: OriginResponse(body=b"page")) as origin,
        ForwardProxy("bursty") as bursty,
    ):
        began_at = time.monotonic()
        crawler = await crawl(
            pages(origin, 14),
            {
                **UNLIMITED,
                "PROXYBALANCE_PROXIES": [
                    {"url": bursty.url(), "rate": "4/s burst=6", "max_in_flight": 50}
                ],
            },
        )
        times = [request.time for request in bursty.requests]
        assert too_soon(times, began_at, rate=4, burst=6) == []
    assert len(crawler.spider.responses) == 14


@crawl_test
async def test_an_origin_sees_no_more_at_once_than_the_domain_cap() -> None:
    async with Origin(Waves(8)) as origin, ForwardProxy("strong") as strong:
        crawler = await crawl(
            pages(origin, 200),
            {
                "CONCURRENT_REQUESTS": 64,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
                "PROXYBALANCE_PROXIES": [{"url": strong.url(), "max_in_flight": 100}],
            },
        )
        assert origin.peak_in_flight == 8
    assert len(crawler.spider.responses) == 200
    assert proxybalance_stats(crawler)["in_flight/max"] == 8


@crawl_test
async def test_the_domain_cap_holds_for_each_domain_by_itself() -> None:
    async with Origin(Waves(8)) as one, Origin(Waves(8)) as other:
        resolve = {"one.example": (one.host, one.port), "other.example": (other.host, other.port)}
        async with ForwardProxy("strong", resolve=resolve) as strong:
            crawler = await crawl(
                [
                    f"http://{host}/{page}"
                    for page in range(104)
                    for host in ("one.example", "other.example")
                ],
                {
                    "CONCURRENT_REQUESTS": 64,
                    "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
                    "PROXYBALANCE_PROXIES": [{"url": strong.url(), "max_in_flight": 100}],
                },
            )
        assert (one.peak_in_flight, other.peak_in_flight) == (8, 8)
    assert len(crawler.spider.responses) == 208
    assert 8 <= proxybalance_stats(crawler)["in_flight/max"] <= 16


@pytest.mark.parametrize(
    ("installation", "hints"),
    [
        pytest.param(WITH_QUEUE, 0, id="add-on"),
        pytest.param(MIDDLEWARE_ALONE, 1, id="middleware-alone"),
    ],
)
@crawl_test
async def test_the_middleware_alone_says_once_what_the_add_on_would_improve(
    installation: dict[str, Any], hints: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        Origin(lambda _: OriginResponse(body=b"page")) as origin,
        ForwardProxy("one") as one,
    ):
        crawler = await crawl(
            pages(origin, 30), {**UNLIMITED, **installation, "PROXYBALANCE_PROXIES": [one.url()]}
        )
    assert len(crawler.spider.responses) == 30
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("scrapy_proxybalance") and record.levelno >= logging.WARNING
    ]
    assert len(warnings) == hints
    assert all('ADDONS = {"scrapy_proxybalance.Addon": 500}' in warning for warning in warnings)
