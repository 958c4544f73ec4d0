"""The user's own classifier: asked first, and harmless when it is wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginResponse

from scrapy_proxybalance import Outcome, ProxyBalanceMiddleware, Verdict

from .crawling import crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    import pytest
    from scrapy import Request
    from scrapy.http import Response


def by_body(_: Request, result: Response | Exception) -> Verdict | None:
    """A provider's error page, told by its text."""
    if not isinstance(result, Exception) and b"no exit" in result.body:
        return Verdict(outcome=Outcome.PROXY_FAULT, failure="no_exit")
    return None


def broken(_: Request, result: Response | Exception) -> Verdict | None:
    raise LookupError(f"never heard of {type(result).__name__}")


@crawl_test
async def test_its_word_counts_and_the_rest_is_classified_as_usual() -> None:
    def answer(request: object) -> OriginResponse:
        return OriginResponse(body=b"no exit" if "bad" in str(request) else b"page")

    async with Origin(answer) as origin, ForwardProxy("p") as proxy:
        site = f"http://127.0.0.1:{origin.port}"
        crawler = await crawl(
            [f"{site}/bad", f"{site}/good"],
            {
                "PROXYBALANCE_PROXIES": [{"url": proxy.url(), "name": "p"}],
                "PROXYBALANCE_CLASSIFIER": by_body,
            },
        )
        stats = proxybalance_stats(crawler)
        assert stats["outcome/proxy_fault"] == 1
        assert stats["failure/no_exit"] == 1
        assert stats["outcome/success"] == 1
        assert len(crawler.spider.responses) == 2


@crawl_test
async def test_one_that_raises_is_logged_and_costs_neither_a_page_nor_a_lease(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Origin(lambda _: OriginResponse(body=b"page")) as origin, ForwardProxy("p") as proxy:
        with caplog.at_level(logging.ERROR):
            crawler = await crawl(
                [f"http://127.0.0.1:{origin.port}/{number}" for number in range(9)],
                {
                    "PROXYBALANCE_PROXIES": [{"url": proxy.url(), "max_in_flight": 2}],
                    "PROXYBALANCE_CLASSIFIER": broken,
                },
            )
        assert len(crawler.spider.responses) == 9
        middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        assert middleware is not None
        assert middleware.context.pool.in_flight == 0
        assert "CLASSIFIER failed" in caplog.text
        assert proxybalance_stats(crawler)["outcome/success"] == 9


def wordy(_: Request, result: Response | Exception) -> Any:
    """Names the outcome instead of returning a verdict."""
    return "success" if not isinstance(result, Exception) and result.status == 200 else None


@crawl_test
async def test_one_that_returns_something_else_is_logged_and_the_plugin_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = iter([OriginResponse(429)])

    def target(_: object) -> OriginResponse:
        return next(answers, OriginResponse(body=b"page"))

    async with Origin(target) as origin, ForwardProxy("p") as proxy:
        with caplog.at_level(logging.ERROR):
            crawler = await crawl(
                [f"http://127.0.0.1:{origin.port}/{number}" for number in range(9)],
                {
                    "PROXYBALANCE_PROXIES": [{"url": proxy.url(), "max_in_flight": 2}],
                    "PROXYBALANCE_CLASSIFIER": wordy,
                    "PROXYBALANCE_PAUSE": 0.1,
                    "PROXYBALANCE_RAMP": 0.1,
                    "CONCURRENT_REQUESTS": 1,
                    "CLOSESPIDER_TIMEOUT": 20,
                },
            )
        assert crawler.stats.get_value("finish_reason") == "finished"
        assert len(crawler.spider.responses) == 9
        # The probe's answer was understood as well.
        assert len(origin.requests) == 10
        middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
        assert middleware is not None
        assert middleware.context.pool.in_flight == 0
        assert caplog.text.count("PROXYBALANCE_CLASSIFIER returned 'success' for") == 9
        assert proxybalance_stats(crawler)["outcome/success"] == 9
