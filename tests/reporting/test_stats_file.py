"""The stats export: one JSON document, written whole or not at all."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginResponse

from ..crawl.crawling import crawl, crawl_test

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def crawl_three_pages(stats_file: str) -> None:
    async with Origin(lambda _: OriginResponse(body=b"page")) as origin, ForwardProxy("p") as proxy:
        await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(3)],
            {
                "PROXYBALANCE_PROXIES": [{"url": proxy.url(), "name": "p"}],
                "PROXYBALANCE_STATS_FILE": stats_file,
            },
        )


@crawl_test
async def test_it_holds_scrapys_stats_and_the_figures_of_proxies_and_targets(
    tmp_path: Path,
) -> None:
    await crawl_three_pages(str(tmp_path / "new" / "%(name)s-%(time)s.json"))
    (path,) = (tmp_path / "new").iterdir()
    assert path.name.startswith("urls-2")
    document = json.loads(path.read_text())
    assert document["finish_reason"] == "finished"
    assert document["stats"]["proxybalance/leases"] == 3
    assert document["stats"]["finish_reason"] == "finished"
    (proxy,) = document["proxies"]
    assert (proxy["name"], proxy["requests"], proxy["share"]) == ("p", 3, 1.0)
    assert proxy["outcomes"] == {"success": 3}
    assert proxy["latency_p50"] > 0
    (target,) = document["targets"].values()
    assert target == {
        "requests": 3,
        "refusals": 0,
        "pauses": 0,
        "seconds_paused": 0.0,
        "held": 0,
        "held_max": 0,
        "suspended": False,
    }


@crawl_test
async def test_what_cannot_be_written_is_one_error_and_leaves_the_old_file_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stats.json"
    path.mkdir()
    with caplog.at_level(logging.ERROR):
        await crawl_three_pages(str(path))
    errors = [r.getMessage() for r in caplog.records if "STATS_FILE" in r.getMessage()]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    assert list(tmp_path.iterdir()) == [path]


@crawl_test
async def test_an_unknown_placeholder_is_one_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        await crawl_three_pages(str(tmp_path / "%(nonsense)s.json"))
    errors = [r.getMessage() for r in caplog.records if "STATS_FILE" in r.getMessage()]
    assert len(errors) == 1
    assert "nonsense" in errors[0]
    assert list(tmp_path.iterdir()) == []
