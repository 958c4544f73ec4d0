"""Metrics for Prometheus: what a scraper sees while a crawl runs, and that nobody holds a crawl up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import signals

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.core import ConfigurationError
from scrapy_proxybalance.reporting.live import server as status_server
from scrapy_proxybalance.reporting.live.crawl_thread import CrawlThread
from scrapy_proxybalance.reporting.live.metrics import BUCKETS, Buckets

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats
from .metrics_probe import Look, fetch, metrics_url, of, samples

if TYPE_CHECKING:
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


@crawl_test
async def test_what_a_scraper_sees_is_what_the_stats_the_log_and_the_origin_say(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    log = tmp_path / "requests.jsonl"
    look = Look(lambda: fetch(metrics_url(caplog)))
    refusals = iter([OriginResponse(429, [("Retry-After", "1")])])
    async with (
        Origin(lambda request: next(refusals, None) or page(request)) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two") as two,
        ForwardProxy("bad") as bad,
    ):
        await bad.close()
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(60)],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": server.url(), "name": server.name} for server in (one, two, bad)
                ],
                "PROXYBALANCE_METRICS_PORT": 0,
                "PROXYBALANCE_REQUEST_LOG": log,
            },
            prepare=look.prepare,
        )
    found = samples(str(look.result()))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    stats = proxybalance_stats(crawler)
    requests = of(found, "proxybalance_requests_total", spider="urls")
    assert sum(requests.values()) == stats["leases"] == len(rows)
    for (outcome, proxy), count in requests.items():
        assert count == stats[f"proxy/{proxy}/outcome/{outcome}"]
        assert count == sum(row["proxy"] == proxy and row["outcome"] == outcome for row in rows)
    assert len(origin.requests) == sum(row["status"] is not None for row in rows)
    assert of(found, "proxybalance_refusals_total", spider="urls") == {
        (f"127.0.0.1:{origin.port}",): 1.0
    }
    assert of(found, "proxybalance_target_paused", spider="urls") == {
        (f"127.0.0.1:{origin.port}",): 0.0
    }
    successes = stats["outcome/success"]
    assert of(found, "proxybalance_request_latency_seconds_count") == {("urls",): successes}
    assert of(found, "proxybalance_wait_seconds_count") == {("urls",): len(rows)}
    assert of(found, "proxybalance_in_flight") == {
        ("bad", "urls"): 0,
        ("one", "urls"): 0,
        ("two", "urls"): 0,
    }
    assert sum(of(found, "proxybalance_proxies", spider="urls").values()) == 3
    assert of(found, "proxybalance_capacity") == {("urls",): 12}


@crawl_test
async def test_a_large_pool_is_added_up_by_pool_country_and_provider(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    look = Look(lambda: fetch(metrics_url(caplog)))
    users = {f"user-{number}": "password" for number in range(20)}
    async with Origin(page) as origin, ForwardProxy("one", credentials=users) as one:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(30)],
            {
                "PROXYBALANCE_PROXIES": [
                    {
                        "url": one.url(f"user-{number}"),
                        "country": "de" if number % 2 else "at",
                        "provider": "acme",
                    }
                    for number in range(20)
                ],
                "PROXYBALANCE_METRICS_PORT": 0,
                "PROXYBALANCE_METRICS_PER_PROXY": 19,
            },
            prepare=look.prepare,
        )
    text = str(look.result())
    found = samples(text)
    requests = of(found, "proxybalance_requests_total", spider="urls", outcome="success")
    assert set(requests) <= {("at/acme",), ("de/acme",)}
    assert sum(requests.values()) == 30
    assert "user-" not in text


@crawl_test
async def test_two_spiders_of_a_process_share_a_port_and_the_last_one_closes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    both = threading.Barrier(2, timeout=20)

    def scrape() -> str:
        both.wait()  # both spiders are open
        text = fetch(metrics_url(caplog))
        both.wait()
        return text

    looks = Look(scrape), Look(scrape)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with Origin(page) as origin, ForwardProxy("one") as one:
        settings: dict[str, Any] = {
            "PROXYBALANCE_PROXIES": [one.url()],
            "PROXYBALANCE_METRICS_PORT": port,
        }
        url = f"http://127.0.0.1:{origin.port}/"
        await asyncio.gather(
            crawl([url], settings, prepare=looks[0].prepare),
            crawl([url, f"{url}2"], settings, prepare=looks[1].prepare),
        )
    for look in looks:
        found = samples(str(look.result()))
        requests = of(found, "proxybalance_requests_total", outcome="success")
        assert sorted(value for value in requests.values()) == [1, 2]
        assert {spider for _, spider in requests} == {"urls", "urls-2"}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@crawl_test
async def test_a_port_in_use_is_one_error_and_the_crawl_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with Origin(page) as origin, ForwardProxy("one") as one:
            crawler = await crawl(
                [f"http://127.0.0.1:{origin.port}/"],
                {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_METRICS_PORT": port},
            )
    assert len(crawler.spider.responses) == 1
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert f"PROXYBALANCE_METRICS_PORT = {port}" in error.getMessage()
    assert "in use" in error.getMessage()


@pytest.mark.parametrize("port", ["web", -1, 70000, True, 1.5])
@crawl_test
async def test_what_is_no_port_stops_the_start(port: object) -> None:
    with pytest.raises(ConfigurationError, match=r"PROXYBALANCE_METRICS_PORT = .*number of a port"):
        await crawl(
            [],
            {"PROXYBALANCE_PROXIES": ["http://127.0.0.1:1"], "PROXYBALANCE_METRICS_PORT": port},
        )


def _abuse(host: str, port: int) -> list[int]:
    """Do what one should not; return the statuses of what was asked for properly in between."""
    idle = []
    for _ in range(200):
        try:
            idle.append(socket.create_connection((host, port), timeout=5))
        except OSError:
            break
    for connection in idle[::2]:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /metr")
    for garbage in (b"\x00\xff" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, port), timeout=5) as connection,
        ):
            connection.sendall(garbage)
    for connection in idle:
        connection.close()
    statuses = []
    until = time.monotonic() + 20
    while len(statuses) < 3 and time.monotonic() < until:
        try:
            fetch(f"http://{host}:{port}/metrics")
        except (HTTPError, OSError):
            time.sleep(0.1)  # its connections are still taken up
        else:
            statuses.append(200)
    return statuses


@crawl_test
async def test_hostile_clients_break_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def look() -> list[int]:
        host, _, port = (
            metrics_url(caplog).removeprefix("http://").partition("/")[0].rpartition(":")
        )
        return _abuse(host, int(port))

    looking = Look(look)
    async with Origin(page) as origin, ForwardProxy("one") as one:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(5)],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_METRICS_PORT": 0},
            prepare=looking.prepare,
        )
    assert looking.result() == [200, 200, 200]
    assert len(crawler.spider.responses) == 5
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_buckets_count_what_is_no_more_than_their_bound() -> None:
    buckets = Buckets()
    for seconds in (0.0, BUCKETS[0], BUCKETS[0] + 1e-9, 1000.0):
        buckets.observe(seconds)
    counts = dict(buckets.cumulative())
    assert counts[str(BUCKETS[0])] == 2
    assert counts[str(BUCKETS[1])] == 3
    assert counts[str(BUCKETS[-1])] == 3
    assert counts["+Inf"] == 4


@crawl_test
async def test_while_the_crawl_is_busy_a_scraper_is_told_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(status_server, "_CRAWL_TIMEOUT", 0.2)
    blocked, answered = threading.Event(), threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        assert blocked.wait(20)
        try:
            fetch(metrics_url(caplog))
        except HTTPError as error:
            statuses.append(error.code)
            error.close()
        answered.set()

    class BusySpider(UrlsSpider):
        def keep(self, response: Response) -> None:
            super().keep(response)
            blocked.set()
            answered.wait(20)  # as a callback that computes for long

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    async with Origin(page) as origin, ForwardProxy("one") as one:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/"],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_METRICS_PORT": 0},
            spider=BusySpider,
        )
    thread.join(20)
    assert statuses == [503]


@crawl_test
async def test_a_counter_does_not_fall_when_a_proxy_leaves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    crawlers: list[Crawler] = []
    texts: list[str] = []

    def look() -> None:
        texts.append(fetch(metrics_url(caplog)))
        middleware = crawlers[0].get_downloader_middleware(ProxyBalanceMiddleware)
        assert middleware is not None
        pool = middleware.context.pool
        CrawlThreadOf.thread.call(lambda: pool.remove("one", middleware.context.clock()), 10)
        texts.append(fetch(metrics_url(caplog)))

    class CrawlThreadOf:
        thread: CrawlThread

        @classmethod
        def take(cls) -> None:
            cls.thread = CrawlThread()

    looking = Look(look)

    def prepare(crawler: Crawler) -> None:
        crawlers.append(crawler)
        crawler.signals.connect(CrawlThreadOf.take, signal=signals.spider_opened)
        looking.prepare(crawler)

    async with Origin(page) as origin, ForwardProxy("one") as one, ForwardProxy("two") as two:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(20)],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": one.url(), "name": "one"},
                    {"url": two.url(), "name": "two"},
                ],
                "PROXYBALANCE_METRICS_PORT": 0,
            },
            prepare=prepare,
        )
    looking.result()
    before, after = (of(samples(text), "proxybalance_requests_total") for text in texts)
    assert before == after
    assert sum(before.values()) == 20
