"""What a report suggests: the rules of thumb of the field, in words. Each names what it goes by."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ...core.outcome import PROXY_AUTH, TIMEOUT
from ...util.wording import counted
from ..causes import failures_in_words, likeliest_causes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .figures import ProxyRow, Report

# Below so many attempts of a proxy, and so many proxies, chance explains everything.
_ATTEMPTS, _PROXIES = 20, 4
_BAD = 0.5
_MOST = 0.8
_OFTEN = 3
# A share of all attempts that is worth mentioning.
_MUCH = 0.1
# So many names are listed.
_NAMES = 5


def suggestions(report: Report) -> list[str]:
    """Return what may be worth a change, the most urgent first."""
    return [
        *_credentials(report),
        *_silent(report),
        *_all_bad(report),
        *_few_bad(report),
        *_outages(report),
        *_rejected(report),
        *_timeouts(report),
        *_ambiguous(report),
        *_saturated(report),
        *_sessions(report),
        *_targets(report),
    ]


def _listed(texts: Iterable[str]) -> str:
    names = list(texts)
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")


def _proxies(number: int) -> str:
    return counted(number, "proxy", "proxies")


def _credentials(report: Report) -> Iterator[str]:
    refused = [name for name, one in report.proxies.items() if one.failures[PROXY_AUTH]]
    if refused:
        yield (
            f"The credentials of {_proxies(len(refused))} were refused ({_listed(refused)}). Correct "
            "the username and the password, or have the provider allow this machine's IP address."
        )


def _silent_proxies(report: Report) -> dict[str, ProxyRow]:
    """Return the proxies that nothing has ever come back through, though they were tried."""
    return {
        name: one
        for name, one in report.proxies.items()
        if one.failed and not one.success_rate and not one.failures[PROXY_AUTH]
    }


def _silent(report: Report) -> Iterator[str]:
    silent = _silent_proxies(report)
    if not silent:
        return
    if not any(one.success_rate for one in report.proxies.values()):
        causes = likeliest_causes(report.failures())
        yield (
            f"Nothing has come back through any proxy ({failures_in_words(report.failures())}). The "
            f"likeliest causes: {'; '.join(causes)}."
        )
        return
    why = (f"{name}: {failures_in_words(one.failures)}" for name, one in silent.items())
    yield (
        f"{len(silent)} of {_proxies(len(report.proxies))} never answered ({_listed(why)}). Check the "
        "address and the port of each, or take it off the list."
    )


def _outages(report: Report) -> Iterator[str]:
    for name, trips in sorted((report.crawl.outages if report.crawl else {}).items()):
        what = f"gateway {name}" if name else "any gateway"
        check = (
            "its address, the credentials" if name else "this machine's network, the credentials"
        )
        yield (
            f"Nothing got through {what} for a while, {counted(trips, 'time')}. Check {check}, and the "
            "limits and the balance at the provider."
        )


def _rejected(report: Report) -> Iterator[str]:
    rejected = sum(one.outcomes["gateway_fault"] for one in report.proxies.values())
    if rejected >= max(_ATTEMPTS, _MUCH * report.requests):
        yield (
            f"{rejected / report.requests:.0%} of the attempts were rejected by a gateway "
            f"({_words_of(report, 'gateway_fault')}). It carries less than is asked of it: lower its "
            "'max_in_flight' in PROXYBALANCE_GATEWAYS, or its provider's limits are reached."
        )


def _timeouts(report: Report) -> Iterator[str]:
    timed_out = report.failures()[TIMEOUT]
    if timed_out >= max(_ATTEMPTS, _MUCH * report.requests):
        most = [
            name
            for name, one in report.busiest_first()
            if one.failures[TIMEOUT] > _BAD * one.requests
        ]
        whose = f", and most of those through {_listed(most)}" if most else ""
        yield (
            f"{timed_out / report.requests:.0%} of the attempts took too long{whose}. The proxies or "
            "the sites are slower than the timeout allows: take slow proxies off the list, lower "
            "PROXYBALANCE_MAX_IN_FLIGHT, or raise DOWNLOAD_TIMEOUT and "
            "PROXYBALANCE_ADAPTIVE_TIMEOUT_MIN."
        )


def _words_of(report: Report, outcome: str) -> str:
    """Return the most frequent classes of failure of attempts with such an outcome."""
    return failures_in_words(
        Counter(
            {failure: count for (its, failure), count in report.reasons.items() if its == outcome}
        )
    )


def _ambiguous(report: Report) -> Iterator[str]:
    ambiguous = sum(one.outcomes["ambiguous"] for one in report.proxies.values())
    ambiguous -= report.failures()[TIMEOUT]  # there is a suggestion for these
    if ambiguous >= max(_ATTEMPTS, _MUCH * report.requests):
        yield (
            f"Of {ambiguous / report.requests:.0%} of the attempts nobody can say whether the proxy or "
            f"the site failed ({_words_of(report, 'ambiguous')}). If you can tell from the response, "
            "add to PROXYBALANCE_PROXY_MARKS or write a PROXYBALANCE_CLASSIFIER."
        )


def _all_bad(report: Report) -> Iterator[str]:
    judged = [one for one in report.proxies.values() if one.success_rate is not None]
    if not any(one.success_rate for one in judged):
        return  # nothing has come back at all, which has a word of its own
    bad = [one for one in judged if (one.success_rate or 0.0) < _BAD]
    if len(judged) >= 2 and len(bad) >= _MOST * len(judged):
        yield (
            f"{len(bad)} of {len(judged)} proxies failed in more than half of their attempts. So many "
            "at once are rarely bad on their own: check the gateway's address and syntax, the "
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
    have = "has" if len(worst) == 1 else "have"
    yield (
        f"{len(worst)} of {len(proxies)} proxies {have} {theirs / failed:.0%} of the failures ({names}"
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
            refusals = counted(target.refusals, "refusal")
            yield (
                f"{name} was paused {target.pauses} times, after {refusals}. Ask it for "
                f"less: PROXYBALANCE_TARGETS = {{{name!r}: {{'rate': ...}}}}."
            )
