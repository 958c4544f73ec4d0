"""Crawls through Squid: what its access log says of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scrapy import Request

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

pytestmark = of_tls_with_old_scrapy

_HELPERS = ("/usr/lib/squid", "/usr/lib64/squid", "/usr/libexec/squid", "/usr/local/squid/libexec")

_CONFIGURATION = """
http_port 127.0.0.1:{port}
pid_filename none
visible_hostname squid.test
access_log stdio:{directory}/access.log squid
cache_log {directory}/cache.log
coredump_dir {directory}
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
{access}
http_access deny all
"""

_OPEN = """
acl denied urlpath_regex ^/denied
http_access deny denied
http_access allow all
"""

_NARROW = """
acl many maxconn 2
http_access deny many
http_access allow all
"""

_LOCKED = """
auth_param basic program {helper} {directory}/passwords
auth_param basic children 1 startup=1 idle=1
auth_param basic realm squid.test
acl known proxy_auth REQUIRED
http_access allow known
"""


@dataclass
class LogLine:
    """A line of Squid's own log format: one request, or one tunnel when it is closed."""

    result: str
    method: str
    url: str
    username: str


@contextmanager
def squid_server(access: str = _OPEN, **passwords: str) -> Iterator[Server]:
    """Run Squid; it asks for credentials if there are ``passwords`` by user name."""
    program = find_program("squid", "squid")

    def configure(port: int, directory: Path) -> str:
        rules = access
        if passwords:
            # The one hash of basic_ncsa_auth that Python makes in a word.
            hashed = {name: md5(word.encode()).hexdigest() for name, word in passwords.items()}  # noqa: S324
            entries = [f"{name}:{digest}\n" for name, digest in hashed.items()]
            (directory / "passwords").write_text("".join(entries))
            helpers = [Path(place) / "basic_ncsa_auth" for place in _HELPERS]
            [helper] = [path for path in helpers if path.exists()][:1]
            rules = _LOCKED.format(helper=helper, directory=directory)
        return _CONFIGURATION.format(port=port, directory=directory, access=rules)

    with running([program, "-N", "-f"], configure, user="proxy") as server:
        yield server


@pytest.fixture(scope="module")
def open_squid() -> Iterator[Server]:
    """Squid, open to everybody, but not for every page."""
    with squid_server() as server:
        yield server


@pytest.fixture(scope="module")
def narrow_squid() -> Iterator[Server]:
    """Squid that denies everything while a client has more than two connections."""
    with squid_server(_NARROW) as server:
        yield server


@pytest.fixture(scope="module")
def locked_squid() -> Iterator[Server]:
    """Squid that asks for credentials."""
    with squid_server(alice="wonder:land", bob="builder") as server:
        yield server


def access_log(server: Server, port: int) -> list[LogLine]:
    """Return what a server has logged of requests to a port of an origin."""
    lines = []
    for line in (server.directory / "access.log").read_text().splitlines():
        _, _, _, result, _, method, url, username, *_ = line.split()
        if f"127.0.0.1:{port}" in url:
            lines.append(LogLine(result, method, url, username))
    return lines


