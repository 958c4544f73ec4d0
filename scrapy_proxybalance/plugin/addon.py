"""The one-line installation: fills in what the plugin needs and never overwrites the user."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.downloadermiddlewares import robotstxt
from scrapy.utils.misc import load_object

from .config.settings import read_one
from .handlers.download_handler import DownloadHandler
from .middleware import ORDER, ProxyBalanceMiddleware
from .robots.middleware import RobotsTxtMiddleware
from .scheduling.queue import ProxyBalanceQueue

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings


class Addon:
    """Adds the plugin's components: ``ADDONS = {"scrapy_proxybalance.Addon": 500}``.

    These are the middlewares, the queue, and a download handler where Scrapy's own would be used.

    Settings of the project, the spider and the command line keep precedence.
    """

    def update_settings(self, settings: BaseSettings) -> None:
        """Fill in the settings that name these."""
        if not read_one(settings, "ENABLED"):
            return
        settings.setdefault_in_component_priority_dict(
            "DOWNLOADER_MIDDLEWARES", ProxyBalanceMiddleware, ORDER
        )
        _replace_robots(settings)
        _replace_handlers(settings)
        settings.set("SCHEDULER_PRIORITY_QUEUE", ProxyBalanceQueue, priority="addon")


def _replace_robots(settings: BaseSettings) -> None:
    """Put our RobotsTxtMiddleware in the place of Scrapy's, unless the user has decided on either."""
    merged = settings.getwithbase("DOWNLOADER_MIDDLEWARES").items()
    orders = {load_object(component): order for component, order in merged}
    if orders.get(robotstxt.RobotsTxtMiddleware) is None or RobotsTxtMiddleware in orders:
        return
    for name in ("DOWNLOADER_MIDDLEWARES_BASE", "DOWNLOADER_MIDDLEWARES"):
        with suppress(KeyError):  # it is not in both
            settings.replace_in_component_priority_dict(
                name, robotstxt.RobotsTxtMiddleware, RobotsTxtMiddleware
            )


def _replace_handlers(settings: BaseSettings) -> None:
    """Put our DownloadHandler in the place of Scrapy's, unless the user has chosen another one.

    Without a reactor Scrapy has another one itself.
    """
    if not settings.getbool("TWISTED_REACTOR_ENABLED", True):
        return
    base = settings["DOWNLOAD_HANDLERS_BASE"]
    for scheme in ("http", "https"):
        if base.get(scheme) and load_object(base[scheme]) is HTTP11DownloadHandler:
            settings["DOWNLOAD_HANDLERS"].set(scheme, DownloadHandler, priority="addon")
