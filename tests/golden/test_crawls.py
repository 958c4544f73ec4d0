"""Whole crawls: all that the public sees of each has to be what it was.

That is what the spider, the proxies and the sites got, signals, log lines, stats, the stats file, the
request log, the report, metrics, the live page and what a job remembers. What was seen is in
``seen/``, a file for each crawl. To write the files anew, after a change that the public is to see::

    GOLDEN_WRITE=1 python -m pytest tests/golden

and read the difference before it is committed. What varies from run to run is named in
``patterns.py``.
"""

from __future__ import annotations

import json
import os
from contextlib import AsyncExitStack, asynccontextmanager
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from loopback.forward_proxy import Behaviour
from loopback.origin import OriginRequest, OriginResponse
from scrapy import Request
from scrapy.http import Response

from scrapy_proxybalance import Outcome, Verdict
from tests.crawl.certificates import server_context
from tests.crawl.crawling import crawl, crawl_test
from tests.crawl.scripted_proxy import answer

from .watching import Reporter, World, page, refusal, urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_SEEN = Path(__file__).parent / "seen"

#: In seconds: all else is done meanwhile, and what is looked at once a second is seen to be paused.
_PAUSE = 2

#: Scrapy 2.14 makes its TLS contexts in a way that Twisted has deprecated.
speaks_tls = pytest.mark.filterwarnings(
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning"
)
#: Scrapy before 2.19 leaves empty queue files of a resumed crawl to the garbage collector.
resumes_a_crawl = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


class Golden:
    """What was seen of one crawl when its file was written."""

    def __init__(
        self, name: str, caplog: pytest.LogCaptureFixture, reporter: Reporter, directory: Path
    ) -> None:
        self._path = _SEEN / f"{name}.json"
        self._caplog = caplog
        self._reporter = reporter
        self._directory = directory

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        """Give the servers of a crawl, and close them."""
        async with AsyncExitStack() as stack:
            yield World(stack, self._caplog, self._reporter, self._directory)

    def compare(self, seen: dict[str, Any]) -> None:
        """Fail if anything differs; or write it, if that is what was asked for."""
        text = json.dumps(seen, indent=1, sort_keys=True) + "\n"
        if os.environ.get("GOLDEN_WRITE"):
            self._path.write_text(text, encoding="utf-8")
            return
        before = self._path.read_text(encoding="utf-8")
        if text != before:
            lines = unified_diff(
                *(before.splitlines(), text.splitlines()), "before", "now", n=6, lineterm=""
            )
            pytest.fail("\n".join([f"{self._path.name}: the public sees", *lines]), pytrace=False)


@pytest.fixture(scope="session")
def reporter() -> Iterator[Reporter]:
    with Reporter() as running:
        yield running


@pytest.fixture
def golden(
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    reporter: Reporter,
    tmp_path: Path,
) -> Golden:
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    return Golden(name, caplog, reporter, tmp_path)


def first(*answers: OriginResponse | None) -> Callable[[OriginRequest], OriginResponse]:
    """Return a site that answers its first requests so, ``None`` with a page, and all others."""
    left = iter(answers)

    def handler(request: OriginRequest) -> OriginResponse:
        return next(left, None) or page(request)

    return handler


