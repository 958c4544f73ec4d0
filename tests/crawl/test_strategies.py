"""A strategy per crawl, per target and per request, as the proxies see it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import pytest
from scrapy import Request

from scrapy_proxybalance.core import STRATEGIES, ConfigurationError
from scrapy_proxybalance.core.strategies.first_available import FirstAvailable

from .crawling import crawl_test
from .test_target_budgets import page, world

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Pick

    from .test_target_budgets import World


class LastAvailable(FirstAvailable):
    """A user's own: the last proxy, as long as it is free."""

    def pick(self, pick: Pick) -> int | None:
        last = super().pick(attrs.evolve(pick, among=[2]))
        return super().pick(pick) if last is None else last


def urls(host: str, count: int, **meta: Any) -> list[Request]:
    return [Request(f"http://{host}/{number}", meta=dict(meta)) for number in range(count)]


def used(made: World, host: str, prefix: str = "/") -> Counter[str]:
    return Counter(
        proxy.name
        for proxy in made.proxies
        for seen in proxy.requests
        if urlsplit(seen.url).hostname == host and urlsplit(seen.url).path.startswith(prefix)
    )


@crawl_test
async def test_requests_targets_and_the_crawl_have_strategies_of_their_own() -> None:
    async with world(proxies=3, one_test=page, two_test=page) as made:
        requests = [
            *urls("one.test", 12),
            *urls("two.test", 12),
            *[
                Request(f"http://two.test/own/{number}", meta={"proxy_strategy": "round_robin"})
                for number in range(12)
            ],
        ]
        crawler = await made.crawl(
            requests,
            {"two.test": {"strategy": f"{__name__}.LastAvailable"}},
            PROXYBALANCE_STRATEGY="first_available",
        )
        assert used(made, "one.test") == {"p0": 12}
        assert used(made, "two.test", "/own") == {"p0": 4, "p1": 4, "p2": 4}
        assert used(made, "two.test") == {"p0": 4, "p1": 4, "p2": 16}
    assert len(crawler.spider.responses) == 36


@pytest.mark.parametrize("wrong", ["best", 7, "", ["random"], f"{__name__}.LastAvailable"])
@crawl_test
async def test_a_strategy_that_is_none_fails_its_own_request_and_no_other(wrong: Any) -> None:
    async with world(proxies=2, one_test=page) as made:
        bad = Request("http://one.test/bad", meta={"proxy_strategy": wrong})
        crawler = await made.crawl([bad, *urls("one.test", 6)], {})
        assert sum(used(made, "one.test").values()) == 6
        assert not used(made, "one.test", "/bad")
    [failure] = crawler.spider.failures
    assert failure.check(ConfigurationError)
    assert repr(wrong) in failure.getErrorMessage()
    assert "'weighted', 'round_robin'" in failure.getErrorMessage()
    assert len(crawler.spider.responses) == 6


@pytest.mark.parametrize("strategy", STRATEGIES)
@crawl_test
async def test_a_crawl_is_served_whatever_the_strategy(strategy: str) -> None:
    async with world(proxies=3, one_test=page, two_test=page) as made:
        sessions = [
            Request(f"http://two.test/{number}", meta={"session": f"s{number % 4}"})
            for number in range(20)
        ]
        crawler = await made.crawl(
            [*urls("one.test", 20), *sessions],
            {},
            PROXYBALANCE_STRATEGY=strategy,
            PROXYBALANCE_MAX_IN_FLIGHT=2,
        )
    assert len(crawler.spider.responses) == 40
    assert not crawler.spider.failures
