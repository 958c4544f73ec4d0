"""What was counted over a crawl, in all, per proxy and per target: what every other reporter tells."""

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
    ProbeStarted,
    ProxyOut,
    ProxyRecovered,
    SessionEnded,
    SessionReassigned,
    SessionStarted,
    TargetPaused,
    TargetReopened,
    TargetSuspended,
)

if TYPE_CHECKING:
    from ..pool import Pool
    from ..pool.events import Event

# Percentiles are those of a proxy's last so many responses, exactly.
_LATENCIES = 500
# Of a crawl with more targets than this, only those that refused are counted from there on.
_TARGETS = 1000


@attrs.define
class ProxyFigures:
    """One proxy's counts, by the values of :class:`Outcome`. Latencies in seconds."""

    requests: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    cooldowns: int = 0
    sessions: int = 0
    latencies: deque[float] = attrs.field(factory=partial(deque, maxlen=_LATENCIES))

    @property
    def success_rate(self) -> float | None:
        """Successes among what was judged; what was ignored does not count."""
        judged = self.requests - self.outcomes[Outcome.IGNORED.value]
        carried = self.outcomes[Outcome.SUCCESS.value] + self.outcomes[Outcome.TARGET_SIGNAL.value]
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
    reopened: int = 0
    suspended: bool = False


class Figures:
    """An observer that counts. A request counts when its lease ends.

    :param pool: whose events it sees.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.proxies: defaultdict[str, ProxyFigures] = defaultdict(ProxyFigures)
        self.targets: defaultdict[str, TargetFigures] = defaultdict(TargetFigures)
        #: How often each kind of event happened, but for the end of a lease.
        self.events: Counter[type[Event]] = Counter()
        self.sessions_ended: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.requests = 0
        self.in_flight_max = 0
        pool.events.subscribe(self._lease_ended, LeaseEnded)
        pool.events.subscribe(
            self._count,
            *(CooldownStarted, ProbeStarted, ProxyOut, ProxyRecovered),
            *(SessionStarted, SessionReassigned, SessionEnded),
            *(TargetPaused, TargetReopened, TargetSuspended),
        )

    def _lease_ended(self, event: LeaseEnded) -> None:
        self.requests += 1
        # What is in flight was at its most just before some lease ended.
        self.in_flight_max = max(self.in_flight_max, self._pool.in_flight + 1)
        lease, outcome = event.lease, event.outcome
        proxy = self.proxies[lease.proxy.name]
        proxy.requests += 1
        proxy.outcomes[outcome.value] += 1
        self.outcomes[outcome.value] += 1
        if event.failure is not None:
            proxy.failures[event.failure] += 1
            self.failures[event.failure] += 1
        if event.latency is not None and outcome is Outcome.SUCCESS:
            proxy.latencies.append(event.latency)
        refused = outcome is Outcome.TARGET_SIGNAL
        if refused or lease.target in self.targets or len(self.targets) < _TARGETS:
            target = self.targets[lease.target]
            target.requests += 1
            target.signals += refused

    def _count(self, event: Event) -> None:
        self.events[type(event)] += 1
        if isinstance(event, CooldownStarted):
            self.proxies[event.proxy.name].cooldowns += 1
        elif isinstance(event, SessionStarted | SessionReassigned):
            self.proxies[event.proxy.name].sessions += 1
        elif isinstance(event, SessionEnded):
            self.sessions_ended[event.reason] += 1
        elif isinstance(event, TargetPaused):
            self.targets[event.target].pauses += 1
        elif isinstance(event, TargetReopened):
            self.targets[event.target].reopened += 1
        elif isinstance(event, TargetSuspended):
            self.targets[event.target].suspended = True
