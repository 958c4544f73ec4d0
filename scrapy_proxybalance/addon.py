"""The one-line installation: fills in what the plugin needs and never overwrites the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .admission import ProxyBalanceQueue
from .middleware import ORDER, ProxyBalanceMiddleware
from .settings import read_one

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings


class Addon:
    """Adds the middleware and the queue: ``ADDONS = {"scrapy_proxybalance.Addon": 500}``.

    Settings of the project, the spider and the command line keep precedence.
    """

    def update_settings(self, settings: BaseSettings) -> None:
        """Fill in ``DOWNLOADER_MIDDLEWARES`` and ``SCHEDULER_PRIORITY_QUEUE``."""
        if not read_one(settings, "ENABLED"):
            return
        settings.setdefault_in_component_priority_dict(
            "DOWNLOADER_MIDDLEWARES", ProxyBalanceMiddleware, ORDER
        )
        settings.set("SCHEDULER_PRIORITY_QUEUE", ProxyBalanceQueue, priority="addon")
