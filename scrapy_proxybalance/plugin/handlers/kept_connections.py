"""What Scrapy's download handlers keep open: which connections are used again, and for how long.

All of it was found by looking at what they do: https through a proxy keeps one connection per proxy,
credentials included, and host and port of the site; several when several requests go at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core import WarmPolicy
from .profiles import handler_of

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings


def warm_policy(settings: BaseSettings) -> WarmPolicy | None:
    """Return what the handler of https requests keeps open; ``None`` if nothing, or not known."""
    handler = handler_of(settings, "https")
    if handler is None or not handler.idle_seconds:
        return None
    return WarmPolicy(
        idle_seconds=handler.idle_seconds, most_idle=max(1, settings.getint(handler.limit))
    )
