"""Every download handler: whose fault what went wrong is, and what is neither lost nor shown."""

from __future__ import annotations

import base64
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy.settings import Settings as ScrapySettings

from scrapy_proxybalance.core import ConfigurationError
from scrapy_proxybalance.plugin.config.proxy_checks import refuse_unworkable
from scrapy_proxybalance.plugin.config.settings import Settings

from ..crawl.certificates import server_context
from ..crawl.crawling import crawl, crawl_test, proxybalance_stats
from .available import FILTERS, HANDLERS, Handler, verifying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from scrapy.crawler import Crawler

pytestmark = [pytest.mark.filterwarnings(text) for text in FILTERS]
every_handler = pytest.mark.parametrize(
    "handler", [pytest.param(handler, id=name) for name, handler in HANDLERS.items()]
)

PAGES = 60
SITE = "secure.example"
PASSWORD = "s3cr3t-Pa55.word"
DEAD = "http://127.0.0.1:1"
#: No test comes near it.
HANGING = 60


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


class Listening(ForwardProxy):
    """Remembers the credentials that it was sent, to the byte."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[bytes] = []

    async def _answer(self, client: Any, head: Any, body: bytes, authorized: bool) -> bool:
        _, _, encoded = head.values.get("proxy-authorization", "").partition(" ")
        self.seen.append(base64.b64decode(encoded))
        return await super()._answer(client, head, body, authorized)


def wait_for_ever(**changes: Any) -> dict[str, Any]:
    return {"CLOSESPIDER_TIMEOUT": HANGING, "RETRY_TIMES": 8, **changes}


@asynccontextmanager
async def secure_site(
    directory: Path, count: int, certificate_of: str = SITE, **proxy: Any
) -> AsyncIterator[tuple[Origin, list[Listening]]]:
    """Give a site with TLS, and proxies that reach it."""
    context = server_context(directory, certificate_of)
    async with Origin(echo, ssl_context=context) as origin:
        resolve = {SITE: (origin.host, origin.port)}
        proxies = [Listening(f"proxy-{n}", resolve=resolve, **proxy) for n in range(count)]
        try:
            for one in proxies:
                await one.__aenter__()
            yield origin, proxies
        finally:
            for one in proxies:
                await one.close()


def pages(handler: Handler, count: int = PAGES, *, verify: bool = False) -> list[Any]:
    return [handler.request(f"https://{SITE}/{page}", verify=verify) for page in range(count)]


def failures(crawler: Crawler) -> dict[str, int]:
    return {
        key.removeprefix("failure/"): count
        for key, count in proxybalance_stats(crawler).items()
        if key.startswith("failure/")
    }


@every_handler
@crawl_test
async def test_no_page_is_lost_to_a_dead_proxy_and_to_one_that_refuses_the_password(
    handler: Handler, tmp_path: Path
) -> None:
    async with secure_site(tmp_path, 2, credentials={"alice": PASSWORD}) as (_, proxies):
        good, locked = proxies
        locked.credentials = {"alice": "another"}
        crawler = await crawl(
            pages(handler),
            handler.settings(
                **wait_for_ever(),
                PROXYBALANCE_PROXIES=[
                    {"url": good.url("alice"), "name": "good"},
                    {"url": DEAD, "name": "dead"},
                    {"url": f"http://alice:{PASSWORD}@127.0.0.1:{locked.port}", "name": "locked"},
                ],
            ),
        )
        assert len(locked.requests) <= 3
    assert len(crawler.spider.responses) == PAGES
    assert set(failures(crawler)) == {"connection_refused", "proxy_auth"}


def unauthorized(proxy: ForwardProxy) -> None:
    proxy.behaviour = Behaviour.UNAUTHORIZED


def answering(status: int) -> Callable[[ForwardProxy], None]:
    def behave(proxy: ForwardProxy) -> None:
        proxy.behaviour, proxy.error_status = Behaviour.ERROR, status

    return behave


@pytest.mark.parametrize(
    ("behave", "failure"),
    [
        pytest.param(unauthorized, "proxy_auth", id="407"),
        pytest.param(answering(502), "connect_502", id="502"),
        pytest.param(answering(403), "host_refused", id="403"),
    ],
)
@every_handler
@crawl_test
async def test_what_connect_was_answered_is_known(
    handler: Handler, behave: Callable[[ForwardProxy], None], failure: str, tmp_path: Path
) -> None:
    async with secure_site(tmp_path, 1) as (_, [proxy]):
        behave(proxy)
        crawler = await crawl(
            pages(handler, 1),
            handler.settings(RETRY_ENABLED=False, PROXYBALANCE_PROXIES=[proxy.url()]),
        )
    # Without any answer the page waits, and is tried until the credentials are certainly wrong.
    counted = failures(crawler)
    assert set(counted) == {failure}
    assert counted[failure] <= (4 if failure == "proxy_auth" else 1)


@pytest.mark.parametrize(
    ("proxy", "failure"), [(DEAD, "connection_refused"), ("http://proxy.invalid:1", "dns")]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@every_handler
@crawl_test
async def test_why_a_proxy_is_not_reached_is_known(
    handler: Handler, scheme: str, proxy: str, failure: str
) -> None:
    crawler = await crawl(
        [handler.request(f"{scheme}://{SITE}/")],
        handler.settings(RETRY_ENABLED=False, PROXYBALANCE_PROXIES=[proxy]),
    )
    assert failures(crawler) == {failure: 1}
    assert proxybalance_stats(crawler)["outcome/proxy_fault"] == 1


@every_handler
@crawl_test
async def test_a_proxy_that_resets_connections_is_suspected_and_loses_no_page(
    handler: Handler,
) -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("good") as good,
        ForwardProxy("bad", behaviour=Behaviour.REFUSE) as bad,
    ):
        crawler = await crawl(
            [handler.request(f"http://127.0.0.1:{origin.port}/{n}") for n in range(30)],
            handler.settings(
                **wait_for_ever(),
                PROXYBALANCE_PROXIES=[
                    {"url": good.url(), "name": "good"},
                    {"url": bad.url(), "name": "bad"},
                ],
            ),
        )
    assert len(crawler.spider.responses) == 30
    stats = proxybalance_stats(crawler)
    assert stats["proxy/bad/leases"] <= 12  # the others went through the good one
    assert "outcome/ignored" not in stats


@every_handler
@crawl_test
async def test_a_certificate_that_does_not_verify_costs_no_proxy_anything(
    handler: Handler, tmp_path: Path
) -> None:
    async with (
        secure_site(tmp_path, 4, certificate_of="another.example") as (_, proxies),
        Origin(echo) as plain,
    ):
        for proxy in proxies:
            proxy.resolve = {**(proxy.resolve or {}), "plain.example": (plain.host, plain.port)}
        others = [handler.request(f"http://plain.example/{page}") for page in range(20)]
        crawler = await crawl(
            [*pages(handler, 20, verify=True), *others],
            handler.settings(
                **wait_for_ever(),
                **verifying(),
                PROXYBALANCE_PROXIES=[proxy.url() for proxy in proxies],
            ),
        )
        tunnels = [r for proxy in proxies for r in proxy.requests if r.method == "CONNECT"]
    stats = proxybalance_stats(crawler)
    assert len(crawler.spider.responses) == 20
    assert len(crawler.spider.failures) == 20
    assert "cooldowns" not in stats
    assert stats["outcome/ignored"] == stats["failure/certificate"] == len(tunnels)
    assert len(tunnels) <= 20 + len(proxies) * 4  # those that were out when the first came back
    assert stats["outcome/success"] == 20
    assert not any(key.endswith("/pauses") for key in stats)


class Intercepting(ForwardProxy):
    """Answers every CONNECT with a site of its own."""

    def _address(self, url: Any, default_port: int | None = None) -> tuple[str, int]:
        return super()._address(url._replace(netloc="own.example:443"), default_port)


@pytest.mark.parametrize("handler", [HANDLERS["default"]], ids=["default"])
@crawl_test
async def test_a_proxy_that_shows_another_certificate_than_the_others_loses_no_page(
    handler: Handler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    certificate = tmp_path / "server.pem"
    async with secure_site(tmp_path, 2) as (_, [good, also_good]):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        own_context = server_context(tmp_path / "own", "own.example")
        async with Origin(echo, ssl_context=own_context) as own:
            bad = Intercepting("bad", resolve={"own.example": (own.host, own.port)})
            async with bad:
                crawler = await crawl(
                    pages(handler, 40, verify=True),
                    handler.settings(
                        **wait_for_ever(),
                        **verifying(),
                        PROXYBALANCE_PROXIES=[
                            {"url": good.url(), "name": "good"},
                            {"url": also_good.url(), "name": "also-good"},
                            {"url": bad.url(), "name": "bad"},
                        ],
                    ),
                )
    stats = proxybalance_stats(crawler)
    assert len(crawler.spider.responses) == 40
    assert {key for key in stats if key.endswith("/cooldowns")} <= {"proxy/bad/cooldowns"}


@every_handler
@crawl_test
async def test_no_log_line_holds_a_password_that_is_wrong(
    handler: Handler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with secure_site(tmp_path, 3, credentials={"alice": "another"}) as (_, proxies):
        proxies[1].behaviour = Behaviour.FLAKY
        proxies[1].fail_rate = 1.0
        proxies[2].behaviour, proxies[2].error_status = Behaviour.ERROR, 502
        proxies[1].credentials = proxies[2].credentials = {"alice": PASSWORD}
        crawler = await crawl(
            [*pages(handler, 5), handler.request("http://127.0.0.1:1/")],
            handler.settings(
                RETRY_TIMES=1,
                DOWNLOAD_TIMEOUT=2,
                PROXYBALANCE_EXHAUSTED_TIMEOUT=1,
                PROXYBALANCE_PROXIES=[
                    f"http://alice:{PASSWORD}@127.0.0.1:{proxy.port}" for proxy in proxies
                ],
            ),
        )
    assert "its credentials were refused" in caplog.text
    assert "Retrying <GET" in caplog.text
    formatter = logging.Formatter()
    for record in caplog.records:
        text = formatter.format(record)
        assert PASSWORD not in text, text
    for failure in crawler.spider.failures:
        assert PASSWORD not in failure.getTraceback()


# What a handler cannot send is refused when the crawl starts


BREAKS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "aiohttp": [
        ("http://a:p%2Fw@127.0.0.1:1", {}),
        ("http://a%2Fb:pw@127.0.0.1:1", {}),
        ("http://a:p%C3%B6@127.0.0.1:1", {"HTTPPROXY_AUTH_ENCODING": "utf-8"}),
        ("socks5://127.0.0.1:1", {}),
    ],
    "httpx": [
        ("http://a:p%2Fw@127.0.0.1:1", {}),
        ("http://a:p%C3%B6@127.0.0.1:1", {"HTTPPROXY_AUTH_ENCODING": "latin-1"}),
        ("socks4://127.0.0.1:1", {}),
    ],
    "curl": [
        ("http://a:p%2Fw@127.0.0.1:1", {}),
        ("http://a:p%C3%B6@127.0.0.1:1", {"HTTPPROXY_AUTH_ENCODING": "latin-1"}),
    ],
    "impersonate": [("socks5://a:p%3Aw@127.0.0.1:1", {})],
}


@pytest.mark.parametrize(
    ("name", "url", "settings"),
    [(name, *row) for name, rows in BREAKS.items() if name in HANDLERS for row in rows]
    or [("default", "socks5://127.0.0.1:1", {})],
)
def test_a_proxy_that_a_handler_cannot_use_is_refused_and_named(
    name: str, url: str, settings: dict[str, str]
) -> None:
    entry = {"url": url, "name": "odd"}
    with pytest.raises(ConfigurationError, match="proxy odd") as raised:
        refuse(HANDLERS[name].settings(PROXYBALANCE_PROXIES=[entry], **settings))
    assert "p/w" not in str(raised.value)
    assert "p:w" not in str(raised.value)


def refuse(settings: dict[str, Any]) -> None:
    scrapy_settings = ScrapySettings(settings)
    refuse_unworkable(scrapy_settings, Settings.read(scrapy_settings))


@pytest.mark.parametrize(
    "password", ["p@ss:w#?%&=+ d", "p/ss/w", "\u00f6\u00e4"], ids=["special", "slash", "latin-1"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@every_handler
@crawl_test
async def test_a_password_arrives_as_it_is_unless_it_was_refused(
    handler: Handler, scheme: str, password: str, tmp_path: Path
) -> None:
    encoding = "utf-8" if handler.name in ("httpx", "curl") else "latin-1"
    settings = handler.settings(
        HTTPPROXY_AUTH_ENCODING=encoding, RETRY_ENABLED=False, PROXYBALANCE_EXHAUSTED_TIMEOUT=1
    )
    async with secure_site(tmp_path, 1) as (_, [proxy]), Origin(echo) as plain:
        proxy.resolve = {**(proxy.resolve or {}), "plain.example": (plain.host, plain.port)}
        settings["PROXYBALANCE_PROXIES"] = [
            f"http://al:{quote(password, safe='')}@127.0.0.1:{proxy.port}"
        ]
        try:
            refuse(settings)
        except ConfigurationError:
            assert "/" in password
            return
        host = SITE if scheme == "https" else "plain.example"
        await crawl([handler.request(f"{scheme}://{host}/")], settings)
        assert proxy.seen == [f"al:{password}".encode(encoding)]
