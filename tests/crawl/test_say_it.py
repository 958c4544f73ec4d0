"""What a crawl says of its paused targets: in the log, the stats and signals; and how it idles."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from scrapy import signals as scrapy_signals

from scrapy_proxybalance import ProxyBalanceMiddleware, signals
from scrapy_proxybalance.plugin.lifecycle.job_memory import FILE_NAME
from scrapy_proxybalance.plugin.lifecycle.only_paused import OnlyPausedWatch, _some

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats
from .test_target_gate import (
    Script,
    context_of,
    crawling,
    finish_reason,
    page,
    paths,
    refusal,
    resumes_a_crawl,
    until,
    urls,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loopback.origin import OriginRequest, OriginResponse
    from scrapy.crawler import Crawler

_CLOCK = r"\d\d:\d\d:\d\d"
_MOMENT = rf"(?:\d{{4}}-\d\d-\d\d )?{_CLOCK}"

EVENTS = "scrapy_proxybalance.events"
OTHERS = "scrapy_proxybalance"
ONLY_PAUSED = "Only paused targets are left"


class OneRefusal:
    """Refuses its first request, once the crawler holds ``held`` others, and serves the others."""

    def __init__(self, held: int, **headers: str) -> None:
        self.held = held
        self.headers = headers
        self.crawler: Crawler | None = None
        self.refused = False

    def prepare(self, crawler: Crawler) -> None:
        self.crawler = crawler

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        if self.refused:
            return page(request)
        self.refused = True
        crawler = self.crawler
        assert crawler is not None
        await until(lambda: context_of(crawler).held("a.test") == self.held)
        return refusal(**self.headers)


def lines(caplog: pytest.LogCaptureFixture, logger: str, text: str) -> list[tuple[str, str]]:
    """Return level and text of the lines of a logger in which a text occurs."""
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == logger and text in record.getMessage()
    ]


# The log


@crawl_test
async def test_entering_and_leaving_a_pause_is_one_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = OneRefusal(4, retry_after="1")
    async with world(a=target) as w:
        settings = w.settings(CONCURRENT_REQUESTS=1, PROXYBALANCE_PAUSE=0.1, PROXYBALANCE_RAMP=12)
        with caplog.at_level(logging.DEBUG):
            crawler = await crawl(urls("a.test", 5), settings, prepare=target.prepare)
        assert sorted(w.paths("a.test")) == sorted([*paths(5), "/0"])
        assert finish_reason(crawler) == "finished"
    (entering, leaving, *others) = lines(caplog, EVENTS, "Target a.test")
    assert entering[0] == "WARNING"
    assert re.fullmatch(
        rf"Target a\.test paused until {_MOMENT} \(1 s, no\. 1 in a row\): response 429 with "
        r"Retry-After: 1; 4 requests held",
        entering[1],
    )
    assert leaving[0] == "INFO"
    # The refused request is held as well, and goes as the probe.
    assert re.fullmatch(
        r"Target a\.test answers again after 1 s; 4 requests held; it ramps up over 1 s from "
        r"[\d.]+ requests/s",
        leaving[1],
    )
    assert {level for level, _ in others} <= {"DEBUG"}


@pytest.mark.parametrize(
    ("policy", "fate"), [("pause", "5 requests held"), ("drop", "4 requests dropped")]
)
@crawl_test
async def test_a_suspension_is_one_error_with_what_becomes_of_the_requests(
    policy: str, fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    ready: list[Callable[[], bool]] = []

    async def target(_: OriginRequest) -> OriginResponse:
        await until(ready[0])
        return refusal()

    def prepare(crawler: Crawler) -> None:
        ready.append(lambda: context_of(crawler).held("a.test") >= 4)

    async with world(a=target) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS=1,
            PROXYBALANCE_PAUSE=0.1,
            PROXYBALANCE_MAX_PAUSES=1,
            PROXYBALANCE_ON_RATE_LIMITED=policy,
        )
        with caplog.at_level(logging.DEBUG):
            await crawl(urls("a.test", 6 if policy == "pause" else 5), settings, prepare=prepare)
    [(level, text)] = lines(caplog, EVENTS, "gets no more requests")
    assert level == "ERROR"
    assert "response 429" in text
    assert f"; {fate}. Review your permission" in text


@crawl_test
async def test_a_pause_that_is_lengthened_is_in_the_log_and_in_the_file_before_the_crawl_closes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = asyncio.Event()
    first_received = asyncio.Event()
    arrived = 0

    async def target(_: OriginRequest) -> OriginResponse:
        nonlocal arrived
        arrived += 1
        place = arrived
        if place == 2:
            both.set()
        await both.wait()
        if place == 1:
            return refusal(retry_after="100")
        await first_received.wait()
        return refusal(retry_after="600")

    def prepare(crawler: Crawler) -> None:
        crawler.signals.connect(
            lambda **_: first_received.set(), signal=signals.target_paused, weak=False
        )

    def remembered() -> float:
        if not (tmp_path / FILE_NAME).exists():
            return 0
        [one] = json.loads((tmp_path / FILE_NAME).read_text("utf-8"))["targets"]
        return float(one["until"] - time.time())

    async with world(a=target) as w:
        settings = w.settings(JOBDIR=str(tmp_path), CONCURRENT_REQUESTS=2)
        with caplog.at_level(logging.DEBUG):
            async with crawling(urls("a.test", 2), settings, prepare) as run:  # type: ignore[arg-type]
                await until(lambda: remembered() > 500)
                assert run.engine.spider is not None
        assert arrived == 2
    (paused, extended, *others) = lines(caplog, EVENTS, "Target a.test")
    assert paused[0] == extended[0] == "WARNING"
    assert "no. 1 in a row): response 429 with Retry-After: 100" in paused[1]
    assert re.fullmatch(
        rf"Target a\.test stays paused until {_MOMENT} \(600 s more\): response 429 with "
        r"Retry-After: 600",
        extended[1],
    )
    assert {level for level, _ in others} <= {"DEBUG"}


# The stats


@crawl_test
async def test_the_stats_of_a_target_that_paused_once_are_these(tmp_path: Path) -> None:
    target = OneRefusal(4)
    async with world(a=target, b=page) as w:
        file = tmp_path / "stats.json"
        settings = w.settings(
            CONCURRENT_REQUESTS=1, PROXYBALANCE_PAUSE=0.5, PROXYBALANCE_STATS_FILE=str(file)
        )
        requested = [*urls("a.test", 5), *urls("b.test", 2)]
        crawler = await crawl(requested, settings, prepare=target.prepare)
    stats = proxybalance_stats(crawler)
    of_targets = {key: value for key, value in stats.items() if key.startswith("target/")}
    seconds = of_targets.pop("target/a.test/seconds_paused")
    # As long as the pause, and no longer than the crawl; to the millisecond.
    assert 0.5 <= seconds <= crawler.stats.get_value("elapsed_time_seconds")
    assert seconds == round(seconds, 3)
    most = of_targets.pop("target/a.test/held/max")
    assert most in (4, 5)  # the refused one comes back to the others
    assert of_targets == {
        "target/a.test/signals": 1,
        "target/a.test/pauses": 1,
        "target/a.test/reopened": 1,
        "target/a.test/held": 0,
    }
    assert json.loads(file.read_text())["targets"] == {
        "a.test": {
            "requests": 6,
            "refusals": 1,
            "pauses": 1,
            "seconds_paused": seconds,
            "held": 0,
            "held_max": most,
            "suspended": False,
        },
        "b.test": {
            "requests": 2,
            "refusals": 0,
            "pauses": 0,
            "seconds_paused": 0.0,
            "held": 0,
            "held_max": 0,
            "suspended": False,
        },
    }


@crawl_test
async def test_what_is_still_held_at_the_end_is_in_the_stats(tmp_path: Path) -> None:
    target = OneRefusal(4)
    async with world(a=target) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS=1, PROXYBALANCE_PAUSE=600, JOBDIR=str(tmp_path / "job")
        )
        target_crawlers: list[Crawler] = []

        def close_when_paused(**_: Any) -> None:
            context_of(target_crawlers[0]).close_spider("seen enough")

        def prepare(crawler: Crawler) -> None:
            target.prepare(crawler)
            target_crawlers.append(crawler)
            crawler.signals.connect(close_when_paused, signal=signals.target_paused)

        crawler = await crawl(urls("a.test", 5), settings, prepare=prepare)
        stats = proxybalance_stats(crawler)
        assert stats["target/a.test/held"] == 5
        assert stats["target/a.test/held/max"] == 5
        assert stats["target/a.test/seconds_paused"] > 0
        assert "target/a.test/reopened" not in stats


# Signals


class Called:
    """Receives the plugin's signals, plainly or as a coroutine."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def connect(self, crawler: Crawler) -> None:
        for name in ("target_paused", "target_resumed", "target_suspended"):
            receiver = self._receiver(name)
            setattr(self, name, receiver)  # Scrapy holds it weakly
            crawler.signals.connect(receiver, signal=getattr(signals, name))

    def _receiver(self, name: str) -> Callable[..., Any]:
        def plain(**arguments: Any) -> None:
            self._note(name, arguments)

        async def slow(**arguments: Any) -> None:
            await asyncio.sleep(0.05)
            self._note(name, arguments)

        return slow if self.is_async else plain

    def _note(self, name: str, arguments: dict[str, Any]) -> None:
        for pydispatch in ("signal", "sender"):
            del arguments[pydispatch]
        self.calls.append((name, arguments))


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@crawl_test
async def test_a_receiver_is_told_of_a_pause_its_end_and_a_suspension(is_async: bool) -> None:
    called = Called(is_async=is_async)
    answers = Script(refusal(), None, refusal(), refusal())
    async with world(a=answers) as w:
        settings = w.settings(
            CONCURRENT_REQUESTS=1,
            PROXYBALANCE_PAUSE=0.2,
            PROXYBALANCE_MAX_PAUSES=1,
            RETRY_TIMES=0,
        )
        crawler = await crawl(urls("a.test", 4), settings, prepare=called.connect)
        assert finish_reason(crawler) == "proxybalance_suspended: a.test"
    assert [name for name, _ in called.calls] == [
        "target_paused",
        "target_resumed",
        "target_suspended",
    ]
    (paused, resumed, suspended) = (arguments for _, arguments in called.calls)
    for arguments in (paused, resumed, suspended):
        assert arguments.pop("target") == "a.test"
        assert arguments.pop("spider") is crawler.spider
        assert 0 <= arguments.pop("held") <= 4
    assert 0.2 <= paused.pop("seconds") <= 0.3
    assert paused == {"reason": "response 429", "step": 1}
    assert resumed.pop("seconds") >= 0.2
    assert resumed == {}
    assert suspended == {"reason": "response 429, after 1 pauses in a row"}


