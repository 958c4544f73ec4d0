"""The live page's JSON: what it says of a crawl, what it refuses, and what an operator may do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
from bookshop.servers.forward_proxy import ForwardProxy
from bookshop.servers.origin import Origin, OriginRequest, OriginResponse
from scrapy.signals import response_received

from scrapy_proxybalance.pool import ConfigurationError
from scrapy_proxybalance.reporting.live.table import SORTABLE

from .crawling import crawl, crawl_test, proxybalance_stats
from .metrics_probe import Look, metrics_url
from .test_admission import balancer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy.crawler import Crawler

TOKEN = "a-token-of-our-tests"
PASSWORD = "s3cr3t-of-a-proxy"


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


class Port:
    """What somebody does who has found the port."""

    def __init__(self, url: str) -> None:
        self.url = url.removesuffix("/metrics")

    def get(self, path: str) -> tuple[int, Any]:
        return self._send(HttpRequest(self.url + path))  # noqa: S310

    def post(
        self, path: str, body: bytes = b"", token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Any]:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self._send(
            HttpRequest(self.url + path, data=body, headers=headers, method="POST")  # noqa: S310
        )

    @staticmethod
    def _send(request: HttpRequest) -> tuple[int, Any]:
        try:
            with urlopen(request, timeout=10) as response:  # noqa: S310
                return response.status, json.loads(response.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


async def at_the_end_of(
    caplog: pytest.LogCaptureFixture,
    look: Callable[[Port], object],
    *,
    pages: tuple[str, ...] = tuple(f"/{number}" for number in range(30)),
    **settings: Any,
) -> tuple[Any, Crawler, Origin]:
    """Crawl, and look at the port when nothing is left to do."""
    caplog.set_level("INFO")
    looking = Look(lambda: look(Port(metrics_url(caplog))))
    users = {"one": PASSWORD, "two": PASSWORD}
    async with Origin(page) as origin, ForwardProxy("first", credentials=users) as proxy:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}{path}" for path in pages],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": proxy.url(user), "name": user, "country": "at"} for user in users
                ],
                "PROXYBALANCE_METRICS_PORT": 0,
                "PROXYBALANCE_IDLE_TIMEOUT": 1000,
                **settings,
            },
            prepare=looking.prepare,
        )
    return looking.result(), crawler, origin


@crawl_test
async def test_the_json_says_what_the_stats_and_the_origin_say(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(port: Port) -> Any:
        status, crawls = port.get("/api/crawls")
        assert (status, crawls) == (200, {"crawls": [{"name": "urls", "acts": False}]})
        return port.get("/api/crawls/urls")[1], port.get("/api/crawls/urls/proxies/one")[1]

    (shown, score), crawler, origin = await at_the_end_of(caplog, look)
    stats = proxybalance_stats(crawler)
    assert shown["summary"]["requests"] == stats["leases"] == len(origin.requests) == 30
    assert {row["name"]: row["requests"] for row in shown["proxies"]} == {
        user: stats[f"proxy/{user}/leases"] for user in ("one", "two")
    }
    assert sum(row["share"] for row in shown["proxies"]) == pytest.approx(1)
    assert shown["summary"]["states"]["healthy"] == 2
    assert shown["summary"]["capacity"] == 8
    [target] = shown["targets"]
    assert (target["name"], target["requests"]) == (f"127.0.0.1:{origin.port}", 30)
    [row] = [row for row in shown["proxies"] if row["name"] == "one"]
    assert score["score"] == pytest.approx(row["score"], rel=0.2)
    assert score["score"] == pytest.approx(
        score["weight"] * score["recovery"] * score["doubt"] / (score["cost"] * score["load"])
    )
    assert PASSWORD not in json.dumps([shown, score])


@crawl_test
async def test_proxies_are_sorted_filtered_and_counted_as_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(port: Port) -> None:
        def names(query: str) -> list[str]:
            status, shown = port.get(f"/api/crawls/urls?{query}")
            assert status == 200, shown
            return [row["name"] for row in shown["proxies"]]

        assert names("sort=name&order=asc") == ["one", "two"]
        assert names("sort=name") == ["two", "one"]
        assert names("filter=TW") == ["two"]
        assert names("filter=cooling") == []
        assert names("limit=1&sort=name&order=asc") == ["one"]
        assert port.get("/api/crawls/urls?limit=1")[1]["matching"] == 2
        for column in SORTABLE:
            for order in ("asc", "desc"):
                assert sorted(names(f"sort={column}&order={order}")) == ["one", "two"]

    await at_the_end_of(caplog, look)


@crawl_test
async def test_what_makes_no_sense_is_answered_with_what_would(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(port: Port) -> None:
        refused = {
            "/api/crawls/other": (404, "there is no crawl 'other'"),
            "/api/crawls/urls/proxies/three": (404, "there is no proxy 'three'"),
            "/api/crawls/urls?sort=password": (400, "sort 'password': give one of name, state"),
            "/api/crawls/urls?order=up": (400, "order 'up': give asc or desc"),
            "/api/crawls/urls?limit=0": (400, "limit '0': give a number from 1 to 1000"),
            "/api/crawls/urls?limit=%C2%B2": (400, "limit '²': give a number from 1 to 1000"),
            "/api/crawls/urls?colour=red": (400, "there is no 'colour'; there are sort, order"),
            "/page.py": (404, "there are /, /metrics and /api/crawls"),
            "/../settings.py": (404, "there are /, /metrics and /api/crawls"),
        }
        for path, (status, reason) in refused.items():
            found, answer = port.get(path)
            assert found == status
            assert answer["error"].startswith(reason)
        acts = {
            "/api/crawls/urls/proxies/three/drain": (404, b"", "there is no proxy 'three'"),
            "/api/crawls/urls/proxies/one/delete": (404, b"", "there is no such action"),
            "/api/crawls/urls/targets/a.test/pause": (400, b"[]", "give a JSON object"),
            "/api/crawls/urls/targets/b.test/pause": (413, b" " * 5000, "that is too long"),
        }
        for seconds in ("0", "-1", "1e9", "NaN", "true", '"60"'):
            body = f'{{"seconds": {seconds}}}'.encode()
            found, answer = port.post("/api/crawls/urls/targets/a.test/pause", body)
            assert found == 400
            assert answer["error"].startswith("seconds ")
        for path, (status, body, reason) in acts.items():
            found, answer = port.post(path, body)
            assert (found, answer["error"]) == (status, reason)

    await at_the_end_of(caplog, look, PROXYBALANCE_CONTROL_TOKEN=TOKEN)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@crawl_test
async def test_nobody_acts_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    path = "/api/crawls/urls/proxies/one/drain"

    def look(port: Port) -> Any:
        for token in (None, "", TOKEN[:-1], TOKEN + "x", "é"[0].encode().decode("latin-1")):
            assert port.post(path, token=token)[0] == 401
        assert port.post(path, token=None, Authorization=f"Basic {TOKEN}")[0] == 401
        return port.get("/api/crawls/urls")[1]["summary"]["drained"]

    drained, _, _ = await at_the_end_of(caplog, look, PROXYBALANCE_CONTROL_TOKEN=TOKEN)
    assert drained == 0
    assert "By hand" not in caplog.text


@crawl_test
async def test_a_crawl_without_a_token_is_read_only(caplog: pytest.LogCaptureFixture) -> None:
    def look(port: Port) -> Any:
        return port.post("/api/crawls/urls/proxies/one/drain")

    (status, answer), _, _ = await at_the_end_of(caplog, look)
    assert status == 403
    assert "PROXYBALANCE_CONTROL_TOKEN" in answer["error"]


@crawl_test
async def test_a_paused_target_is_resumed_by_hand_and_what_was_held_for_it_is_fetched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    refusals = iter([OriginResponse(429, [("Retry-After", "600")])])

    def look() -> Any:
        port = Port(metrics_url(caplog))
        [target] = port.get("/api/crawls/urls")[1]["targets"]
        path = f"/api/crawls/urls/targets/{quote(target['name'], safe='')}/resume"
        return target, port.post(path)

    looking = Look(look)

    def prepare(crawler: Crawler) -> None:
        from scrapy_proxybalance.signals import target_paused

        crawler.signals.connect(looking.start, signal=target_paused)
        looking.prepare(crawler)

    async with (
        Origin(lambda request: next(refusals, None) or page(request)) as origin,
        ForwardProxy("first") as proxy,
    ):
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(10)],
            {
                "PROXYBALANCE_PROXIES": [proxy.url()],
                "PROXYBALANCE_METRICS_PORT": 0,
                "PROXYBALANCE_CONTROL_TOKEN": TOKEN,
                "CONCURRENT_REQUESTS": 1,
            },
            prepare=prepare,
        )
    target, (status, answer) = looking.result()  # type: ignore[misc]
    assert target["state"] == "paused"
    assert 500 < target["seconds_left"] <= 660
    assert (status, answer) == (200, {"changed": True})
    assert len(crawler.spider.responses) == 10


@crawl_test
async def test_a_crawl_whose_proxies_are_all_drained_is_not_closed_as_exhausted() -> None:
    seen: list[bool] = []

    def prepare(crawler: Crawler) -> None:
        def look() -> None:
            balancer = balancer_of(crawler)
            clock = balancer.clock
            balancer.pool.drain("only", clock())
            for passed in (0, 1e6):
                balancer.clock = lambda passed=passed: clock() + passed
                balancer._tick()
            balancer.clock = clock
            seen.append(balancer.closing)
            balancer.pool.enable("only", clock())

        crawler.signals.connect(look, signal=response_received, weak=False)

    async with Origin(page) as origin, ForwardProxy("only") as proxy:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/"],
            {"PROXYBALANCE_PROXIES": [{"url": proxy.url(), "name": "only"}]},
            prepare=prepare,
        )
    assert seen == [False]
    assert crawler.stats.get_value("finish_reason") == "finished"
    assert len(crawler.spider.responses) == 1


@pytest.mark.parametrize("token", ["short", "x" * 15, "with a space in it 123", 5, "ü" * 20])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused_and_not_shown(token: Any) -> None:
    from scrapy.settings import Settings as ScrapySettings

    from scrapy_proxybalance.settings import Settings

    with pytest.raises(ConfigurationError, match="PROXYBALANCE_CONTROL_TOKEN: write at") as caught:
        Settings.read(
            ScrapySettings(
                {
                    "PROXYBALANCE_PROXIES": ["http://one.test:1"],
                    "PROXYBALANCE_CONTROL_TOKEN": token,
                }
            )
        )
    assert str(token) not in str(caught.value).replace("PROXYBALANCE", "")
