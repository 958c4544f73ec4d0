"""A crawl through healthy proxies: every page arrives, through the pool, and nothing goes direct."""

from __future__ import annotations

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginResponse

from .crawling import crawl, crawl_test, proxybalance_stats


@crawl_test
async def test_every_request_goes_through_the_pool_and_the_stats_say_so() -> None:
    async with (
        Origin(lambda request: OriginResponse(body=request.path.encode())) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two") as two,
    ):
        site = f"http://127.0.0.1:{origin.port}"
        crawler = await crawl(
            [f"{site}/{number}" for number in range(40)],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": one.url(), "name": "one"},
                    {"url": two.url(), "name": "two"},
                ]
            },
        )
        assert len(crawler.spider.responses) == 40
        assert len(origin.requests) == 40
        assert {request.via for request in origin.requests} == {"1.1 one", "1.1 two"}
        assert len(one.requests) + len(two.requests) == 40
        stats = proxybalance_stats(crawler)
        assert stats.pop("in_flight/max") <= 8
        stats.pop("concurrency/estimate", None)
        assert stats == {
            "proxies": 2,
            "leases": 40,
            "outcome/success": 40,
            "proxy/one/leases": len(one.requests),
            "proxy/one/outcome/success": len(one.requests),
            "proxy/two/leases": len(two.requests),
            "proxy/two/outcome/success": len(two.requests),
        }
