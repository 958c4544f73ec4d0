"""A response as the core asks about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .marks import signature, via
from .oddities import looks, oddity
from .responses import of_response

if TYPE_CHECKING:
    from ..core.verdict import Verdict
    from .messages import Request, Response


class HttpAnswer:
    """Reads a response for the core; see :class:`Answer`.

    :param request: what was asked for.
    :param response: what came back.
    :param wall_now: seconds since the epoch.
    :param stopped: whether the download was stopped at the headers, so that there is no body.
    """

    __slots__ = ("_request", "_response", "_stopped", "_wall_now", "status", "url")

    def __init__(
        self,
        request: Request,
        response: Response,
        *,
        wall_now: float,
        stopped: bool = False,
    ) -> None:
        self._request = request
        self._response = response
        self._wall_now = wall_now
        self._stopped = stopped
        self.status = response.status
        self.url = request.url

    @property
    def is_anonymous(self) -> bool:
        """Whether the request had no credentials for a proxy: a plain one has none of its own."""
        return True

    def oddity(self) -> str | None:
        """Return in a word what it looks like that may be a proxy's own; ``None`` for a page."""
        return oddity(self._request, self._response, stopped=self._stopped)

    def looks(self) -> tuple[str, ...]:
        """Return what is equal for pages that look the same, each in one way."""
        return looks(self._request, self._response)

    def via(self) -> list[str]:
        """Return the members of its ``Via``, the nearest server last."""
        return via(self._response)

    def signature(self) -> str:
        """Return what is equal for pages that look as if the same server had made them up."""
        return signature(self._response)

    def as_the_sites(self) -> Verdict:
        """Return the verdict on it if it is the site's, whatever marks of a proxy it has."""
        return of_response(self._request, self._response, marks=None, wall_now=self._wall_now)
