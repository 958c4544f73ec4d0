"""Credentials reach the proxy that they are for, and nobody and nothing else."""

from __future__ import annotations

import base64
import json
import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from .certificates import server_context
from .crawling import crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loopback import http1
    from loopback.listener import Connection
    from scrapy import Request
    from scrapy.http import Response

PASSWORD = "s3cr3t/Pa55:word"
#: Scrapy 2.14 makes its TLS contexts in a way that Twisted has deprecated.
speaks_tls = pytest.mark.filterwarnings(
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning"
)
FORMS_OF_THE_PASSWORD = (
    PASSWORD,
    quote(PASSWORD, safe=""),
    "s3cr3t",  # a part says too much, too
    base64.b64encode(f"alice:{PASSWORD}".encode()).decode(),
)


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


class FailsOnce:
    """A handler that answers 500 to the first request for each path."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, request: OriginRequest) -> OriginResponse:
        if request.path in self._seen:
            return echo(request)
        self._seen.add(request.path)
        return OriginResponse(500)


class CutsOff(ForwardProxy):
    """A gateway that wants no credentials and cuts the connection of whoever sends some."""

    async def _answer(
        self, client: Connection, head: http1.Head, body: bytes, authorized: bool
    ) -> bool:
        if "proxy-authorization" in head.values:
            client.abort()
            return False
        return await super()._answer(client, head, body, authorized)


def pages(origin: Origin, number: int) -> list[str]:
    return [f"http://127.0.0.1:{origin.port}/{page}" for page in range(number)]


def assert_no_password_in(text: str) -> None:
    for form in FORMS_OF_THE_PASSWORD:
        assert form not in text


def texts_in(value: object) -> Iterator[str]:
    """Give every text in a nest of mappings and sequences, and the representation of the rest."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    else:
        yield str(value)


def assert_no_password_with(request: Request) -> None:
    for text in texts_in([request.meta, dict(request.headers), request.cb_kwargs]):
        assert_no_password_in(text)
    assert b"Proxy-Authorization" not in request.headers


@crawl_test
async def test_each_username_of_a_gateway_carries_its_own_requests_with_its_own_password() -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("gateway", credentials={"alice": PASSWORD, "bob": "builder"}) as gateway,
    ):
        urls = pages(origin, 60)
        crawler = await crawl(
            urls,
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": gateway.url("alice"), "name": "alice"},
                    {"url": gateway.url("bob"), "name": "bob"},
                ]
            },
        )
        assert all(request.authorized for request in gateway.requests)
        carried = {request.url: request.username for request in gateway.requests}
        assert set(carried.values()) == {"alice", "bob"}
        assert {
            response.url: response.meta["proxy_name"] for response in crawler.spider.responses
        } == carried
        assert len(carried) == 60
        assert not any("proxy-authorization" in request.headers for request in origin.requests)


@crawl_test
async def test_a_username_and_password_with_special_characters_arrive_as_they_are() -> None:
    username, password = "cust-1:zone@home", "p@ss:w/ö%rd#?"
    async with Origin(echo) as origin, ForwardProxy("one", credentials={"x": "x"}) as one:
        # Basic credentials end the username at the first colon.
        one.credentials = {"cust-1": f"zone@home:{password}"}
        crawler = await crawl(
            pages(origin, 3),
            {
                "HTTPPROXY_AUTH_ENCODING": "utf-8",
                "PROXYBALANCE_PROXIES": [
                    f"http://{quote(username, safe='')}:{quote(password, safe='')}"
                    f"@127.0.0.1:{one.port}"
                ],
            },
        )
        assert [request.authorized for request in one.requests] == [True] * 3
    assert len(crawler.spider.responses) == 3


