"""A pool that nothing comes back through says so within seconds, once, and why that may be."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from scrapy_proxybalance.reporting import no_answer

from .crawling import crawl, crawl_test

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = Callable[[OriginRequest], Awaitable[OriginResponse] | OriginResponse]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(no_answer, "_PATIENCE", 0.5)
    monkeypatch.setattr(no_answer, "_LOOK_EVERY", 0.1)


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


async def lines(
    caplog: pytest.LogCaptureFixture,
    *proxies: ForwardProxy,
    answer: Answer = page,
    closed: bool = False,
    **settings: Any,
) -> list[str]:
    """Crawl five pages; return what was said of answers that do not come."""
    caplog.set_level(logging.INFO)
    async with Origin(answer) as origin:
        urls = [f"http://127.0.0.1:{origin.port}/{number}" for number in range(5)]
        for proxy in proxies:
            await proxy.__aenter__()
            if closed:
                await proxy.close()
        try:
            await crawl(
                urls,
                {
                    "PROXYBALANCE_PROXIES": [proxy.url() for proxy in proxies],
                    "DOWNLOAD_TIMEOUT": 2,
                    "RETRY_TIMES": 1,
                    **settings,
                },
            )
        finally:
            for proxy in proxies:
                await proxy.close()
    return [
        record.getMessage()
        for record in caplog.records
        if record.getMessage().startswith(("No proxy has answered", "The first answer came"))
    ]


@crawl_test
async def test_proxies_that_hang_are_told_of_before_their_first_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hanging = [ForwardProxy(name, behaviour=Behaviour.HANG) for name in ("a", "b")]
    [line] = await lines(caplog, *hanging, RETRY_ENABLED=False)
    assert re.match(
        r"No proxy has answered yet, 1 s after the first request: 0 attempts failed, 5 under way\. "
        r"The likeliest causes: \(1\) a firewall drops .*; \(2\) .*; \(3\) .*\. "
        r"Nothing is sent without a proxy\.$",
        line,
    ), line


@crawl_test
async def test_proxies_that_refuse_connections_are_told_of_at_the_close_if_that_is_sooner(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(no_answer, "_PATIENCE", 600.0)
    [line] = await lines(caplog, ForwardProxy("a"), closed=True, PROXYBALANCE_FAILURE_THRESHOLD=99)
    assert "10 attempts failed (connection_refused 10), 0 under way" in line
    assert "(1) the address or the port of the proxies is wrong; (2) " in line


@crawl_test
async def test_wrong_credentials_are_the_first_cause_that_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    [line] = await lines(caplog, ForwardProxy("a", behaviour=Behaviour.UNAUTHORIZED))
    assert "(1) the username or the password is wrong; (2) " in line


@crawl_test
async def test_a_first_answer_that_comes_late_ends_it_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def slow(request: OriginRequest) -> OriginResponse:
        while not any("No proxy has answered" in one for one in caplog.messages):
            await asyncio.sleep(0.05)
        return page(request)

    warning, end = await lines(caplog, ForwardProxy("a"), answer=slow, DOWNLOAD_TIMEOUT=60)
    assert "0 attempts failed, 4 under way" in warning
    assert re.fullmatch(r"The first answer came after \d+ s", end)


@crawl_test
async def test_one_answer_is_enough_to_be_silent_even_if_it_is_a_refusal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = iter([OriginResponse(429, [("Retry-After", "1")])])
    good = ForwardProxy("a")
    hanging = ForwardProxy("b", behaviour=Behaviour.HANG)
    said = await lines(
        caplog, good, hanging, answer=lambda request: next(refusals, None) or page(request)
    )
    assert said == []


@crawl_test
async def test_a_crawl_that_sends_nothing_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await crawl([], {"PROXYBALANCE_PROXIES": ["http://127.0.0.1:9"]})
    assert "No proxy has answered" not in caplog.text
