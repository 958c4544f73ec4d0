"""Odd answers: not failures as such, but pages that a proxy may have made up.

Gives kinds of answers as words, for :class:`Comparison`. No state.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit
from zlib import crc32

if TYPE_CHECKING:
    from .messages import Request, Response

EMPTY = "empty"
ELSEWHERE = "redirect_elsewhere"

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
# So much of the beginning of a page, and of its end, is compared.
_HEAD, _END, _WORDS = 4096, 1024, 512
# So few words say nothing of a page.
_FEW = 3
# Neither numbers nor what looks like the name of one request: those differ from answer to answer.
_WORD = re.compile(rb"(?<![0-9A-Za-z])[A-Za-z]{1,15}(?![0-9A-Za-z])")


def oddity(request: Request, response: Response, *, stopped: bool = False) -> str | None:
    """Return in a word what an answer looks like that may be a proxy's own; ``None`` for a page.

    :param stopped: whether its download was stopped at its headers, so that it has no body.
    """
    status = response.status
    if status >= 400:
        return str(status)
    if status in _REDIRECTS:
        return ELSEWHERE if _leads_elsewhere(request, response) else None
    if status == HTTPStatus.NOT_MODIFIED or request.method != "GET" or response.body:
        return None
    return None if stopped else EMPTY


def looks(request: Request, response: Response) -> tuple[str, ...]:
    """Return what is equal for pages that look the same: in all, and in the words they begin with.

    Of a redirect, where it leads. Nothing where nothing can be told.
    """
    if response.status in _REDIRECTS:
        return (f"to {crc32(response.headers.get('Location') or b''):x}",)
    body = response.body
    if response.status >= 300 or not body or request.method == "HEAD":
        return ()
    whole = f"{crc32(body[:_HEAD] + body[-_END:]):x} {len(body)}"
    words = _WORD.findall(body[:_WORDS])
    return (whole,) if len(words) < _FEW else (whole, f"{crc32(b' '.join(words)):x}")


def _leads_elsewhere(request: Request, response: Response) -> bool:
    """Whether a redirect leads to another site: not to the same host, one above it or one below it."""
    location = (response.headers.get("Location") or b"").decode("latin-1")
    try:
        host = urlsplit(urljoin(request.url, location)).hostname or ""
    except ValueError:
        return True
    own = urlsplit(request.url).hostname or ""
    return _registered(host) != _registered(own)


def _registered(host: str) -> str:
    """Return the last two labels of a name, or the address: near enough to what belongs together."""
    labels = host.rpartition(".")
    if labels[2].isdigit() or ":" in host:
        return host
    return ".".join(host.split(".")[-2:])
