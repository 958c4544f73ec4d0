"""What a report suggests: the rules of thumb of the field, in words. Each names what it goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .figures import Report

# Below so many attempts of a proxy, and so many proxies, chance explains everything.
_ATTEMPTS, _PROXIES = 20, 4
_BAD = 0.5
_MOST = 0.8
_OFTEN = 3


def suggestions(report: Report) -> list[str]:
    """Return what may be worth a change, the most urgent first."""
    return [
        *_all_bad(report),
        *_few_bad(report),
        *_saturated(report),
        *_sessions(report),
        *_targets(report),
    ]


def _all_bad(report: Report) -> Iterator[str]:
    judged = [one for one in report.proxies.values() if one.success_rate is not None]
    bad = [one for one in judged if (one.success_rate or 0.0) < _BAD]
    if len(judged) >= 2 and len(bad) >= _MOST * len(judged):
        yield (
            f"{len(bad)} of {len(judged)} proxies failed in more than half of their attempts. So many "
            "at once are hardly bad by themselves: check the gateway's address and syntax, the "
            "credentials, the region and session parameters, and the balance at the provider."
        )


def _few_bad(report: Report) -> Iterator[str]:
    proxies = list(report.proxies.items())
    failed = sum(one.failed for _, one in proxies)
    if len(proxies) < _PROXIES or failed < _ATTEMPTS or failed < 0.02 * report.requests:
        return
    worst = sorted(proxies, key=lambda item: -item[1].failed)[: max(1, len(proxies) // 5)]
    theirs = sum(one.failed for _, one in worst)
    carried = sum(one.requests for _, one in worst)
    if theirs < 0.5 * failed or theirs / failed < 2.0 * carried / report.requests:
        return  # who carries most of the attempts has most of the failures, too
    names = ", ".join(name for name, _ in worst[:5])
    yield (
        f"{len(worst)} of {len(proxies)} proxies have {theirs / failed:.0%} of the failures ({names}"
        f"{', ...' if len(worst) > 5 else ''}). Lower PROXYBALANCE_FAILURE_THRESHOLD or lengthen "
        "PROXYBALANCE_COOLDOWN, or take them off the list."
    )


def _saturated(report: Report) -> Iterator[str]:
    if len(report.proxies) < _PROXIES or report.requests < _ATTEMPTS * len(report.proxies):
        return
    name, busiest = report.busiest_first()[0]
    share, due = busiest.requests / report.requests, report.due(name)
    if due and share >= 4.0 * due:
        what = "an even share" if report.crawl is None else "its part of the pool's capacity"
        yield (
            f"{name} carried {share / due:.1f} times {what}. If its address is not to stand out, "
            "lower its max_in_flight or PROXYBALANCE_MAX_IN_FLIGHT, or give it a rate."
        )


def _sessions(report: Report) -> Iterator[str]:
    with_session = {name: one.with_session for name, one in report.proxies.items()}
    total = sum(with_session.values())
    others = report.requests - total
    if len(with_session) < _PROXIES or min(total, others) < _ATTEMPTS * _PROXIES:
        return
    top = max(with_session.values()) / total
    top_of_others = max(one.requests - one.with_session for one in report.proxies.values()) / others
    if top > 2.0 * top_of_others:
        yield (
            f"Requests with a session are less evenly spread (the busiest proxy has {top:.0%} of "
            f"them) than those without ({top_of_others:.0%}). Use more, shorter sessions, or end them "
            "with meta['session_end']."
        )


def _targets(report: Report) -> Iterator[str]:
    for name, target in sorted(report.targets.items(), key=lambda item: -item[1].pauses)[:5]:
        if target.pauses >= _OFTEN:
            yield (
                f"{name} was paused {target.pauses} times, after {target.refusals} refusals. Ask it for "
                f"less: PROXYBALANCE_TARGETS = {{{name!r}: {{'rate': ...}}}}."
            )
