"""The charts of a report's page, each with the words for those who do not see it."""

from __future__ import annotations

from array import array
from html import escape
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from .charts import areas, bars, curve, ranges, spans
from .figures import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .figures import ProxyRow, Report
    from .timeline import Span

    Listed = Sequence[tuple[str, ProxyRow]]

# The busiest have a bar, the others share one.
_DRAWN = 25
# Of the spread, so that it is as long for a hundred thousand proxies.
_POINTS = 200


def sections(report: Report, listed: Listed) -> Iterator[str]:
    """Give a heading, a caption and a chart for all that there is to be seen.

    :param listed: the proxies, the busiest first.
    """
    yield from _shares(report, listed)
    if len(listed) > _DRAWN:
        yield from _spread(report, listed)
    yield from _latencies(listed)
    yield from _over_time(report)
    yield from _stops(report)
    yield from _failures(report)


def _shares(report: Report, listed: Listed) -> Iterator[str]:
    drawn, rest = listed[:_DRAWN], listed[_DRAWN:]
    names = [_short(name) for name, _ in drawn]
    shares = [100.0 * one.requests / report.requests for _, one in drawn]
    due = [100.0 * report.due(name) for name, _ in drawn]
    if rest:
        names.append(f"the other {len(rest):,}, each")
        shares.append(100.0 * sum(one.requests for _, one in rest) / report.requests / len(rest))
        due.append(100.0 * sum(report.due(name) for name, _ in rest) / len(rest))
    if report.crawl is None:
        title, mark = "Share of each proxy", "an even share; a request log does not know capacities"
    else:
        title = "Share of each proxy against its capacity"
        mark = "the proxy's part of all requests that the pool can carry at once"
    caption = f"The mark is {mark}."
    if rest:
        caption = f"The {len(drawn)} busiest; the last bar is the mean of the others. {caption}"
    yield _chart(title, caption, bars(names, shares, "% of attempts", due))


def _spread(report: Report, listed: Listed) -> Iterator[str]:
    carried = [0, *accumulate(one.requests for _, one in listed)]
    step = max(1, len(listed) // _POINTS)
    places = [*range(0, len(listed), step), len(listed)]
    half = next(place for place, sum_ in enumerate(carried) if 2 * sum_ >= report.requests)
    yield _chart(
        "Fairness",
        f"Half of all attempts went through {half:,} of {len(listed):,} proxies. The curve begins with "
        "the busiest; the dotted line is an even spread.",
        curve(
            [100.0 * place / len(listed) for place in places],
            [100.0 * carried[place] / report.requests for place in places],
            ("% of the proxies, the busiest first", "% of attempts"),
        ),
    )


def _latencies(listed: Listed) -> Iterator[str]:
    rows = [(_short(name), one.latency()[1:]) for name, one in listed[:_DRAWN]]
    rest = array("d", sorted(chain.from_iterable(one.latencies for _, one in listed[_DRAWN:])))
    if rest:
        together = f"the other {len(listed) - _DRAWN:,}, together"
        rows.append((together, (percentile(rest, 0.5), percentile(rest, 0.95))))
    known = [(name, middle, high) for name, (middle, high) in rows if middle and high is not None]
    if known:
        yield _chart(
            "Latency of each proxy",
            "From the median (dot) to the 95th percentile of the time to the headers of successes. The "
            "scale is logarithmic.",
            ranges(
                [name for name, _, _ in known],
                [middle for _, middle, _ in known],
                [high for _, _, high in known],
                "seconds",
            ),
        )


def _over_time(report: Report) -> Iterator[str]:
    timeline = report.timeline
    edges, (unit, _) = timeline.edges(), timeline.unit
    yield _chart(
        "Success over time",
        "Attempts by what came of them. success: carried; target_signal: refused by the target; "
        "ignored: nobody knows; the others failed.",
        areas(edges, timeline.rates(), "attempts per second", unit),
    )
    in_flight = timeline.in_flight()
    yield _chart(
        "In flight over time",
        f"The attempts that were under way at once: {max(in_flight):.3g} in the busiest stretch, "
        f"{sum(in_flight) / len(in_flight):.3g} on average.",
        areas(edges, {"in flight": in_flight}, "requests", unit),
    )


def _stops(report: Report) -> Iterator[str]:
    timeline, paused = report.timeline, report.pauses()
    out: Mapping[str, Sequence[Span]] = {} if report.crawl is None else report.crawl.out
    lanes = {
        "targets, paused": timeline.longest(paused),
        "proxies, out of service": timeline.longest(out),
    }
    drawn = sum(map(len, lanes.values()))
    if report.crawl is None:
        title = "Pauses of targets"
        caption = "As seen by the attempts that ended meanwhile. A request log knows no cooldowns."
    else:
        title = "Cooldowns and pauses"
        caption = (
            f"Proxies that cooled down, were probed, drained or out at some time: {len(out):,}. Targets "
            f"that were paused or suspended: {len(paused):,}."
        )
    if drawn < len(out) + len(paused):
        caption += " Those with most of the time are drawn."
    unit, _ = timeline.unit
    if drawn:
        shown = {
            group: [(_short(name), own) for name, own in rows]
            for group, rows in lanes.items()
            if rows
        }
        yield _chart(title, caption, spans(shown, timeline.edges()[-1], unit))
    else:
        yield f"<h2>{title}</h2><p>{caption}</p>"
    if len(out) > len(lanes["proxies, out of service"]):
        at_once = timeline.at_once(chain.from_iterable(out.values()))
        yield _chart(
            "Out of service over time",
            "The proxies that cooled down, were probed, drained or out at once: "
            f"{max(at_once):,.0f} in the worst stretch.",
            areas(timeline.edges(), {"out of service": at_once}, "proxies", unit),
        )


def _failures(report: Report) -> Iterator[str]:
    failures = report.failures().most_common(_DRAWN)
    if failures:
        worst, count = failures[0]
        yield _chart(
            "Failures by class",
            f"Refusals by the target are among them. The most frequent is {escape(worst)}: {count:,}.",
            bars(
                [_short(name) for name, _ in failures], [float(n) for _, n in failures], "attempts"
            ),
        )


def _chart(title: str, caption: str, svg: str) -> str:
    return f"<h2>{title}</h2><figure><figcaption>{caption}</figcaption>{svg}</figure>"


def _short(name: str) -> str:
    """Return a name as a chart can have it: in one line, and no longer than its labels may be."""
    plain = "".join(one if one.isprintable() else "?" for one in name)
    return plain if len(plain) <= 40 else f"{plain[:18]}...{plain[-18:]}"
