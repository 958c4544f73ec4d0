"""The stats keys, as a whole: what a crawl sets, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginResponse
from scrapy import Request

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response


class OneByOneSpider(UrlsSpider):
    """Asks for each page when the one before is there."""

    async def start(self) -> AsyncIterator[Request]:
        self.left = iter(self.urls)
        for request in self.following():
            yield request

    def following(self) -> Iterator[Request]:
        for request in self.left:
            assert isinstance(request, Request)
            yield request.replace(callback=self.keep_and_go_on)
            return

    def keep_and_go_on(self, response: Response) -> Iterator[Request]:
        self.keep(response)
        yield from self.following()


@crawl_test
async def test_the_stats_of_a_crawl_are_these_and_no_others() -> None:
    # Only that one request takes as long as this makes the pace of the crawl one that is not 0.
    latency = 0.3
    page = OriginResponse(body=b"page")
    refusals = iter([OriginResponse(429, [("Retry-After", "2")])])
    async with (
        Origin(lambda _: page) as plain,
        Origin(lambda _: next(refusals, page)) as refusing,
        ForwardProxy("good", latency=latency) as good,
        ForwardProxy("bad") as bad,
    ):
        await bad.close()
        site, refused = (f"http://127.0.0.1:{origin.port}/" for origin in (plain, refusing))
        crawler = await crawl(
            [
                Request(f"{site}1"),  # through the bad one first, and then again
                Request(f"{site}2", meta={"session": "basket"}),
                Request(f"{site}3", meta={"session": "basket", "session_end": True}),
                Request(refused),  # refused, and after the pause again
            ],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": bad.url(), "name": "bad"},
                    {"url": good.url(), "name": "good"},
                ],
                "PROXYBALANCE_STRATEGY": "first_available",
                "PROXYBALANCE_FAILURE_THRESHOLD": 1,
                "PROXYBALANCE_COOLDOWN": 600,
            },
            spider=OneByOneSpider,
        )
    assert len(crawler.spider.responses) == 4
    target = f"target/127.0.0.1:{refusing.port}"
    stats: dict[str, Any] = proxybalance_stats(crawler)
    for key in ("concurrency/estimate", f"{target}/seconds_paused"):
        assert isinstance(stats[key], float)
        stats[key] = float
    assert stats == {
        "proxies": 2,
        "leases": 6,
        "in_flight/max": 1,
        "outcome/success": 4,
        "outcome/proxy_fault": 1,
        "outcome/target_signal": 1,
        "failure/connection_refused": 1,
        "failure/429": 1,
        "concurrency/estimate": float,
        "cooldowns": 1,
        "retries": 1,
        "sessions/started": 1,
        "sessions/ended/ended": 1,
        f"{target}/signals": 1,
        f"{target}/pauses": 1,
        f"{target}/reopened": 1,
        f"{target}/seconds_paused": float,
        f"{target}/held": 0,
        f"{target}/held/max": 1,
        "proxy/bad/leases": 1,
        "proxy/bad/outcome/proxy_fault": 1,
        "proxy/bad/cooldowns": 1,
        "proxy/good/leases": 5,
        "proxy/good/outcome/success": 4,
        "proxy/good/outcome/target_signal": 1,
    }
