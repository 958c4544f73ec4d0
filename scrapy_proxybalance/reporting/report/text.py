"""The report for the terminal."""

from __future__ import annotations

from datetime import datetime, timezone
from textwrap import wrap
from typing import TYPE_CHECKING

from ...util.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .figures import ProxyRow, Report

# The busiest are shown, the others summed up.
_ROWS = 30
_WIDTH = 100


def report_lines(report: Report, suggested: Sequence[str]) -> Iterator[str]:
    """Give it line by line."""
    if not report.requests:
        yield f"The log has no attempt through the pool ({report.others} past it)."
        return
    yield f"From {moment(report.first)} to {moment(report.last)}"
    yield (
        f"{counted(report.requests, 'attempt')} through "
        f"{counted(len(report.proxies), 'proxy', 'proxies')}, {report.others} past the pool; the "
        f"busiest has {report.top_share or 0.0:.1%}, Jain's index is {report.jain or 0.0:.2f}"
    )
    yield ""
    listed = report.busiest_first()
    width = max([len("proxy"), *(len(name) for name, _ in listed[:_ROWS])])
    yield (
        f"{'proxy':<{width}}  {'requests':>8}  {'share':>6}  {'success':>7}  {'p50':>8}  {'p95':>8}  "
        "failures"
    )
    for name, proxy in listed[:_ROWS]:
        yield f"{name:<{width}}  {_row(proxy, report.requests)}"
    rest = listed[_ROWS:]
    if rest:
        carried = sum(proxy.requests for _, proxy in rest)
        attempts = counted(carried, "attempt")
        yield f"and {len(rest)} more, with {attempts} together ({carried / report.requests:.1%})"
    yield ""
    if not suggested:
        yield "Nothing to suggest."
        return
    yield "What this suggests:"
    for text in suggested:
        yield from wrap(text, _WIDTH, initial_indent="- ", subsequent_indent="  ")


def moment(seconds: float) -> str:
    """Return a time, in seconds since the epoch, in words."""
    when = datetime.fromtimestamp(seconds, timezone.utc)
    return when.isoformat(" ", timespec="seconds").replace("+00:00", " UTC")


def _row(proxy: ProxyRow, total: int) -> str:
    rate = proxy.success_rate
    _, middle, high = proxy.latency()
    failures = ", ".join(f"{name} {count}" for name, count in proxy.failures.most_common(3))
    return (
        f"{proxy.requests:>8}  {proxy.requests / total:>6.1%}  "
        f"{'-' if rate is None else f'{rate:.1%}':>7}  {_milliseconds(middle):>8}  "
        f"{_milliseconds(high):>8}  {failures}"
    ).rstrip()


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
