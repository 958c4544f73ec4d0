"""A real Prometheus scrapes a crawl, answers PromQL about it, and accepts our metrics and our rules."""

from __future__ import annotations

import json
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from ..crawl.crawling import crawl, crawl_test, proxybalance_stats
from ..crawl.metrics_probe import Look, fetch, metrics_url
from .helpers import find_program, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
_PATIENCE = 60.0


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


@contextmanager
def prometheus(target: str, directory: Path) -> Iterator[str]:
    """Run Prometheus, which scrapes ``target`` every half second; give its URL."""
    port = free_port()
    config = directory / "prometheus.yml"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
                "scrape_configs": [
                    {"job_name": "crawls", "static_configs": [{"targets": [target]}]}
                ],
                "rule_files": [str(DOCS / "prometheus" / "alerts.yml")],
            }
        )
    )
    process = subprocess.Popen(
        [
            find_program("prometheus", "prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """Return the result of a PromQL query, once there is one."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            answer = json.loads(fetch(f"{url}/api/v1/query?query={quote(query)}"))
            found: list[dict[str, Any]] = answer["data"]["result"]
        except OSError:
            found = []  # it is starting
        if found or time.monotonic() > until:
            return found
        time.sleep(0.2)


@crawl_test
async def test_a_real_prometheus_scrapes_a_crawl_and_answers_about_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def look() -> dict[str, Any]:
        url = metrics_url(caplog)
        with prometheus(re.sub(r"http://|/metrics", "", url), tmp_path) as server:
            text = fetch(url)
            checked = subprocess.run(
                [find_program("promtool", "prometheus"), "check", "metrics"],
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )
            return {
                "requests": ask(server, "sum by (spider, outcome) (proxybalance_requests_total)"),
                "latency": ask(
                    server,
                    "histogram_quantile(0.5, sum by (le) (proxybalance_request_latency_seconds_bucket))",
                ),
                "openmetrics": fetch(url, Accept="application/openmetrics-text"),
                "check": (checked.returncode, checked.stdout + checked.stderr),
                "rules": json.loads(fetch(f"{server}/api/v1/rules")),
            }

    looking = Look(look)
    async with Origin(page) as origin, ForwardProxy("one") as one:
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/{number}" for number in range(25)],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_METRICS_PORT": 0},
            prepare=looking.prepare,
        )
    seen = looking.result()
    assert isinstance(seen, dict)
    [requests] = seen["requests"]
    assert requests["metric"] == {"spider": "urls", "outcome": "success"}
    assert float(requests["value"][1]) == proxybalance_stats(crawler)["leases"] == 25
    [latency] = seen["latency"]
    assert 0 < float(latency["value"][1]) < 10
    assert seen["check"] == (0, "")
    assert seen["openmetrics"].endswith("# EOF\n")
    names = {rule["name"] for group in seen["rules"]["data"]["groups"] for rule in group["rules"]}
    assert "ProxybalanceGatewayDown" in names


def test_promtool_accepts_the_alert_rules() -> None:
    checked = subprocess.run(
        [
            find_program("promtool", "prometheus"),
            "check",
            "rules",
            str(DOCS / "prometheus" / "alerts.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout


def test_the_dashboard_and_the_rules_ask_only_for_metrics_that_there_are() -> None:
    text = (DOCS / "reference" / "metrics.md").read_text()
    documented = set(re.findall(r"`(proxybalance_\w+)`", text))
    for name in ("dashboard.json", "alerts.yml"):
        asked = set(re.findall(r"proxybalance_\w+", (DOCS / "prometheus" / name).read_text()))
        assert asked
        assert {one.removesuffix("_bucket") for one in asked} <= documented
    dashboard = json.loads((DOCS / "prometheus" / "dashboard.json").read_text())
    places = [tuple(panel["gridPos"][key] for key in "xy") for panel in dashboard["panels"]]
    assert len(places) == len(set(places))