@crawl_test
async def test_plain(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("shop.example")
        for number in range(5):
            await world.proxy(f"p{number}", users=[f"user-{number}"])
        golden.compare(await world.crawl(urls("shop.example", 30)))


@crawl_test
async def test_rate_limited(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("busy.example", first(None, refusal(429, retry_after=_PAUSE)))
        await world.site("well.example")
        for name in ("one", "two", "three"):
            await world.proxy(name)
        golden.compare(
            await world.crawl(
                [*urls("busy.example", 2), *urls("well.example", 4), "http://busy.example/3"],
                look_at="Only paused targets are left",
                LOGSTATS_INTERVAL=1.9,
            )
        )


@crawl_test
async def test_bad_proxies(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("shop.example")
        await world.proxy("good")
        refusing = await world.proxy("refusing")
        await world.proxy("wrong", users=["somebody"], behaviour=Behaviour.UNAUTHORIZED)
        await world.proxy("broken", behaviour=Behaviour.ERROR, error_status=502)
        await world.proxy("fine")
        await refusing.close()
        golden.compare(await world.crawl(urls("shop.example", 12), PROXYBALANCE_COOLDOWN=600))


@crawl_test
async def test_choices_of_requests(golden: Golden) -> None:
    async with golden.world() as world:
        for name in ("one", "two", "three", "own"):
            await world.proxy(name, users=["user"])

        def lose_one(request: OriginRequest) -> OriginResponse:
            if request.path == "/lose":
                world.proxies["one"].behaviour = Behaviour.REFUSE
            return page(request)

        site = await world.site("shop.example", lose_one)
        basket, shop = {"session": "basket"}, "http://shop.example"
        golden.compare(
            await world.crawl(
                [
                    Request(f"{shop}/session-1", meta=basket),
                    Request(f"{shop}/session-2", meta=basket),
                    Request(f"{shop}/filter", meta={"proxy_filter": {"country": "at"}}),
                    Request(f"{shop}/none", meta={"proxy_filter": {"country": "fr"}}),
                    Request(f"{shop}/mistake", meta={"proxy_filter": {"colour": "red"}}),
                    Request(f"http://127.0.0.1:{site.port}/direct", meta={"proxy": None}),
                    Request(f"{shop}/own", meta={"proxy": world.entry("own")["url"]}),
                    Request(f"{shop}/by-url", meta={"proxy": world.proxies["three"].url()}),
                    Request(f"{shop}/empty", meta={"proxy": ""}),
                    Request(f"{shop}/first", meta={"proxy_strategy": "first_available"}),
                    Request(f"{shop}/unknown", meta={"proxy_strategy": "unknown"}),
                    Request("ftp://shop.example/ftp"),
                    Request(f"{shop}/lose", meta=basket),
                    Request(f"{shop}/session-3", meta=basket),
                    Request(f"{shop}/session-4", meta={**basket, "session_end": True}),
                    Request(f"{shop}/session-5", meta=basket),
                ],
                PROXYBALANCE_PROXIES=[
                    world.entry("one", country="de", tags=["fast", "new"], provider="acme"),
                    world.entry("two", country="at", weight=2, tier=1),
                    world.entry("three", max_in_flight=1),
                ],
                PROXYBALANCE_FAILURE_THRESHOLD=1,
                PROXYBALANCE_COOLDOWN=600,
            )
        )


@crawl_test
async def test_session_lost(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("shop.example")
        one = await world.proxy("one")
        await world.proxy("two")
        await one.close()
        meta = {"session": "basket"}
        golden.compare(
            await world.crawl(
                [Request(url, meta=meta) for url in urls("shop.example", 2)],
                PROXYBALANCE_SESSION_LOST="fail",
                PROXYBALANCE_FAILURE_THRESHOLD=1,
                PROXYBALANCE_COOLDOWN=600,
            )
        )


@pytest.mark.parametrize("policy", ["pause", "drop", "close_spider"])
@pytest.mark.parametrize("status", [403, 429])
@crawl_test
async def test_refused(golden: Golden, status: int, policy: str) -> None:
    async with golden.world() as world:
        refusals = [refusal(status)] * (3 if status == 403 else 2)
        await world.site("shop.example", first(None, *refusals))
        await world.site("well.example")
        for name in ("one", "two"):
            await world.proxy(name)
        golden.compare(
            await world.crawl(
                [*urls("shop.example", 6), *urls("well.example", 2)],
                PROXYBALANCE_PAUSE=_PAUSE,
                PROXYBALANCE_PAUSE_MAX=_PAUSE,
                PROXYBALANCE_ON_FORBIDDEN=policy,
                PROXYBALANCE_ON_RATE_LIMITED=policy,
            )
        )


@crawl_test
async def test_suspended(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("shop.example", lambda _: refusal(503, retry_after=600))
        await world.site("well.example")
        for name in ("one", "two"):
            await world.proxy(name)
        golden.compare(
            await world.crawl(
                [*urls("shop.example", 3), *urls("well.example", 2)],
                PROXYBALANCE_PAUSE=_PAUSE,
                PROXYBALANCE_PAUSE_MAX=_PAUSE,
                PROXYBALANCE_MAX_PAUSES=1,
            )
        )


@resumes_a_crawl
@crawl_test
async def test_resumed(golden: Golden, tmp_path: Path) -> None:
    async with golden.world() as world:
        await world.site("busy.example", first(None, refusal(429, retry_after=600)))
        await world.site("well.example")
        for name in ("one", "two"):
            await world.proxy(name)
        job = str(tmp_path / "job")
        stopped = await world.crawl(
            [*urls("busy.example", 3), *urls("well.example", 3)], stop_after=3, JOBDIR=job
        )
        # What is left of the pause is cut down to what a test can sit out.
        resumed = await world.crawl(
            urls("well.example", 4),
            JOBDIR=job,
            PROXYBALANCE_PAUSE=_PAUSE,
            PROXYBALANCE_PAUSE_MAX=_PAUSE,
        )
        golden.compare({"stopped": stopped, "resumed": resumed})


@crawl_test
async def test_exhausted(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("shop.example")
        for name in ("one", "two", "three"):
            await (await world.proxy(name)).close()
        golden.compare(
            await world.crawl(
                urls("shop.example", 4),
                look_at="Proxies: 3 cooling",
                LOGSTATS_INTERVAL=2.1,  # not at a full second, when the spider may be closed
                PROXYBALANCE_FAILURE_THRESHOLD=1,
                PROXYBALANCE_COOLDOWN=600,
                PROXYBALANCE_EXHAUSTED_TIMEOUT=1.5,
            )
        )


@speaks_tls
@crawl_test
async def test_https(golden: Golden, tmp_path: Path) -> None:
    def refuses_the_host(method: str, _: str) -> bytes | None:
        return answer(403, "not there") if method == "CONNECT" else None

    def does_no_connect(method: str, _: str) -> bytes | None:
        return answer(405, "no CONNECT") if method == "CONNECT" else None

    async with golden.world() as world:
        await world.site("secure.example", ssl_context=server_context(tmp_path))
        await world.site("shop.example")
        await world.proxy("one", users=["user"])
        await world.proxy("choosy", refuses_the_host)
        await world.proxy("plain", does_no_connect)
        await world.proxy("two", users=["user"])
        golden.compare(
            await world.crawl(
                [*urls("secure.example", 8, scheme="https"), *urls("shop.example", 4)]
            )
        )


@crawl_test
async def test_gateway(golden: Golden) -> None:
    refused = {"http://shop.example/3": 2, "http://shop.example/6": 1}

    def too_many(_: str, url: str) -> bytes | None:
        if not refused.get(url):
            return None
        refused[url] -= 1
        return answer(503, "Maximum number of open connections reached.")

    async with golden.world() as world:
        await world.site("shop.example")
        names = [f"user-{number}" for number in range(4)]
        gateway = await world.proxy("gateway", too_many, users=names)
        golden.compare(
            await world.crawl(
                urls("shop.example", 10), PROXYBALANCE_PROXIES=[gateway.url(name) for name in names]
            )
        )


@crawl_test
async def test_gateway_down(golden: Golden, caplog: pytest.LogCaptureFixture) -> None:
    # One page: several would come back in an order of chance.
    *well, last = urls("shop.example", 3)

    def is_down(_: str, url: str) -> bytes | None:
        called = any("Nothing gets through" in record.getMessage() for record in caplog.records)
        return b"" if url == last and not called else None

    async with golden.world() as world:
        await world.site("shop.example")
        names = [f"user-{number}" for number in range(4)]
        gateway = await world.proxy("gateway", is_down, users=names)
        golden.compare(
            await world.crawl(
                [*well, last],
                RETRY_TIMES=50,
                PROXYBALANCE_PROXIES=[{"url": gateway.url(name), "name": name} for name in names],
            )
        )


@crawl_test
async def test_budgets(golden: Golden) -> None:
    async with golden.world() as world:
        for host in ("rate.example", "spacing.example", "few.example", "www.domain.example"):
            await world.site(host)
        for name in ("one", "two"):
            await world.proxy(name)
        golden.compare(
            await world.crawl(
                [
                    *urls("rate.example", 2),
                    *urls("spacing.example", 3),
                    *urls("few.example", 2),
                    *urls("www.domain.example", 3),
                ],
                # A second lies between what waits for the one, and what waits for the other.
                PROXYBALANCE_TARGETS={
                    "rate.example": {"rate": "1/s"},
                    "spacing.example": {"spacing": 2},
                    "few.example": {"in_flight": 1, "strategy": "first_available"},
                    ".domain.example": {"filter": {"name": "two"}},
                    "never.example": {"in_flight": 5},
                },
            )
        )


@crawl_test
async def test_robots(golden: Golden) -> None:
    def with_robots(robots: OriginResponse) -> Callable[[OriginRequest], OriginResponse]:
        def handler(request: OriginRequest) -> OriginResponse:
            return robots if request.path == "/robots.txt" else page(request)

        return handler

    rules = OriginResponse(body=b"User-agent: *\nDisallow: /2\n")
    async with golden.world() as world:
        await world.site("rules.example", with_robots(rules))
        await world.site("free.example", with_robots(OriginResponse(404)))
        await world.site("unwell.example", with_robots(OriginResponse(500)))
        for name in ("one", "two"):
            await world.proxy(name)
        golden.compare(
            await world.crawl(
                [*urls("rules.example", 3), *urls("free.example", 3), *urls("unwell.example", 2)],
                look_at="Only paused targets are left",
                ROBOTSTXT_OBEY=True,
                RETRY_TIMES=1,
                PROXYBALANCE_PAUSE=_PAUSE,
                PROXYBALANCE_MAX_PAUSES=1,
            )
        )


@crawl_test
async def test_large_pool(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("shop.example", first(refusal(429)))
        for number in range(4):
            await world.proxy(f"p{number}")
        places = ["de", "de", "at", "at"]
        golden.compare(
            await world.crawl(
                urls("shop.example", 6),
                PROXYBALANCE_PROXIES=[
                    world.entry(name, country=country, provider="acme")
                    for name, country in zip(world.proxies, places, strict=True)
                ],
                PROXYBALANCE_PAUSE_MAX=_PAUSE,
                PROXYBALANCE_PAUSE=_PAUSE,
                PROXYBALANCE_STATS_PER_PROXY=3,
                PROXYBALANCE_METRICS_PER_PROXY=3,
            )
        )


def _classifier(request: Request, result: object) -> Verdict | None:
    """Judge some pages by their names."""
    path = urlsplit(request.url).path
    if path == "/mistake":
        return "no verdict"  # type: ignore[return-value]
    if path == "/error":
        raise ValueError("of the user's own code")
    if isinstance(result, Response) and b"try later" in result.body:
        return Verdict(outcome=Outcome.AMBIGUOUS, failure="soft")
    return None


@crawl_test
async def test_own_code_and_marks(golden: Golden) -> None:
    def marks(_: str, url: str) -> bytes | None:
        return answer(503, "no", X_Gate="No traffic left") if url == next(once, None) else None

    def handler(request: OriginRequest) -> OriginResponse:
        if request.path == "/soft":
            return OriginResponse(body=next(soft, b"page"))
        return OriginResponse(
            {"/broken": 500, "/missing": 404}.get(request.path, 200), body=b"page"
        )

    once, soft = iter(["http://shop.example/marked"]), iter([b"try later"])
    async with golden.world() as world:
        await world.site("shop.example", handler)
        for name in ("one", "two", "three"):
            await world.proxy(name, marks)
        paths = ("marked", "broken", "missing", "mistake", "error", "soft")
        golden.compare(
            await world.crawl(
                [f"http://shop.example/{path}" for path in paths],
                RETRY_TIMES=2,
                PROXYBALANCE_CLASSIFIER=_classifier,
                PROXYBALANCE_PROXY_MARKS=[
                    {"header": "X-Gate", "value": "no traffic", "verdict": "traffic_used_up"}
                ],
            )
        )


@crawl_test
async def test_past_the_pool(golden: Golden) -> None:
    """Another queue than the plugin's, and a proxy that somebody else sets for every request."""
    async with golden.world() as world:
        await world.site("shop.example")
        for name in ("one", "own"):
            await world.proxy(name)
        own = world.entry("own")["url"]
        golden.compare(
            await world.crawl(
                [Request(url, meta={"proxy": own}) for url in urls("shop.example", 50)],
                PROXYBALANCE_PROXIES=[world.entry("one")],
                SCHEDULER_PRIORITY_QUEUE="scrapy.pqueues.ScrapyPriorityQueue",
            )
        )


@crawl_test
async def test_strategies(golden: Golden) -> None:
    names = ["first_available", "round_robin", "weighted_round_robin", "least_used"]
    async with golden.world() as world:
        await world.site("shop.example")
        for name in ("one", "two", "three"):
            await world.proxy(name)
        golden.compare(
            await world.crawl(
                [
                    Request(f"http://shop.example/{name}/{n}", meta={"proxy_strategy": name})
                    for name in names
                    for n in range(6)
                ],
                PROXYBALANCE_PROXIES=[
                    world.entry(name, weight=weight)
                    for name, weight in zip(world.proxies, (1, 3, 1), strict=True)
                ],
            )
        )


@crawl_test
async def test_mistakes(golden: Golden, tmp_path: Path) -> None:
    """What is said of settings that cannot be used."""
    proxies = tmp_path / "proxies.txt"
    proxies.write_text("http://one.example:8080 country=de\nhttp://two.example\n")
    good = "http://user:secret@one.example:8080"
    said = []
    for name, value in [
        ("PROXIES", []),
        ("PROXIES", [7]),
        ("PROXIES", ["http://user:secret@one.example"]),
        ("PROXIES", [good, good]),
        ("PROXIES", [{"url": good, "weight": 0}]),
        ("PROXIES", [{"url": good, "colour": "red"}]),
        ("PROXIES", ["socks5://one.example:1080"]),
        ("PROXIES_FILE", str(proxies)),
        ("PROXIES_FILE", str(tmp_path / "missing.txt")),
        ("STRATEGY", "round-robin"),
        ("MAX_IN_FLIGHT", 0),
        ("RATE", "fast"),
        ("COOLDOWN", 601),
        ("ENABLED", "perhaps"),
        ("ON_FORBIDDEN", "ignore"),
        ("TARGETS", {"http://shop.example/": {"rate": "1/s"}}),
        ("TARGETS", {"shop.example": {"speed": 5}}),
        ("GATEWAYS", {"gate.example": {"max_in_flight": 5}}),
        ("CLASSIFIER", "missing.module.function"),
        ("PROXY_MARKS", [{"verdict": "proxy"}]),
        ("REQUEST_LOG", "requests.log"),
        ("REPORT", "report.pdf"),
        ("METRICS_PORT", -1),
        ("CONTROL_TOKEN", "short"),
        ("STRATAGY", "sticky"),
    ]:
        settings = {"PROXYBALANCE_PROXIES": [good], f"PROXYBALANCE_{name}": value}
        with pytest.raises(ValueError) as error:  # noqa: PT011
            await crawl([], settings)
        text = str(error.value).replace(str(tmp_path), "<directory>")
        said.append(f"{type(error.value).__name__}: {text}")
    golden.compare({"said": said})


@crawl_test
async def test_by_hand(golden: Golden) -> None:
    async with golden.world() as world:
        await world.site("shop.example")
        for name in ("one", "two"):
            await world.proxy(name)
        golden.compare(
            await world.crawl(
                urls("shop.example", 4),
                acts=[
                    *("proxies/one/drain", "proxies/one/end-cooldown", "proxies/one/enable"),
                    *("targets/shop.example/pause", "targets/shop.example/resume"),
                ],
            )
        )
