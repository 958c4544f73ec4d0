"""A real browser shows the live page of a crawl that is running, and the report from disk."""

from __future__ import annotations

import asyncio
import re
from argparse import Namespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.settings import Settings

from scrapy_proxybalance.commands.proxybalance import Command

from ..crawl.crawling import crawl, crawl_test
from ..crawl.metrics_probe import Look, WatchedSpider, metrics_url
from .browser import browser

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from .browser import Browser

TOKEN = "a-token-of-our-tests"
HOSTILE = "<script>document.title='taken over'</script>"
NAMES = ("alpha", "beta", "gamma", "delta", HOSTILE)


async def page(request: OriginRequest) -> OriginResponse:
    await asyncio.sleep(0.05)
    return OriginResponse(body=request.path.encode())


def names(seen: Browser) -> list[str]:
    return seen.texts("#proxies tbody tr:not(.factors) td:first-child")


def focused(seen: Browser) -> str:
    label: str = seen.evaluate("document.activeElement.getAttribute('aria-label') || ''")
    return label


def state_of(seen: Browser, table: str, name: str) -> str:
    rows = seen.rows(f"#{table} tbody tr:not(.factors)")
    states = {row[0]: row[1] for row in rows}
    return states.get(name, "")


async def watch(look: Any, caplog: pytest.LogCaptureFixture, **settings: Any) -> Any:
    """Have ``look`` look at a crawl through five proxies, one of which refuses connections.

    It is called with a browser that shows the page, and with the proxies.
    """
    caplog.set_level("INFO")
    async with Origin(page) as origin:
        servers = [ForwardProxy(name) for name in NAMES]
        for server in servers:
            await server.start()
        await servers[3].close()

        def run() -> object:
            with browser() as seen:
                seen.driver.get(metrics_url(caplog).removesuffix("metrics"))
                seen.until(lambda: len(names(seen)) == len(NAMES))
                return look(seen, servers)

        looked = Look(run)
        await crawl(
            [
                Request(
                    f"http://127.0.0.1:{origin.port}/{number}",
                    meta={"session": f"<b>{number}</b>"} if number < 2 else {},
                )
                for number in range(8)
            ],
            {
                "PROXYBALANCE_PROXIES": [
                    {"url": server.url(), "name": server.name, "country": "de"}
                    for server in servers
                ],
                "PROXYBALANCE_METRICS_PORT": 0,
                **settings,
            },
            spider=WatchedSpider,
            prepare=looked.prepare,
            look=looked,
        )
        for server in servers:
            await server.close()
        return looked.result()


@crawl_test
async def test_the_live_page_sorts_filters_and_explains_and_names_stay_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(seen: Browser, _: list[ForwardProxy]) -> None:
        seen.press("#proxies th button", "Proxy")
        seen.until(lambda: names(seen) == sorted(NAMES))
        seen.press("#proxies th button", "Proxy")
        seen.until(lambda: names(seen) == sorted(NAMES, reverse=True))
        assert seen.find("#proxies th[aria-sort]").get_attribute("aria-sort") == "descending"
        seen.press("#proxies th button", "Requests")
        counts = "#proxies tbody td:nth-child(4)"
        seen.until(lambda: names(seen)[-1] == "delta")
        shown = [int(text.replace(",", "")) for text in seen.texts(counts)]
        assert shown == sorted(shown, reverse=True)
        seen.find("#filter").send_keys("ALP")
        seen.until(lambda: names(seen) == ["alpha"])
        seen.find("#filter").clear()
        seen.find("#filter").send_keys("cooling")
        seen.until(lambda: names(seen) == ["delta"])
        seen.evaluate(
            "(document.querySelector('#filter').value = '', "
            "document.querySelector('#filter').dispatchEvent(new Event('input')))"
        )
        seen.until(lambda: len(names(seen)) == len(NAMES))
        assert HOSTILE in names(seen)
        seen.until(lambda: {"<b>0</b>", "<b>1</b>"} <= set(seen.texts("#sessions td:first-child")))
        assert not seen.find_all("td script, td b")
        assert seen.driver.title == "Proxies of urls"
        seen.find("button[aria-label^='Score of alpha']").click()
        seen.until(lambda: any("slowness 1" in text for text in seen.texts("tr.factors")))
        seen.until(lambda: seen.find("#history polyline").get_attribute("points"))
        first = seen.evaluate("document.querySelector('#proxies tbody tr')")
        seen.press("#proxies th button", "Proxy")
        seen.until(lambda: names(seen)[0] == HOSTILE)
        assert first in seen.find_all("#proxies tbody tr")  # moved, and not made anew
        for scheme in ("light", "dark"):
            seen.prefer(scheme)
            seen.picture(f"live-page-{scheme}")
        assert seen.find("#read-only").is_displayed()
        assert not seen.find_all("td.acts button")
        assert not seen.complaints()

    await watch(look, caplog)


