"""The report as CSV: a row for each proxy, the busiest first."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from .saving import save

if TYPE_CHECKING:
    from pathlib import Path

    from .figures import Report

#: Each is documented in ``docs/how-to/see-what-happened.md``.
CSV_COLUMNS = (
    "proxy",
    "requests",
    "share",
    "success_rate",
    "latency_avg",
    "latency_p50",
    "latency_p95",
    "errors",
    "cooldowns",
    "sessions",
)


def write_csv(report: Report, path: Path) -> None:
    """Write it. ``cooldowns`` stay empty unless a crawl has made the report.

    :raises ReportError: if that cannot be done.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for name, proxy in report.busiest_first():
        errors = " ".join(f"{failure}={count}" for failure, count in proxy.failures.most_common())
        rate = proxy.success_rate
        writer.writerow(
            [
                name,
                proxy.requests,
                round(proxy.requests / report.requests, 6),
                "" if rate is None else round(rate, 6),
                *("" if one is None else round(one, 4) for one in proxy.latency()),
                errors,
                report.crawl.cooldowns.get(name, 0) if report.crawl is not None else "",
                len(proxy.sessions),
            ]
        )
    save(path, text.getvalue())
