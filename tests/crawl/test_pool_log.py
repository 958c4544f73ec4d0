"""The line that says every now and then how the pool is doing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from .crawling import crawl, crawl_test

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

LINE = re.compile(
    r"Proxies: (?P<states>[\w ,]+); in flight (?P<in_flight>\d+) of (?P<capacity>\d+)"
    r"(; held (?P<held>\d+))?(; paused: (?P<paused>.+))?"
)


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


async def lines(
    caplog: pytest.LogCaptureFixture, answers: Sequence[OriginResponse] = (), **settings: Any
) -> list[dict[str, str | None]]:
    """Crawl thirty pages; return the parts of the lines that the log has."""
    caplog.set_level("INFO")
    script = iter(answers)
    async with (
        Origin(lambda request: next(script, None) or page(request)) as origin,
        ForwardProxy("one") as one,
        ForwardProxy("bad") as bad,
    ):
        await bad.close()
        await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(30)],
            {
                "PROXYBALANCE_PROXIES": [one.url(), bad.url()],
                "PROXYBALANCE_FAILURE_THRESHOLD": 1,
                **settings,
            },
        )
    messages = [
        record.getMessage()
        for record in caplog.records
        if record.name == "scrapy_proxybalance.summary"
        and not record.getMessage().startswith("Proxy summary:")
    ]
    found = [LINE.fullmatch(message) for message in messages]
    assert all(found), messages
    return [match.groupdict() for match in found if match is not None]


@crawl_test
async def test_the_log_says_how_many_are_cooling_and_which_targets_are_paused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusal = OriginResponse(429, [("Retry-After", "1")])
    seen = await lines(caplog, [refusal], LOGSTATS_INTERVAL=0.1)
    assert {line["capacity"] for line in seen} == {"8"}
    assert any(line["states"] == "1 healthy, 1 cooling" for line in seen)
    paused = [line for line in seen if line["paused"]]
    assert paused
    for line in paused:
        assert re.fullmatch(r"127\.0\.0\.1:\d+ \(\d s left\)", line["paused"] or "")
        assert int(line["held"] or 0) > 0


@crawl_test
async def test_it_says_nothing_where_scrapy_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert await lines(caplog, LOGSTATS_INTERVAL=0) == []
