"""What the user has decided about a request's proxy stands; everything else is balanced."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request, signals
from scrapy.exceptions import IgnoreRequest

from scrapy_proxybalance import ProxyBalanceMiddleware
from scrapy_proxybalance.core.events import AttemptStarted

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from loopback import http1
    from loopback.listener import Connection
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from scrapy_proxybalance.core.events import Event

PAGES = 10


class FailsOnce:
    """A handler that answers 500 to the first request for each path."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, request: OriginRequest) -> OriginResponse:
        if request.path in self._seen:
            return OriginResponse(body=request.path.encode())
        self._seen.add(request.path)
        return OriginResponse(500)


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


def requests_for(origin: Origin, **meta: Any) -> list[Request]:
    return [
        Request(f"http://127.0.0.1:{origin.port}/{page}", meta=dict(meta)) for page in range(PAGES)
    ]


def pool_of(*proxies: ForwardProxy) -> dict[str, Any]:
    return {"PROXYBALANCE_PROXIES": [{"url": proxy.url(), "name": proxy.name} for proxy in proxies]}


@crawl_test
async def test_a_proxy_that_the_user_has_chosen_is_left_alone() -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("theirs") as theirs,
    ):
        crawler = await crawl(requests_for(origin, proxy=theirs.url()), pool_of(ours))
        assert len(theirs.requests) == PAGES
        assert ours.requests == []
        for response in crawler.spider.responses:
            assert response.meta["proxy"] == theirs.url()
            assert "proxy_name" not in response.meta
    assert len(crawler.spider.responses) == PAGES
    assert "leases" not in proxybalance_stats(crawler)


@crawl_test
async def test_a_proxy_that_the_user_has_chosen_survives_a_retry() -> None:
    async with (
        Origin(FailsOnce()) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("theirs") as theirs,
    ):
        crawler = await crawl(requests_for(origin, proxy=theirs.url()), pool_of(ours))
        assert len(theirs.requests) == 2 * PAGES
        assert ours.requests == []
    assert len(crawler.spider.responses) == PAGES
    assert crawler.stats.get_value("retry/count") == PAGES
    assert "leases" not in proxybalance_stats(crawler)


@crawl_test
async def test_a_proxy_that_the_user_has_chosen_survives_its_own_failures() -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("theirs", behaviour=Behaviour.FLAKY, fail_rate=1.0) as theirs,
    ):
        crawler = await crawl(
            requests_for(origin, proxy=theirs.url()), {**pool_of(ours), "RETRY_TIMES": 2}
        )
        assert len(theirs.requests) == 3 * PAGES
        assert ours.requests == []
    assert crawler.spider.responses == []
    assert len(crawler.spider.failures) == PAGES


@crawl_test
async def test_the_credentials_of_a_proxy_that_the_user_has_chosen_survive_a_retry() -> None:
    async with (
        Origin(FailsOnce()) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("theirs", credentials={"carol": "mine"}) as theirs,
    ):
        crawler = await crawl(requests_for(origin, proxy=theirs.url("carol")), pool_of(ours))
        assert {request.username for request in theirs.requests} == {"carol"}
        assert len(theirs.requests) == 2 * PAGES
        assert ours.requests == []
    assert [response.status for response in crawler.spider.responses] == [200] * PAGES


@crawl_test
async def test_the_credentials_of_a_proxy_that_the_user_has_chosen_survive_a_paused_target() -> (
    None
):
    answers = iter([OriginResponse(429)])
    async with (
        Origin(lambda request: next(answers, None) or echo(request)) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("theirs", credentials={"carol": "mine"}) as theirs,
    ):
        crawler = await crawl(
            requests_for(origin, proxy=theirs.url("carol")),
            {**pool_of(ours), "PROXYBALANCE_PAUSE": 0.1},
        )
        assert {request.username for request in theirs.requests} == {"carol"}
        assert ours.requests == []
    assert [response.status for response in crawler.spider.responses] == [200] * PAGES


@crawl_test
async def test_none_goes_direct_and_survives_a_retry() -> None:
    async with Origin(FailsOnce()) as origin, ForwardProxy("ours") as ours:
        crawler = await crawl(requests_for(origin, proxy=None), pool_of(ours))
        assert ours.requests == []
        assert [request.via for request in origin.requests] == [None] * 2 * PAGES
    assert len(crawler.spider.responses) == PAGES
    assert crawler.stats.get_value("retry/count") == PAGES
    assert "leases" not in proxybalance_stats(crawler)


