"""Scrapy's HTTP cache keeps and serves what a site answered, and nothing else."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.extensions.httpcache import DummyPolicy

from scrapy_proxybalance import Outcome, Verdict

from .crawling import crawl, crawl_test

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response

POLICIES = ("DummyPolicy", "RFC2616Policy")
PAGES = 60
#: Every policy may keep a response with this.
FOR_AN_HOUR = ("Cache-Control", "max-age=3600")


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(200, [FOR_AN_HOUR], request.path.encode())


def cached(crawler: Crawler) -> list[Response]:
    return [response for response in crawler.spider.responses if "cached" in response.flags]


def cache_settings(tmp_path: Path, policy: str = "DummyPolicy") -> dict[str, Any]:
    return {
        "HTTPCACHE_ENABLED": True,
        "HTTPCACHE_DIR": str(tmp_path),
        "HTTPCACHE_POLICY": f"scrapy.extensions.httpcache.{policy}",
        "PROXYBALANCE_PAUSE": 0.1,
    }


@asynccontextmanager
async def site(
    handler: Callable[[OriginRequest], OriginResponse] = page,
) -> AsyncIterator[tuple[Origin, ForwardProxy, list[str]]]:
    """Give a site, a proxy that is well, and the URLs of the site's pages."""
    async with Origin(handler) as origin, ForwardProxy("good") as good:
        urls = [f"http://127.0.0.1:{origin.port}/{number}" for number in range(PAGES)]
        yield origin, good, urls


@crawl_test
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_second_run_gets_no_error_page_of_a_proxy_of_the_first_run(
    policy: str, status: int, tmp_path: Path
) -> None:
    def broken(_: OriginRequest) -> OriginResponse:
        return OriginResponse(status, [FOR_AN_HOUR], b"a page of the proxy's own")

    async with AsyncExitStack() as stack:
        origin, good, urls = await stack.enter_async_context(site())
        others = [await stack.enter_async_context(ForwardProxy(name)) for name in ("b", "c")]
        bad = await stack.enter_async_context(Origin(broken))
        proxies = [proxy.url() for proxy in (good, *others)]
        settings = {**cache_settings(tmp_path, policy), "RETRY_TIMES": 1}
        first = await crawl(
            urls,
            {**settings, "PROXYBALANCE_PROXIES": [*proxies, f"http://127.0.0.1:{bad.port}"]},
        )
        assert bad.requests
        fetched = len(origin.requests)
        second = await crawl(urls, {**settings, "PROXYBALANCE_PROXIES": proxies})
        assert {response.status for response in second.spider.responses} == {200}
        assert len(second.spider.responses) == PAGES
        good_pages = [one for one in first.spider.responses if one.status == 200]
        assert len(cached(second)) == len(good_pages)
        assert len(origin.requests) - fetched == PAGES - len(good_pages)


@crawl_test
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("status", [407, 429, 403, 503])
async def test_a_refusal_is_not_kept(policy: str, status: int, tmp_path: Path) -> None:
    headers = [FOR_AN_HOUR, ("Proxy-Authenticate", "Basic"), ("Retry-After", "0")]
    answers = iter([OriginResponse(status, headers, b"no")])
    async with Origin(lambda request: next(answers, None) or page(request)) as proxy:
        settings = {
            **cache_settings(tmp_path, policy),
            "PROXYBALANCE_PROXIES": [f"http://127.0.0.1:{proxy.port}"],
            "RETRY_ENABLED": False,
        }
        await crawl(["http://site.example/"], settings)
        second = await crawl(["http://site.example/"], settings)
    assert [response.status for response in second.spider.responses] == [200]


@crawl_test
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_sites_own_404_is_kept_and_served(policy: str, tmp_path: Path) -> None:
    async with site(lambda _: OriginResponse(404, [FOR_AN_HOUR], b"gone")) as (origin, good, urls):
        settings = {
            **cache_settings(tmp_path, policy),
            "PROXYBALANCE_PROXIES": [good.url()],
        }
        requests = [Request(url, meta={"handle_httpstatus_all": True}) for url in urls]
        await crawl(requests, settings)
        second = await crawl(requests, settings)
        assert len(origin.requests) == PAGES
    assert [response.status for response in cached(second)] == [404] * PAGES


class StoresAll(DummyPolicy):
    """The policy of somebody who wants pages of one kind in the cache."""

    def should_cache_response(self, response: Response, request: Request) -> bool:  # noqa: ARG002
        return request.url.endswith("0")


@crawl_test
async def test_the_users_own_policy_still_decides_what_may_be_kept(tmp_path: Path) -> None:
    async with site() as (_, good, urls):
        settings = {
            **cache_settings(tmp_path),
            "HTTPCACHE_POLICY": StoresAll,
            "PROXYBALANCE_PROXIES": [good.url()],
        }
        await crawl(urls, settings)
        second = await crawl(urls, settings)
    assert sorted(response.url for response in cached(second)) == sorted(
        url for url in urls if url.endswith("0")
    )


@crawl_test
async def test_a_failure_that_a_crawl_without_the_plugin_has_stored_is_not_served(
    tmp_path: Path,
) -> None:
    answers = iter([OriginResponse(502)] * PAGES)
    async with site(lambda request: next(answers, None) or page(request)) as (_, good, urls):
        without = {
            **cache_settings(tmp_path),
            "ADDONS": {},
            "RETRY_ENABLED": False,
            "HTTPERROR_ALLOW_ALL": True,
        }
        first = await crawl(urls, without)
        assert {response.status for response in first.spider.responses} == {502}
        assert len(cached(await crawl(urls, without))) == PAGES
        settings = {**cache_settings(tmp_path), "PROXYBALANCE_PROXIES": [good.url()]}
        second = await crawl(urls, settings)
    assert {response.status for response in second.spider.responses} == {200}
    assert cached(second) == []


def blames_empty(_: Request, result: Response | Exception) -> Verdict | None:
    """Blame the proxy for a page without a word."""
    if isinstance(result, Exception) or result.body:
        return None
    return Verdict(outcome=Outcome.PROXY_FAULT, failure="empty")


@crawl_test
async def test_what_the_users_classifier_blames_a_proxy_for_is_not_kept(tmp_path: Path) -> None:
    answers = iter([OriginResponse(200, [FOR_AN_HOUR])])
    async with site(lambda request: next(answers, None) or page(request)) as (_, good, urls):
        settings = {
            **cache_settings(tmp_path),
            "PROXYBALANCE_PROXIES": [good.url()],
            "PROXYBALANCE_CLASSIFIER": blames_empty,
        }
        await crawl(urls[:1], settings)
        second = await crawl(urls[:1], settings)
    assert [response.body for response in second.spider.responses] == [b"/0"]


@crawl_test
async def test_what_no_proxy_was_leased_for_is_judged_and_kept_likewise(tmp_path: Path) -> None:
    answers = iter([OriginResponse(502)])
    async with site(lambda request: next(answers, None) or page(request)) as (origin, good, urls):
        settings = {
            **cache_settings(tmp_path),
            "PROXYBALANCE_PROXIES": [good.url()],
            "RETRY_ENABLED": False,
        }
        requests = [Request(url, meta={"proxy": None}) for url in urls[:2]]
        await crawl(requests, settings)
        second = await crawl(requests, settings)
        assert len(origin.requests) == 3
        assert good.requests == []
    assert len(cached(second)) == 1
