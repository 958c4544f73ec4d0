"""The stats collector's keys; each is documented in ``docs/reference/stats.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.events import (
    CooldownStarted,
    CooldownTakenBack,
    PairRested,
    PoolTripped,
    ProbeStarted,
    ProxyOut,
    ProxyRecovered,
    SessionReassigned,
    SessionStarted,
    TargetRefused,
)
from .scrapy_hooks import PeriodicCall, on_closed, on_opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .figures import Figures
    from .observed import ObservedCrawl

#: Every key without its prefix; ``{...}`` stands for what varies.
KEYS = (
    "proxies",
    "leases",
    "in_flight/max",
    "outcome/{outcome}",
    "failure/{failure}",
    "timeouts/adaptive",
    "timeouts/adaptive/rescued",
    "connections/reused",
    "concurrency/estimate",
    "cooldowns",
    "cooldowns/taken_back",
    "pool/trips",
    "probes",
    "recoveries",
    "proxies_out",
    "pairs/rests",
    "targets_refused",
    "retries",
    "retries/seconds_held",
    "sessions/started",
    "sessions/reassigned",
    "sessions/ended/{reason}",
    "gateway/{gateway}/limit",
    "gateway/{gateway}/in_flight/max",
    "gateway/{gateway}/rejections",
    "gateway/{gateway}/trips",
    "target/{target}/signals",
    "target/{target}/pauses",
    "target/{target}/reopened",
    "target/{target}/seconds_paused",
    "target/{target}/held",
    "target/{target}/held/max",
    "target/{target}/suspended",
    "proxy/{name}/leases",
    "proxy/{name}/outcome/{outcome}",
    "proxy/{name}/cooldowns",
)
PREFIX = "proxybalance/"

_EVENTS = {
    "cooldowns": CooldownStarted,
    "cooldowns/taken_back": CooldownTakenBack,
    "pool/trips": PoolTripped,
    "probes": ProbeStarted,
    "recoveries": ProxyRecovered,
    "proxies_out": ProxyOut,
    "pairs/rests": PairRested,
    "targets_refused": TargetRefused,
    "sessions/started": SessionStarted,
    "sessions/reassigned": SessionReassigned,
}
_SECONDS = 1.0
# Keys of each gateway only where there are so few.
_GATEWAYS = 20


class StatsWriter:
    """Writes the figures to the stats collector, every second and when the spider is closed."""

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        self._loop = PeriodicCall()
        on_opened(context, self.start)
        on_closed(context, self.stop)

    def start(self) -> None:
        """Begin to write."""
        self._loop.start(_SECONDS, self.write, now=True)

    def stop(self) -> None:
        """Write a last time."""
        self._loop.stop()
        self.write()

    def write(self) -> None:
        """Write every key whose figure is not zero; what is held, from when it was not zero on."""
        self._figures.sample(self._context.clock())
        stats = self._context.crawler.stats
        for key, value in self._counts():
            if value:
                stats.set_value(PREFIX + key, value)
        for name, target in self._figures.refusing():
            if target.held_max:
                stats.set_value(f"{PREFIX}target/{name}/held", target.held)

    def _counts(self) -> Iterator[tuple[str, float]]:
        figures, pool = self._figures, self._context.pool
        yield "proxies", len(pool)
        yield "leases", figures.requests
        yield "in_flight/max", figures.in_flight_max
        for outcome, count in figures.outcomes.items():
            yield f"outcome/{outcome}", count
        for failure, count in figures.failures.items():
            yield f"failure/{failure}", count
        yield "timeouts/adaptive", figures.cut_off
        yield "timeouts/adaptive/rescued", figures.rescued
        yield "connections/reused", figures.reused
        for key, event in _EVENTS.items():
            yield key, figures.events[event]
        yield "retries", self._context.retries.budget.let_out
        held = self._context.retries.budget.seconds_held(self._context.clock())
        yield "retries/seconds_held", round(held, 3)
        for reason, count in figures.sessions_ended.items():
            yield f"sessions/ended/{reason}", count
        yield "concurrency/estimate", round(figures.concurrency.estimate, 1)
        if len(figures.limits) <= _GATEWAYS:
            for limit in figures.limits:
                gateway = figures.gateways[limit.name]
                yield f"gateway/{limit.name}/limit", limit.limit
                yield f"gateway/{limit.name}/in_flight/max", gateway.in_flight_max
                yield f"gateway/{limit.name}/rejections", gateway.rejections
                yield f"gateway/{limit.name}/trips", gateway.trips
        for name, target in figures.refusing():
            yield f"target/{name}/signals", target.signals
            yield f"target/{name}/pauses", target.pauses
            yield f"target/{name}/reopened", target.reopened
            yield f"target/{name}/seconds_paused", round(target.seconds_paused, 3)
            yield f"target/{name}/held/max", target.held_max
            yield f"target/{name}/suspended", target.suspended
        if len(pool) <= self._context.settings.stats_per_proxy:
            for name, proxy in figures.proxies.items():
                yield f"proxy/{name}/leases", proxy.requests
                yield f"proxy/{name}/cooldowns", proxy.cooldowns
                for outcome, count in proxy.outcomes.items():
                    yield f"proxy/{name}/outcome/{outcome}", count
