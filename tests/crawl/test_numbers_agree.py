"""One crawl, told by everybody: the origin, the proxies, the request log, the stats, and the rest."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bookshop.servers.forward_proxy import Behaviour, ForwardProxy
from bookshop.servers.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request

from .crawling import crawl, crawl_test, proxybalance_stats
from .metrics_probe import Look, fetch, metrics_url, of, samples

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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
