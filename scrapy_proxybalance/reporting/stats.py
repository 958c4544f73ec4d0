"""The stats collector's keys; each is documented in ``docs/reference/stats.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pool.events import (
    CooldownStarted,
    LeaseEnded,
    LeaseGranted,
    ProbeStarted,
    ProxyAdded,
    ProxyOut,
    ProxyRecovered,
    ProxyRemoved,
    SessionEnded,
    SessionReassigned,
    SessionStarted,
    TargetPaused,
    TargetReopened,
    TargetSuspended,
)

if TYPE_CHECKING:
    from scrapy.statscollectors import StatsCollector

    from ..pool import Pool
    from ..pool.events import Event

#: Every key without its prefix; ``{...}`` stands for what varies.
KEYS = (
    "proxies",
    "leases",
    "in_flight/max",
    "outcome/{outcome}",
    "failure/{failure}",
    "cooldowns",
    "probes",
    "recoveries",
    "proxies_out",
    "sessions/started",
    "sessions/reassigned",
    "sessions/ended/{reason}",
    "target/{target}/pauses",
    "target/{target}/reopened",
    "target/{target}/suspended",
    "proxy/{name}/leases",
    "proxy/{name}/outcome/{outcome}",
    "proxy/{name}/cooldowns",
)
PREFIX = "proxybalance/"

_COUNTED = {
    ProbeStarted: "probes",
    ProxyRecovered: "recoveries",
    ProxyOut: "proxies_out",
    SessionStarted: "sessions/started",
    SessionReassigned: "sessions/reassigned",
}


class StatsRecorder:
    """An observer that keeps the stats collector up to date.

    :param stats: the crawler's.
    :param pool: whose events it sees.
    :param per_proxy: the largest pool that gets keys of each proxy's own.
    """

    def __init__(self, stats: StatsCollector, pool: Pool, per_proxy: int) -> None:
        self._stats = stats
        self._pool = pool
        self._per_proxy = per_proxy
        stats.set_value(PREFIX + "proxies", len(pool))

    def __call__(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, LeaseGranted):
            self._stats.inc_value("proxybalance/leases")
            self._stats.max_value("proxybalance/in_flight/max", self._pool.in_flight)
            self._of_proxy(event.lease.proxy.name, "leases")
        elif isinstance(event, LeaseEnded):
            outcome = event.outcome.value
            self._stats.inc_value(f"proxybalance/outcome/{outcome}")
            if event.failure is not None:
                self._stats.inc_value(f"proxybalance/failure/{event.failure}")
            self._of_proxy(event.lease.proxy.name, f"outcome/{outcome}")
        elif isinstance(event, CooldownStarted):
            self._stats.inc_value("proxybalance/cooldowns")
            self._of_proxy(event.proxy.name, "cooldowns")
        elif isinstance(event, SessionEnded):
            self._stats.inc_value(f"proxybalance/sessions/ended/{event.reason}")
        elif isinstance(event, ProxyAdded | ProxyRemoved):
            self._stats.set_value("proxybalance/proxies", len(self._pool))
        elif isinstance(event, TargetPaused):
            self._stats.inc_value(f"proxybalance/target/{event.target}/pauses")
        elif isinstance(event, TargetReopened):
            self._stats.inc_value(f"proxybalance/target/{event.target}/reopened")
        elif isinstance(event, TargetSuspended):
            self._stats.set_value(f"proxybalance/target/{event.target}/suspended", value=True)
        elif type(event) in _COUNTED:
            self._stats.inc_value(PREFIX + _COUNTED[type(event)])

    def _of_proxy(self, name: str, key: str) -> None:
        if len(self._pool) <= self._per_proxy:
            self._stats.inc_value(f"proxybalance/proxy/{name}/{key}")
