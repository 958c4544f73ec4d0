"""Puts a crawl's metrics on a port while its spider is open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy import signals

from .crawl_thread import CrawlThread
from .metrics import Metrics
from .status_server import StatusServer

if TYPE_CHECKING:
    from scrapy import Spider

    from ..balancer import Balancer
    from .figures import Figures

logger = logging.getLogger(__name__)


class Status:
    """Opens the port with the spider, and closes it with the last one.

    :param port: 0 for one that the system chooses.
    """

    def __init__(self, balancer: Balancer, figures: Figures, port: int) -> None:
        settings = balancer.settings
        self._host, self._port = settings.metrics_host, port
        self._metrics = Metrics(balancer, figures, settings.metrics_per_proxy)
        self._server: StatusServer | None = None
        self._shown = ""
        balancer.crawler.signals.connect(self.open, signal=signals.spider_opened)
        balancer.crawler.signals.connect(self.close, signal=signals.spider_closed)

    def open(self, spider: Spider) -> None:
        """Open it, or log why that cannot be done."""
        try:
            server = StatusServer.shared(self._host, self._port)
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
        self._shown = server.join(spider.name, CrawlThread(), self._metrics)
        logger.info(
            "Metrics for Prometheus are at %s/metrics", server.url, extra={"spider": spider}
        )

    def close(self) -> None:
        """Close it."""
        if self._server is not None:
            self._server.leave(self._shown)
            self._server = None
