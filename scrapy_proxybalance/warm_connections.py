"""What Scrapy's download handlers keep open: which connections are used again, and for how long.

All of it was found by looking at what they do: https through a proxy keeps one connection per proxy,
credentials included, and host and port of the site; several when several requests go at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from scrapy.utils.misc import load_object

from .pool import WarmPolicy

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings


@attrs.frozen
class _Handler:
    """``idle_seconds``: to believe in; ``limit``: the setting that says how many it keeps."""

    idle_seconds: float
    limit: str


_HANDLERS = "scrapy.core.downloader.handlers."
# The default handler keeps a connection for 240 s (twisted.web.client.HTTPConnectionPool), but servers
# close theirs after 5 to 120 s of idleness. The others keep theirs for 15 and 5 s.
_KNOWN = {
    f"{_HANDLERS}http11.HTTP11DownloadHandler": _Handler(60.0, "CONCURRENT_REQUESTS_PER_DOMAIN"),
    f"{_HANDLERS}_aiohttp.AiohttpDownloadHandler": _Handler(12.0, "CONCURRENT_REQUESTS_PER_DOMAIN"),
    f"{_HANDLERS}_httpx.HttpxDownloadHandler": _Handler(4.0, "CONCURRENT_REQUESTS"),
}


def warm_policy(settings: BaseSettings) -> WarmPolicy | None:
    """Return what the handler of https requests keeps open; ``None`` if that is not known."""
    path = settings.getwithbase("DOWNLOAD_HANDLERS").get("https")
    if path is None:
        return None
    try:
        handler = load_object(path)
    except (ImportError, NameError, TypeError, ValueError):
        return None  # Scrapy says so itself, and better
    for kind in getattr(handler, "__mro__", ()):
        known = _KNOWN.get(f"{kind.__module__}.{kind.__qualname__}")
        if known is not None:
            return WarmPolicy(
                idle_seconds=known.idle_seconds, most_idle=max(1, settings.getint(known.limit))
            )
    return None
