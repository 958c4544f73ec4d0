"""Our download handler by itself, without the pool: tunnels that come to nothing, kept connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.http1 import BadMessageError, encode, read_head
from loopback.listener import Connection, Gauge, Listener
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.core.downloader.handlers.http11 import TunnelError
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.plugin.classify import classify
from scrapy_proxybalance.plugin.handlers.download_handler import DownloadHandler
from scrapy_proxybalance.plugin.handlers.tunnel import LONGEST_ANSWER, Tunnel, _Connect
from scrapy_proxybalance.plugin.handlers.tunnel_errors import (
    ClosedAfterConnectError,
    ConnectClosedError,
    ConnectFailedError,
)

from .certificates import server_context
from .crawling import crawl, crawl_test

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Nothing is waited for until this has passed: a test that did would fail.
_LONG = 600

HANDLER: dict[str, Any] = {
    "ADDONS": {},
    "DOWNLOAD_HANDLERS": {"http": DownloadHandler, "https": DownloadHandler},
    "DOWNLOAD_TIMEOUT": _LONG,
    "RETRY_ENABLED": False,
    "CLOSESPIDER_TIMEOUT": 120,
}

#: What Scrapy 2.14 passes to Twisted for a TLS connection.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning"
)


class OddProxy(Listener):
    """Answers CONNECT as ``answer`` does, and keeps the connection open until the client closes it.

    :param answer: gets the connection when CONNECT has been read.
    """

    def __init__(self, answer: Callable[[Connection], None]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[str] = []
        self.open = Gauge()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, connection: Connection) -> None:
        with self.open:
            head = await read_head(connection.reader)
            if head is None:
                return
            self.asked.append(" ".join(head.first_line))
            self.answer(connection)
            await asyncio.Event().wait()  # the client's going away ends this


def says(data: bytes, *, then_closes: bool = False) -> Callable[[Connection], None]:
    def answer(connection: Connection) -> None:
        connection.writer.write(data)
        if then_closes:
            connection.writer.close()

    return answer


def keeps_silent(connection: Connection) -> None:
    """Nothing comes, ever."""


async def ask(proxy: OddProxy, count: int = 1, **settings: Any) -> list[Exception]:
    """Ask for https pages through a proxy; return what was raised, once the proxy sees us gone."""
    requests = [
        Request(f"https://site.test/{number}", meta={"proxy": proxy.url}) for number in range(count)
    ]
    crawler = await crawl(requests, {**HANDLER, **settings})
    assert crawler.spider.responses == []
    assert crawler.stats.get_value("finish_reason") == "finished"
    while proxy.open.current:  # no timeout: what is left open fails the test by hanging
        await asyncio.sleep(0.01)
    return [failure.value for failure in crawler.spider.failures]


# CONNECT


@pytest.mark.parametrize("how", ["closed", "reset"])
@crawl_test
async def test_a_close_in_answer_to_connect_is_known_without_waiting_for_the_timeout(
    how: str,
) -> None:
    def answer(connection: Connection) -> None:
        if how == "reset":
            connection.reset()
        else:
            connection.writer.close()

    async with OddProxy(answer) as proxy:
        [error] = await ask(proxy)
        assert proxy.asked == ["CONNECT site.test:443 HTTP/1.1"]
    assert type(error) is ConnectClosedError
    assert error.status is None
    assert error.headers == {}
    assert f"127.0.0.1:{proxy.port}" in str(error)
    verdict = classify(Request("https://site.test/"), error)
    assert (verdict.outcome, verdict.failure) == (Outcome.AMBIGUOUS, "connect_closed")


BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nProxy-Status: a\r\nproxy-status: b\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "failure"),
    [
        pytest.param(says(BUSY + b"\r\n"), 503, "connect_503", id="kept-open"),
        pytest.param(
            says(BUSY + b"Content-Length: 9\r\n\r\nsorry"), 503, "connect_503", id="with-a-body"
        ),
        pytest.param(
            says(BUSY.replace(b"\r\n", b"\n") + b"\n"), 503, "connect_503", id="bare-newlines"
        ),
        pytest.param(
            says(BUSY, then_closes=True), 503, "connect_503", id="closed-within-the-headers"
        ),
        pytest.param(
            says(BUSY + b"X: " + b"x" * 2 * LONGEST_ANSWER), 503, "connect_503", id="without-end"
        ),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n"), None, "connect_garbage", id="not-http"),
        pytest.param(
            says(b"HTTP/1.1 " + b"x" * 2 * LONGEST_ANSWER), None, "connect_garbage", id="no-status"
        ),
        pytest.param(says(b"HTTP", then_closes=True), None, "connect_garbage", id="a-few-bytes"),
    ],
)
@crawl_test
async def test_what_connect_was_answered_is_on_the_exception_and_the_connection_is_closed(
    answer: Callable[[Connection], None], status: int | None, failure: str
) -> None:
    async with OddProxy(answer) as proxy:
        [error] = await ask(proxy)
    assert type(error) is ConnectFailedError
    assert isinstance(error, TunnelError)
    assert error.status == status
    if status is not None:
        assert "'status': 503, 'reason': b'Busy'" in str(error)
        assert error.headers.get("Retry-After") == b"7"
        assert error.headers.getlist("Proxy-Status") == [b"a", b"b"]
    assert classify(Request("https://site.test/"), error).failure == failure


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_an_answer_is_read_in_whatever_pieces_it_comes(newline: bytes) -> None:
    connect = _Connect(Tunnel("site.test", 443, None, None), None)
    failed: list[Any] = []
    connect.ready = Deferred()
    connect.ready.addErrback(failed.append)
    connect.makeConnection(StringTransport())
    head = BUSY.replace(b"\r\n", newline) + newline
    for number, byte in enumerate(head, start=1):
        assert not failed, head[:number]
        connect.dataReceived(bytes([byte]))
    [failure] = failed
    assert failure.value.status == 503
    assert failure.value.headers.getlist("Proxy-Status") == [b"a", b"b"]


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("site.test", b"CONNECT site.test:8443 HTTP/1.1\r\nHost: site.test:8443\r\n"),
        ("::1", b"CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\n"),
    ],
)
def test_connect_names_the_target_and_has_the_credentials(host: str, sent: bytes) -> None:
    assert Tunnel(host, 8443, None, None).request() == sent + b"\r\n"
    authorization = b"Proxy-Authorization: Basic abc\r\n\r\n"
    assert Tunnel(host, 8443, b"Basic abc", None).request() == sent + authorization


@crawl_test
async def test_hung_connects_that_are_given_up_leave_no_connection_open() -> None:
    async with OddProxy(keeps_silent) as proxy:
        errors = await ask(
            proxy,
            32,
            DOWNLOAD_TIMEOUT=0.2,
            CONCURRENT_REQUESTS=4,
            CONCURRENT_REQUESTS_PER_DOMAIN=4,
        )
        assert len(proxy.asked) == 32
        assert proxy.open.peak <= 4 + 5
    assert len(errors) == 32
    assert {classify(Request("https://site.test/"), error).failure for error in errors} == {
        "timeout"
    }


@crawl_test
async def test_a_tunnel_that_hangs_before_tls_is_there_is_closed_when_its_time_is_up() -> None:
    async with OddProxy(says(b"HTTP/1.1 200 OK\r\n\r\n")) as proxy:
        [error] = await ask(proxy, DOWNLOAD_TIMEOUT=0.3)
    assert classify(Request("https://site.test/"), error).failure == "timeout"


@crawl_test
async def test_a_tunnel_that_is_closed_before_tls_is_there_is_told_from_a_connect_that_is() -> None:
    answer = says(b"HTTP/1.1 200 OK\r\nVia: 1.1 odd\r\n\r\n", then_closes=True)
    async with OddProxy(answer) as proxy:
        [error] = await ask(proxy)
    assert type(error) is ClosedAfterConnectError
    assert error.status == 200
    assert error.headers["Via"] == b"1.1 odd"
    verdict = classify(Request("https://site.test/"), error)
    assert (verdict.outcome, verdict.failure) == (Outcome.AMBIGUOUS, "closed_after_connect")


@crawl_test
async def test_a_target_that_closes_after_its_tls_is_there_is_not_taken_for_that(
    tmp_path: Path,
) -> None:
    async with (
        Closing(ssl_context=server_context(tmp_path)) as target,
        ForwardProxy("proxy") as proxy,
    ):
        request = Request(f"https://127.0.0.1:{target.port}/", meta={"proxy": proxy.url()})
        crawler = await crawl([request], HANDLER)
    [failure] = crawler.spider.failures
    assert not isinstance(failure.value, TunnelError)


class Closing(Listener):
    """Reads a request and closes the connection."""

    async def _serve(self, connection: Connection) -> None:
        try:
            await read_head(connection.reader)
        except BadMessageError:
            return


# Kept connections


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


class Answering(Listener):
    """Answers every request itself, and knows what each of its connections has carried."""

    def __init__(self) -> None:
        super().__init__()
        self.carried: list[list[tuple[str, str | None]]] = []
        self.open = Gauge()

    async def _serve(self, connection: Connection) -> None:
        carried: list[tuple[str, str | None]] = []
        self.carried.append(carried)
        with self.open:
            while (head := await read_head(connection.reader)) is not None:
                host = urlsplit(head.first_line[1]).netloc
                carried.append((host, head.values.get("proxy-authorization")))
                connection.writer.write(encode("HTTP/1.1 200 OK", [("Content-Length", "2")], b"ok"))


async def get_through(proxy: Answering, requests: list[tuple[str, str]], **settings: Any) -> None:
    """Ask for pages of hosts, each with a user's name or with none, one after the other."""
    asked = [
        Request(
            f"http://{host}/{number}",
            meta={"proxy": f"http://{user}127.0.0.1:{proxy.port}"},
        )
        for number, (host, user) in enumerate(requests)
    ]
    one_by_one = {"CONCURRENT_REQUESTS": 1}
    crawler = await crawl(asked, {**HANDLER, **one_by_one, **settings})
    assert len(crawler.spider.responses) == len(asked)


