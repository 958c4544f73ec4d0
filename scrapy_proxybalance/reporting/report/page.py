"""The report as one HTML file, which needs no network: whoever gets it can open it."""

from __future__ import annotations

from html import escape
from threading import Lock
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from .reading import ReportError
from .saving import save
from .sections import sections
from .text import moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .figures import ProxyRow, Report

# Matplotlib's style belongs to the whole process; two crawls of it may end at once.
_DRAWING = Lock()
# The busiest are listed; the others are summed up.
_LISTED = 200

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #c9ced6; --page: #fff; --soft: #f4f6f8;
  --c0: #0b65c2; --c1: #c2570b; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #57606a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #3d444d; --page: #0d1117;
  --soft: #161b22; --c0: #58a6ff; --c1: #f0883e; --c2: #56d364; --c3: #d2a8ff; --c4: #f778ba;
  --c5: #9198a1; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .7rem; margin: 0; }
dl div { background: var(--soft); border-radius: .5rem; padding: .6rem .9rem; }
dt { font-size: .85rem; } dd { margin: 0; font-size: 1.3rem; font-weight: 600; overflow-wrap: anywhere; }
figure { margin: 0; overflow-x: auto; } figcaption { font-size: .9rem; margin-bottom: .5rem; }
svg { max-width: 100%; height: auto; font-family: system-ui, sans-serif; }
.table { overflow: auto; max-height: 40rem; } .table:focus { outline: 2px solid var(--c0); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { text-align: right; padding: .25rem .45rem; border-bottom: 1px solid var(--faint); }
td { white-space: nowrap; } tbody th { font-weight: normal; }
th:first-child { text-align: left; overflow-wrap: anywhere;
  min-width: 12.5rem; }
th:last-child, td:last-child { text-align: left; white-space: normal; min-width: 7.5rem;
  overflow-wrap: anywhere; }
thead th { position: sticky; top: 0; background: var(--page); }
@media print { .table { max-height: none; } }
"""


def write_html(report: Report, suggested: Sequence[str], path: Path) -> None:
    """Write it.

    :raises ReportError: if that cannot be done, or there is nothing to write.
    """
    if not report.requests:
        raise ReportError("the log has no attempt through the pool: there is nothing to draw")
    with _DRAWING, catch_warnings():
        # A name may have letters that only the reader's machine has a font for.
        simplefilter("ignore")
        text = "\n".join(_page(report, suggested))
    save(path, text)


def _page(report: Report, suggested: Sequence[str]) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Proxies of a crawl</title><style>{_STYLE}</style></head><body><main>"
    yield "<h1>Proxies of a crawl</h1>"
    yield f"<p>From {_time(report.first)} to {_time(report.last)}.</p>"
    if report.crawl is None:
        yield "<p>Made from a request log, which knows no capacities and no cooldowns.</p>"
    yield "<dl>"
    yield from (f"<div><dt>{what}</dt><dd>{value}</dd></div>" for what, value in _summary(report))
    yield "</dl><h2>What this suggests</h2>"
    if suggested:
        yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in suggested)}</ul>"
    else:
        yield "<p>Nothing to suggest.</p>"
    listed = report.busiest_first()
    yield from sections(report, listed)
    yield from _table(report, listed)
    yield "</main></body></html>\n"


def _time(seconds: float) -> str:
    text = moment(seconds)
    return f'<time datetime="{text.replace(" UTC", "Z")}">{text}</time>'


def _summary(report: Report) -> Iterator[tuple[str, str]]:
    judged = report.requests - sum(one.outcomes["ignored"] for one in report.proxies.values())
    failed = sum(one.failed for one in report.proxies.values())
    yield "attempts", f"{report.requests:,}"
    yield "proxies", f"{len(report.proxies):,}"
    if report.crawl is not None:
        unused = sum(not one.requests for one in report.proxies.values())
        yield "not used", f"{unused:,}"
    yield "carried", f"{(judged - failed) / judged:.1%}" if judged else "-"
    yield "busiest proxy", f"{report.top_share or 0.0:.1%}"
    yield "Jain's index", f"{report.jain or 0.0:.2f}"
    yield "past the pool", f"{report.others:,}"


def _table(report: Report, listed: Sequence[tuple[str, ProxyRow]]) -> Iterator[str]:
    yield '<h2 id="proxies">Proxies</h2>'
    yield '<div class="table" tabindex="0" role="region" aria-labelledby="proxies"><table><thead><tr>'
    more = ("capacity", "cooldowns") if report.crawl is not None else ()
    heads = ("proxy", "attempts", "share", "success", "mean", "p50", "p95", "sessions", *more)
    yield "".join(f'<th scope="col">{head}</th>' for head in (*heads, "failures"))
    yield "</tr></thead><tbody>"
    for name, proxy in listed[:_LISTED]:
        rate = proxy.success_rate
        cells = [
            f"{proxy.requests:,}",
            f"{proxy.requests / report.requests:.2%}",
            "-" if rate is None else f"{rate:.1%}",
            *map(_seconds, proxy.latency()),
            f"{len(proxy.sessions):,}",
            *_more_cells(report, name),
            escape(", ".join(f"{text} {count}" for text, count in proxy.failures.most_common(4))),
        ]
        yield f'<tr><th scope="row">{escape(name)}</th>'
        yield f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</tbody></table></div>"
    rest = listed[_LISTED:]
    if rest:
        carried = sum(proxy.requests for _, proxy in rest)
        yield (
            f"<p>And {len(rest):,} more, with {carried:,} attempts together "
            f"({carried / report.requests:.1%}). The CSV has them all.</p>"
        )


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} s" if value >= 1.0 else f"{value * 1000.0:.3g} ms"


def _more_cells(report: Report, name: str) -> Iterator[str]:
    if report.crawl is not None:
        yield f"{report.due(name):.2%}"
        yield f"{report.crawl.cooldowns.get(name, 0):,}"