@crawl_test
async def test_a_receiver_that_fails_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(**_: Any) -> None:
        raise ZeroDivisionError

    async with world(a=Script(refusal())) as w:
        settings = w.settings(CONCURRENT_REQUESTS=1, PROXYBALANCE_PAUSE=0.1)
        crawler = await crawl(
            urls("a.test", 2),
            settings,
            prepare=lambda crawler: crawler.signals.connect(fail, signal=signals.target_paused),
        )
        assert finish_reason(crawler) == "finished"
        assert len(crawler.spider.responses) == 2
    assert any("Error caught on signal handler" in r.getMessage() for r in caplog.records)


# A crawl that idles


@resumes_a_crawl
@crawl_test
async def test_a_crawl_with_only_paused_targets_left_closes_if_told_so_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(a=lambda _: refusal(), b=page) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=1.5, JOBDIR=str(tmp_path))
        requested = urls("a.test", 3) + urls("b.test", 20)
        with caplog.at_level(logging.INFO):
            first = await crawl(requested, {**settings, "PROXYBALANCE_IDLE_WHEN_PAUSED": "close"})
        assert finish_reason(first) == "proxybalance_only_paused: a.test"
        assert sorted(w.paths("b.test")) == sorted(paths(20))
        assert proxybalance_stats(first)["target/a.test/held"] == 3
        [(level, text)] = lines(caplog, OTHERS, ONLY_PAUSED)
        assert level == "INFO"
        assert re.fullmatch(
            rf"Only paused targets are left: a\.test, with 3 requests held; the first one is due at "
            rf"{_MOMENT} \(in \d s\)\. The spider is closed; with JOBDIR, what is held is kept\.",
            text,
        )

        w.targets["a.test"]._handler = page
        second = await crawl(requested, settings)
        assert finish_reason(second) == "finished"
        fetched = [response.url for run in (first, second) for response in run.spider.responses]
        assert sorted(fetched) == sorted(requested)


