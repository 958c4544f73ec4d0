"""A gateway that takes only so much, or goes down for a while: real crawls through real ones."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from scrapy_proxybalance.core.events import AttemptStarted, GatewayReopened, GatewayTripped

from .certificates import server_context
from .crawling import crawl, crawl_test, proxybalance_stats
from .test_bad_proxies import bodies, pages, paths, subscribe

if TYPE_CHECKING:
    from pathlib import Path

    from loopback import http1
    from loopback.listener import Connection

    from scrapy_proxybalance.core.events import Event

PASSWORD = "s3cr3t"

#: Scrapy 2.14 makes its TLS contexts in a way that Twisted has deprecated.
speaks_tls = pytest.mark.filterwarnings(
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning"
)


class LimitedGateway(ForwardProxy):
    """Answers CONNECT with 503 while it serves ``limit`` tunnels already."""

    limit = 5
    rejected = 0

    async def _answer(
        self, client: Connection, head: http1.Head, body: bytes, authorized: bool
    ) -> bool:
        if self.in_flight <= self.limit:
            return await super()._answer(client, head, body, authorized)
        self.rejected += 1
        client.writer.write(self._page(503, alive=False))
        await client.writer.drain()
        return False


async def slow_echo(request: OriginRequest) -> OriginResponse:
    await asyncio.sleep(0.05)
    # Closed, so that no idle tunnel counts against the limit.
    return OriginResponse(headers=[("Connection", "close")], body=request.path.encode())


def users(number: int) -> dict[str, str]:
    return {f"user-{one}": PASSWORD for one in range(number)}


def entries(gateway: ForwardProxy) -> list[dict[str, Any]]:
    return [{"url": gateway.url(name), "name": name} for name in gateway.credentials or ()]


@speaks_tls
@crawl_test
async def test_a_gateway_that_rejects_above_its_limit_gets_less_and_hardly_an_exit_pays_for_it(
    tmp_path: Path,
) -> None:
    async with (
        Origin(slow_echo, ssl_context=server_context(tmp_path)) as origin,
        LimitedGateway(
            "gateway",
            credentials=users(12),
            resolve={"secure.example": (origin.host, origin.port)},
        ) as gateway,
    ):
        crawler = await crawl(
            [f"https://secure.example/{page}" for page in range(200)],
            {
                "CONCURRENT_REQUESTS": 40,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 40,
                "PROXYBALANCE_PROXIES": entries(gateway),
            },
        )
        assert bodies(crawler) == paths(200)
        asked = len(gateway.requests)
        rejected = gateway.rejected
        host = f"127.0.0.1:{gateway.port}"
    stats = proxybalance_stats(crawler)
    assert crawler.spider.failures == []
    assert rejected
    assert rejected < 0.5 * asked  # without a limit it would be nearly all
    assert stats[f"gateway/{host}/rejections"] == rejected
    assert 1 <= stats[f"gateway/{host}/limit"] < 20  # what it begins with; it may be growing again
    assert stats[f"gateway/{host}/in_flight/max"] >= 5
    assert f"gateway/{host}/trips" not in stats
    # Which exit a rejection meets is chance, and one of twelve may have looked broken by that.
    assert stats.get("cooldowns", 0) <= 1


@speaks_tls
@crawl_test
async def test_a_fixed_limit_of_a_gateway_is_never_exceeded(tmp_path: Path) -> None:
    async with (
        Origin(slow_echo, ssl_context=server_context(tmp_path)) as origin,
        LimitedGateway(
            "gateway",
            credentials=users(12),
            resolve={"secure.example": (origin.host, origin.port)},
        ) as gateway,
    ):
        crawler = await crawl(
            [f"https://secure.example/{page}" for page in range(60)],
            {
                "CONCURRENT_REQUESTS": 40,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 40,
                "PROXYBALANCE_GATEWAYS": {f"127.0.0.1:{gateway.port}": {"max_in_flight": 4}},
                "PROXYBALANCE_PROXIES": entries(gateway),
            },
        )
        assert bodies(crawler) == paths(60)
        assert origin.peak_in_flight <= 4
        assert proxybalance_stats(crawler)["in_flight/max"] == 4


@crawl_test
async def test_a_gateway_that_is_down_for_a_while_costs_no_page_and_no_proxy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        Origin(slow_echo) as origin,
        ForwardProxy("gateway", credentials=users(6)) as gateway,
    ):
        seen: list[Event] = []
        probes = 0

        def watch(event: Event) -> None:
            nonlocal probes
            if isinstance(event, GatewayTripped | GatewayReopened):
                seen.append(event)
            elif isinstance(event, AttemptStarted) and event.attempt.gateway_probe:
                probes += 1
                if probes == 2:
                    gateway.behaviour = Behaviour.HEALTHY

        def go_down() -> None:
            gateway.behaviour = Behaviour.REFUSE

        async def breaking(request: OriginRequest) -> OriginResponse:
            if request.path == "/30":
                go_down()
            return await slow_echo(request)

        origin._handler = breaking
        crawler = await crawl(
            pages(origin, 120),
            {
                "RETRY_TIMES": 1,
                "PROXYBALANCE_PROXIES": entries(gateway),
            },
            prepare=subscribe(watch),
        )
        host = f"127.0.0.1:{gateway.port}"
    assert bodies(crawler) == paths(120)
    assert crawler.spider.failures == []
    assert crawler.stats.get_value("finish_reason") == "finished"
    assert [type(event) for event in seen] == [GatewayTripped, GatewayReopened]
    assert probes == 2
    stats = proxybalance_stats(crawler)
    # What failed before that could be suspected: no more than was under way when it began.
    assert crawler.stats.get_value("retry/count", 0) <= stats["in_flight/max"]
    assert stats[f"gateway/{host}/trips"] == 1
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("scrapy_proxybalance")
    ]
    assert len(warnings) == 1
    assert host in warnings[0]
    assert "credentials" in warnings[0]
    assert PASSWORD not in caplog.text


@crawl_test
async def test_a_crawl_whose_gateway_stays_down_ends_and_what_is_left_is_kept() -> None:
    async with (
        Origin(slow_echo) as origin,
        ForwardProxy("gateway", credentials=users(6), behaviour=Behaviour.REFUSE) as gateway,
    ):
        crawler = await crawl(
            [*pages(origin, 20), *(f"http://localhost:{origin.port}/{page}" for page in range(20))],
            {
                "RETRY_TIMES": 10,
                "PROXYBALANCE_EXHAUSTED_TIMEOUT": 1.5,
                "CLOSESPIDER_TIMEOUT": 120,
                "PROXYBALANCE_PROXIES": entries(gateway),
            },
        )
        assert origin.requests == []
    assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"
    assert crawler.spider.responses == []
    assert crawler.spider.failures == []