# The tests


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("username", [None, "alice"], ids=["open", "locked"])
@crawl_test
async def test_every_page_comes_through_squid(
    username: str | None,
    scheme: str,
    open_squid: Server,
    locked_squid: Server,
    server_context: ssl.SSLContext,
) -> None:
    squid = open_squid if username is None else locked_squid
    proxy = {"url": squid.url(username, "wonder%3Aland"), "name": "squid"}
    async with origin(scheme, server_context) as site:
        crawler = await crawl(requests(scheme, site.port, 30), settings(proxy))
        assert len(crawler.spider.responses) == 30
        assert crawler.spider.failures == []
        assert len(site.requests) == 30
    stats = proxybalance_stats(crawler)
    assert stats["outcome/success"] == stats["leases"] == 30
    assert not any(key.startswith("failure/") for key in stats)

    def carried() -> list[LogLine]:
        return [line for line in access_log(squid, site.port) if line.result.endswith("/200")]

    if scheme == "http":
        await until(lambda: len(carried()) == 30)
        urls = [f"http://127.0.0.1:{site.port}/{number}" for number in range(30)]
        assert sorted(line.url for line in carried()) == sorted(urls)
        assert all("squid.test" in str(request.via) for request in site.requests)
    else:
        await until(carried)
        assert {line.method for line in carried()} == {"CONNECT"}
        assert all(request.via is None for request in site.requests)
    assert {line.username for line in carried()} == {username or "-"}


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_wrong_credentials_put_the_proxy_out_and_cost_no_page(
    scheme: str, locked_squid: Server, server_context: ssl.SSLContext
) -> None:
    async with origin(scheme, server_context) as site:
        right = {"url": locked_squid.url("alice", "wonder%3Aland"), "name": "right"}
        wrong = {"url": locked_squid.url("bob", "wrong"), "name": "wrong"}
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
    log = access_log(locked_squid, site.port)
    assert not any(line.result.endswith("/200") and line.username == "bob" for line in log)
    assert crawler.stats.get_value("finish_reason") == "finished"


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_wrong_credentials_alone_close_the_spider_and_nothing_goes_direct(
    scheme: str, locked_squid: Server, server_context: ssl.SSLContext
) -> None:
    async with origin(scheme, server_context) as site:
        wrong = {"url": locked_squid.url("alice", "wrong"), "name": "wrong"}
        crawler = await crawl(requests(scheme, site.port, 3), settings(wrong))
        assert site.requests == []
    assert crawler.spider.responses == []
    assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
    assert states(crawler) == {"wrong": HealthState.OUT}


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_a_site_that_is_down_is_not_squids_fault_and_pauses_nothing(
    scheme: str, open_squid: Server, server_context: ssl.SSLContext
) -> None:
    with dead_port() as port:
        async with origin(scheme, server_context) as site:
            crawler = await crawl(
                [*requests(scheme, port, 6), *requests(scheme, site.port, 30)],
                settings(
                    {"url": open_squid.url(), "name": "squid"},
                    RETRY_TIMES=1,
                    CLOSESPIDER_TIMEOUT=5,
                ),
            )
            assert len(crawler.spider.responses) == 30
            assert len(site.requests) == 30
    # Squid's own page, or its answer to CONNECT, is what the spider gets to know in the end.
    assert len(crawler.spider.failures) == 6
    assert crawler.stats.get_value("retry/count") == 6
    stats = proxybalance_stats(crawler)
    if scheme == "http":
        assert stats["failure/squid_err_connect_fail"] == stats["outcome/gateway_fault"] == 12
    assert not any(key.startswith("target/") for key in stats)
    assert "cooldowns" not in stats
    assert states(crawler) == {"squid": HealthState.HEALTHY}
    await until(lambda: len(access_log(open_squid, port)) == 12)
    assert all(line.result.endswith("/503") for line in access_log(open_squid, port))


@crawl_test
async def test_a_page_that_squid_denies_is_its_own_fault_and_no_refusal_of_the_site(
    open_squid: Server, server_context: ssl.SSLContext
) -> None:
    async with origin("http", server_context) as site:
        denied = Request(f"http://127.0.0.1:{site.port}/denied")
        crawler = await crawl(
            [denied, *requests("http", site.port, 10)],
            settings(
                {"url": open_squid.url(), "name": "squid"},
                PROXYBALANCE_FORBIDDEN_THRESHOLD=1,
            ),
        )
        assert len(crawler.spider.responses) == 10
        assert len(site.requests) == 10
    assert len(crawler.spider.failures) == 1
    stats = proxybalance_stats(crawler)
    assert stats["failure/host_refused"] == stats["outcome/proxy_fault"] == 1
    assert stats["outcome/success"] == 10
    assert not any(key.startswith("target/") for key in stats)
    assert states(crawler) == {"squid": HealthState.HEALTHY}


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_what_squid_denies_for_the_number_of_connections_costs_no_page(
    scheme: str, narrow_squid: Server, server_context: ssl.SSLContext
) -> None:
    async with origin(scheme, server_context) as one, origin(scheme, server_context) as two:
        both = zip(requests(scheme, one.port, 40), requests(scheme, two.port, 40), strict=True)
        crawler = await crawl(
            [request for pair in both for request in pair],
            settings({"url": narrow_squid.url(), "name": "squid", "max_in_flight": 6}),
        )
        assert len(one.requests) == len(two.requests) == 40
    assert crawler.spider.failures == []
    assert len(crawler.spider.responses) == 80
    assert states(crawler) == {"squid": HealthState.HEALTHY}
    assert "pairs/rests" not in proxybalance_stats(crawler)