@crawl_test
async def test_a_crawl_with_only_paused_targets_left_waits_says_so_once_and_finishes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world(a=Script(refusal())) as w:
        settings = w.settings(CONCURRENT_REQUESTS=1, PROXYBALANCE_PAUSE=1.5)
        with caplog.at_level(logging.INFO):
            crawler = await crawl(urls("a.test", 2), settings)
        assert finish_reason(crawler) == "finished"
        assert len(crawler.spider.responses) == 2
    [(level, text)] = lines(caplog, OTHERS, ONLY_PAUSED)
    assert level == "INFO"
    assert text.startswith("Only paused targets are left: a.test, with 2 requests held; ")
    assert text.endswith(
        "The crawl waits; it is closed if none of them answers for 7200 s "
        "(PROXYBALANCE_IDLE_TIMEOUT)."
    )


@crawl_test
async def test_a_crawl_that_has_waited_for_paused_targets_long_enough_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world(a=lambda _: refusal(), b=lambda _: refusal()) as w:
        settings = w.settings(
            PROXYBALANCE_PAUSE=0.6,
            # One refused probe after another does not make it wait for longer.
            PROXYBALANCE_MAX_PAUSES=50,
            PROXYBALANCE_PAUSE_MAX=0.6,
            PROXYBALANCE_IDLE_TIMEOUT=3,
        )
        with caplog.at_level(logging.INFO):
            crawler = await crawl(urls("a.test", 3) + urls("b.test", 3), settings)
        assert finish_reason(crawler) == "proxybalance_only_paused: a.test, b.test"
        assert crawler.spider.responses == []
        stats = proxybalance_stats(crawler)
        assert stats["target/a.test/pauses"] > 1
        assert stats["target/a.test/held"] + stats["target/b.test/held"] == 6
    assert len(lines(caplog, OTHERS, f"{ONLY_PAUSED}: a.test, b.test")) == 1


