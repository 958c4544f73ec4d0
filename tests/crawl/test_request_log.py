"""The request log: one row per attempt that was made, as the origin and the proxies saw it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.exporters import BaseItemExporter

from scrapy_proxybalance.core import ConfigurationError
from scrapy_proxybalance.reporting.placeholders import fill_in
from scrapy_proxybalance.reporting.request_log import COLUMNS

from .crawling import UrlsSpider, crawl, crawl_test, proxybalance_stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrapy.http import Response


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=b"x" * 100 + request.path.encode())


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Moods:
    """Answers some paths with an error, a number of times, before it serves them."""

    def __init__(self, **times: int) -> None:
        self._left = Counter(times)

    def __call__(self, request: OriginRequest) -> OriginResponse:
        name = request.path.lstrip("/")
        if self._left[name] > 0:
            self._left[name] -= 1
            status = {"busy": 429, "broken": 500}[name]
            headers = [("Retry-After", "1")] if status == 429 else []
            return OriginResponse(status, headers, b"no")
        return page(request)


@crawl_test
async def test_the_log_has_a_row_for_each_request_that_the_origin_saw(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    async with (
        Origin(Moods(busy=1, broken=2)) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("two") as two,
    ):
        site = f"http://127.0.0.1:{origin.port}"
        crawler = await crawl(
            [
                *(f"{site}/{number}" for number in range(20)),
                f"{site}/busy",
                f"{site}/broken",
                Request(f"{site}/session", meta={"session": "s1"}),
                Request(f"{site}/direct", meta={"proxy": None}),
            ],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": one.url(), "name": "one"},
                    {"url": two.url(), "name": "two"},
                ],
                "PROXYBALANCE_REQUEST_LOG": log,
            },
        )
    rows = jsonl(log)
    assert all(tuple(row) == COLUMNS for row in rows)
    seen = Counter(
        (request.path, (request.via or "").removeprefix("1.1 ") or None)
        for request in origin.requests
    )
    assert Counter((row["url"].removeprefix(site), row["proxy"]) for row in rows) == seen
    stats = proxybalance_stats(crawler)
    assert stats["leases"] == sum(row["proxy"] is not None for row in rows)
    outcomes = Counter(row["outcome"] for row in rows if row["proxy"] is not None)
    assert outcomes == {
        key.removeprefix("outcome/"): count
        for key, count in stats.items()
        if key.startswith("outcome/")
    }
    broken = [row for row in rows if row["url"].endswith("/broken")]
    assert [row["attempt"] for row in broken] == [1, 2, 3]
    assert [row["status"] for row in broken] == [500, 500, 200]
    assert len({row["request_id"] for row in broken}) == 1
    busy = [row for row in rows if row["url"].endswith("/busy")]
    assert [(row["attempt"], row["status"], row["outcome"]) for row in busy] == [
        (1, 429, "target_signal"),
        (2, 200, "success"),
    ]
    assert busy[0]["target_paused"]
    assert not busy[1]["target_paused"]
    [session] = [row for row in rows if row["session"]]
    assert session["session"] == "s1"
    assert len({row["request_id"] for row in rows}) == 24
    for row in rows:
        assert row["target"] == f"127.0.0.1:{origin.port}"
        assert 0 < row["latency"] <= row["duration"]
        assert row["waited"] >= 0
        assert row["bytes"] == (2 if row["status"] != 200 else 100 + len(row["url"]) - len(site))
        sent = datetime.fromisoformat(row["timestamp"])
        assert 0 <= (datetime.now(timezone.utc) - sent).total_seconds() < 60


@crawl_test
async def test_failures_and_unanswered_attempts_have_rows_too(tmp_path: Path) -> None:
    log = tmp_path / "requests.csv"
    async with Origin(page) as origin, ForwardProxy("good") as good, ForwardProxy("bad") as bad:
        await bad.close()
        await crawl(
            [f"http://user:secret@127.0.0.1:{origin.port}/{number}" for number in range(6)],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": good.url(), "name": "good"},
                    {"url": bad.url(), "name": "bad"},
                ],
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_REQUEST_LOG": {"uri": str(log)},
            },
        )
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "secret" not in log.read_text()
    failed = [row for row in rows if row["proxy"] == "bad"]
    assert failed
    for row in failed:
        assert row["outcome"] == "proxy_fault"
        assert row["failure"] == "connection_refused"
        assert row["status"] == row["latency"] == row["bytes"] == ""
    answered = [row for row in rows if row["status"] == "200"]
    assert len(answered) == 6
    pages = {row["request_id"] for row in rows}
    assert len(pages) == 6
    for row in failed:
        [again] = [one for one in answered if one["request_id"] == row["request_id"]]
        assert int(again["attempt"]) > int(row["attempt"])


@crawl_test
async def test_a_second_crawl_goes_on_in_the_same_csv_with_one_header(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "requests.csv"
    async with Origin(page) as origin, ForwardProxy("one") as one:
        for _ in range(2):
            await crawl(
                [f"http://127.0.0.1:{origin.port}/"],
                {
                    "PROXYBALANCE_PROXIES": [one.url()],
                    "PROXYBALANCE_REQUEST_LOG": str(log),
                },
            )
    header, *rows = log.read_text().splitlines()
    assert header == ",".join(COLUMNS)
    assert len(rows) == 2
    assert header not in rows


@crawl_test
async def test_the_log_can_be_parquet_with_the_spiders_name_in_its_own(tmp_path: Path) -> None:
    async with Origin(page) as origin, ForwardProxy("one") as one:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(5)],
            {
                "PROXYBALANCE_PROXIES": [one.url()],
                "PROXYBALANCE_REQUEST_LOG": tmp_path / "%(name)s-%(time)s.parquet",
            },
        )
    [log] = tmp_path.iterdir()
    assert log.name.startswith("urls-20")
    table = pyarrow.parquet.read_table(log)
    assert tuple(table.column_names) == COLUMNS
    assert table["status"].to_pylist() == [200] * 5
    assert table["target_paused"].to_pylist() == [False] * 5


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"uri": "/dev/full", "format": "csv"}, "No space left on device"),
        ({"uri": "/dev/null/requests.jsonl"}, "Not a directory"),
        ({"uri": "/dev/%(colour)s.jsonl"}, "placeholder"),
    ],
)
@crawl_test
async def test_what_cannot_be_written_is_one_error_and_the_crawl_goes_on(
    where: dict[str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Origin(page) as origin, ForwardProxy("one") as one:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(5)],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_REQUEST_LOG": where},
        )
    assert len(crawler.spider.responses) == 5
    assert crawler.stats.get_value("finish_reason") == "finished"
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.getMessage().startswith("PROXYBALANCE_REQUEST_LOG: ")
    assert said in error.getMessage()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("requests.log", "there is no format 'log'"),
        ("requests", "end it in .jsonl"),
        ({"uri": "gopher://user:secret@host/x.csv"}, "no storage for gopher://"),
        ({"path": "x.csv"}, "there is no such key"),
        ({"uri": 5}, "'uri' is a int"),
        ({"uri": "x.csv", "overwrite": "yes"}, "write True or False"),
    ],
)
@crawl_test
async def test_what_cannot_work_stops_the_start_with_one_error(where: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match="PROXYBALANCE_REQUEST_LOG") as error:
        await crawl(
            [],
            {
                "PROXYBALANCE_PROXIES": ["http://127.0.0.1:1"],
                "PROXYBALANCE_REQUEST_LOG": where,
            },
        )
    assert said in str(error.value)
    assert "secret" not in str(error.value)


class BadExporter(BaseItemExporter):
    """Fails on its third row, as a user's exporter may."""

    def __init__(self, file: object, **kwargs: Any) -> None:  # noqa: ARG002
        super().__init__(**kwargs)
        self.rows = 0

    def export_item(self, item: Any) -> None:
        self.rows += 1
        if self.rows == 3:
            raise TypeError(f"cannot write {item['attempt']}")