@crawl_test
async def test_an_operator_with_the_token_drains_a_proxy_and_pauses_a_target(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(seen: Browser, servers: list[ForwardProxy]) -> str:
        alpha, beta = servers[:2]
        seen.until(lambda: len(alpha.requests) > 3)
        assert not [button for button in seen.find_all("td.acts button") if button.is_displayed()]
        seen.find("#token").send_keys("not-the-token-at-all")
        seen.find("#token-button").click()
        seen.press("button", "Drain alpha")
        seen.until(lambda: seen.texts("#said") == ["Drain alpha: the token is missing or wrong"])
        assert state_of(seen, "proxies", "alpha") == "healthy"
        seen.find("#token").send_keys(TOKEN)
        seen.find("#token-button").click()
        seen.evaluate("document.querySelector('[aria-label=\"Drain alpha\"]').focus()")
        seen.press("button", "Drain alpha")
        seen.until(lambda: state_of(seen, "proxies", "alpha") == "drained")
        for order in (sorted(NAMES), sorted(NAMES, reverse=True)):
            seen.press("#proxies th button", "Proxy")
            seen.until(lambda order=order: names(seen) == order)
            assert focused(seen) == "Enable alpha"
        seen.until(lambda: alpha.in_flight == 0)
        before, others = len(alpha.requests), len(beta.requests)
        seen.until(lambda: len(beta.requests) > others + 20)
        assert len(alpha.requests) == before
        # Whoever has chosen another crawl, which is not shown yet, acts on what is shown.
        seen.evaluate(
            "(state.crawl = 'another', "
            "document.querySelector('[aria-label=\"Enable alpha\"]').click())"
        )
        seen.until(lambda: len(alpha.requests) > before + 5)
        seen.press("button", "End cooldown delta")
        seen.until(lambda: seen.texts("#said") == ["End cooldown delta: done"])
        host = seen.texts("#targets td:first-child")[0]
        seen.press("button", f"Pause 10 min {host}")
        seen.until(lambda: state_of(seen, "targets", host) == "paused")
        seen.until(lambda: not any(server.in_flight for server in servers))
        paused = sum(len(server.requests) for server in servers)
        seen.picture("live-page-with-token")
        seen.press("button", f"Resume {host}")
        seen.until(lambda: sum(len(server.requests) for server in servers) > paused + 20)
        strange = "<img src=x onerror=document.title=1>"
        status = seen.driver.execute_async_script(
            "const done = arguments[2]; fetch('api/crawls/urls/targets/' + arguments[0] + '/pause', "
            "{method: 'POST', headers: {Authorization: 'Bearer ' + arguments[1]}})"
            ".then((answer) => done(answer.status))",
            quote(strange, safe=""),
            TOKEN,
        )
        assert status == 200
        seen.until(lambda: state_of(seen, "targets", strange) == "paused")
        assert not seen.find_all("td img")
        assert not seen.complaints()
        return str(host)

    host = await watch(look, caplog, PROXYBALANCE_CONTROL_TOKEN=TOKEN)
    said = [text for text in caplog.messages if text.startswith("By hand: ")]
    assert said[:5] == [
        "By hand: drain proxy alpha",
        "By hand: enable proxy alpha",
        "By hand: end-cooldown proxy delta",
        f"By hand: pause target {host}",
        f"By hand: resume target {host}",
    ]
    assert TOKEN not in caplog.text


def test_the_report_opens_from_disk_without_a_network(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    rows = []
    for number in range(400):
        proxy = HOSTILE if number % 5 == 0 else f"proxy-{number % 7}"
        rows.append(
            f'{{"timestamp": "2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00", '
            f'"request_id": "{number}", "url": "http://a.test/{number}", "target": "{HOSTILE}", '
            f'"proxy": "{proxy}", "session": null, "attempt": 1, "status": 200, "failure": null, '
            f'"outcome": "success", "latency": 0.{number % 9 + 1}, "duration": 1.0, "bytes": 10, '
            '"waited": 0.0, "target_paused": false}\n'
        )
    log.write_text("".join(rows))
    html = tmp_path / "report.html"
    report(log, html)
    with browser(offline=True) as seen:
        seen.driver.get(html.as_uri())
        charts = seen.evaluate(
            "[...document.querySelectorAll('svg')].map((one) => one.getBoundingClientRect().width)"
        )
        assert len(charts) >= 3
        assert min(charts) > 300
        assert seen.evaluate("performance.getEntriesByType('resource').length") == 0
        assert "taken over" not in seen.driver.title
        assert HOSTILE in seen.find("body").text
        for scheme in ("light", "dark"):
            seen.prefer(scheme)
            seen.picture(f"report-{scheme}")
        assert not seen.complaints()


def report(log: Path, html: Path) -> None:
    """Write the report as the command does."""
    command = Command()
    command.settings = Settings()
    command.run(["report", str(log)], Namespace(csv=None, html=str(html)))
    assert re.match("<!doctype html>", html.read_text(), re.IGNORECASE)