@crawl_test
async def test_a_crawl_with_anything_else_to_do_is_not_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[bool] = []
    release = asyncio.Event()
    look = OnlyPausedWatch.look

    def counted(self: OnlyPausedWatch) -> None:
        looks.append(True)
        look(self)
        if len(looks) >= 2:
            release.set()

    async def slow(request: OriginRequest) -> OriginResponse:
        await release.wait()
        return page(request)

    monkeypatch.setattr(OnlyPausedWatch, "look", counted)
    async with world(a=lambda _: refusal(), b=slow) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=600, PROXYBALANCE_IDLE_WHEN_PAUSED="close")
        crawler = await crawl(urls("a.test", 3) + urls("b.test", 1), settings)
        assert finish_reason(crawler) == "proxybalance_only_paused: a.test"
        assert [response.url for response in crawler.spider.responses] == ["http://b.test/0"]


@crawl_test
async def test_a_crawl_that_still_reads_its_start_is_not_closed() -> None:
    gone_on = asyncio.Event()

    class SlowStart(UrlsSpider):
        async def start(self) -> Any:
            async for request in super().start():
                yield request
                if request.url == "http://a.test/0":
                    await gone_on.wait()

    async with world(a=lambda _: refusal(), b=page) as w:
        settings = w.settings(PROXYBALANCE_PAUSE=600, PROXYBALANCE_IDLE_WHEN_PAUSED="close")
        requested = urls("a.test", 1) + urls("b.test", 3)
        async with crawling(requested, settings, spider=SlowStart) as run:
            ended: list[str] = []
            run.signals.connect(
                lambda reason: ended.append(reason),
                signal=scrapy_signals.spider_closed,
                weak=False,
            )
            await until(lambda: context_of(run).held("a.test") == 1)
            middleware = run.get_downloader_middleware(ProxyBalanceMiddleware)
            [watch] = [one for one in middleware._observers if isinstance(one, OnlyPausedWatch)]
            watch.look()
            assert not context_of(run).closing
            gone_on.set()
            await until(lambda: ended)
        assert ended == ["proxybalance_only_paused: a.test"]
        assert len(run.spider.responses) == 3


def test_a_reason_names_three_targets_at_most() -> None:
    assert _some(["b", "a"]) == "a, b"
    assert _some(["c", "b", "a"]) == "a, b, c"
    assert _some(["e", "d", "c", "b", "a"]) == "a, b, c and 2 more"
