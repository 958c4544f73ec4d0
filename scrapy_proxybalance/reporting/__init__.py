"""Observers of the core's events: they watch, count, and tell. Nothing in the core knows of them.

A new reporter is one module here and one line in :func:`install`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import Figures
from .log import EventLog
from .stats import StatsRecorder
from .stats_file import StatsFile
from .summary import SummaryLog

if TYPE_CHECKING:
    from ..balancer import Balancer


def install(balancer: Balancer) -> list[object]:
    """Let every reporter watch a crawl; return those that have to be kept for their signals' sake."""
    pool, stats = balancer.pool, balancer.crawler.stats
    figures = Figures()
    pool.events.subscribe(EventLog(pool, balancer.clock))
    pool.events.subscribe(StatsRecorder(stats, pool, balancer.settings.stats_per_proxy))
    pool.events.subscribe(figures)
    kept: list[object] = [SummaryLog(balancer, figures)]
    if balancer.settings.stats_file is not None:
        kept.append(StatsFile(balancer, figures, balancer.settings.stats_file))
    return kept
