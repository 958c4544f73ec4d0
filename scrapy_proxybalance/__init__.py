"""A score-weighted proxy pool for Scrapy that stops when a target says stop.

The names below are imported when they are asked for: the core and the client work without Scrapy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import ProxyPool
    from .core.outcome import Outcome
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

_MODULES = {
    "Addon": ".plugin.addon",
    "DownloadHandler": ".plugin.handlers.download_handler",
    "Outcome": ".core.outcome",
    "ProxyBalanceMiddleware": ".plugin.middleware",
    "ProxyBalanceQueue": ".plugin.scheduling.queue",
    "ProxyPool": ".client",
    "RobotsTxtMiddleware": ".plugin.robots.middleware",
    "Verdict": ".core.verdict",
    "classify": ".plugin.classify",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