@crawl_test
async def test_an_exporter_that_fails_costs_no_page(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin(page) as origin, ForwardProxy("one") as one:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(9)],
            {
                "PROXYBALANCE_PROXIES": [one.url()],
                "PROXYBALANCE_REQUEST_LOG": {"uri": "/dev/null", "format": "bad"},
                "FEED_EXPORTERS": {"bad": BadExporter},
            },
        )
    assert len(crawler.spider.responses) == 9
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "(TypeError: cannot write 1)" in error.getMessage()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@crawl_test
async def test_a_session_that_is_no_text_of_unicode_is_written_all_the_same(
    ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / f"requests.{ending}"
    async with Origin(page) as origin, ForwardProxy("one") as one:
        crawler = await crawl(
            [Request(f"http://127.0.0.1:{origin.port}/", meta={"session": "s\udce9"})],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_REQUEST_LOG": log},
        )
    assert len(crawler.spider.responses) == 1
    assert rb"s\udce9" in log.read_bytes().replace(rb"\\", b"\\")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEY:SEC/RET@bucket/x.csv",
        "ftp://user:SEC/RET@host/x.csv",
        "ftp://user:SEC#RET@host/x.csv",
        "ftp://user:SEC%40RET@/x.csv",
        "ftp://user:SEC[RET@host/x.csv",
    ],
)
@crawl_test
async def test_no_error_shows_the_password_of_a_storage(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "scrapy_proxybalance")
    async with Origin(page) as origin, ForwardProxy("one") as one:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/"],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_REQUEST_LOG": uri},
        )
    ours = "".join(
        record.getMessage() + (record.exc_text or "")
        for record in caplog.records
        if record.name.startswith("scrapy_proxybalance")
    )
    assert "PROXYBALANCE_REQUEST_LOG: " in ours
    assert "SEC" not in ours
    assert "RET" not in ours


