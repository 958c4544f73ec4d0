"""The report from a request log: its figures, what it suggests, and what it says of bad files."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.parquet
import pytest

from scrapy_proxybalance.reporting.report import (
    CSV_COLUMNS,
    CrawlPart,
    Report,
    ReportError,
    Row,
    read_rows,
    suggestions,
    write_csv,
)
from scrapy_proxybalance.reporting.report.page import write_html
from scrapy_proxybalance.reporting.report.timeline import Timeline
from scrapy_proxybalance.reporting.request_log import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def attempt(number: int = 0, **values: Any) -> dict[str, Any]:
    """A row of a request log: a success through ``p0`` unless it is said otherwise."""
    row = {
        "timestamp": f"2026-11-22T10:{number // 60 % 60:02}:{number % 60:02}.000+00:00",
        "request_id": f"a-{number}",
        "url": "http://shop.example/",
        "target": "shop.example",
        "proxy": "p0",
        "session": None,
        "attempt": 1,
        "status": 200,
        "failure": None,
        "outcome": "success",
        "latency": 0.5,
        "duration": 0.6,
        "bytes": 10,
        "waited": 0.0,
        "target_paused": False,
    }
    assert tuple(row) == COLUMNS
    return {**row, **values}


def attempt_row(**values: Any) -> Row:
    """The same as a report takes it, for a proxy that answered after 0.5 s."""
    row = {name: value for name, value in attempt().items() if name in Row.__slots__}
    return Row(**{**row, **values})


def failed(number: int = 0, **values: Any) -> dict[str, Any]:
    ended = {"outcome": "proxy_fault", "failure": "timeout"}
    nothing = {"status": None, "latency": None, "bytes": None}
    return attempt(number, **{**ended, **nothing, **values})


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a log as its ending says."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def report_of(tmp_path: Path, rows: Sequence[dict[str, Any]], ending: str = ".jsonl") -> Report:
    report = Report()
    for row in read_rows(write(tmp_path / f"requests{ending}", rows)):
        report.add(row)
    return report


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_the_csv_says_of_each_proxy_what_its_attempts_were(tmp_path: Path, ending: str) -> None:
    rows = [
        *(attempt(n, latency=float(n + 1), session=f"s{n % 2}") for n in range(4)),
        failed(5),
        failed(6, failure="connection_refused"),
        failed(7),
        attempt(8, proxy="p1", outcome="target_signal", status=429),
        attempt(9, proxy="p1", outcome="ignored"),
        attempt(10, proxy=None),
    ]
    write_csv(report_of(tmp_path, rows, ending), tmp_path / "out" / "report.csv")
    with (tmp_path / "out" / "report.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == CSV_COLUMNS
    assert first == {
        "proxy": "p0",
        "requests": "7",
        "share": "0.777778",
        "success_rate": "0.571429",
        "latency_avg": "2.5",
        "latency_p50": "2.5",
        "latency_p95": "3.85",
        "errors": "timeout=2 connection_refused=1",
        "cooldowns": "",
        "sessions": "2",
    }
    assert (second["requests"], second["success_rate"], second["latency_p50"]) == ("2", "1.0", "")


def test_fairness_is_jains_index_and_the_busiest_share(tmp_path: Path) -> None:
    report = report_of(tmp_path, [attempt(n, proxy=f"p{n % 3}") for n in range(9)])
    assert report.jain == pytest.approx(1.0)
    assert report.top_share == pytest.approx(1 / 3)
    lone = report_of(tmp_path, [attempt(1), *(attempt(n, proxy="p1") for n in range(3))])
    assert lone.jain == pytest.approx(16 / (2 * 10))


def even(count: int, proxies: int = 5, **values: Any) -> list[dict[str, Any]]:
    return [attempt(n, proxy=f"p{n % proxies}", **values) for n in range(count)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [failed(n, proxy=f"p{n % 4}") for n in range(8)],
            "Nothing has come back through any proxy (timeout 8). The likeliest causes: a firewall",
        ),
        (
            [
                *even(4, proxies=4),
                *(failed(n, proxy=f"p{n % 4}", failure="no_response") for n in range(12)),
            ],
            "check the gateway's address",
        ),
        (
            [*even(40), failed(1, proxy="locked", failure="proxy_auth")],
            "The credentials of 1 proxy were refused (locked). Correct the username",
        ),
        (
            [
                *even(40),
                *(failed(n, proxy="dead", failure="connection_refused") for n in range(3)),
                failed(1, proxy="hanging"),
            ],
            "2 of 7 proxies never answered (dead: connection_refused 3, hanging: timeout 1). Check",
        ),
        (
            [*even(150), *(failed(n, proxy=f"p{n % 5}") for n in range(50))],
            "25% of the attempts took too long. The proxies or the sites are slower",
        ),
        (
            [
                *even(100),
                *(
                    failed(n, proxy=f"p{n % 5}", outcome="ambiguous", failure="502")
                    for n in range(30)
                ),
            ],
            "Of 23% of the attempts nobody can say whether the proxy or the site failed (502 30)",
        ),
        (
            [
                *even(100),
                *(
                    failed(n, proxy=f"p{n % 5}", outcome="gateway_fault", failure="connect_503")
                    for n in range(30)
                ),
            ],
            "23% of the attempts were rejected by a gateway (connect_503 30)",
        ),
        (
            [*even(400), *(failed(n, proxy="p1") for n in range(40))],
            "1 of 5 proxies has 100% of the failures (p1)",
        ),
        (
            [*even(100), *(attempt(n, proxy="p3") for n in range(2000))],
            "p3 carried 4.8 times an even share",
        ),
        (
            [*even(400), *(attempt(n, proxy="p2", session="s") for n in range(100))],
            "Requests with a session are less evenly spread (the busiest proxy has 100% of them)",
        ),
        (
            [
                one
                for n in range(3)
                for one in (
                    attempt(n, outcome="target_signal", target_paused=True),
                    attempt(n, outcome="target_signal", target_paused=True),
                    attempt(n),
                )
            ],
            "shop.example was paused 3 times, after 6 refusals",
        ),
    ],
)
def test_it_suggests_what_the_rules_of_thumb_say(
    tmp_path: Path, rows: list[dict[str, Any]], said: str
) -> None:
    [text] = suggestions(report_of(tmp_path, rows))
    assert said in text


def test_it_names_the_proxies_that_mostly_take_too_long(tmp_path: Path) -> None:
    rows = [*even(150), *(failed(n, proxy="p0") for n in range(40))]
    _, text = suggestions(report_of(tmp_path, rows))
    assert text.startswith("21% of the attempts took too long, and most of those through p0. The")


def test_it_names_the_gateway_that_nothing_got_through() -> None:
    report = Report()
    report.add(attempt_row(timestamp=1.0))
    report.complete(
        CrawlPart(
            began=0.0,
            ended=9.0,
            capacities={"p0": 1.0},
            cooldowns={},
            outages={"gate.example:8080": 2, "": 1},
            out={},
            paused={},
        )
    )
    pool, gateway = suggestions(report)
    assert pool.startswith(
        "Nothing got through any gateway for a while, 1 time. Check this machine's"
    )
    assert gateway.startswith(
        "Nothing got through gateway gate.example:8080 for a while, 2 times. "
    )


def test_of_an_even_crawl_with_a_few_failures_everywhere_it_suggests_nothing(
    tmp_path: Path,
) -> None:
    rows = [*even(1000), *(failed(n, proxy=f"p{n % 5}") for n in range(50))]
    assert suggestions(report_of(tmp_path, rows)) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("requests.log", b"", "a request log ends in .csv, .jsonl, .jl, .parquet"),
        ("requests.jsonl", b'{"timestamp": "2026', "row 1: that is not a row of a request log"),
        ("requests.jsonl", b'{"name": "a book"}\n', "it has no 'timestamp'"),
        ("requests.jsonl", b"[1, 2]\n", "row 1"),
        ("requests.jsonl", b"\xff\xfe\x00", "row 1"),
        ("requests.csv", b"title,price\nx,1\n", "it has no 'timestamp'"),
        ("requests.parquet", b"PAR1 cut off", "not a row of a request log"),
    ],
)
def test_what_is_no_request_log_is_one_error(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ReportError) as error:
        list(read_rows(path))
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_a_log_that_was_cut_off_says_in_which_row(tmp_path: Path) -> None:
    path = write(tmp_path / "requests.jsonl", even(3))
    with path.open("a") as file:
        file.write('{"timestamp": "2026-11-')
    with pytest.raises(ReportError, match=r"row 4: .*take that one out"):
        list(read_rows(path))


def test_a_file_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be read"):
        list(read_rows(tmp_path / "requests.jsonl"))


def scrapy(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scrapy", "proxybalance", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_the_report_and_writes_the_csv(tmp_path: Path) -> None:
    log = write(
        tmp_path / "requests.jsonl", [*even(400), *(failed(n, proxy="p1") for n in range(40))]
    )
    done = scrapy("report", log, "--csv", tmp_path / "report.csv")
    assert done.returncode == 0, done.stderr
    assert "440 attempts through 5 proxies, 0 past the pool" in done.stdout
    assert "What this suggests:\n- 1 of 5 proxies has 100% of the failures (p1)" in done.stdout
    assert (tmp_path / "report.csv").read_text().startswith("proxy,requests,share")


@pytest.mark.parametrize("arguments", [("report", "nowhere.jsonl"), ("report",), ("draw", "x")])
def test_what_the_command_cannot_do_is_an_error_without_a_traceback(
    arguments: tuple[str, ...],
) -> None:
    done = scrapy(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout


def page_of(tmp_path: Path, rows: Sequence[dict[str, Any]]) -> str:
    report = report_of(tmp_path, rows)
    write_html(report, suggestions(report), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def test_the_page_needs_no_network_and_names_stay_text(tmp_path: Path) -> None:
    name = "<script>alert('$x$')</script>"
    rows = [
        *(attempt(n, proxy=name, target=name, target_paused=n % 9 == 0) for n in range(300)),
        *(failed(n, proxy="p&1", failure="<b>") for n in range(30)),
    ]
    page = page_of(tmp_path, rows)
    assert "<script" not in page
    assert "<b>" not in page
    assert page.count("&lt;script&gt;alert(") >= 4  # the table, the share, the latency, the pauses
    assert "$x$" in page
    outside = re.findall(r'(?:src|href)="(?!#)[^"]*"|url\((?!#)|@import', page)
    assert outside == []
    for title in ("Share of each proxy", "Pauses of targets", "Failures by class", "Proxies"):
        assert title in page


def test_a_large_pool_is_summed_up_in_a_page_of_a_bearable_size(tmp_path: Path) -> None:
    rows = [attempt(n, proxy=f"p{n % 5000}") for n in range(10_000)]
    page = page_of(tmp_path, rows)
    assert len(page) < 3_000_000
    assert "And 4,800 more, with 9,600 attempts together (96.0%)" in page


def test_what_is_in_flight_is_the_mean_over_each_stretch(tmp_path: Path) -> None:
    rows = [attempt(0, duration=2.5), attempt(1, duration=1.0), attempt(2, duration=0.5)]
    timeline = report_of(tmp_path, rows).timeline
    assert timeline.unit == ("seconds", 1.0)
    assert timeline.edges() == [0, 1, 2, 3]
    assert timeline.in_flight() == [1.0, 2.0, 1.0]
    assert timeline.rates() == {"success": [0.0, 0.0, 3.0]}


def test_a_long_crawl_is_counted_in_full_in_no_more_memory_than_one_of_two_hours() -> None:
    timeline = Timeline()
    days = 30
    for hour in range(days * 24):
        timeline.add(attempt_row(timestamp=1e9 + hour * 3600.0, target_paused=hour == 240))
    assert len(timeline.outcomes["success"]) <= days * 24
    edges, [rates] = timeline.edges(), timeline.rates().values()
    assert timeline.unit == ("hours", 3600.0)
    assert edges[-1] == pytest.approx(days * 24, abs=10)
    seconds = (edges[1] - edges[0]) * 3600.0
    assert sum(rates) * seconds == pytest.approx(days * 24)
    assert sum(timeline.in_flight()) * seconds == pytest.approx(days * 24 * 0.6)
    [(begins, ends)] = timeline.pauses()["shop.example"]
    assert begins <= 1e9 + 240 * 3600.0 <= ends
    for second in range(20_000):
        timeline.add(attempt_row(timestamp=1e9 + second))
    assert len(timeline.outcomes["success"]) <= 7200


def test_a_refused_probe_is_a_pause_of_its_own_and_what_was_under_way_is_not() -> None:
    report = Report()
    refused = {"outcome": "target_signal", "target_paused": True, "duration": 1.0}
    for timestamp in (100.0, 100.2, 100.9):  # all under way when the first one is answered
        report.add(attempt_row(timestamp=timestamp, **refused))
    report.add(attempt_row(timestamp=161.0, **refused))  # the probe
    report.add(attempt_row(timestamp=282.0))
    [target] = report.targets.values()
    assert (target.refusals, target.pauses) == (4, 2)


def test_names_that_look_alike_when_they_are_cut_have_lanes_of_their_own(tmp_path: Path) -> None:
    names = [f"{'a' * 30}{number}{'z' * 30}" for number in range(3)]
    page = page_of(
        tmp_path, [attempt(n, target=name, target_paused=True) for n, name in enumerate(names)]
    )
    lanes = page.split("Pauses of targets")[1].split("Failures by class")[0]
    assert lanes.count(f"{'a' * 18}...{'z' * 18}<") == 3


def test_an_empty_log_has_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="nothing to draw"):
        page_of(tmp_path, [attempt(proxy=None)])


def test_a_report_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    log = write(tmp_path / "requests.jsonl", even(3))
    for option in ("--csv", "--html"):
        done = scrapy("report", log, option, "/dev/null/report")
        assert done.returncode == 2
        assert "/dev/null/report cannot be written (" in done.stderr + done.stdout


def test_who_carries_most_is_not_blamed_for_most_of_the_failures(tmp_path: Path) -> None:
    rows = [
        *(attempt(n, proxy="p0") for n in range(700)),
        *(failed(n, proxy="p0") for n in range(60)),
        *even(600),
        *(failed(n, proxy=f"p{n % 5}") for n in range(50)),
    ]
    assert suggestions(report_of(tmp_path, rows)) == []
