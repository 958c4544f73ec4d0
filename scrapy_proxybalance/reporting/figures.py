"""What was counted per proxy and per target over a whole crawl, for the summary and the stats file."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from functools import partial
from statistics import quantiles
from typing import TYPE_CHECKING

import attrs

from ..pool import Outcome
from ..pool.events import (
    CooldownStarted,
    LeaseEnded,
    LeaseGranted,
    SessionReassigned,
    SessionStarted,
    TargetPaused,
    TargetSuspended,
)

if TYPE_CHECKING:
    from ..pool.events import Event

# Percentiles are those of a proxy's last so many responses, exactly.
_LATENCIES = 500
# Of a crawl with more targets than this, only those that refused are counted from there on.
_TARGETS = 1000


@attrs.define
class ProxyFigures:
    """One proxy's counts. Latencies in seconds."""

    requests: int = 0
    outcomes: Counter[Outcome] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    cooldowns: int = 0
    sessions: int = 0
    latencies: deque[float] = attrs.field(factory=partial(deque, maxlen=_LATENCIES))

    @property
    def success_rate(self) -> float | None:
        """Successes among what was judged; what was ignored does not count."""
        judged = self.outcomes.total() - self.outcomes[Outcome.IGNORED]
        carried = self.outcomes[Outcome.SUCCESS] + self.outcomes[Outcome.TARGET_SIGNAL]
        return carried / judged if judged else None

    def latency_percentile(self, percent: int) -> float | None:
        """Return a percentile of the latencies, in seconds."""
        if len(self.latencies) < 2:
            return self.latencies[0] if self.latencies else None
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


@attrs.define
class TargetFigures:
    """One target's counts."""

    requests: int = 0
    signals: int = 0
    pauses: int = 0
    suspended: bool = False


class Figures:
    """An observer that counts."""

    def __init__(self) -> None:
        self.proxies: defaultdict[str, ProxyFigures] = defaultdict(ProxyFigures)
        self.targets: defaultdict[str, TargetFigures] = defaultdict(TargetFigures)

    @property
    def requests(self) -> int:
        """Leases granted in all."""
        return sum(figures.requests for figures in self.proxies.values())

    def __call__(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, LeaseGranted):
            self.proxies[event.lease.proxy.name].requests += 1
            target = event.lease.target
            if target in self.targets or len(self.targets) < _TARGETS:
                self.targets[target].requests += 1
        elif isinstance(event, LeaseEnded):
            proxy = self.proxies[event.lease.proxy.name]
            proxy.outcomes[event.outcome] += 1
            if event.failure is not None:
                proxy.failures[event.failure] += 1
            if event.outcome is Outcome.TARGET_SIGNAL:
                self.targets[event.lease.target].signals += 1
            elif event.outcome is Outcome.SUCCESS and event.latency is not None:
                proxy.latencies.append(event.latency)
        elif isinstance(event, CooldownStarted):
            self.proxies[event.proxy.name].cooldowns += 1
        elif isinstance(event, SessionStarted | SessionReassigned):
            self.proxies[event.proxy.name].sessions += 1
        elif isinstance(event, TargetPaused):
            self.targets[event.target].pauses += 1
        elif isinstance(event, TargetSuspended):
            self.targets[event.target].suspended = True
