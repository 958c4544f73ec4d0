"""``PROXYBALANCE_REPORT``: what a crawl writes at its end, as the proxies and the stats have it."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request

from scrapy_proxybalance.core import ConfigurationError, Outcome
from scrapy_proxybalance.core.verdict import Verdict
from scrapy_proxybalance.reporting.report import CSV_COLUMNS

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats
from .test_resume import LONG, Job, Script, ended, page, refusal, until, urls, world

if TYPE_CHECKING:
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response


def echo(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["proxy"]: row for row in csv.DictReader(file)}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]


class Refuses:
    """Answers every request for a path with 429, a number of times, before it serves it."""

    def __init__(self, path: str, times: int) -> None:
        self._path, self._left = path, times

    def __call__(self, request: OriginRequest) -> OriginResponse:
        if request.path == self._path and self._left:
            self._left -= 1
            return OriginResponse(429)
        return echo(request)


@crawl_test
async def test_the_csv_says_what_the_proxies_saw_and_the_stats_say(tmp_path: Path) -> None:
    report, stats_file = tmp_path / "urls.csv", tmp_path / "stats.json"
    async with (
        Origin(echo) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two") as two,
        ForwardProxy("dead") as dead,
    ):
        await dead.close()
        site = f"http://127.0.0.1:{origin.port}"
        crawler = await crawl(
            [
                *(Request(f"{site}/s{n}", meta={"session": f"s{n % 3}"}) for n in range(9)),
                *(f"{site}/{number}" for number in range(40)),
                Request(f"{site}/direct", meta={"proxy": None}),
            ],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": one.url(), "name": "one"},
                    {"url": two.url(), "name": "two"},
                    {"url": dead.url(), "name": "dead"},
                ],
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_REPORT": str(tmp_path / "%(name)s.csv"),
                "PROXYBALANCE_STATS_FILE": stats_file,
            },
        )
    assert len(crawler.spider.responses) == 50
    rows = rows_of(report)
    assert set(rows) == {"one", "two", "dead"}
    assert tuple(rows["one"]) == CSV_COLUMNS
    assert [int(rows[proxy.name]["requests"]) for proxy in (one, two)] == [
        len(one.requests),
        len(two.requests),
    ]
    stats = proxybalance_stats(crawler)
    assert sum(int(row["requests"]) for row in rows.values()) == stats["leases"]
    assert sum(float(row["share"]) for row in rows.values()) == pytest.approx(1.0, abs=1e-5)
    told = {proxy["name"]: proxy for proxy in json.loads(stats_file.read_text())["proxies"]}
    for name, row in rows.items():
        assert int(row["requests"]) == told[name]["requests"]
        assert int(row["cooldowns"]) == told[name]["cooldowns"]
        assert float(row["success_rate"]) == told[name]["success_rate"]
        failures = " ".join(f"{failure}={n}" for failure, n in told[name]["failures"].items())
        assert row["errors"] == failures
        if name != "dead":
            assert float(row["latency_p50"]) == pytest.approx(told[name]["latency_p50"], abs=1e-4)
            assert float(row["latency_p95"]) == pytest.approx(told[name]["latency_p95"], abs=1e-4)
    assert int(rows["dead"]["cooldowns"]) >= 1
    assert rows["dead"]["errors"].startswith("connection_refused=")
    assert rows["dead"]["latency_p50"] == ""
    assert int(rows["one"]["sessions"]) + int(rows["two"]["sessions"]) >= 3


@crawl_test
async def test_the_page_knows_capacities_cooldowns_and_pauses_which_no_log_knows(
    tmp_path: Path,
) -> None:
    report = tmp_path / "new" / "report.html"
    async with Origin(Refuses("/busy", 3)) as origin, ForwardProxy("big") as big:
        async with ForwardProxy("gone") as gone:
            await gone.close()
        site = f"http://127.0.0.1:{origin.port}"
        crawler = await crawl(
            [f"{site}/busy", *(f"{site}/{number}" for number in range(20))],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": big.url(), "name": "big", "max_in_flight": 6},
                    {"url": gone.url(), "name": "gone", "max_in_flight": 2},
                ],
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_PAUSE": 0.1,
                "PROXYBALANCE_REPORT": [report],
            },
        )
    text = report.read_text()
    assert "Share of each proxy against its capacity" in text
    big_row, gone_row = re.findall(r"<tr><th scope=\"row\">.*?</tr>", text, re.DOTALL)
    assert "<td>75.00%</td>" in big_row
    assert "<td>25.00%</td>" in gone_row
    stats = proxybalance_stats(crawler)
    assert f"<td>{stats['proxy/gone/cooldowns']}</td>" in gone_row
    assert "were probed, drained or out at some time: 1." in text
    assert "that were paused or suspended: 1." in text
    pauses = stats[f"target/127.0.0.1:{origin.port}/pauses"]
    assert pauses == 3
    assert f"127.0.0.1:{origin.port} was paused {pauses} times, after" in text


@crawl_test
async def test_a_proxy_that_carried_nothing_has_a_row_all_the_same(tmp_path: Path) -> None:
    reports = [tmp_path / "report.csv", tmp_path / "report.html"]
    async with Origin(echo) as origin, ForwardProxy("one") as one, ForwardProxy("two") as two:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(8)],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": one.url(), "name": "one"},
                    {"url": two.url(), "name": "two"},
                ],
                "PROXYBALANCE_STRATEGY": "first_available",
                "CONCURRENT_REQUESTS": 1,
                "PROXYBALANCE_REPORT": reports,
            },
        )
    assert not two.requests
    rows = rows_of(reports[0])
    assert (rows["two"]["requests"], rows["two"]["share"]) == ("0", "0.0")
    assert rows["two"]["success_rate"] == rows["two"]["latency_p95"] == ""
    assert "<dt>not used</dt><dd>1</dd>" in reports[1].read_text()


HOSTILE = "<script src='http://evil.example/x.js'>alert(1)</script>$x$"
PASSWORD = "s3cr3t&word"


def hostile_classifier(request: Request, result: object) -> Verdict:  # noqa: ARG001
    return Verdict(outcome=Outcome.AMBIGUOUS, failure="<img src=x onerror=alert(2)>\udce9")


@crawl_test
async def test_the_page_loads_nothing_names_stay_text_and_no_password_is_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reports = [tmp_path / "report.html", tmp_path / "report.csv"]
    async with Origin(echo) as origin, ForwardProxy("one", credentials={"user": PASSWORD}) as one:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(5)],
            {
                "PROXYBALANCE_PROXIES": [{"url": one.url("user"), "name": HOSTILE}],
                "PROXYBALANCE_CLASSIFIER": hostile_classifier,
                "PROXYBALANCE_REPORT": reports,
            },
        )
    assert len(one.requests) == 5
    assert errors(caplog) == []
    html, table = (report.read_text() for report in reports)
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script src=") >= 2  # the share and the table
    assert "&lt;img src=x onerror=alert(2)&gt;" in html
    # Names of XML's namespaces are no addresses to load from.
    loads = re.sub(r' xmlns(:\w+)?="[^"]*"', "", html)
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"|url\((?!#)|@import|<link', loads) == []
    assert int(rows_of(reports[1])[HOSTILE]["requests"]) == 5
    for text in (html, table):
        assert "s3cr3t" not in text


@crawl_test
async def test_a_crawl_that_is_interrupted_writes_its_report(tmp_path: Path) -> None:
    reports = [tmp_path / "report.html", tmp_path / "report.csv"]
    async with world(a=Script(None, None, None, refusal()), b=page) as w:
        job = Job(tmp_path, w, urls("a.test", 20) + urls("b.test", 20))
        with job.crawl(PROXYBALANCE_REPORT=[*map(str, reports)], **LONG) as process:
            await until(lambda: sum("b.test" in url for url in job.items) == 20)
            await until(job.memory.exists)
            process.send_signal(signal.SIGINT)
            assert await ended(process) == 0
        seen = len(w.paths("a.test")) + len(w.paths("b.test"))
    assert sum(int(row["requests"]) for row in rows_of(reports[1]).values()) == seen
    assert "ERROR" not in job.log()
    assert "that were paused or suspended: 1." in reports[0].read_text()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("report.pdf", "no report ends like that; write a path that ends in .html or .csv"),
        ("report.html, report", "'report': no report ends like that"),
        (5, "= 5: write a path"),
        ([b"report.csv"], "write a path"),
        ("s3://KEY:secret@bucket/report.csv", "cannot be written to a URI"),
        ("/dev/null/report.html", "it cannot be written (its directory is a file); name a file"),
        ("/proc/report.csv", "it cannot be written ("),
        ("%(colour)s.csv", "colour"),
    ],
)
@crawl_test
async def test_what_cannot_be_written_stops_the_start_with_one_error(
    where: object, said: str
) -> None:
    with pytest.raises(ConfigurationError, match="PROXYBALANCE_REPORT") as error:
        await crawl(
            [], {"PROXYBALANCE_PROXIES": ["http://127.0.0.1:1"], "PROXYBALANCE_REPORT": where}
        )
    assert said in str(error.value)
    assert "secret" not in str(error.value)


@crawl_test
async def test_a_path_that_is_a_directory_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "report.csv").mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        await crawl(
            [],
            {
                "PROXYBALANCE_PROXIES": ["http://127.0.0.1:1"],
                "PROXYBALANCE_REPORT": tmp_path / "report.csv",
            },
        )


@crawl_test
async def test_what_can_no_longer_be_written_is_one_error_and_the_other_report_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost, kept = tmp_path / "lost.html", tmp_path / "kept.csv"

    class TakesThePath(UrlsSpider):
        def keep(self, response: Response) -> None:
            super().keep(response)
            lost.mkdir(exist_ok=True)

    async with Origin(echo) as origin, ForwardProxy("one") as one:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/"],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_REPORT": [lost, kept]},
            spider=TakesThePath,
        )
    assert crawler.stats.get_value("finish_reason") == "finished"
    [error] = errors(caplog)
    assert error == f"PROXYBALANCE_REPORT: {lost} cannot be written (Is a directory)"
    assert len(rows_of(kept)) == 1


@crawl_test
async def test_without_matplotlib_a_page_stops_the_start_and_a_csv_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith("scrapy_proxybalance.reporting.report."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    settings: dict[str, Any] = {"PROXYBALANCE_PROXIES": ["http://127.0.0.1:1"]}
    with pytest.raises(ConfigurationError) as error:
        await crawl([], {**settings, "PROXYBALANCE_REPORT": tmp_path / "report.html"})
    assert str(error.value).startswith("PROXYBALANCE_REPORT = ")
    assert "pip install 'scrapy-proxybalance[report]'" in str(error.value)
    await crawl([], {**settings, "PROXYBALANCE_REPORT": tmp_path / "report.csv"})


@crawl_test
async def test_a_crawl_that_sent_nothing_through_the_pool_says_so_and_writes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = tmp_path / "report.html"
    settings = {"PROXYBALANCE_PROXIES": ["http://127.0.0.1:1"], "PROXYBALANCE_REPORT": report}
    crawler: Crawler = await crawl([], settings)
    assert crawler.stats.get_value("finish_reason") == "finished"
    assert "no attempt went through the pool" in caplog.text
    assert not report.exists()


@crawl_test
async def test_crawls_that_end_at_once_do_not_disturb_each_others_page(tmp_path: Path) -> None:
    before = mpl.rcParams["text.color"]
    async with Origin(echo) as origin, ForwardProxy("one") as one:
        site = f"http://127.0.0.1:{origin.port}"
        settings = {"PROXYBALANCE_PROXIES": [one.url()]}
        await asyncio.gather(
            *(
                crawl([site], {**settings, "PROXYBALANCE_REPORT": tmp_path / f"{number}.html"})
                for number in range(4)
            )
        )
    assert mpl.rcParams["text.color"] == before
    for path in tmp_path.iterdir():
        figures = path.read_text().split("<main>")[1]
        assert "var(--ink)" in figures
        assert set(re.findall(r"#[0-9a-f]{6}\b", figures)) == set()
    assert len(list(tmp_path.iterdir())) == 4