@crawl_test
async def test_a_retry_through_the_same_gateway_without_credentials_carries_none() -> None:
    async with Origin(echo) as origin, CutsOff("gateway") as gateway:
        crawler = await crawl(
            pages(origin, 30),
            {
                "RETRY_TIMES": 1,
                "PROXYBALANCE_FAILURE_THRESHOLD": 10_000,
                "PROXYBALANCE_MAX_IN_FLIGHT": 100,
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_PROXIES": [
                    {"url": f"http://alice:{quote(PASSWORD, safe='')}@127.0.0.1:{gateway.port}"},
                    {"url": f"http://127.0.0.1:{gateway.port}", "name": "open"},
                ],
            },
        )
        cut = [request.url for request in gateway.requests if request.username == "alice"]
        served = [request.url for request in gateway.requests if request.username is None]
        assert cut
        assert sorted(served) == sorted(pages(origin, 30))
        assert len(gateway.requests) == len(cut) + len(served)
    assert {response.meta["proxy_name"] for response in crawler.spider.responses} == {"open"}
    # Twisted sends a request by itself once more when a connection that it keeps alive is cut.
    # What looks like an outage of the gateway costs no retry.
    assert crawler.stats.get_value("retry/count", 0) <= len(set(cut))


@crawl_test
async def test_a_retry_of_an_error_page_goes_out_with_the_credentials_of_its_new_proxy() -> None:
    async with (
        Origin(FailsOnce()) as origin,
        ForwardProxy("gateway", credentials={"alice": PASSWORD, "bob": "builder"}) as gateway,
    ):
        crawler = await crawl(
            pages(origin, 60),
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": gateway.url("alice"), "name": "alice"},
                    {"url": gateway.url("bob"), "name": "bob"},
                ]
            },
        )
        assert all(request.authorized for request in gateway.requests)
        last_carried = {request.url: request.username for request in gateway.requests}
        assert len(gateway.requests) == 120
        assert not any("proxy-authorization" in request.headers for request in origin.requests)
    assert {
        response.url: response.meta["proxy_name"] for response in crawler.spider.responses
    } == last_carried


@speaks_tls
@crawl_test
async def test_tunnels_are_opened_with_the_credentials_of_their_proxy(tmp_path: Path) -> None:
    async with (
        Origin(echo, ssl_context=server_context(tmp_path)) as origin,
        ForwardProxy(
            "gateway",
            credentials={"alice": PASSWORD, "bob": "builder"},
            resolve={"secure.example": (origin.host, origin.port)},
        ) as gateway,
    ):
        crawler = await crawl(
            [f"https://secure.example/{page}" for page in range(40)],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": gateway.url("alice"), "name": "alice"},
                    {"url": gateway.url("bob"), "name": "bob"},
                ]
            },
        )
        assert {request.method for request in gateway.requests} == {"CONNECT"}
        assert {request.username for request in gateway.requests} == {"alice", "bob"}
        assert all(request.authorized for request in gateway.requests)
        assert len(origin.requests) == 40
        assert not any("proxy-authorization" in request.headers for request in origin.requests)
    assert {response.meta["proxy_name"] for response in crawler.spider.responses} == {
        "alice",
        "bob",
    }
    for response in crawler.spider.responses:
        assert_no_password_with(response.request)


@speaks_tls
@crawl_test
async def test_no_request_goes_through_the_tunnel_of_another_username(tmp_path: Path) -> None:
    async with (
        Origin(echo, ssl_context=server_context(tmp_path)) as origin,
        ForwardProxy(
            "gateway",
            credentials={"alice": PASSWORD},
            resolve={"secure.example": (origin.host, origin.port)},
        ) as gateway,
    ):
        crawler = await crawl(
            [f"https://secure.example/{page}" for page in range(10)],
            {
                # Alice's tunnel is there, and idle, whenever it is Mallory's turn.
                "CONCURRENT_REQUESTS": 1,
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_PROXIES": [
                    {"url": gateway.url("alice"), "name": "alice"},
                    {"url": f"http://mallory:x@127.0.0.1:{gateway.port}", "name": "mallory"},
                ],
            },
        )
        assert [request.authorized for request in gateway.requests] == [True, *[False] * 3]
        assert [request.username for request in gateway.requests] == ["alice", *["mallory"] * 3]
    assert len(crawler.spider.responses) == 10
    assert {response.meta["proxy_name"] for response in crawler.spider.responses} == {"alice"}
    assert proxybalance_stats(crawler)["proxy/mallory/outcome/proxy_fault"] == 3


