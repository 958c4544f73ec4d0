"""A name of PROXYBALANCE_TARGETS that no request has matched has a line at the close, and only then."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginResponse
from scrapy import signals

from .crawling import crawl, crawl_test

if TYPE_CHECKING:
    import pytest
    from scrapy.crawler import Crawler

_NAMES = (
    "www.shop.test",
    ".books.test",
    "cdn-*.test",
    "shop.test",
    "shop2.test:8080",
    "away.example",
)


@crawl_test
async def test_only_names_without_a_request_are_told_with_what_may_have_been_meant(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    said_before_the_close: list[str] = []

    def prepare(crawler: Crawler) -> None:
        def idle() -> None:
            said_before_the_close.extend(caplog.messages)

        crawler.signals.connect(idle, signal=signals.spider_idle, weak=False)

    hosts = ("www.shop.test", "a.books.test", "cdn-1.test", "shop2.test")
    async with Origin(lambda _: OriginResponse()) as origin:
        resolve = dict.fromkeys(hosts, (origin.host, origin.port))
        async with ForwardProxy("one", resolve=resolve) as proxy:
            await crawl(
                [f"http://{host}/" for host in hosts],
                {
                    "PROXYBALANCE_PROXIES": [proxy.url()],
                    "PROXYBALANCE_TARGETS": {name: {"in_flight": 2} for name in _NAMES},
                },
                prepare=prepare,
            )
    assert said_before_the_close == []
    held = "was never used: no request went to a host of that name"
    assert [line for line in caplog.messages if "PROXYBALANCE_TARGETS" in line] == [
        f"PROXYBALANCE_TARGETS['shop.test'] {held}. Requests went to 'www.shop.test': '.shop.test' "
        "holds for all hosts of that domain",
        f"PROXYBALANCE_TARGETS['shop2.test:8080'] {held}; did you mean 'shop2.test'?",
        f"PROXYBALANCE_TARGETS['away.example'] {held}",
    ]


@crawl_test
async def test_a_crawl_that_sends_nothing_says_nothing_of_its_targets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await crawl(
        [],
        {
            "PROXYBALANCE_PROXIES": ["http://127.0.0.1:9"],
            "PROXYBALANCE_TARGETS": {"a.test": {"in_flight": 1}},
        },
    )
    assert "PROXYBALANCE_TARGETS" not in caplog.text
