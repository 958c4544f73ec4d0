"""Crawls through Tinyproxy: what its log says of them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from scrapy_proxybalance.core import HealthState

from ..crawl.crawling import crawl, crawl_test, proxybalance_stats
from .helpers import (
    Server,
    dead_port,
    find_program,
    of_tls_with_old_scrapy,
    origin,
    requests,
    running,
    settings,
    states,
    until,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = of_tls_with_old_scrapy

_CONFIGURATION = """
Listen 127.0.0.1
Port {port}
Timeout 60
MaxClients 100
LogFile "{directory}/tinyproxy.log"
LogLevel Connect
ViaProxyName "tiny.test"
"""


@contextmanager
def tinyproxy_server(**passwords: str) -> Iterator[Server]:
    """Run Tinyproxy; it asks for credentials if there are ``passwords`` by user name."""
    program = find_program("tinyproxy", "tinyproxy")

    def configure(port: int, directory: Path) -> str:
        access = "".join(f"BasicAuth {name} {word}\n" for name, word in passwords.items())
        return _CONFIGURATION.format(port=port, directory=directory) + access

    with running([program, "-d", "-c"], configure) as server:
        yield server


@pytest.fixture(scope="module")
def open_tinyproxy() -> Iterator[Server]:
    """Tinyproxy, open to everybody."""
    with tinyproxy_server() as server:
        yield server


@pytest.fixture(scope="module")
def locked_tinyproxy() -> Iterator[Server]:
    """Tinyproxy that asks for credentials."""
    with tinyproxy_server(alice="wonderland", bob="builder") as server:
        yield server


def logged(server: Server, port: int) -> list[tuple[str, str]]:
    """Return the method and the path of what a server was asked for on a port of an origin."""
    log = (server.directory / "tinyproxy.log").read_text()
    asked = re.findall(
        rf"Request \(file descriptor \d+\): (\w+) (?:http://)?127\.0\.0\.1:{port}(\S*)", log
    )
    return [(method, path) for method, path in asked]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("username", [None, "alice"], ids=["open", "locked"])
@crawl_test
async def test_every_page_comes_through_tinyproxy(
    username: str | None,
    scheme: str,
    open_tinyproxy: Server,
    locked_tinyproxy: Server,
    server_context: ssl.SSLContext,
) -> None:
    tinyproxy = open_tinyproxy if username is None else locked_tinyproxy
    proxy = {"url": tinyproxy.url(username, "wonderland"), "name": "tinyproxy"}
    async with origin(scheme, server_context) as site:
        crawler = await crawl(requests(scheme, site.port, 30), settings(proxy))
        assert len(crawler.spider.responses) == 30
        assert crawler.spider.failures == []
        assert len(site.requests) == 30
    stats = proxybalance_stats(crawler)
    assert stats["outcome/success"] == stats["leases"] == 30
    assert not any(key.startswith("failure/") for key in stats)
    if scheme == "http":
        await until(lambda: len(logged(tinyproxy, site.port)) == 30)
        asked = sorted(logged(tinyproxy, site.port))
        assert asked == sorted(("GET", f"/{number}") for number in range(30))
        assert all("tiny.test" in str(request.via) for request in site.requests)
    else:
        await until(lambda: logged(tinyproxy, site.port))
        assert {method for method, _ in logged(tinyproxy, site.port)} == {"CONNECT"}
        assert all(request.via is None for request in site.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_wrong_credentials_put_the_proxy_out_and_cost_no_page(
    scheme: str, locked_tinyproxy: Server, server_context: ssl.SSLContext
) -> None:
    async with origin(scheme, server_context) as site:
        right = {"url": locked_tinyproxy.url("alice", "wonderland"), "name": "right"}
        wrong = {"url": locked_tinyproxy.url("bob", "wrong"), "name": "wrong"}
        crawler = await crawl(
            requests(scheme, site.port, 30), settings(right, wrong, RETRY_TIMES=0)
        )
        assert len(crawler.spider.responses) == 30
        assert len(site.requests) == 30
    assert states(crawler) == {"right": HealthState.HEALTHY, "wrong": HealthState.OUT}
    stats = proxybalance_stats(crawler)
    assert stats["proxies_out"] == 1
    assert stats["proxy/right/outcome/success"] == 30
    assert stats["failure/proxy_auth"] == stats["proxy/wrong/leases"] >= 1
    assert crawler.stats.get_value("finish_reason") == "finished"


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_no_credentials_where_some_are_needed_close_the_spider_and_nothing_goes_direct(
    scheme: str, locked_tinyproxy: Server, server_context: ssl.SSLContext
) -> None:
    async with origin(scheme, server_context) as site:
        bare = {"url": locked_tinyproxy.url(), "name": "bare"}
        crawler = await crawl(requests(scheme, site.port, 3), settings(bare))
        assert site.requests == []
    assert crawler.spider.responses == []
    assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
    assert states(crawler) == {"bare": HealthState.OUT}


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_a_site_that_is_down_is_not_tinyproxys_fault_and_pauses_nothing(
    scheme: str, open_tinyproxy: Server, server_context: ssl.SSLContext
) -> None:
    with dead_port() as port:
        async with origin(scheme, server_context) as site:
            crawler = await crawl(
                [*requests(scheme, port, 6), *requests(scheme, site.port, 30)],
                settings(
                    {"url": open_tinyproxy.url(), "name": "tinyproxy"},
                    RETRY_TIMES=1,
                    CLOSESPIDER_TIMEOUT=5,
                ),
            )
            assert len(crawler.spider.responses) == 30
            assert len(site.requests) == 30
    assert len(crawler.spider.failures) == 6
    stats = proxybalance_stats(crawler)
    assert not any(key.startswith("target/") for key in stats)
    assert "cooldowns" not in stats
    assert states(crawler) == {"tinyproxy": HealthState.HEALTHY}