@crawl_test
async def test_requests_with_and_without_a_choice_do_not_rub_off_on_each_other() -> None:
    async with (
        Origin(FailsOnce()) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("theirs") as theirs,
    ):
        site = f"http://127.0.0.1:{origin.port}"
        await crawl(
            [
                request
                for page in range(PAGES)
                for request in (
                    Request(f"{site}/direct/{page}", meta={"proxy": None}),
                    Request(f"{site}/theirs/{page}", meta={"proxy": theirs.url()}),
                    Request(f"{site}/ours/{page}"),
                )
            ],
            pool_of(ours),
        )
        seen = {(request.path.split("/")[1], request.via) for request in origin.requests}
        assert seen == {("direct", None), ("theirs", "1.1 theirs"), ("ours", "1.1 ours")}
        assert len(origin.requests) == 6 * PAGES


class CopiesMeta(UrlsSpider):
    """Follows each page with another one that gets all of its meta."""

    site: str

    def keep(self, response: Response) -> Request | None:  # type: ignore[override]
        super().keep(response)
        depth = response.url.count("/next")
        if depth == 4:
            return None
        return Request(f"{response.url}/next", callback=self.keep, meta=response.meta)


@crawl_test
async def test_requests_with_the_meta_of_a_response_are_balanced_like_others() -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two") as two,
    ):
        crawler = await crawl(
            requests_for(origin)[:4],
            {
                **pool_of(one, two),
                # In turn, one at a time: a request that kept its page's proxy would show at once.
                "PROXYBALANCE_STRATEGY": "round_robin",
                "CONCURRENT_REQUESTS": 1,
            },
            spider=CopiesMeta,
        )
        assert len(one.requests) == len(two.requests) == 10
        via = {request.path: request.via for request in origin.requests}
        for response in crawler.spider.responses:
            assert via[response.url.partition(str(origin.port))[2]] == (
                f"1.1 {response.meta['proxy_name']}"
            )
    assert len(crawler.spider.responses) == 20
    assert proxybalance_stats(crawler)["leases"] == 20


@crawl_test
async def test_requests_with_the_meta_of_a_response_get_the_credentials_of_their_own_proxy() -> (
    None
):
    async with (
        Origin(echo) as origin,
        ForwardProxy("gateway", credentials={"alice": "a", "bob": "b"}) as gateway,
    ):
        crawler = await crawl(
            requests_for(origin)[:4],
            {
                "PROXYBALANCE_STRATEGY": "round_robin",
                "CONCURRENT_REQUESTS": 1,
                "PROXYBALANCE_PROXIES": [
                    {"url": gateway.url("alice"), "name": "alice"},
                    {"url": gateway.url("bob"), "name": "bob"},
                ],
            },
            spider=CopiesMeta,
        )
        assert all(request.authorized for request in gateway.requests)
        carried = {request.url: request.username for request in gateway.requests}
        usernames = sorted(str(username) for username in carried.values())
        assert usernames == ["alice"] * 10 + ["bob"] * 10
    assert {
        response.url: response.meta["proxy_name"] for response in crawler.spider.responses
    } == carried


@crawl_test
async def test_a_redirect_to_another_host_is_leased_anew_for_that_target() -> None:
    leases: list[tuple[str, str]] = []

    def prepare(crawler: Crawler) -> None:
        def note(event: Event) -> None:
            if isinstance(event, AttemptStarted):
                leases.append((event.attempt.target, event.attempt.proxy.name))

        def opened() -> None:
            middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
            middleware.context.pool.events.subscribe(note)

        crawler.signals.connect(opened, signal=signals.spider_opened, weak=False)

    def redirect(request: OriginRequest) -> OriginResponse:
        return OriginResponse(302, [("Location", f"http://new.example{request.path}")])

    async with Origin(redirect) as old, Origin(echo) as new:
        resolve = {"old.example": (old.host, old.port), "new.example": (new.host, new.port)}
        async with (
            ForwardProxy("one", resolve=resolve) as one,
            ForwardProxy("two", resolve=resolve) as two,
        ):
            crawler = await crawl(
                [f"http://old.example/{page}" for page in range(PAGES)],
                {
                    **pool_of(one, two),
                    "PROXYBALANCE_STRATEGY": "round_robin",
                    "CONCURRENT_REQUESTS": 1,
                },
                prepare=prepare,
            )
            confirmed = len(old.requests) - PAGES  # the first redirects to another site
            assert 1 <= confirmed <= 2
            assert len(one.requests) + len(two.requests) == 2 * PAGES + confirmed
        assert len(new.requests) == PAGES
    assert sorted(response.url for response in crawler.spider.responses) == [
        f"http://new.example/{page}" for page in range(PAGES)
    ]
    assert [target for target, _ in leases].count("old.example") == PAGES + confirmed
    assert [target for target, _ in leases].count("new.example") == PAGES
    through = [proxy for _, proxy in leases]
    assert abs(through.count("one") - through.count("two")) <= 1


