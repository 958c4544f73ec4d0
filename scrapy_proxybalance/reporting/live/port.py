"""Puts a crawl on a port while its spider is open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..scrapy_hooks import PeriodicCall, on_closed, on_opened
from .actions import Actions
from .crawl_thread import CrawlThread
from .history import STEP, History
from .metrics import Metrics
from .routes import Handler
from .server import ServedCrawl, StatusServer
from .view import LiveView

if TYPE_CHECKING:
    from ..figures import Figures
    from ..observed import OperatedCrawl
    from ..scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance")


class StatusPort:
    """Opens the port with the spider, and closes it with the last one.

    :param port: 0 for one that the system chooses.
    """

    def __init__(self, context: OperatedCrawl, figures: Figures, port: int) -> None:
        settings = context.settings
        self._host, self._port = settings.metrics_host, port
        self._metrics = Metrics(context, figures, settings.metrics_per_proxy)
        self._history = History(context, figures)
        self._view = LiveView(context, figures, self._history)
        self._actions = Actions(context, settings.control_token, self._view)
        self._loop = PeriodicCall()
        self._server: StatusServer | None = None
        self._shown = ""
        on_opened(context, self.open)
        on_closed(context, self.close)

    def open(self, spider: Spider) -> None:
        """Open it, or log why that cannot be done."""
        try:
            server = StatusServer.shared(self._host, self._port, Handler)
        except OSError as error:
            logger.error(
                "PROXYBALANCE_METRICS_PORT = %d: cannot listen on %s (%s); there are no metrics. The "
                "crawl goes on.",
                self._port,
                self._host,
                error.strerror or error,
            )
            return
        self._server = server
        self._shown = server.join(
            spider.name,
            ServedCrawl(CrawlThread(), self._metrics, self._view, self._actions),
        )
        self._loop.start(STEP, self._history.take_note)
        logger.info(
            "The crawl can be watched at %s/ (%s). Metrics for Prometheus are at %s/metrics",
            server.url,
            "and acted on, with the token" if self._actions.possible else "read-only",
            server.url,
            extra={"spider": spider},
        )

    def close(self) -> None:
        """Close it."""
        self._loop.stop()
        if self._server is not None:
            self._server.leave(self._shown)
            self._server = None
