"""Scrapy's responses as the core asks about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http.answer import HttpAnswer

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response


class ScrapyAnswer(HttpAnswer):
    """Reads a response of Scrapy's.

    :param request: as it was sent, less what the pool has put on it.
    :param response: what came back.
    :param wall_now: seconds since the epoch.
    """

    __slots__ = ("_headers",)

    def __init__(self, request: Request, response: Response, wall_now: float) -> None:
        stopped = "download_stopped" in response.flags
        super().__init__(request, response, wall_now=wall_now, stopped=stopped)
        self._headers = request.headers

    @property
    def is_anonymous(self) -> bool:
        """Whether the request had no credentials of the user's for a proxy."""
        return b"Proxy-Authorization" not in self._headers