@crawl_test
async def test_pages_that_share_a_url_have_ids_of_their_own_though_meta_is_copied(
    tmp_path: Path,
) -> None:
    class FormSpider(UrlsSpider):
        def keep(self, response: Response) -> Iterator[Request]:
            super().keep(response)
            if len(self.responses) < 4:
                yield Request(
                    response.url,
                    method="POST",
                    body=f"page={len(self.responses)}",
                    meta=response.meta,
                    callback=self.keep,
                )

    log = tmp_path / "requests.jsonl"
    async with Origin(page) as origin, ForwardProxy("one") as one:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/"],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_REQUEST_LOG": log},
            spider=FormSpider,
        )
    rows = jsonl(log)
    assert [row["attempt"] for row in rows] == [1] * 4
    assert len({row["request_id"] for row in rows}) == 4


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@crawl_test
async def test_what_the_cache_has_answered_has_no_row(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    settings = {
        "HTTPCACHE_ENABLED": True,
        "HTTPCACHE_DIR": str(tmp_path / "cache"),
        "HTTPCACHE_STORAGE": "scrapy.extensions.httpcache.FilesystemCacheStorage",
        "PROXYBALANCE_REQUEST_LOG": log,
    }
    async with Origin(page) as origin, ForwardProxy("one") as one:
        for _ in range(2):
            await crawl(
                [f"http://127.0.0.1:{origin.port}/{number}" for number in range(3)],
                {"PROXYBALANCE_PROXIES": [one.url()], **settings},
            )
    assert len(origin.requests) == len(jsonl(log)) == 3


def test_a_path_may_hold_what_is_percent_encoded_and_placeholders() -> None:
    spider = UrlsSpider()
    assert fill_in("file:///my%20logs/%(name)s/50%.csv", spider) == "file:///my%20logs/urls/50%.csv"
    with pytest.raises(ValueError, match="colour"):
        fill_in("%(colour)s", spider)