@crawl_test
async def test_a_kept_connection_is_used_again_for_the_same_host_port_and_credentials_only() -> (
    None
):
    kinds = [
        ("a.test", ""),
        ("b.test", ""),
        ("a.test:8080", ""),
        ("a.test", "alice:x@"),
        ("a.test", "bob:x@"),
    ]
    async with Answering() as proxy:
        await get_through(proxy, kinds * 10)
        assert [len(set(carried)) for carried in proxy.carried] == [1] * len(kinds)
        assert [len(carried) for carried in proxy.carried] == [10] * len(kinds)


@crawl_test
async def test_many_hosts_leave_no_more_idle_connections_to_a_proxy_than_one_host_does() -> None:
    hosts = [(f"{number}.test", "") for number in range(50)]
    async with Answering() as proxy:
        await get_through(proxy, hosts, CONCURRENT_REQUESTS_PER_DOMAIN=3)
        assert len(proxy.carried) == 50
        # One more is in use, and one more is being closed.
        assert proxy.open.peak <= 3 + 2


@crawl_test
async def test_a_tunnel_is_used_again_for_the_same_credentials_only(tmp_path: Path) -> None:
    async with (
        Origin(page, ssl_context=server_context(tmp_path)) as origin,
        ForwardProxy("proxy", credentials={"alice": "x", "bob": "y"}) as proxy,
    ):
        site = f"https://127.0.0.1:{origin.port}"
        requests = [
            Request(f"{site}/{number}/{user}", meta={"proxy": proxy.url(user)})
            for number in range(10)
            for user in ("alice", "bob")
        ]
        crawler = await crawl(requests, {**HANDLER, "CONCURRENT_REQUESTS": 1})
        assert len(crawler.spider.responses) == 20
        assert sorted(str(seen.username) for seen in proxy.requests) == ["alice", "bob"]


@crawl_test
async def test_a_wrong_certificate_of_the_target_is_not_taken_for_a_closed_tunnel(
    tmp_path: Path,
) -> None:
    async with (
        Origin(page, ssl_context=server_context(tmp_path)) as origin,
        ForwardProxy("proxy") as proxy,
    ):
        request = Request(f"https://127.0.0.1:{origin.port}/", meta={"proxy": proxy.url()})
        verifying = "scrapy.core.downloader.contextfactory.BrowserLikeContextFactory"
        crawler = await crawl([request], {**HANDLER, "DOWNLOADER_CLIENTCONTEXTFACTORY": verifying})
    [failure] = crawler.spider.failures
    assert not isinstance(failure.value, TunnelError)
