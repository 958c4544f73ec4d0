"""A score-weighted proxy pool for Scrapy that stops when a target says stop."""

from .client import ProxyPool
from .core import Outcome
from .core.verdict import Verdict
from .plugin.addon import Addon
from .plugin.classify import classify
from .plugin.handlers.download_handler import DownloadHandler
from .plugin.middleware import ProxyBalanceMiddleware
from .plugin.robots.middleware import RobotsTxtMiddleware
from .plugin.scheduling.queue import ProxyBalanceQueue

__version__ = "0.1.0"

__all__ = [
    "Addon",
    "DownloadHandler",
    "Outcome",
    "ProxyBalanceMiddleware",
    "ProxyBalanceQueue",
    "ProxyPool",
    "RobotsTxtMiddleware",
    "Verdict",
    "classify",
]
