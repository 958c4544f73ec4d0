"""What the live page and its JSON show of one crawl, as of now.

Everything is computed in the crawl's thread, from existing counts, and in plain types. That takes
time from the crawl: it is repeated only after many times as long as it took.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs

from ..standing import Standing, standing

if TYPE_CHECKING:
    from ...core import ProxySnapshot
    from ..figures import Figures, ProxyFigures, TargetFigures
    from ..observed import ObservedCrawl
    from .history import History

Row = dict[str, Any]

# A view holds for a second, and for so many times as long as it took to make: however many look at a
# pool however large, the crawl keeps 95 % of its time.
_FRESH_SECONDS = 1.0
_FRESH_TIMES = 20
# Lists that may become long end after so many.
_TARGETS = 500
_SESSIONS = 200


class LiveView:
    """One crawl as it is shown. To be asked in the crawl's thread.

    :param history: of the same crawl.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures, history: History) -> None:
        self._context = context
        self._figures = figures
        self._history = history
        self._began = context.clock()
        self._made: Row = {}
        self._fresh_until = float("-inf")
        self._p95: dict[str, tuple[int, float | None]] = {}

    def show(self) -> Row:
        """Return everything but the proxies' scores in detail; computed again if it is out of date.

        What is returned is never changed, so that other threads may read it.
        """
        began = self._context.clock()
        if began >= self._fresh_until:
            self._made = self._make(began)
            took = self._context.clock() - began
            self._fresh_until = began + max(_FRESH_SECONDS, _FRESH_TIMES * took)
        return self._made

    def outdate(self) -> None:
        """Compute it again next time: something was changed by hand."""
        self._fresh_until = float("-inf")

    def score(self, proxy: str) -> Row:
        """Return a proxy's score with its factors.

        :raises KeyError: if there is no such proxy.
        """
        score = self._context.pool.explain(proxy, self._context.clock())
        return {"proxy": proxy, "score": _finite(score.value), **attrs.asdict(score)}

    def _make(self, now: float) -> Row:
        context, figures = self._context, self._figures
        pool = context.pool
        figures.sample(now)
        snapshots = pool.snapshot(now)
        states = dict.fromkeys((state.value for state in Standing), 0)
        for seen in snapshots:
            states[standing(seen).value] += 1
        return {
            "seconds": round(now - self._began, 1),
            "summary": {
                "proxies": len(snapshots),
                "states": states,
                "in_flight": pool.in_flight,
                "capacity": pool.capacity,
                "requests": figures.requests,
                "success_rate": figures.success_rate,
                "retries": context.retries.budget.let_out,
                "held": figures.held,
                "paused_targets": sum(1 for _ in pool.targets),
                "sessions": len(pool.sessions),
                "failures": dict(figures.failures.most_common(10)),
            },
            "history": self._history.shown(),
            "proxies": [self._proxy(seen) for seen in snapshots],
            "targets": self._targets(now),
            "gateways": [
                {"name": limit.name, "limit": _finite(limit.limit), "in_flight": limit.in_flight}
                for limit in figures.limits
            ],
            "sessions": [
                {"session": str(session), "proxy": proxy}
                for session, proxy in islice(pool.sessions, _SESSIONS)
            ],
        }

    def _proxy(self, seen: ProxySnapshot) -> Row:
        proxy = seen.proxy
        known = self._figures.proxies.get(proxy.name)
        requests = known.requests if known is not None else 0
        total = self._figures.requests
        return {
            "name": proxy.name,
            "pool": proxy.pool,
            "country": proxy.country,
            "provider": proxy.provider,
            "state": standing(seen).value,
            "in_flight": seen.in_flight,
            "max_in_flight": seen.max_in_flight,
            "requests": requests,
            "share": requests / total if total else 0.0,
            "success_rate": known.success_rate if known is not None else None,
            "p95": self._p95_of(proxy.name, known),
            "score": _finite(seen.score),
            "cooldowns": known.cooldowns if known is not None else 0,
            "cooldown_left": round(seen.cooldown_left, 1),
            "sessions": seen.sessions,
        }

    def _p95_of(self, name: str, known: ProxyFigures | None) -> float | None:
        if known is None:
            return None
        counted, p95 = self._p95.get(name, (-1, None))
        if counted != known.requests:
            p95 = known.latency_percentile(95)
            self._p95[name] = (known.requests, p95)
        return p95

    def _targets(self, now: float) -> list[Row]:
        """Return the targets: those that have refused or are paused first, then the busiest."""
        targets = self._figures.targets
        gate = self._context.pool.targets
        first = {name for name, _, _ in gate} | {name for name, _ in self._figures.refusing()}
        rest = sorted(
            (name for name in targets if name not in first),
            key=lambda name: -targets[name].requests,
        )
        return [
            self._target(name, targets.get(name), now)
            for name in islice((*sorted(first), *rest), _TARGETS)
        ]

    def _target(self, name: str, known: TargetFigures | None, now: float) -> Row:
        gate = self._context.pool.targets
        state = gate.state(name)
        ready_at = None if state.gets_traffic else gate.ready_at(name, now)
        return {
            "name": name,
            "state": state.value,
            "seconds_left": (
                round(ready_at - now, 1)
                if ready_at is not None and math.isfinite(ready_at)
                else None
            ),
            "in_flight": gate.limit(name, now)[1],
            "queued": self._context.held(name),
            "requests": known.requests if known is not None else 0,
            "refusals": known.signals if known is not None else 0,
            "resting": self._context.pool.resting_pairs(now, name),
            "pauses": known.pauses if known is not None else 0,
        }


def _finite(number: float) -> float | None:
    """Return a number that JSON has, which knows no infinity."""
    return number if math.isfinite(number) else None
