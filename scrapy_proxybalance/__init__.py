"""A score-weighted proxy pool for Scrapy that stops when a target says stop."""

from .addon import Addon
from .admission import ProxyBalanceQueue
from .core import Outcome
from .download_handler import DownloadHandler
from .http.verdict import Verdict
from .middleware import ProxyBalanceMiddleware
from .plugin.classify import classify
from .robots import RobotsTxtMiddleware
from .standalone import ProxyPool

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
