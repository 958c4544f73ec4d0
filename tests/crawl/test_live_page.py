"""The live page's JSON: what it says of a crawl, what it refuses, and what an operator may do."""

from __future__ import annotations

import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy.settings import Settings as ScrapySettings
from scrapy.signals import response_received

from scrapy_proxybalance.core import ConfigurationError
from scrapy_proxybalance.plugin.config.settings import Settings
from scrapy_proxybalance.reporting.live.routes import Handler
from scrapy_proxybalance.reporting.live.table import SORTABLE
from scrapy_proxybalance.signals import target_paused

from .crawling import crawl, crawl_test, proxybalance_stats
from .metrics_probe import Look, metrics_url
from .test_admission import context_of

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
            "/api/crawls/urls/targets/a.test%0AERROR:/pause": (
                400,
                b"",
                "target 'a.test\\nERROR:': give a host",
            ),
        }
        for seconds in ("0", "-1", "1e9", "1" + "0" * 400, "NaN", "Infinity", "true", '"60"'):
            body = f'{{"seconds": {seconds}}}'.encode()
            found, answer = port.post("/api/crawls/urls/targets/a.test/pause", body)
            assert found == 400
            assert answer["error"].startswith("seconds ")
        for path, (status, body, reason) in acts.items():
            found, answer = port.post(path, body)
            assert (found, answer["error"]) == (status, reason)

    await at_the_end_of(caplog, look, PROXYBALANCE_CONTROL_TOKEN=TOKEN)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def asked(url: str, request: bytes) -> tuple[bytes, bytes]:
    """Return the head and the body of the answer to some bytes, which need not be a request."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@crawl_test
async def test_what_is_no_request_is_answered_as_all_else_and_is_no_fault_of_the_crawl(
    caplog: pytest.LogCaptureFixture,
) -> None:
    act = f"POST /api/crawls/urls/proxies/one/drain HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n"

    def look(port: Port) -> None:
        for request, status in (
            (b"GET http://[ HTTP/1.0\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", 400),
            (b"GET /%ff%ed%a0%80 HTTP/1.0\r\n\r\n", 404),
            (b"GET /" + b"a" * 70000 + b" HTTP/1.0\r\n\r\n", 414),
            (b"OPTIONS /<b> HTTP/1.0\r\n\r\n", 501),
            (act.encode() + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
            (act.encode() + b"Content-Length: 9\r\n\r\n{", 400),
        ):
            head, body = asked(port.url, request)
            assert b" %d " % status in head.splitlines()[0], request
            assert b"Content-Type: application/json" in head
            assert json.loads(body)["error"]
        strange = b"Accept: application/openmetrics-text; version=none\r\n"
        head, body = asked(port.url, b"GET /metrics HTTP/1.0\r\n" + strange + b"\r\n")
        assert b"200" in head.splitlines()[0]
        assert b"proxybalance_requests_total" in body

    await at_the_end_of(caplog, look, PROXYBALANCE_CONTROL_TOKEN=TOKEN)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@crawl_test
async def test_a_site_that_has_its_own_name_point_here_is_told_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(port: Port) -> None:
        def status(host: str, path: str = "/api/crawls") -> bytes:
            head, _ = asked(port.url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return head.split()[1]

        for own in ("localhost:1", "127.0.0.1:9410", "[::1]:80", "LOCALHOST"):
            assert status(own) == b"200"
        for other in ("site.test", "localhost.site.test:9410", "127.0.0.1.site.test", ""):
            assert status(other) == b"421"
        assert status("scraped.test", "/metrics") == b"200"

    await at_the_end_of(caplog, look)


class Gone:
    """A connection whose other end has been closed."""

    def write(self, _: bytes) -> int:
        raise ConnectionResetError

    def read(self, _: int) -> bytes:
        raise ConnectionResetError


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_whoever_hangs_up_before_the_answer_is_no_fault_of_the_crawl(method: str) -> None:
    failures: list[str] = []
    actions = SimpleNamespace(possible=True, allows=lambda token: token == TOKEN)
    handler: Any = Handler.__new__(Handler)
    handler.server = SimpleNamespace(
        is_local=True,
        crawls={"urls": SimpleNamespace(actions=actions)},
        note_failure=lambda: failures.append("noted"),
    )
    handler.headers = {"Authorization": f"Bearer {TOKEN}", "Content-Length": "2"}
    handler.path = "/api/crawls" if method == "GET" else "/api/crawls/urls/proxies/one/drain"
    handler.command, handler.request_version, handler.requestline = method, "HTTP/1.0", ""
    handler.rfile = handler.wfile = Gone()
    handler.do_GET() if method == "GET" else handler.do_POST()
    assert not failures


@crawl_test
async def test_nobody_acts_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    path = "/api/crawls/urls/proxies/one/drain"

    def look(port: Port) -> Any:
        for token in (None, "", TOKEN[:-1], TOKEN + "x", "é"[0].encode().decode("latin-1")):
            assert port.post(path, token=token)[0] == 401
        assert port.post(path, token=None, Authorization=f"Basic {TOKEN}")[0] == 401
        return port.get("/api/crawls/urls")[1]["summary"]["states"]["drained"]

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
            context = context_of(crawler)
            clock = context.clock
            context.pool.drain("only", clock())
            for passed in (0, 1e6):
                context.clock = lambda passed=passed: clock() + passed
                context._tick()
            context.clock = clock
            seen.append(context.closing)
            context.pool.enable("only", clock())

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
