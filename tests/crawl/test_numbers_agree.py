"""One crawl, told by everybody: the origin, the proxies, the request log, the stats, and the rest."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals

from scrapy_proxybalance import ProxyBalanceMiddleware

from .crawling import crawl, crawl_test, proxybalance_stats
from .metrics_probe import Look, fetch, metrics_url, of, samples

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from scrapy.crawler import Crawler

    from scrapy_proxybalance.reporting.console import PoolConsole

    from .metrics_probe import Samples

OUTCOMES = ("success", "proxy_fault", "gateway_fault", "target_signal", "ambiguous", "ignored")


@crawl_test
async def test_all_who_tell_of_a_crawl_tell_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    log, table = tmp_path / "requests.jsonl", tmp_path / "report.csv"
    refusals = iter([OriginResponse(429, [("Retry-After", "1")])])
    errors = iter([OriginResponse(502)] * 3)

    def page(request: OriginRequest) -> OriginResponse:
        if request.path.startswith("/error"):
            return next(errors, None) or OriginResponse(body=b"well again")
        return next(refusals, None) or OriginResponse(body=request.path.encode())

    def see() -> tuple[Samples, Any]:
        url = metrics_url(caplog)
        shown = json.loads(fetch(url.replace("/metrics", "/api/crawls/urls")))
        return samples(fetch(url)), shown

    look = Look(see)
    async with (
        Origin(page) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two") as two,
        ForwardProxy("breaks", behaviour=Behaviour.ERROR, error_status=502) as breaks,
        ForwardProxy("refuses") as refuses,
    ):
        await refuses.close()
        servers = (one, two, breaks, refuses)
        site = f"http://127.0.0.1:{origin.port}"
        crawler = await crawl(
            [
                *(Request(f"{site}/{n}", meta={"session": f"s{n % 3}"}) for n in range(30)),
                *(Request(f"{site}/page/{n}") for n in range(60)),
                *(Request(f"{site}/error/{n}") for n in range(5)),
            ],
            {
                "PROXYBALANCE_PROXIES": [{"url": one.url(), "name": one.name} for one in servers],
                "RETRY_TIMES": 20,
                "PROXYBALANCE_FAILURE_THRESHOLD": 1,
                "PROXYBALANCE_METRICS_PORT": 0,
                "PROXYBALANCE_REQUEST_LOG": log,
                "PROXYBALANCE_REPORT": str(table),
            },
            prepare=look.prepare,
        )
    found, shown = look.result()  # type: ignore[misc]
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    stats = proxybalance_stats(crawler)
    assert len(crawler.spider.responses) == 95

    # Request by request: what arrived at the origin is what was answered, but by a proxy itself.
    arrived = Counter(urlsplit(request.path).path for request in origin.requests)
    answered = Counter(
        urlsplit(row["url"]).path
        for row in rows
        if row["status"] is not None and row["proxy"] != "breaks"
    )
    assert answered == arrived
    for server in servers:
        assert len(server.requests) == sum(
            row["proxy"] == server.name and row["failure"] != "connection_refused" for row in rows
        )

    # Proxy by proxy and outcome by outcome.
    logged = Counter((row["proxy"], row["outcome"]) for row in rows)
    counted = Counter(
        {
            (server.name, outcome): stats.get(f"proxy/{server.name}/outcome/{outcome}", 0)
            for server in servers
            for outcome in OUTCOMES
        }
    )
    scraped = {
        (proxy, outcome): int(count)
        for (outcome, proxy), count in of(
            found, "proxybalance_requests_total", spider="urls"
        ).items()
    }
    assert +logged == +counted == +Counter(scraped)
    assert sum(logged.values()) == stats["leases"] == shown["summary"]["requests"] == len(rows)

    # The report's table, and the live page.
    with table.open(newline="") as file:
        reported = {row["proxy"]: row for row in csv.DictReader(file)}
    live = {row["name"]: row for row in shown["proxies"]}
    for server in servers:
        requests = stats[f"proxy/{server.name}/leases"]
        assert int(reported[server.name]["requests"]) == live[server.name]["requests"] == requests
        cooldowns = stats.get(f"proxy/{server.name}/cooldowns", 0)
        assert (
            int(reported[server.name]["cooldowns"]) == live[server.name]["cooldowns"] == cooldowns
        )
        assert cooldowns == found.get(
            (
                "proxybalance_cooldowns_total",
                (("proxy", server.name), ("spider", "urls")),
            ),
            0,
        )
    assert stats["proxy/refuses/cooldowns"] >= 1
    [target] = shown["targets"]
    refused = sum(row["outcome"] == "target_signal" for row in rows)
    assert target["refusals"] == stats[f"target/127.0.0.1:{origin.port}/signals"] == refused >= 1


@crawl_test
async def test_all_who_tell_of_a_proxy_use_the_same_word_and_only_one_that_answered_is_healthy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    consoles: list[PoolConsole] = []

    def see() -> tuple[Samples, Any]:
        url = metrics_url(caplog)
        shown = json.loads(fetch(url.replace("/metrics", "/api/crawls/urls")))
        return samples(fetch(url)), shown

    look = Look(see)

    def prepare(crawler: Crawler) -> None:
        def drain() -> None:
            console = crawler.get_downloader_middleware(ProxyBalanceMiddleware).console
            console.core.drain("spare", console.clock())
            consoles.append(console)

        crawler.signals.connect(drain, signal=signals.spider_opened, weak=False)
        look.prepare(crawler)

    async with (
        Origin(lambda request: OriginResponse(body=request.path.encode())) as origin,
        ForwardProxy("good") as good,
        ForwardProxy("dead") as dead,
        ForwardProxy("cools") as cools,
    ):
        await dead.close()
        await cools.close()
        requests = [
            Request(f"http://127.0.0.1:{origin.port}/{name}", meta={"proxy_filter": {"name": name}})
            for name in ("good", "dead", "cools")
        ]
        requests += [requests[2].replace(url=f"{requests[2].url}/{n}") for n in range(2)]
        await crawl(
            requests,
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": good.url(), "name": "good"},
                    {"url": dead.url(), "name": "dead"},
                    {"url": cools.url(), "name": "cools"},
                    {"url": "http://127.0.0.1:9", "name": "spare"},
                    {"url": "http://127.0.0.1:8", "name": "unused"},
                ],
                "RETRY_ENABLED": False,
                "PROXYBALANCE_METRICS_PORT": 0,
                "PROXYBALANCE_STATS_FILE": str(tmp_path / "stats.json"),
            },
            prepare=prepare,
        )
    found, shown = look.result()  # type: ignore[misc]
    words = {
        "good": "healthy",
        "dead": "unproven",
        "cools": "cooling",
        "spare": "drained",
        "unused": "unproven",
    }
    line = "Proxies: 1 healthy, 2 unproven, 1 cooling, 1 drained; in flight 0 of 20"
    assert {row["name"]: row["state"] for row in shown["proxies"]} == words
    assert +Counter(shown["summary"]["states"]) == Counter(words.values())
    scraped = of(found, "proxybalance_proxies", spider="urls")
    assert {state: count for (state,), count in scraped.items() if count} == dict(
        Counter(words.values())
    )
    first, _, _, *rows = repr(consoles[0]).splitlines()
    assert first == line
    assert {row.split()[0]: row.split()[1] for row in rows[:5]} == words
    written = json.loads((tmp_path / "stats.json").read_text())["proxies"]
    assert {one["name"]: one["state"] for one in written} == words
    [summary] = [one for one in caplog.messages if one.startswith("Proxy summary:")]
    listed = {row.split()[0]: row.partition("-  ")[2] or row for row in summary.splitlines()[2:]}
    for name, word in words.items():
        assert word in listed[name].replace(name, "", 1)
    cooled = [one for one in caplog.messages if "cools down" in one]
    assert [one.partition("; ")[2] for one in cooled] == ["3 of 5 in service"]