@crawl_test
async def test_the_password_is_neither_logged_nor_counted_nor_reported_nor_shown_to_the_spider(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stats_file = tmp_path / "stats.json"
    async with (
        Origin(FailsOnce()) as origin,
        ForwardProxy("good", credentials={"alice": PASSWORD}) as good,
        ForwardProxy("flaky", credentials={"alice": PASSWORD}) as flaky,
        ForwardProxy("dead", credentials={"alice": PASSWORD}) as dead,
        ForwardProxy("locked", credentials={"alice": PASSWORD}) as locked,
    ):
        flaky.behaviour, flaky.fail_rate = Behaviour.FLAKY, 0.5
        await dead.close()  # its port refuses connections
        locked.behaviour = Behaviour.UNAUTHORIZED
        crawler = await crawl(
            [*pages(origin, 40), "http://127.0.0.1:1/nobody-there"],
            {
                "RETRY_TIMES": 8,
                "PROXYBALANCE_COOLDOWN": 0.2,
                "PROXYBALANCE_COOLDOWN_MAX": 0.2,
                "PROXYBALANCE_FAILURE_THRESHOLD": 1,
                "PROXYBALANCE_STATS_FILE": str(stats_file),
                "PROXYBALANCE_PROXIES": [p.url("alice") for p in (good, flaky, dead, locked)],
            },
        )
        assert any(request.authorized for request in good.requests)
    assert len(crawler.spider.responses) == 40
    assert len(crawler.spider.failures) == 1
    for response in crawler.spider.responses:
        assert_no_password_with(response.request)
    for failure in crawler.spider.failures:
        assert_no_password_with(failure.request)
    assert "is out of the pool" in caplog.text
    assert "cools down" in caplog.text
    for record in caplog.records:
        assert_no_password_in(record.getMessage())
    for text in texts_in(crawler.stats.get_stats()):
        assert_no_password_in(text)
    report = stats_file.read_text()
    assert len(json.loads(report)["proxies"]) == 4
    assert_no_password_in(report)


class SendBackOnce:
    """Returns the first response to each URL as a new request: a copy, headers and all."""

    def process_response(self, request: Request, response: Response) -> Request | Response:
        if "sent_back" in request.meta:
            return response
        return request.replace(meta={**request.meta, "sent_back": True}, dont_filter=True)


@pytest.mark.parametrize(
    "middlewares",
    [
        pytest.param({}, id="plain"),
        pytest.param({SendBackOnce: 600}, id="copied-behind-us"),
        pytest.param({SendBackOnce: 745}, id="copied-between-us-and-the-header"),
        pytest.param({SendBackOnce: 800}, id="copied-with-the-header"),
    ],
)
@crawl_test
async def test_the_password_is_not_on_disk_when_a_job_is_broken_off(
    middlewares: dict[Any, int], tmp_path: Path
) -> None:
    async with (
        Origin(FailsOnce()) as origin,
        ForwardProxy("flaky", credentials={"alice": PASSWORD}) as flaky,
    ):
        flaky.behaviour, flaky.fail_rate = Behaviour.FLAKY, 0.3
        crawler = await crawl(
            pages(origin, 200),
            {
                "JOBDIR": str(tmp_path / "job"),
                "RETRY_TIMES": 50,
                "RETRY_PRIORITY_ADJUST": -1,  # so that what was tried once is still there
                "CLOSESPIDER_PAGECOUNT": 1,
                "DOWNLOADER_MIDDLEWARES": middlewares,
                "PROXYBALANCE_FAILURE_THRESHOLD": 10_000,
                "PROXYBALANCE_PROXIES": [flaky.url("alice")],
            },
        )
        tried = {request.url for request in flaky.requests}
    assert crawler.stats.get_value("finish_reason") == "closespider_pagecount"
    queued = b"".join(
        path.read_bytes() for path in sorted((tmp_path / "job").rglob("*")) if path.is_file()
    ).decode("latin-1")
    on_disk = set(re.findall(r"http://127\.0\.0\.1:\d+/\d+", queued))
    assert on_disk & tried  # some of what is there had an attempt before
    assert_no_password_in(queued)
    assert "Proxy-Authorization" not in queued