@crawl_test
async def test_a_redirect_of_a_request_with_the_users_proxy_keeps_that_proxy() -> None:
    def redirect(request: OriginRequest) -> OriginResponse:
        if request.path.startswith("/new"):
            return echo(request)
        return OriginResponse(302, [("Location", f"/new{request.path}")])

    async with (
        Origin(redirect) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("theirs", credentials={"carol": "mine"}) as theirs,
    ):
        crawler = await crawl(requests_for(origin, proxy=theirs.url("carol")), pool_of(ours))
        assert {request.username for request in theirs.requests} == {"carol"}
        assert len(theirs.requests) == 2 * PAGES
        assert ours.requests == []
    assert [response.status for response in crawler.spider.responses] == [200] * PAGES


@asynccontextmanager
async def ftp_server(connections: list[str]) -> AsyncIterator[int]:
    """Run a server that notes every connection and has no time for it; give its port."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append("connection")
        writer.write(b"421 Too many users\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@crawl_test
async def test_ftp_is_refused_because_scrapy_would_send_it_without_any_proxy() -> None:
    connections: list[str] = []
    async with ForwardProxy("ours") as ours, ftp_server(connections) as port:
        crawler = await crawl([f"ftp://127.0.0.1:{port}/file"], pool_of(ours))
        assert ours.requests == []
    assert connections == []
    [failure] = crawler.spider.failures
    assert failure.type is IgnoreRequest
    assert "meta['proxy'] = None" in str(failure.value)
    assert "leases" not in proxybalance_stats(crawler)


@crawl_test
async def test_ftp_goes_direct_where_the_user_has_asked_for_that() -> None:
    connections: list[str] = []
    async with ForwardProxy("ours") as ours, ftp_server(connections) as port:
        crawler = await crawl(
            [Request(f"ftp://127.0.0.1:{port}/file", meta={"proxy": None})],
            {**pool_of(ours), "RETRY_ENABLED": False},
        )
        assert ours.requests == []
    assert connections == ["connection"]
    assert [failure.type for failure in crawler.spider.failures] != [IgnoreRequest]


@crawl_test
async def test_data_urls_pass_without_a_lease() -> None:
    async with ForwardProxy("ours") as ours:
        crawler = await crawl(["data:text/plain,hello", "data:text/plain,there"], pool_of(ours))
        assert ours.requests == []
    assert sorted(response.text for response in crawler.spider.responses) == ["hello", "there"]
    assert "leases" not in proxybalance_stats(crawler)


@crawl_test
async def test_files_pass_without_a_lease(tmp_path: Any) -> None:
    (tmp_path / "page.txt").write_text("hello")
    async with ForwardProxy("ours") as ours:
        crawler = await crawl([(tmp_path / "page.txt").as_uri()], pool_of(ours))
        assert ours.requests == []
    assert [response.text for response in crawler.spider.responses] == ["hello"]
    assert "leases" not in proxybalance_stats(crawler)


@crawl_test
async def test_the_proxy_of_the_environment_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        Origin(FailsOnce()) as origin,
        ForwardProxy("ours") as ours,
        ForwardProxy("environment") as environment,
    ):
        for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(variable, environment.url())
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        direct = [
            request.replace(url=f"{request.url}/direct")
            for request in requests_for(origin, proxy=None)
        ]
        crawler = await crawl(
            [*requests_for(origin), *direct], {**pool_of(ours), "ROBOTSTXT_OBEY": True}
        )
        assert environment.requests == []
        assert {request.via for request in origin.requests if "direct" in request.path} == {None}
        assert {request.via for request in origin.requests if "direct" not in request.path} == {
            "1.1 ours"
        }
        assert any(request.path == "/robots.txt" for request in origin.requests)
    assert len(crawler.spider.responses) == 2 * PAGES


@crawl_test
async def test_when_no_proxy_can_be_had_the_one_of_the_environment_gets_nothing_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("ours", behaviour=Behaviour.UNAUTHORIZED) as ours,
        ForwardProxy("environment") as environment,
    ):
        monkeypatch.setenv("http_proxy", environment.url())
        monkeypatch.delenv("no_proxy", raising=False)
        crawler = await crawl(requests_for(origin), pool_of(ours))
        assert environment.requests == []
        assert origin.requests == []
    assert crawler.stats.get_value("finish_reason") == "proxybalance_pool_exhausted"


# A proxy that the user names, and that is the pool's


@pytest.mark.parametrize("value", ["", b"", False, 0])
@crawl_test
async def test_an_empty_proxy_is_an_error_and_nothing_is_sent_directly(value: Any) -> None:
    async with Origin(echo) as origin, ForwardProxy("ours") as ours:
        crawler = await crawl(requests_for(origin, proxy=value), pool_of(ours))
        assert origin.requests == []
    assert [failure.type for failure in crawler.spider.failures] == [IgnoreRequest] * PAGES
    assert "names no proxy" in crawler.spider.failures[0].getErrorMessage()


class SendsToTheSame(UrlsSpider):
    """Fetches a second page through whom the first one came."""

    async def keep(self, response: Response) -> Any:
        self.responses.append(response)
        yield Request(
            f"{response.url}-again",
            meta={"proxy": response.meta["proxy"]},
            callback=self.responses.append,
        )


@crawl_test
async def test_the_proxy_of_a_response_is_a_member_with_its_credentials_and_a_lease() -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("one", credentials={"alice": "a"}) as one,
        ForwardProxy("two", credentials={"bob": "b"}) as two,
    ):
        crawler = await crawl(
            requests_for(origin),
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": one.url("alice"), "name": "one"},
                    {"url": two.url("bob"), "name": "two"},
                ],
            },
            spider=SendsToTheSame,
        )
        assert all(request.authorized for request in (*one.requests, *two.requests))
        through = {
            request.url.rpartition("/")[2]: proxy.name
            for proxy in (one, two)
            for request in proxy.requests
        }
    assert len(crawler.spider.responses) == 2 * PAGES
    assert all(through[f"{page}-again"] == through[str(page)] for page in range(PAGES))
    assert proxybalance_stats(crawler)["leases"] == 2 * PAGES


@crawl_test
async def test_the_url_of_a_member_with_its_credentials_is_that_username() -> None:
    async with (
        Origin(echo) as origin,
        ForwardProxy("gateway", credentials={"alice": "a", "bob": "b"}) as gateway,
    ):
        crawler = await crawl(
            requests_for(origin, proxy=gateway.url("bob")),
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": gateway.url("alice"), "name": "alice"},
                    {"url": gateway.url("bob"), "name": "bob"},
                ],
            },
        )
        assert {request.username for request in gateway.requests} == {"bob"}
    assert {response.meta["proxy_name"] for response in crawler.spider.responses} == {"bob"}
    assert proxybalance_stats(crawler)["proxy/bob/leases"] == PAGES


# A Proxy-Authorization of the user's own


class Bearer(ForwardProxy):
    """Wants a token, which no URL can hold."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[str | None] = []

    async def _answer(
        self, client: Connection, head: http1.Head, body: bytes, authorized: bool
    ) -> bool:
        self.seen.append(head.values.get("proxy-authorization"))
        return await super()._answer(client, head, body, authorized)


@pytest.mark.parametrize("where", ["everywhere", "on the request"])
@crawl_test
async def test_a_bearer_token_reaches_a_proxy_without_credentials_and_survives_a_retry(
    where: str,
) -> None:
    headers = {"Proxy-Authorization": "Bearer t0ken"}
    async with (
        Origin(FailsOnce()) as origin,
        Bearer("open") as unlocked,
        Bearer("locked") as locked,
    ):
        locked.credentials = {"alice": "a"}
        on_requests = headers if where == "on the request" else {}
        crawler = await crawl(
            [request.replace(headers=on_requests) for request in requests_for(origin)],
            {
                "PROXYBALANCE_PROXIES": [
                    unlocked.url(),
                    # Scrapy writes these credentials over what a request has brought along.
                    *([locked.url("alice")] if where == "everywhere" else []),
                ],
                "DEFAULT_REQUEST_HEADERS": headers if where == "everywhere" else {},
            },
        )
        assert set(unlocked.seen) == {"Bearer t0ken"}
        assert all(request.authorized for request in locked.requests)
        assert len(unlocked.seen) + len(locked.seen) == 2 * PAGES
        assert not any("proxy-authorization" in request.headers for request in origin.requests)
    assert len(crawler.spider.responses) == PAGES
