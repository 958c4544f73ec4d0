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
    from .observed import OperatedCrawl


def install(context: OperatedCrawl) -> tuple[PoolConsole, list[object]]:
    """Let every reporter watch a crawl.

    :return: what the telnet console has, and the others; all have to be kept for their signals' sake.
    :raises ConfigurationError: for a setting that needs a library that is not there.
    """
    figures = Figures(context.pool, context.held)  # first: others tell what it has counted
    kept: list[object] = [
        EventLog(context, figures),
        PoolLog(context, figures),
        NoAnswerWarning(context, figures),
        SignalSender(context, figures),
        StatsWriter(context, figures),
        SummaryLog(context, figures),
        UnmatchedTargets(context, figures),
    ]
    if context.settings.stats_file is not None:
        kept.append(StatsFile(context, figures, context.settings.stats_file))
    if context.settings.request_log is not None:
        kept.append(RequestLog(context, context.settings.request_log))
    if context.settings.report:
        kept.append(CrawlReport(context, figures, context.settings.report))
    if context.settings.metrics_port is not None:
        from .live.port import StatusPort  # not imported without a port

        kept.append(StatusPort(context, figures, context.settings.metrics_port))
    if context.settings.progress:
        kept.append(_progress(context, figures))
    return PoolConsole(context, figures), kept


def _progress(context: OperatedCrawl, figures: Figures) -> object:
    try:
        from .progress import Progress
    except ImportError as error:
        raise ConfigurationError(
            f"PROXYBALANCE_PROGRESS = True: that needs a library that is not there ({error}); "
            "pip install 'scrapy-proxybalance[progress]'"
        ) from None
    return Progress(context, figures)
