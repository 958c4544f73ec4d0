"""Observers of the core's events: they watch, count, and tell. Nothing in the core knows of them.

A new reporter is one module here and one line in :func:`install`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import ConfigurationError
from .console import PoolConsole
from .crawl_report import CrawlReport
from .figures import Figures
from .log import EventLog
from .no_answer import NoAnswerWarning
from .pool_log import PoolLog
from .request_log import RequestLog
from .signal_sender import SignalSender
from .stats import StatsWriter
from .stats_file import StatsFile
from .summary import SummaryLog
from .unmatched import UnmatchedTargets

if TYPE_CHECKING:
    from ..plugin.crawl import Balancer


def install(balancer: Balancer) -> tuple[PoolConsole, list[object]]:
    """Let every reporter watch a crawl.

    :return: what the telnet console has, and the others; all have to be kept for their signals' sake.
    :raises ConfigurationError: for a setting that needs a library that is not there.
    """
    figures = Figures(balancer.pool, balancer.held)  # first: others tell what it has counted
    kept: list[object] = [
        EventLog(balancer, figures),
        PoolLog(balancer, figures),
        NoAnswerWarning(balancer, figures),
        SignalSender(balancer, figures),
        StatsWriter(balancer, figures),
        SummaryLog(balancer, figures),
        UnmatchedTargets(balancer, figures),
    ]
    if balancer.settings.stats_file is not None:
        kept.append(StatsFile(balancer, figures, balancer.settings.stats_file))
    if balancer.settings.request_log is not None:
        kept.append(RequestLog(balancer, balancer.settings.request_log))
    if balancer.settings.report:
        kept.append(CrawlReport(balancer, figures, balancer.settings.report))
    if balancer.settings.metrics_port is not None:
        kept.append(_port(balancer, figures, balancer.settings.metrics_port))
    if balancer.settings.progress:
        kept.append(_progress(balancer, figures))
    return PoolConsole(balancer, figures), kept


def _port(balancer: Balancer, figures: Figures, port: int) -> object:
    try:
        from .live.port import StatusPort
    except ImportError as error:
        raise _lacks(f"PROXYBALANCE_METRICS_PORT = {port}", "metrics", error) from None
    return StatusPort(balancer, figures, port)


def _progress(balancer: Balancer, figures: Figures) -> object:
    try:
        from .progress import Progress
    except ImportError as error:
        raise _lacks("PROXYBALANCE_PROGRESS = True", "progress", error) from None
    return Progress(balancer, figures)


def _lacks(setting: str, extra: str, error: ImportError) -> ConfigurationError:
    return ConfigurationError(
        f"{setting}: that needs a library that is not there ({error}); "
        f"pip install 'scrapy-proxybalance[{extra}]'"
    )
