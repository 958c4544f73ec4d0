"""Odd answers: not failures as such, but pages that a proxy may have made up.

Gives kinds of answers as words, for :class:`~.pool.comparison.Comparison`. No state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit
from zlib import crc32

from scrapy.utils.httpobj import urlparse_cached

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response

EMPTY = "empty"
ELSEWHERE = "redirect_elsewhere"
SAME_PAGE = "same_page"

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
# With these statuses an answer has no body by rights (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
_WITHOUT_BODY = frozenset((204, 205, 304))
# So much of the beginning of a page is compared.
_HEAD = 256


def oddity(request: Request, response: Response) -> str | None:
    """Return in a word what an answer looks like that may be a proxy's own; ``None`` for a page."""
    status = response.status
    if status >= 400:
        return str(status)
    if status in _REDIRECTS:
        return ELSEWHERE if _leads_elsewhere(request, response) else None
    if status in _WITHOUT_BODY or request.method == "HEAD" or response.body:
        return None
    # A signal handler may have stopped the download at its headers.
    return None if "download_stopped" in response.flags else EMPTY


def looks(request: Request, response: Response) -> str | None:
    """Return what is equal for pages that begin alike; ``None`` where nothing can be told from that."""
    if response.status >= 300 or not response.body or request.method == "HEAD":
        return None
    return f"{crc32(response.body[:_HEAD]):x}"


def _leads_elsewhere(request: Request, response: Response) -> bool:
    """Whether a redirect leads to another site: not to the same host, one above it or one below it."""
    location = (response.headers.get("Location") or b"").decode("latin-1")
    try:
        host = urlsplit(urljoin(request.url, location)).hostname or ""
    except ValueError:
        return True
    own = urlparse_cached(request).hostname or ""
    return _registered(host) != _registered(own)


def _registered(host: str) -> str:
    """Return the last two labels of a name, or the address: near enough to what belongs together."""
    labels = host.rpartition(".")
    if labels[2].isdigit() or ":" in host:
        return host
    return ".".join(host.split(".")[-2:])
